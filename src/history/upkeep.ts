// The jobs of history, each run by one process at a time: what time changes is recorded, and old changes are deleted.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { staleAfterSeconds } from '../numbers/number.ts';
import {
  deleteOldest,
  findExpiredAcrossTenants,
  findOldAcrossTenants,
  markExpired,
  numberChangesLeftAcrossTenants,
} from './store.ts';

interface JobOptions extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
}

export interface ExpiryOptions extends JobOptions {
  /** Whether a session engine is configured. */
  readonly connectionsAreRead: boolean;
}

const defaultExpiryIntervalMs = 5_000;
/** In one transaction, which takes about a tenth of a second. */
const maxNumbers = 500;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const leaseMs = 15_000;

/** `stale_since` is the first moment at which an age in whole seconds is greater than `staleAfterSeconds`. */
const lifetimeMs = (staleAfterSeconds + 1) * 1_000;

/**
 * Records the verdicts that become UNKNOWN because their evidence expires, each once. Begins at once. Disposal never
 * rejects.
 */
export function startExpiry(options: ExpiryOptions): AsyncDisposable {
  const { database, onFailure, startTimer, intervalMs = defaultExpiryIntervalMs } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'record expired evidence',
    intervalMs,
    leaseMs,
    onFailure,
    run: async () => !(await recordExpired(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function recordExpired(
  { database, now, connectionsAreRead }: Omit<ExpiryOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  await numberChangesLeftAcrossTenants(database);
  const observedBefore = new Date(now().getTime() - lifetimeMs);
  const request = { observedBefore, lifetimeMs, connectionsAreRead };
  const tenantIds = await findExpiredAcrossTenants(database, request);
  return await workInBatches(
    tenantIds,
    maxMs,
    async (tenantId) => (await markExpired(database, tenantId, request, maxNumbers)) === maxNumbers,
  );
}

export interface RetentionOptions extends JobOptions {
  readonly retentionDays: number;
}

const retentionIntervalMs = 3_600_000;
const maxChanges = 1_000;
const dayMs = 86_400_000;

/** Deletes changes that are older than the retention. Begins at once. Disposal never rejects. */
export function startRetention(options: RetentionOptions): AsyncDisposable {
  const { database, onFailure, startTimer, intervalMs = retentionIntervalMs } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'delete old changes',
    intervalMs,
    onFailure,
    run: async () => !(await deleteOld(options, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function deleteOld(
  { database, now, retentionDays }: Omit<RetentionOptions, 'onFailure'>,
  maxMs = Infinity,
): Promise<boolean> {
  const before = new Date(now().getTime() - retentionDays * dayMs);
  const tenantIds = await findOldAcrossTenants(database, before);
  return await workInBatches(
    tenantIds,
    maxMs,
    async (tenantId) => (await deleteOldest(database, tenantId, before, maxChanges)) > 0,
  );
}
