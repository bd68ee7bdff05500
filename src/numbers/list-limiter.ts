// Limits how many large lists are read at the same time, because each takes tens of megabytes until it has been answered.

import { LRUCache } from 'lru-cache';
import { GatewayError } from '../errors.ts';
import type { ReleaseWhile } from '../http/request-context.ts';

export interface ListLimiter {
  /** How many numbers the tenant's last list had; null when unknown. */
  estimateSize(tenantId: string): number | null;
  /**
   * Calls `read`, at once unless the tenant's list is large, or may be, and others are being read. It then waits its turn,
   * and rejects with UNAVAILABLE if that takes too long or too many are waiting.
   */
  run<T extends { readonly numbers: readonly unknown[] }>(
    tenantId: string,
    releaseWhile: ReleaseWhile,
    read: () => Promise<T>,
  ): Promise<T>;
}

/** A list with more numbers than this is large. */
const largeSize = 1_000;
const maxLargePerTenant = 2;
/** Ten thousand numbers with all fields take about 60 MB, and the heap has 1 GB. */
const maxLargeInProcess = 4;
/** More than a client that respects the refusals sends; waiting costs a few kilobytes, and a refusal costs more work. */
const maxWaitingPerTenant = 200;
const maxWaitMs = 2_000;
/** Tenants whose size is remembered; about 100 bytes each. */
const maxTenants = 100_000;

export function createListLimiter(): ListLimiter {
  const sizes = new LRUCache<string, number>({ max: maxTenants });
  const counts = createCounts((tenantId) => sizes.get(tenantId));
  const queue = createQueue(counts);
  return {
    estimateSize: (tenantId) => sizes.get(tenantId) ?? null,
    async run(tenantId, releaseWhile, read) {
      const end = counts.mayBegin(tenantId)
        ? counts.begin(tenantId)
        : await releaseWhile(() => queue.wait(tenantId));
      try {
        const list = await read();
        sizes.set(tenantId, list.numbers.length);
        return list;
      } finally {
        end();
        queue.beginNext();
      }
    },
  };
}

interface Counts {
  mayBegin(tenantId: string): boolean;
  /** Returns the function that ends it. */
  begin(tenantId: string): End;
}

/** Counts the lists that are being read and are large, or may be. */
function createCounts(sizeOf: (tenantId: string) => number | undefined): Counts {
  const byTenant = new Map<string, number>();
  let inProcess = 0;
  const change = (tenantId: string, by: 1 | -1): void => {
    const count = (byTenant.get(tenantId) ?? 0) + by;
    if (count === 0) byTenant.delete(tenantId);
    else byTenant.set(tenantId, count);
    inProcess += by;
  };
  return {
    mayBegin(tenantId) {
      const size = sizeOf(tenantId);
      const count = byTenant.get(tenantId) ?? 0;
      // The first list of a tenant tells whether its lists are large.
      if (size === undefined) return count === 0;
      return size <= largeSize || (count < maxLargePerTenant && inProcess < maxLargeInProcess);
    },
    begin(tenantId) {
      if ((sizeOf(tenantId) ?? Infinity) <= largeSize) return () => undefined;
      change(tenantId, 1);
      return () => change(tenantId, -1);
    },
  };
}

type End = () => void;

interface Waiter {
  readonly tenantId: string;
  readonly resolve: (end: End) => void;
}

function createQueue({ mayBegin, begin }: Counts) {
  const waiters = new Set<Waiter>();
  return {
    wait(tenantId: string): Promise<End> {
      const waiting = waiters.values().filter((waiter) => waiter.tenantId === tenantId);
      if (waiting.toArray().length >= maxWaitingPerTenant) return Promise.reject(toRefusal());
      const { promise, resolve, reject } = Promise.withResolvers<End>();
      const timer = setTimeout(() => {
        waiters.delete(waiter);
        reject(toRefusal());
      }, maxWaitMs);
      const waiter: Waiter = {
        tenantId,
        resolve(end) {
          clearTimeout(timer);
          resolve(end);
        },
      };
      waiters.add(waiter);
      return promise;
    },
    beginNext(): void {
      for (const waiter of waiters) {
        if (!mayBegin(waiter.tenantId)) continue;
        waiters.delete(waiter);
        // Counted before the next one is looked at.
        waiter.resolve(begin(waiter.tenantId));
      }
    },
  };
}

function toRefusal(): GatewayError {
  return new GatewayError(
    'UNAVAILABLE',
    'Too many lists of more than 1,000 numbers are being read; retry in a second, and request them one after another.',
    { retryAfterSeconds: 1 },
  );
}
