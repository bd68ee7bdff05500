// Counts the numbers of all tenants by verdict each minute, for the metrics. Of all processes one counts at a time.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { staleAfterSeconds } from './number.ts';
import {
  claimCountingAcrossTenants,
  countVerdictsAcrossTenants,
  releaseCountingAcrossTenants,
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
  /** How long a process that has died stays the one that counts. */
  readonly leaseMs?: number;
}

const defaultIntervalMs = 60_000;
/** An attempt that is late by half an interval keeps the lease. */
const defaultLeaseMs = 90_000;
/** A count that takes long is repeated less often, so that counting takes at most a twentieth of the time. */
const pausePerDuration = 20;

/** Begins at once. Disposal releases the lease, and never rejects. */
export function startVerdictCounting(options: VerdictCountingOptions): AsyncDisposable {
  const { database, onCounted, onFailure, intervalMs = defaultIntervalMs } = options;
  const holder = randomUUID();
  const count = createCount(options, holder);
  let isStopped = false;
  let isFailing = false;
  let timer: NodeJS.Timeout | undefined;
  const attempt = async (): Promise<void> => {
    try {
      const counts = await count();
      isFailing = false;
      onCounted(counts);
    } catch (error) {
      onCounted(null);
      if (!isFailing && !isStopped) onFailure(error);
      isFailing = true;
    }
    if (!isStopped) timer = setTimeout(() => void (running = attempt()), intervalMs).unref();
  };
  let running = attempt();
  return {
    async [Symbol.asyncDispose]() {
      isStopped = true;
      clearTimeout(timer);
      await running;
      await releaseCountingAcrossTenants(database, holder).catch(() => undefined);
    },
  };
}

/** Returns a function that returns the counts, counted anew when it is time; null while another process counts. */
function createCount(
  { database, connectionsAreRead, leaseMs = defaultLeaseMs }: VerdictCountingOptions,
  holder: string,
): () => Promise<VerdictCounts | null> {
  let known: VerdictCounts | null = null;
  let validUntil = 0;
  return async () => {
    if (!(await claimCountingAcrossTenants(database, holder, leaseMs))) return (known = null);
    const startedAt = performance.now();
    if (known !== null && startedAt < validUntil) return known;
    known = await countVerdictsAcrossTenants(database, { staleAfterSeconds, connectionsAreRead });
    const endedAt = performance.now();
    validUntil = endedAt + (endedAt - startedAt) * pausePerDuration;
    return known;
  };
}
