// Limits failed authentication attempts by client network, and says when the use of a key has to be recorded.

import { LRUCache } from 'lru-cache';
import { GatewayError } from '../errors.ts';
import { toNetwork, unknownAddress } from './client-address.ts';
import type { Counters } from './counters.ts';

export interface AuthThrottleOptions {
  /** Failed attempts of one network within a minute after which it is throttled; 0 disables the throttle. */
  readonly maxFailuresPerMinute: number;
  readonly counters: Counters;
  /** Milliseconds on a monotonic clock. */
  readonly clock?: () => number;
  /** The number of keys, and of throttled networks, that are kept; about 200 bytes each. */
  readonly maxEntries?: number;
}

export interface AuthThrottle {
  /**
   * Throws RATE_LIMITED when the client's network is throttled. A key that this process has verified is exempt, so that
   * nobody can lock out another client behind the same address. `fingerprint` is null for a malformed key. Unknown
   * addresses are never throttled, since all clients would share one. Never queries the database: when failures are
   * counted across processes, each process learns that a network is throttled from the next failure it counts.
   */
  assertAllowed(clientAddress: string, fingerprint: string | null): void;
  /** Whether the use of the key has to be recorded, which is once a minute. */
  isUseDue(fingerprint: string): boolean;
  recordVerified(fingerprint: string, isUseRecorded: boolean): void;
  recordFailure(clientAddress: string, fingerprint: string | null): Promise<void>;
}

const windowSeconds = 60;
const recordUseEveryMs = 60_000;

export function createAuthThrottle({
  maxFailuresPerMinute,
  counters,
  clock = () => performance.now(),
  maxEntries = 50_000,
}: AuthThrottleOptions): AuthThrottle {
  /** For each verified key when its use was last recorded. */
  const useRecordedAt = new LRUCache<string, number>({ max: maxEntries });
  /** For each network the end of its throttling, on the clock of `Date.now()`. */
  const throttledUntil = new LRUCache<string, number>({ max: maxEntries });
  const failures = counters('failures', windowSeconds);
  const isCounted = (clientAddress: string) =>
    maxFailuresPerMinute > 0 && clientAddress !== unknownAddress;
  return {
    assertAllowed(clientAddress, fingerprint) {
      if (!isCounted(clientAddress)) return;
      if (fingerprint !== null && useRecordedAt.has(fingerprint)) return;
      const remainingMs = (throttledUntil.get(toNetwork(clientAddress)) ?? 0) - Date.now();
      if (remainingMs <= 0) return;
      const retryAfterSeconds = Math.ceil(remainingMs / 1_000);
      throw new GatewayError(
        'RATE_LIMITED',
        `Too many invalid API keys were sent from this address; retry in ${retryAfterSeconds} seconds.`,
        { retryAfterSeconds },
      );
    },
    isUseDue(fingerprint) {
      const recordedAt = useRecordedAt.get(fingerprint);
      return recordedAt === undefined || clock() - recordedAt >= recordUseEveryMs;
    },
    recordVerified(fingerprint, isUseRecorded) {
      if (isUseRecorded || !useRecordedAt.has(fingerprint)) useRecordedAt.set(fingerprint, clock());
    },
    async recordFailure(clientAddress, fingerprint) {
      if (fingerprint !== null) useRecordedAt.delete(fingerprint);
      if (!isCounted(clientAddress)) return;
      const network = toNetwork(clientAddress);
      // A malformed key is refused without a query, so counting it must not cause one either.
      const add = fingerprint === null ? failures.addLocally : failures.add;
      const { total, endsAt } = await add(network, 1);
      if (total >= maxFailuresPerMinute) throttledUntil.set(network, endsAt);
    },
  };
}
