// The live feed: pages of changes after a cursor, as they are committed. A stream is a cursor: nothing is queued for it, and
// between two pages it holds neither a connection nor a transaction; see watch.ts.

import type { Database } from '../database/database.ts';
import type { ChangePage } from './change.ts';
import { decodeCursor, type FeedCursor } from './cursor.ts';
import { createReadPage, type PageRequest, type ReadPage } from './page-read.ts';
import { readChanges } from './store.ts';
import { createWatch, type Watch, type WatchRequest } from './watch.ts';

export interface Feed {
  /** Throws INVALID_CURSOR, CURSOR_EXPIRED or CURSOR_UNKNOWN. Null for the cursor after the last change. */
  begin(tenantId: string, after: string | null): Promise<FeedCursor>;
  /** Callers that ask for the same page at the same time get the same object. Throws as `begin`. */
  readonly read: ReadPage;
  /** See `History.waitForChanges`. */
  waitForPage(request: PageRequest & WatchRequest, waitMs: number): Promise<ChangePage>;
  /** See `History.watchChanges`. */
  readonly watch: Watch;
}

export interface FeedOptions {
  readonly database: Database;
  readonly now: () => Date;
  /** Milliseconds between two signs of life. */
  readonly heartbeatMs?: number;
  /** Milliseconds after which changes are looked for although none was announced. */
  readonly pollMs?: number;
}

const defaultHeartbeatMs = 15_000;
const defaultPollMs = 5_000;

export function createFeed({
  database,
  now,
  heartbeatMs = defaultHeartbeatMs,
  pollMs = defaultPollMs,
}: FeedOptions): Feed {
  const read = createReadPage(database, now);
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
    watch: createWatch({ database, now, heartbeatMs, pollMs, read }),
  };
}

const positionOnly = { filter: {}, direction: 'after', sequence: 0, limit: 0 } as const;
