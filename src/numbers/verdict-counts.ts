// Counts the numbers of all tenants by verdict each minute, for the metrics. Of all processes one counts at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob } from '../database/process-job.ts';
import { countVerdictsAcrossTenants, type VerdictCounts } from './verdict-store.ts';

export interface VerdictCountingOptions extends Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Whether a session engine is configured. */
  readonly connectionsAreRead: boolean;
  /** Called after each attempt; null when another process counts, or the attempt failed. */
  readonly onCounted: (counts: VerdictCounts | null) => void;
  /** Called when counting begins to fail, and again only after it has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  /** From the end of one attempt to the next; a minute by default. */
  readonly intervalMs?: number;
  /** How long a process that has died stays the one that counts. */
  readonly leaseMs?: number;
}

/** A count that takes long is repeated less often, so that counting takes at most a twentieth of the time. */
const pausePerDuration = 20;

/** Begins at once. Disposal lets another process count, and never rejects. */
export function startVerdictCounting(options: VerdictCountingOptions): AsyncDisposable {
  const { database, connectionsAreRead, onCounted, onFailure } = options;
  const { startTimer, intervalMs, leaseMs } = options;
  let known: VerdictCounts | null = null;
  let validUntil = 0;
  return startProcessJob({
    database,
    startTimer,
    name: 'count numbers by verdict',
    intervalMs,
    leaseMs,
    onFailure,
    onSkipped() {
      known = null;
      onCounted(null);
    },
    async run() {
      const startedAt = performance.now();
      if (known === null || startedAt >= validUntil) {
        known = await countVerdictsAcrossTenants(database, connectionsAreRead);
        const endedAt = performance.now();
        validUntil = endedAt + (endedAt - startedAt) * pausePerDuration;
      }
      onCounted(known);
      return false;
    },
  });
}
