// Reads pages of the feed, each once for all who need it at the same time.

import type { Database } from '../database/database.ts';
import type { ChangeFilter, ChangePage } from './change.ts';
import { assertReachable, encodeCursor, type FeedCursor } from './cursor.ts';
import { readChanges } from './store.ts';

export interface PageRequest {
  readonly tenantId: string;
  readonly cursor: FeedCursor;
  readonly limit: number;
  readonly filter: ChangeFilter;
}

/** Callers that ask for the same page at the same time get the same object. Throws CURSOR_EXPIRED or CURSOR_UNKNOWN. */
export type ReadPage = (request: PageRequest) => Promise<ChangePage>;

/** Changes that a page may cover, also of those that its filter leaves out. */
const maxCovered = 10_000;

/**
 * All who wait are woken at the same time, and those at the same place need the same page. A read that was begun
 * before a change was announced may not have it, so it is not shared with a caller that was woken by the change.
 */
export function createReadPage(database: Database, now: () => Date): ReadPage {
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
