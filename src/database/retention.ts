// The jobs that delete what has been stored for long enough, each run by one process at a time.

import type { Clock } from '../clock.ts';
import type { Database } from './database.ts';
import { startProcessJob, workInBatches } from './process-job.ts';

/** A kind of rows that are deleted after so many days. */
export interface Retention {
  readonly jobName: string;
  /** Returns at least the tenants that have rows from before this time. */
  readonly findTenants: (database: Database, before: Date) => Promise<readonly string[]>;
  /** Deletes the oldest rows from before this time, at most so many, in one transaction. Returns how many there were. */
  readonly deleteOldest: (
    database: Database,
    tenantId: string,
    before: Date,
    maxRows: number,
  ) => Promise<number>;
}

export interface RetentionOptions extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  readonly retention: Retention;
  readonly days: number;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

const intervalMs = 3_600_000;
/** In one transaction. */
const maxRows = 1_000;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const dayMs = 86_400_000;

/** Begins at once. Disposal never rejects. */
export function startRetention(options: RetentionOptions): AsyncDisposable {
  const { database, retention, onFailure, startTimer } = options;
  return startProcessJob({
    database,
    startTimer,
    name: retention.jobName,
    intervalMs,
    onFailure,
    run: async () => !(await deleteOld(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function deleteOld(
  { database, now, retention, days }: Omit<RetentionOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  const before = new Date(now().getTime() - days * dayMs);
  const tenantIds = await retention.findTenants(database, before);
  return await workInBatches(
    tenantIds,
    maxMs,
    async (tenantId) => (await retention.deleteOldest(database, tenantId, before, maxRows)) > 0,
  );
}
