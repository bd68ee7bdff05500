// The use cases of history: pages of changes, the live feed, and what happened to one number.

import type { Access } from '../access/access.ts';
import type { ChangeFilter, ChangePage } from './change.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { createFeed, type FeedOptions } from './feed.ts';
import { createNumberHistory, type NumberHistory } from './number-history.ts';
import { assertPageSize, normalizeFilter } from './page.ts';
import { findPlace } from './store.ts';

export type { HistoryPage, HistoryRequest } from './number-history.ts';
export { defaultPageSize, maxFilterValues, maxPageSize } from './page.ts';

export interface ChangesRequest {
  /** Null: only what changes from now on, so no changes and the current cursor. */
  readonly after: string | null;
  /** Changes of a page, from 1 to `maxPageSize`. */
  readonly first: number;
  readonly filter: ChangeFilter;
}

export interface CursorOfTime {
  /** After the last change that was recorded before the time. */
  readonly cursor: string;
  /** Whether no change since that time is missing. */
  readonly isComplete: boolean;
  /** When the first change was recorded that is known, or changes began to be recorded. */
  readonly recordedSince: string;
}

/**
 * Every method throws CURSOR_EXPIRED for a cursor whose next changes were deleted, CURSOR_UNKNOWN for one of another epoch or
 * beyond the last change, and INVALID_CURSOR for a malformed one.
 */
export interface History extends NumberHistory {
  readChanges(access: Access, request: ChangesRequest): Promise<ChangePage>;
  /** As `readChanges`, but waits until there is a change that matches, `waitMs` at most. Rejects with the signal's reason. */
  waitForChanges(
    access: Access,
    request: ChangesRequest & { readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<ChangePage>;
  /**
   * Checks the cursor, then yields pages without end: of up to 200 changes when there are any, and one without changes every
   * 15 s as a sign of life. Reads nothing until the next page is asked for, and holds no connection in between. Ends when
   * the signal is aborted or `return` is called, which may be called twice.
   */
  watchChanges(
    access: Access,
    request: Omit<ChangesRequest, 'first'> & { readonly signal: AbortSignal },
  ): Promise<AsyncIterableIterator<ChangePage>>;
  findCursor(access: Access, time: Date): Promise<CursorOfTime>;
}

export function createHistory(options: FeedOptions): History {
  const { database } = options;
  const feed = createFeed(options);
  return {
    ...createNumberHistory(options),
    async readChanges({ tenantId }, { after, first, filter }) {
      assertPageSize(first);
      // The read checks the cursor too.
      const cursor = after === null ? await feed.begin(tenantId, null) : decodeCursor(after);
      return await feed.read({ tenantId, cursor, limit: first, filter: normalizeFilter(filter) });
    },
    async waitForChanges({ tenantId }, { after, first, filter, waitMs, signal }) {
      assertPageSize(first);
      const cursor = after === null ? await feed.begin(tenantId, null) : decodeCursor(after);
      const request = { tenantId, limit: first, filter: normalizeFilter(filter), signal };
      return await feed.waitForPage({ ...request, cursor }, waitMs);
    },
    async watchChanges({ tenantId }, { after, filter, signal }) {
      const normal = normalizeFilter(filter);
      const cursor = await feed.begin(tenantId, after);
      return feed.watch({ tenantId, filter: normal, signal }, cursor);
    },
    async findCursor({ tenantId }, time) {
      const { epoch, sequence, first, recordedSince } = await findPlace(database, tenantId, time);
      return {
        cursor: encodeCursor({ epoch, sequence: sequence ?? first - 1 }),
        isComplete: sequence !== null || new Date(recordedSince) <= time,
        recordedSince,
      };
    },
  };
}
