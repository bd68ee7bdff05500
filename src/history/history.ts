// The use cases of history: pages of changes, the live feed, and what happened to one number.

import type { Access } from '../access/access.ts';
import { GatewayError } from '../errors.ts';
import type { ChangeFilter, ChangePage, NumberChange } from './change.ts';
import { createUnknownCursor, decodeCursor, encodeCursor } from './cursor.ts';
import { createFeed, type FeedOptions } from './feed.ts';
import { findPlace, readChanges } from './store.ts';

export interface ChangesRequest {
  /** Null: only what changes from now on, so no changes and the current cursor. */
  readonly after: string | null;
  /** Changes of a page, from 1 to `maxPageSize`. */
  readonly first: number;
  readonly filter: ChangeFilter;
}

export interface HistoryRequest {
  readonly numberId: string;
  readonly first: number;
  readonly after: string | null;
  readonly fields: readonly string[] | null;
  readonly since: Date | null;
}

export interface HistoryPage {
  /** Newest first. */
  readonly changes: readonly NumberChange[];
  readonly hasNextPage: boolean;
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
export interface History {
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
  /** Of a number, which may have been removed; no changes of one that never existed. */
  listHistory(access: Access, request: HistoryRequest): Promise<HistoryPage>;
  findCursor(access: Access, time: Date): Promise<CursorOfTime>;
}

export const defaultPageSize = 100;
export const maxPageSize = 200;
const maxFilterValues = 200;

export function createHistory(options: FeedOptions): History {
  const { database } = options;
  const feed = createFeed(options);
  return {
    async readChanges({ tenantId }, { after, first, filter }) {
      assertPageSize(first);
      // The read checks the cursor too.
      const cursor = after === null ? await feed.begin(tenantId, null) : decodeCursor(after);
      return await feed.read({ tenantId, cursor, limit: first, filter: normalize(filter) });
    },
    async waitForChanges({ tenantId }, { after, first, filter, waitMs, signal }) {
      assertPageSize(first);
      const cursor = after === null ? await feed.begin(tenantId, null) : decodeCursor(after);
      const request = { tenantId, limit: first, filter: normalize(filter), signal };
      return await feed.waitForPage({ ...request, cursor }, waitMs);
    },
    async watchChanges({ tenantId }, { after, filter, signal }) {
      const normal = normalize(filter);
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
    async listHistory({ tenantId }, { numberId, first, after, fields, since }) {
      assertPageSize(first);
      const cursor = after === null ? null : decodeCursor(after);
      const rows = await readChanges(database, tenantId, {
        filter: normalize({ numberIds: [numberId], fields }),
        direction: 'before',
        sequence: cursor?.sequence ?? Number.MAX_SAFE_INTEGER,
        since: since?.toISOString() ?? null,
        limit: first + 1,
      });
      if (cursor !== null && cursor.epoch !== rows.position.epoch) throw createUnknownCursor();
      const { changes } = rows;
      return { changes: changes.slice(0, first), hasNextPage: changes.length > first };
    },
  };
}

function assertPageSize(first: number): void {
  if (!Number.isInteger(first) || first < 1 || first > maxPageSize) {
    throw new GatewayError('INVALID_REQUEST', `A page has from 1 to ${maxPageSize} changes.`);
  }
}

/** Throws INVALID_REQUEST for too many values. */
function normalize(filter: ChangeFilter): ChangeFilter {
  const entries = Object.entries(filter).filter(
    ([, values]) => values !== null && values !== undefined,
  );
  return Object.fromEntries(
    entries.map(([member, values]: [string, readonly string[]]) => {
      if (values.length > maxFilterValues) {
        const message = `The filter has more than ${maxFilterValues} values of ${member}; leave the member out and filter what you receive.`;
        throw new GatewayError('INVALID_REQUEST', message);
      }
      // No stored value has a NUL, and PostgreSQL rejects one in a parameter.
      return [member, [...new Set(values)].filter((value) => !value.includes('\0')).toSorted()];
    }),
  );
}
