// The job that follows the end of restrictions, run by one process at a time. It also applies events that the previous release
// has stored.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import type { Sync } from '../sync/sync.ts';
import { applyMissed, closeRestrictions, findDueNoticesAcrossTenants } from './store.ts';

export interface NoticeUpkeepOptions
  extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Reads the accounts of which a restriction has ended. */
  readonly sync: Pick<Sync, 'request' | 'wake'>;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
}

const defaultIntervalMs = 5_000;
/** In one transaction. */
const maxEvents = 500;
const maxAccounts = 50;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const leaseMs = 15_000;

/** Begins at once. Disposal never rejects. */
export function startNoticeUpkeep(options: NoticeUpkeepOptions): AsyncDisposable {
  const { database, onFailure, startTimer, intervalMs = defaultIntervalMs } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'follow restrictions of accounts',
    intervalMs,
    leaseMs,
    onFailure,
    run: async () => !(await followNotices(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function followNotices(
  { database, now, sync }: Omit<NoticeUpkeepOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  const at = now();
  const tenantIds = await findDueNoticesAcrossTenants(database, at);
  return await workInBatches(tenantIds, maxMs, async (tenantId) => {
    const applied = await applyMissed(database, tenantId, at, maxEvents);
    const ended = await closeRestrictions(
      database,
      tenantId,
      at,
      maxAccounts,
      async (transaction, wabaIds) => {
        const requests = wabaIds.map((wabaId) => ({ wabaId, phones: null }));
        await sync.request(transaction, tenantId, requests);
      },
    );
    if (ended > 0) sync.wake();
    return applied === maxEvents || ended === maxAccounts;
  });
}
