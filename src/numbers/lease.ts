// Keeps the leases of this process valid while it holds any, and waits for those of other processes.

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/database.ts';
import {
  findDeadHoldersAcrossTenants,
  listLeaseHolders,
  renewHolderAcrossTenants,
  type RequestedSubject,
  toSubjectKey,
} from './lease-store.ts';

export interface LeaseHolder {
  /** Names this process among all that share the database. */
  readonly id: string;
  /** Leases that `work` acquires stay valid until it ends. Rejects when the database does not answer. */
  hold<T>(work: () => Promise<T>): Promise<T>;
}

const renewEveryMs = 500;
/**
 * How long the leases of a process outlive its last renewal. A process that is slower than that without having died loses
 * its leases, which costs a second read and nothing else: readings may be stored in any order.
 */
export const aliveMs = 1_500;

export function createLeaseHolder(database: Database): LeaseHolder {
  const id = randomUUID();
  let renewedAt = Number.NEGATIVE_INFINITY;
  let holding = 0;
  let timer: NodeJS.Timeout | undefined;
  const renew = async (): Promise<void> => {
    const startedAt = performance.now();
    await renewHolderAcrossTenants(database, id, aliveMs);
    renewedAt = startedAt;
  };
  return {
    id,
    async hold(work) {
      holding += 1;
      // A renewal that fails is made good by the next one, or the leases end.
      timer ??= setInterval(() => void renew().catch(() => undefined), renewEveryMs).unref();
      try {
        if (performance.now() - renewedAt > renewEveryMs) await renew();
        return await work();
      } finally {
        holding -= 1;
        if (holding === 0) {
          clearInterval(timer);
          timer = undefined;
        }
      }
    },
  };
}

/** No notification is sent when the holder of a lease dies or stores nothing, so the lease is polled too. */
const pollEveryMs = 500;
/** The changes of a busy tenant do not cause more polls than this. */
const minPauseMs = 50;

export interface Waiting {
  readonly tenantId: string;
  readonly subjects: readonly RequestedSubject[];
  readonly signal: AbortSignal;
  /** On the clock of `performance.now()`. */
  readonly deadlineAt: number;
}

/**
 * Waits until at least one of the subjects can be leased. Returns the processes that have died with leases of others in
 * their hands, or null when the deadline has passed.
 */
export async function waitForRelease(
  database: Database,
  { tenantId, subjects, signal, deadlineAt }: Waiting,
): Promise<readonly string[] | null> {
  const keys = subjects.map(toSubjectKey);
  for (;;) {
    const remainingMs = deadlineAt - performance.now();
    if (remainingMs <= 0) return null;
    const timeoutMs = Math.min(pollEveryMs, remainingMs);
    // Before the leases are read, so that no change is missed.
    const changed = database.changes.waitForChange(tenantId, { timeoutMs, signal });
    // oxlint-disable no-await-in-loop -- one poll after the other
    const holders = await listLeaseHolders(database, tenantId);
    const holding = [...new Set(keys.map((key) => holders.get(key)))];
    const others = holding.filter((holder) => holder !== undefined);
    if (others.length < holding.length) return [];
    const dead = await findDeadHoldersAcrossTenants(database, others);
    if (dead.length > 0) return dead;
    await delay(Math.min(minPauseMs, timeoutMs), undefined, { signal });
    await changed;
    // oxlint-enable no-await-in-loop
  }
}
