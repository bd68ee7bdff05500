// Owns what is remembered of those who try keys: which keys this process has verified lately, and which source has
// failed too often. Whether a key is valid is for the database to say; see verified.ts.

import { GatewayError } from '../errors.ts';
import type { Counters } from './counters.ts';
import { toNetwork, unknownAddress } from './client-address.ts';

export interface AuthThrottleOptions {
  /** Failures of one source within a minute after which it is throttled; 0 never throttles. */
  readonly failuresPerMinute: number;
  readonly counters: Counters;
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
}

export interface AuthThrottle {
  /**
   * Throws RATE_LIMITED when the source has failed too often. A key that this process has verified is let through
   * whatever its neighbours behind one address do, so nobody can lock out somebody else. `fingerprint` is null for what
   * is no key. A source that is not known is never throttled: it would be everybody. Costs no statement: where failures
   * are counted across processes, each learns that a source has had enough with the next failure that it counts.
   */
  assertAllowed(clientAddress: string, fingerprint: string | null): void;
  /** Whether the use of this key is to be noted, which is once a minute. */
  isUseDue(fingerprint: string): boolean;
  /** `noted`: its use was. */
  recordVerified(fingerprint: string, noted: boolean): void;
  recordFailure(clientAddress: string, fingerprint: string | null): Promise<void>;
}

const windowSeconds = 60;
const noteEveryMs = 60_000;
/** Keys, and sources, that are remembered; about 200 bytes each. */
const maxNames = 10_000;

export function createAuthThrottle({
  failuresPerMinute,
  counters,
  clock = () => performance.now(),
}: AuthThrottleOptions): AuthThrottle {
  const notedAt = new Map<string, number>();
  /** Until when, on the clock of `Date.now()`. */
  const throttled = new Map<string, number>();
  const failures = counters('failures', windowSeconds);
  const isCounted = (clientAddress: string) =>
    failuresPerMinute > 0 && clientAddress !== unknownAddress;
  return {
    assertAllowed(clientAddress, fingerprint) {
      if (!isCounted(clientAddress) || (fingerprint !== null && notedAt.has(fingerprint))) return;
      const remainingMs = (throttled.get(toNetwork(clientAddress)) ?? 0) - Date.now();
      if (remainingMs <= 0) return;
      throw new GatewayError(
        'RATE_LIMITED',
        'Too many wrong API keys came from this address; a key that has not been used here lately has to wait.',
        { retryAfterSeconds: Math.ceil(remainingMs / 1_000) },
      );
    },
    isUseDue(fingerprint) {
      const at = notedAt.get(fingerprint);
      return at === undefined || clock() - at >= noteEveryMs;
    },
    recordVerified(fingerprint, noted) {
      if (noted || !notedAt.has(fingerprint)) remember(notedAt, fingerprint, clock());
    },
    async recordFailure(clientAddress, fingerprint) {
      if (fingerprint !== null) notedAt.delete(fingerprint);
      if (!isCounted(clientAddress)) return;
      const network = toNetwork(clientAddress);
      // What is no key has not cost the database anything, and is not to begin with it here.
      const count = fingerprint === null ? failures.addHere : failures.add;
      const { total, endsAt } = await count(network, 1);
      if (total >= failuresPerMinute) remember(throttled, network, endsAt);
    },
  };
}

/** A map is in order of insertion, so its first entry is the one that was not written for the longest time. */
function remember(map: Map<string, number>, name: string, at: number): void {
  map.delete(name);
  map.set(name, at);
  for (const oldest of map.keys()) {
    if (map.size <= maxNames) break;
    map.delete(oldest);
  }
}
