// Counts points and failed authentication attempts, in this process or across all processes.

import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, RateLimiterPostgres } from 'rate-limiter-flexible';
import type { Database } from '../database/database.ts';
import * as store from './store.ts';

/** Counts by name. The window of a name begins when it is first counted. */
export interface Counter {
  /** A negative `count` takes back what was added in this window. One statement where the counter is shared. */
  add(name: string, count: number): Promise<Count>;
  /** As `add`, but in this process alone, without a statement. */
  addLocally(name: string, count: number): Promise<Count>;
}

interface Count {
  /** Includes what was just added. */
  readonly total: number;
  /** End of the window, on the clock of `Date.now()`. */
  readonly endsAt: number;
}

/** Creates a counter. Points are counted by tenant, failures by the network of the client. */
export type Counters = (kind: 'points' | 'failures', windowSeconds: number) => Counter;

/** The number of networks whose failures are kept in memory; about 600 bytes each. */
const defaultMaxNetworks = 50_000;

/** Each process counts for itself. */
export function createLocalCounters(maxNetworks = defaultMaxNetworks): Counters {
  return (kind, windowSeconds) => {
    const add = createLocalAdd(kind, windowSeconds, maxNetworks);
    return { add, addLocally: add };
  };
}

/**
 * All processes on one database count together, each on its own clock. While the database does not answer, each process
 * counts for itself; `onFailure` is called when that begins, and again only after the database has answered in between.
 */
export function createSharedCounters(
  database: Database,
  onFailure: (error: unknown) => void,
): Counters {
  let isFailing = false;
  const query = async ({ text, values }: { text: string; values: readonly unknown[] }) => {
    try {
      const rows = await store.countAcrossTenants(database, text, values);
      isFailing = false;
      return { rows };
    } catch (error) {
      if (!isFailing) onFailure(error);
      isFailing = true;
      throw error;
    }
  };
  return (kind, windowSeconds) => {
    const addLocally = createLocalAdd(kind, windowSeconds, defaultMaxNetworks);
    const addShared = toAdd(
      new RateLimiterPostgres({
        ...toOptions(kind, windowSeconds),
        storeClient: { query },
        storeType: 'client',
        tableName: 'rate_count',
        tableCreated: true,
      }),
    );
    const add: Counter['add'] = (name, count) =>
      addShared(name, count).catch(() => addLocally(name, count));
    return { add, addLocally };
  };
}

/**
 * Operators create tenants, so all of them are kept until their windows end. An attacker may have any number of networks:
 * the one that failed least recently is dropped when there are too many.
 */
function createLocalAdd(
  kind: 'points' | 'failures',
  windowSeconds: number,
  maxNetworks: number,
): Counter['add'] {
  const limiter = new RateLimiterMemory(toOptions(kind, windowSeconds));
  const add = toAdd(limiter);
  if (kind === 'points') return add;
  const networks = new LRUCache<string, true>({
    max: maxNetworks,
    dispose: (_, network, reason) => {
      if (reason === 'evict') void limiter.delete(network);
    },
  });
  return (network, count) => {
    networks.set(network, true);
    return add(network, count);
  };
}

// The library only counts: no method called here compares a count with the library's own limit.
function toOptions(keyPrefix: string, duration: number) {
  return { keyPrefix, duration, points: 0 };
}

function toAdd(limiter: RateLimiterMemory | RateLimiterPostgres): Counter['add'] {
  return async (name, count) => {
    const { consumedPoints, msBeforeNext } = await limiter.penalty(name, count);
    return { total: consumedPoints, endsAt: Date.now() + msBeforeNext };
  };
}
