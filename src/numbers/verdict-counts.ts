// Counts the numbers of all tenants by verdict each minute, for the metrics. Of all processes one counts at a time.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { staleAfterSeconds } from './number.ts';
import {
  countVerdictsAcrossTenants,
  releaseLeaseAcrossTenants,
  type VerdictCounts,
} from './verdict-store.ts';

export interface VerdictCountingOptions {
  readonly database: Database;
  /** Whether a session engine is configured. */
  readonly connectionsAreRead: boolean;
  /** Called after each attempt; null when another process counts, or the attempt failed. */
  readonly onCounted: (counts: VerdictCounts | null) => void;
  /** Called when counting begins to fail, and again only after it has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  /** From the end of one attempt to the next; a minute by default. */
  readonly intervalMs?: number;
}

const defaultIntervalMs = 60_000;
/** Longer than an interval and a statement that ends at its time limit. */
const leaseIntervals = 1.5;

/** Begins at once. Disposal releases the lease, and never rejects. */
export function startVerdictCounting(options: VerdictCountingOptions): AsyncDisposable {
  const { database, connectionsAreRead, onCounted, intervalMs = defaultIntervalMs } = options;
  const holder = randomUUID();
  const leaseMs = intervalMs * leaseIntervals;
  let isStopped = false;
  let isFailing = false;
  let holdsLease = false;
  let timer: NodeJS.Timeout | undefined;
  const fail = (error: unknown): null => {
    if (!isFailing && !isStopped) options.onFailure(error);
    isFailing = true;
    return null;
  };
  const count = async (): Promise<VerdictCounts | null> => {
    const request = { holder, leaseMs, staleAfterSeconds, connectionsAreRead };
    const counts = await countVerdictsAcrossTenants(database, request);
    isFailing = false;
    holdsLease = counts !== null;
    return counts;
  };
  const attempt = async (): Promise<void> => {
    const counts = await count().catch(fail);
    if (isStopped) return;
    onCounted(counts);
    timer = setTimeout(() => void (running = attempt()), intervalMs).unref();
  };
  let running = attempt();
  return {
    async [Symbol.asyncDispose]() {
      isStopped = true;
      clearTimeout(timer);
      await running;
      if (holdsLease) await releaseLeaseAcrossTenants(database, holder).catch(() => undefined);
    },
  };
}
