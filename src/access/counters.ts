// Owns where it is counted what the limits are held against: in this process, or in the database for all that share it.
// What is limited, and to how much, is left to allowance.ts and attempts.ts.

import { RateLimiterMemory, RateLimiterPostgres } from 'rate-limiter-flexible';
import type { Database } from '../database/database.ts';
import * as store from './store.ts';

/** Counts by name, in a window of time that begins with the first thing counted. */
export interface Counter {
  /** Answers for the window that the addition falls into. One statement where the count is shared. */
  add(name: string, count: number): Promise<Count>;
  /** As `add`, in this process alone: for what is to cost the database nothing. */
  addHere(name: string, count: number): Promise<Count>;
}

export interface Count {
  /** With what was just added. */
  readonly total: number;
  /** `Date.now()` at which the window is over. */
  readonly endsAt: number;
}

/** Opens the counter of one kind of thing. */
export type Counters = (kind: 'points' | 'failures', windowSeconds: number) => Counter;

/** Each process counts by itself. */
export function createLocalCounters(): Counters {
  return (kind, windowSeconds) => {
    const add = toAdd(new RateLimiterMemory(toOptions(kind, windowSeconds)));
    return { add, addHere: add };
  };
}

/**
 * All processes on one database count together, on their own clocks. While the database does not answer each counts by
 * itself; `onFailure` is called when that begins, and again only after it has ended.
 */
export function createSharedCounters(
  database: Database,
  onFailure: (error: unknown) => void,
): Counters {
  let fails = false;
  const query = async ({ text, values }: { text: string; values: readonly unknown[] }) => {
    try {
      const rows = await store.countAcrossTenants(database, text, values);
      fails = false;
      return { rows };
    } catch (error) {
      if (!fails) onFailure(error);
      fails = true;
      throw error;
    }
  };
  return (kind, windowSeconds) => {
    const local = new RateLimiterMemory(toOptions(kind, windowSeconds));
    const shared = new RateLimiterPostgres({
      ...toOptions(kind, windowSeconds),
      storeClient: { query },
      storeType: 'client',
      tableName: 'rate_count',
      tableCreated: true,
      insuranceLimiter: local,
    });
    return { add: toAdd(shared), addHere: toAdd(local) };
  };
}

// The library is left to count: nothing that is asked of it here looks at its own limit.
function toOptions(keyPrefix: string, duration: number) {
  return { keyPrefix, duration, points: 0 };
}

function toAdd(limiter: RateLimiterMemory | RateLimiterPostgres): Counter['add'] {
  return async (name, count) => {
    const { consumedPoints, msBeforeNext } = await limiter.penalty(name, count);
    return { total: consumedPoints, endsAt: Date.now() + msBeforeNext };
  };
}
