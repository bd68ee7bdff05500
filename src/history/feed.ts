// The live feed: pages of changes after a cursor, as they are committed. A stream is a cursor: nothing is queued for it, and
// between two pages it holds neither a connection nor a transaction.

import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { ChangeFilter, ChangePage } from './change.ts';
import { assertReachable, decodeCursor, encodeCursor, type FeedCursor } from './cursor.ts';
import { readChanges } from './store.ts';

export interface PageRequest {
  readonly tenantId: string;
  readonly cursor: FeedCursor;
  readonly limit: number;
  readonly filter: ChangeFilter;
}

export interface WatchRequest {
  readonly tenantId: string;
  readonly filter: ChangeFilter;
  readonly signal: AbortSignal;
}

export interface Feed {
  /** Throws INVALID_CURSOR, CURSOR_EXPIRED or CURSOR_UNKNOWN. Null for the cursor after the last change. */
  begin(tenantId: string, after: string | null): Promise<FeedCursor>;
  /** Callers that ask for the same page at the same time get the same object. Throws as `begin`. */
  read(request: PageRequest): Promise<ChangePage>;
  /** See `History.waitForChanges`. */
  waitForPage(request: PageRequest & WatchRequest, waitMs: number): Promise<ChangePage>;
  /** See `History.watchChanges`. */
  watch(request: WatchRequest, cursor: FeedCursor): AsyncGenerator<ChangePage, void>;
}

export interface FeedOptions {
  readonly database: Database;
  readonly now: () => Date;
  /** Milliseconds between two signs of life. */
  readonly heartbeatMs?: number;
  /** Milliseconds after which changes are looked for although none was announced. */
  readonly pollMs?: number;
}

/** Changes of one page of a stream. */
export const maxStreamedChanges = 200;

/** Changes that a page may cover, also of those that its filter leaves out. */
const maxCovered = 10_000;

/** From one page to the next. Changes that follow each other closely come as one page. */
const minIntervalMs = 100;

const defaultHeartbeatMs = 15_000;
const defaultPollMs = 5_000;

export function createFeed({
  database,
  now,
  heartbeatMs = defaultHeartbeatMs,
  pollMs = defaultPollMs,
}: FeedOptions): Feed {
  const read = createSharedRead(database, now);
  return {
    async begin(tenantId, after) {
      if (after !== null) {
        const cursor = decodeCursor(after);
        // Checks it.
        await read({ tenantId, cursor, limit: 0, filter: {} });
        return cursor;
      }
      const { position } = await readChanges(database, tenantId, positionOnly);
      return { epoch: position.epoch, sequence: position.last };
    },
    read,
    async waitForPage(request, waitMs) {
      const endsAt = performance.now() + waitMs;
      const { tenantId, signal } = request;
      for (let { cursor } = request; ;) {
        const timeoutMs = Math.min(pollMs, Math.max(0, endsAt - performance.now()));
        // Before reading, so that no change is missed in between.
        const changed = database.changes.waitForChange(tenantId, { timeoutMs, signal });
        // oxlint-disable-next-line no-await-in-loop -- one page after the other
        const page = await read({ ...request, cursor });
        if (page.changes.length > 0 || performance.now() >= endsAt) return page;
        cursor = decodeCursor(page.cursor);
        // oxlint-disable-next-line no-await-in-loop -- as above
        if (page.caughtUp) await changed;
      }
    },
    watch: (request, cursor) =>
      watch({ database, now, heartbeatMs, pollMs, read }, request, cursor),
  };
}

async function* watch(
  { database, now, heartbeatMs, pollMs, read }: Required<FeedOptions> & Pick<Feed, 'read'>,
  { tenantId, filter, signal }: WatchRequest,
  start: FeedCursor,
): AsyncGenerator<ChangePage, void> {
  const { changes } = database;
  let cursor = start;
  let yieldedAt = performance.now();
  let knownVersion: number | null = null;
  while (!signal.aborted) {
    const readAt = performance.now();
    const timeoutMs = Math.min(pollMs, Math.max(0, yieldedAt + heartbeatMs - readAt));
    // Before reading, so that no change is missed in between.
    const changed = changes.waitForChange(tenantId, { timeoutMs, signal });
    const version = changes.versionOf(tenantId, 'numbers');
    const isUnchanged: boolean = version !== null && version === knownVersion;
    const page: ChangePage | null = isUnchanged
      ? toEmptyPage(cursor, now())
      : // oxlint-disable-next-line no-await-in-loop -- one page after the other
        await readUnlessUnavailable(read, { tenantId, cursor, limit: maxStreamedChanges, filter });
    if (page !== null) {
      knownVersion = page.caughtUp ? version : null;
      cursor = decodeCursor(page.cursor);
      if (page.changes.length > 0 || performance.now() - yieldedAt >= heartbeatMs) {
        yield page;
        yieldedAt = performance.now();
      }
    }
    if (page?.caughtUp === false) continue;
    // oxlint-disable-next-line no-await-in-loop -- as above
    await changed.catch(() => undefined);
    const pauseMs = isUnchanged ? 0 : readAt + minIntervalMs - performance.now();
    // oxlint-disable-next-line no-await-in-loop -- as above
    if (pauseMs > 0) await delay(pauseMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Null while the database does not answer: the stream goes on when it does. */
async function readUnlessUnavailable(
  read: Feed['read'],
  request: PageRequest,
): Promise<ChangePage | null> {
  try {
    return await read(request);
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'UNAVAILABLE') return null;
    throw error;
  }
}

const positionOnly = { filter: {}, direction: 'after', sequence: 0, limit: 0 } as const;

function toEmptyPage(cursor: FeedCursor, time: Date): ChangePage {
  return { changes: [], cursor: encodeCursor(cursor), time: time.toISOString(), caughtUp: true };
}

/**
 * All streams of a tenant are woken at the same time, and those at the same place need the same page. A read that was begun
 * before a change was announced may not have it, so it is not shared with a caller that was woken by the change.
 */
function createSharedRead(database: Database, now: () => Date): Feed['read'] {
  const inFlight = new Map<string, Promise<ChangePage>>();
  return async (request) => {
    const { tenantId, cursor, limit, filter } = request;
    const version = database.changes.versionOf(tenantId, 'numbers');
    if (version === null) return await readPage(database, now, request);
    const { epoch, sequence } = cursor;
    const key = JSON.stringify([tenantId, version, epoch, sequence, limit, filter]);
    const known = inFlight.get(key);
    if (known !== undefined) return await known;
    const page = readPage(database, now, request);
    inFlight.set(key, page);
    try {
      return await page;
    } finally {
      inFlight.delete(key);
    }
  };
}

async function readPage(
  database: Database,
  now: () => Date,
  { tenantId, cursor, limit, filter }: PageRequest,
): Promise<ChangePage> {
  const { sequence } = cursor;
  const through = sequence + maxCovered;
  const rows = await readChanges(database, tenantId, {
    filter,
    direction: 'after',
    sequence,
    through,
    limit,
  });
  const { changes, position } = rows;
  assertReachable(cursor, position);
  const isFull = changes.length === limit;
  const covered = isFull
    ? (changes.at(-1)?.sequence ?? sequence)
    : Math.min(through, position.last);
  return {
    changes,
    cursor: encodeCursor({ epoch: position.epoch, sequence: covered }),
    time: now().toISOString(),
    caughtUp: covered === position.last,
  };
}
