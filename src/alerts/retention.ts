// The job that deletes incidents when they have been over for long enough, run by one process at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { deleteClosed, findTenantsAcrossTenants } from './incident-store.ts';

export interface IncidentRetentionOptions
  extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  readonly retentionDays: number;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

const intervalMs = 3_600_000;
/** In one transaction. */
const maxIncidents = 1_000;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const dayMs = 86_400_000;

/** Begins at once. Disposal never rejects. */
export function startIncidentRetention(options: IncidentRetentionOptions): AsyncDisposable {
  const { database, onFailure, startTimer } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'delete old incidents',
    intervalMs,
    onFailure,
    run: async () => !(await deleteOldIncidents(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function deleteOldIncidents(
  { database, now, retentionDays }: Omit<IncidentRetentionOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  const before = new Date(now().getTime() - retentionDays * dayMs);
  const tenantIds = await findTenantsAcrossTenants(database);
  return await workInBatches(
    tenantIds,
    maxMs,
    async (tenantId) =>
      (await deleteClosed(database, tenantId, before, maxIncidents)) === maxIncidents,
  );
}
