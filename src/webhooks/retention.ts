// The job that deletes events of webhooks when they have been stored for long enough, run by one process at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { deleteOldest, findOldAcrossTenants } from './store.ts';

export interface EventRetentionOptions
  extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  readonly retentionDays: number;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

const intervalMs = 3_600_000;
/** In one transaction. */
const maxEvents = 1_000;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const dayMs = 86_400_000;

/** Begins at once. Disposal never rejects. */
export function startEventRetention(options: EventRetentionOptions): AsyncDisposable {
  const { database, onFailure, startTimer } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'delete old events of webhooks',
    intervalMs,
    onFailure,
    run: async () => !(await deleteOldEvents(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function deleteOldEvents(
  { database, now, retentionDays }: Omit<EventRetentionOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  const before = new Date(now().getTime() - retentionDays * dayMs);
  const tenantIds = await findOldAcrossTenants(database, before);
  return await workInBatches(
    tenantIds,
    maxMs,
    async (tenantId) => (await deleteOldest(database, tenantId, before, maxEvents)) === maxEvents,
  );
}
