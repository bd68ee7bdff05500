// The job that deletes events of webhooks when they have been stored for long enough, run by one process at a time.

import type { Database } from '../database/database.ts';
import { startProcessJob } from '../database/process-job.ts';
import { deleteOldest, findOldAcrossTenants } from './store.ts';

export interface EventRetentionOptions {
  readonly database: Database;
  readonly now: () => Date;
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
  const { database, onFailure } = options;
  return startProcessJob({
    database,
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
  const endsAt = performance.now() + maxMs;
  const before = new Date(now().getTime() - retentionDays * dayMs);
  for (const tenantId of await findOldAcrossTenants(database, before)) {
    for (let deleted = maxEvents; deleted === maxEvents;) {
      if (performance.now() >= endsAt) return false;
      // oxlint-disable-next-line no-await-in-loop -- one transaction at a time, so that others hardly notice
      deleted = await deleteOldest(database, tenantId, before, maxEvents);
    }
  }
  return true;
}
