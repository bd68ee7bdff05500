// Streams of pages. Streams of a tenant at the same place, with the same filter, wait for one page together: it is read once,
// and what is made of it can be made once.

import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { ChangeFilter, ChangePage } from './change.ts';
import { decodeCursor, encodeCursor, type FeedCursor } from './cursor.ts';
import type { PageRequest, ReadPage } from './page-read.ts';

export interface WatchRequest {
  readonly tenantId: string;
  readonly filter: ChangeFilter;
  readonly signal: AbortSignal;
}

export interface WatchOptions {
  readonly database: Pick<Database, 'changes'>;
  readonly now: () => Date;
  readonly heartbeatMs: number;
  readonly pollMs: number;
  readonly read: ReadPage;
}

/** Changes of one page of a stream. */
const maxStreamedChanges = 200;

/** From one page to the next. Changes that follow each other closely come as one page. */
const minIntervalMs = 100;

/** Where a stream is. */
interface Place {
  readonly cursor: FeedCursor;
  /** The version of the tenant's data at which there was nothing after the cursor; null if there may be something. */
  readonly version: number | null;
  /** The next page is not read before; in milliseconds of `performance.now()`. */
  readonly readableAt: number;
}

interface Arrival {
  readonly page: ChangePage;
  /** After the page. */
  readonly next: Place;
}

/** One that waits for the next page. */
interface Waiter {
  readonly resolve: (arrival: Arrival | null) => void;
  readonly reject: (error: unknown) => void;
}

/** Those who wait for the same page. */
interface Waiting {
  readonly waiters: Set<Waiter>;
  /** Aborted when nobody waits any more. */
  readonly abandoned: AbortController;
}

/** See `History.watchChanges`. */
export type Watch = (request: WatchRequest, start: FeedCursor) => AsyncGenerator<ChangePage, void>;

export function createWatch(options: WatchOptions): Watch {
  const waitings = new Map<string, Waiting>();
  return async function* watch({ tenantId, filter, signal }, start) {
    const filterKey = JSON.stringify(filter);
    let place: Place = { cursor: start, version: null, readableAt: 0 };
    let leave: (() => void) | null = null;
    const onAbort = (): void => leave?.();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted) {
        const key = `${tenantId} ${encodeCursor(place.cursor)} ${filterKey}`;
        const { promise, ...waiter } = Promise.withResolvers<Arrival | null>();
        const waiting = waitings.get(key) ?? begin(key, { tenantId, filter, place });
        waiting.waiters.add(waiter);
        leave = () => abandon(key, waiting, waiter);
        // oxlint-disable-next-line no-await-in-loop -- one page after the other
        const arrival = await promise;
        if (arrival === null) break;
        place = arrival.next;
        yield arrival.page;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  };

  function begin(key: string, wanted: Wanted): Waiting {
    const waiting: Waiting = { waiters: new Set(), abandoned: new AbortController() };
    waitings.set(key, waiting);
    waitForArrival(options, wanted, waiting.abandoned.signal).then(
      (arrival) => end(key, waiting).forEach(({ resolve }) => resolve(arrival)),
      (error: unknown) => end(key, waiting).forEach(({ reject }) => reject(error)),
    );
    return waiting;
  }

  function abandon(key: string, waiting: Waiting, waiter: Waiter): void {
    waiter.resolve(null);
    waiting.waiters.delete(waiter);
    if (waiting.waiters.size > 0) return;
    end(key, waiting);
    waiting.abandoned.abort();
  }

  /** Further streams do not join those that wait. Returns these. */
  function end(key: string, waiting: Waiting): ReadonlySet<Waiter> {
    if (waitings.get(key) === waiting) waitings.delete(key);
    return waiting.waiters;
  }
}

interface Wanted {
  readonly tenantId: string;
  readonly filter: ChangeFilter;
  readonly place: Place;
}

/** Resolves to the next page with changes, or to one without when it is time for a sign of life; null when abandoned. */
async function waitForArrival(
  { database: { changes }, now, heartbeatMs, pollMs, read }: WatchOptions,
  { tenantId, filter, place }: Wanted,
  signal: AbortSignal,
): Promise<Arrival | null> {
  const beganAt = performance.now();
  let { cursor, version: knownVersion, readableAt } = place;
  for (;;) {
    // oxlint-disable no-await-in-loop -- one page after the other
    await pauseUntil(readableAt, signal);
    if (signal.aborted) return null;
    const startsAt = performance.now();
    const timeoutMs = Math.min(pollMs, Math.max(0, beganAt + heartbeatMs - startsAt));
    // Before reading, so that no change is missed in between.
    const changed = changes.waitForChange(tenantId, { timeoutMs, signal });
    const version = changes.versionOf(tenantId, 'numbers');
    const isUnchanged = version !== null && version === knownVersion;
    const page = isUnchanged
      ? toEmptyPage(cursor, now())
      : await readUnlessUnavailable(read, { tenantId, cursor, limit: maxStreamedChanges, filter });
    if (page !== null) {
      cursor = decodeCursor(page.cursor);
      knownVersion = page.caughtUp ? version : null;
    }
    const isComplete = page?.caughtUp !== false;
    if (!isUnchanged) readableAt = isComplete ? startsAt + minIntervalMs : 0;
    const isDue = performance.now() - beganAt >= heartbeatMs;
    if (page !== null && (page.changes.length > 0 || isDue)) {
      return { page, next: { cursor, version: knownVersion, readableAt } };
    }
    if (isComplete) await changed.catch(() => undefined);
    // oxlint-enable no-await-in-loop
  }
}

async function pauseUntil(time: number, signal: AbortSignal): Promise<void> {
  const pauseMs = time - performance.now();
  if (pauseMs > 0) await delay(pauseMs, undefined, { signal }).catch(() => undefined);
}

/** Null while the database does not answer: the stream goes on when it does. */
async function readUnlessUnavailable(
  read: ReadPage,
  request: PageRequest,
): Promise<ChangePage | null> {
  try {
    return await read(request);
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'UNAVAILABLE') return null;
    throw error;
  }
}

function toEmptyPage(cursor: FeedCursor, time: Date): ChangePage {
  return { changes: [], cursor: encodeCursor(cursor), time: time.toISOString(), caughtUp: true };
}
