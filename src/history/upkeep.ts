// The job of history that records what time changes, run by one process at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { staleAfterSeconds } from '../numbers/number.ts';
import { findExpiredAcrossTenants, markExpired, numberChangesLeftAcrossTenants } from './store.ts';

export interface ExpiryOptions extends Pick<Clock, 'now'>, Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Whether a session engine is configured. */
  readonly connectionsAreRead: boolean;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
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
