// Owns what this process remembers of those who try keys: which keys it has verified lately, and how often each source
// has failed. Whether a key is valid is for the database alone to say, each time.

import { RateLimiterMemory } from 'rate-limiter-flexible';
import { GatewayError } from '../errors.ts';
import { toNetwork, unknownSource } from './source.ts';

export interface AttemptsOptions {
  /** Failures of one source within a minute after which it is throttled; 0 never throttles. */
  readonly failuresPerMinute: number;
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
}

export interface Attempts {
  /**
   * Throws RATE_LIMITED when the source has failed too often. A key that this process has verified is let through
   * whatever its neighbours behind one address do, so nobody can lock out somebody else. `hash` is null for what is no
   * key. A source that is not known is never throttled: it would be everybody.
   */
  assertAllowed(source: string, hash: Buffer | null): Promise<void>;
  /** Whether the use of this key is to be noted, which is once a minute. */
  isUseDue(hash: Buffer): boolean;
  /** `noted`: its use was. */
  recordVerified(hash: Buffer, noted: boolean): void;
  recordFailure(source: string, hash: Buffer | null): Promise<void>;
}

const windowSeconds = 60;
const noteEveryMs = 60_000;
/** Keys that are remembered; about 200 bytes each. */
const mostKeys = 10_000;

export function createAttempts({
  failuresPerMinute,
  clock = () => performance.now(),
}: AttemptsOptions): Attempts {
  // A map is in order of insertion, so its first entry is the key that was not used for the longest time.
  const notedAt = new Map<string, number>();
  const failures = new RateLimiterMemory({ points: failuresPerMinute, duration: windowSeconds });
  const isCounted = (source: string) => failuresPerMinute > 0 && source !== unknownSource;
  return {
    async assertAllowed(source, hash) {
      if (!isCounted(source) || (hash !== null && notedAt.has(toName(hash)))) return;
      const failed = await failures.get(toNetwork(source));
      if (failed === null || failed.consumedPoints < failuresPerMinute) return;
      // The library forgets with a timer, which may be late.
      if (failed.msBeforeNext <= 0) return;
      throw new GatewayError(
        'RATE_LIMITED',
        'Too many wrong API keys came from this address; a key that has not been used here lately has to wait.',
        { retryAfterSeconds: Math.ceil(failed.msBeforeNext / 1_000) },
      );
    },
    isUseDue(hash) {
      const at = notedAt.get(toName(hash));
      return at === undefined || clock() - at >= noteEveryMs;
    },
    recordVerified(hash, noted) {
      const name = toName(hash);
      const at = noted ? clock() : (notedAt.get(name) ?? clock());
      notedAt.delete(name);
      notedAt.set(name, at);
      if (notedAt.size <= mostKeys) return;
      const [oldest] = notedAt.keys();
      if (oldest !== undefined) notedAt.delete(oldest);
    },
    async recordFailure(source, hash) {
      if (hash !== null) notedAt.delete(toName(hash));
      if (isCounted(source)) await failures.penalty(toNetwork(source));
    },
  };
}

function toName(hash: Buffer): string {
  return hash.toString('latin1');
}
