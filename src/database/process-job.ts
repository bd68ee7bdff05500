// Runs a job again and again, in one of all processes that share the database.

import { randomUUID } from 'node:crypto';
import { type StartTimer, systemClock } from '../clock.ts';
import type { Database } from './database.ts';
import { claimLeaseAcrossTenants, releaseLeaseAcrossTenants } from './process-store.ts';

export interface ProcessJobOptions {
  readonly database: Database;
  /** Names the lease; the process that holds it runs the job. */
  readonly name: string;
  /** Returns whether there is more to do at once. Ends well before the lease does. */
  readonly run: () => Promise<boolean>;
  /** Called after an attempt in which another process held the lease, or which failed. */
  readonly onSkipped?: () => void;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  /** From the end of one attempt to the next; a minute by default. */
  readonly intervalMs?: number | undefined;
  /** How long a process that has died keeps the lease. */
  readonly leaseMs?: number | undefined;
  /** That of the system by default. */
  readonly startTimer?: StartTimer | undefined;
}

const defaultIntervalMs = 60_000;
/** An attempt that is late by half an interval keeps the lease. */
const defaultLeaseMs = 90_000;

/** Begins at once. Disposal releases the lease, and never rejects. */
export function startProcessJob(options: ProcessJobOptions): AsyncDisposable {
  const { database, name, run, onSkipped, onFailure } = options;
  const { intervalMs = defaultIntervalMs, leaseMs = defaultLeaseMs } = options;
  const { startTimer = systemClock.startTimer } = options;
  const holder = randomUUID();
  let isStopped = false;
  let isFailing = false;
  const attempt = async (): Promise<void> => {
    let hasMore = false;
    try {
      const isHolder = await claimLeaseAcrossTenants(database, { name, holder, leaseMs });
      if (isHolder) hasMore = await run();
      else onSkipped?.();
      isFailing = false;
    } catch (error) {
      onSkipped?.();
      if (!isFailing && !isStopped) onFailure(error);
      isFailing = true;
    }
    if (isStopped) return;
    timer = startTimer(hasMore ? 0 : intervalMs, begin);
  };
  let running = Promise.resolve();
  const begin = (): Promise<void> => (running = attempt());
  let timer = startTimer(0, begin);
  return {
    async [Symbol.asyncDispose]() {
      isStopped = true;
      timer[Symbol.dispose]();
      await running;
      await releaseLeaseAcrossTenants(database, { name, holder }).catch(() => undefined);
    },
  };
}

/**
 * Calls `work` for each tenant until it returns that no more is left there, one call at a time, so that others hardly notice.
 * False when the time was over before the end. A tenant whose work fails does not keep the others waiting: the failures are
 * thrown at the end.
 */
export async function workInBatches(
  tenantIds: readonly string[],
  maxMs: number,
  work: (tenantId: string) => Promise<boolean>,
): Promise<boolean> {
  const endsAt = performance.now() + maxMs;
  const failures: unknown[] = [];
  let isComplete = true;
  // Not always in the same order, so that a tenant whose work takes all the time does not keep the same others waiting.
  for (const tenantId of rotate(tenantIds, Math.floor(Math.random() * tenantIds.length))) {
    isComplete = performance.now() < endsAt;
    if (!isComplete) break;
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      isComplete = await workUntil(endsAt, () => work(tenantId));
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw toFailure(failures, tenantIds.length);
  return isComplete;
}

function rotate<T>(list: readonly T[], start: number): readonly T[] {
  return [...list.slice(start), ...list.slice(0, start)];
}

/** False when the time was over before the end. */
async function workUntil(endsAt: number, work: () => Promise<boolean>): Promise<boolean> {
  // oxlint-disable-next-line no-await-in-loop -- one after the other
  while (await work()) if (performance.now() >= endsAt) return false;
  return true;
}

function toFailure(failures: readonly unknown[], tenants: number): unknown {
  const [first] = failures;
  if (failures.length === 1) return first;
  const reason = first instanceof Error ? first.message : String(first);
  const message = `The work for ${failures.length} of ${tenants} tenants failed. The first failure: ${reason}`;
  return new AggregateError(failures, message, { cause: first });
}
