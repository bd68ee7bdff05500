// A cache of verified API keys, so that most requests are authenticated without a database query.

import { LRUCache } from 'lru-cache';
import type { ChangeFeed } from '../database/change-feed.ts';
import type { FoundKey } from './store.ts';

export type CachedKey = Omit<FoundKey, 'expiresInMs'>;

export interface KeyCache {
  /** Undefined unless the database is known to accept the key; then call `readThrough`. */
  find(fingerprint: string): CachedKey | undefined;
  /** Calls `read`, and caches its result unless keys of the tenant changed while it ran. */
  readThrough(
    fingerprint: string,
    read: () => Promise<FoundKey | undefined>,
  ): Promise<CachedKey | undefined>;
}

export interface KeyCacheOptions {
  readonly changes: Pick<ChangeFeed, 'open' | 'version' | 'versionOf'>;
  /** Milliseconds on a monotonic clock. */
  readonly clock?: () => number;
  /** About 500 bytes each. */
  readonly maxKeys?: number;
}

/** Caches nothing. */
export const disabledKeyCache: KeyCache = {
  find: () => undefined,
  readThrough: (_, read) => read(),
};

interface CacheEntry {
  readonly key: CachedKey;
  /** The version of the tenant's keys that was current when the key was read. */
  readonly version: number;
  readonly expiresAt: number;
}

/** An entry is valid until its key expires or the keys of its tenant change; see `versionOf`. */
export function createKeyCache({
  changes,
  clock = () => performance.now(),
  maxKeys = 50_000,
}: KeyCacheOptions): KeyCache {
  const entries = new LRUCache<string, CacheEntry>({ max: maxKeys });
  changes.open();
  return {
    find(fingerprint) {
      const entry = entries.get(fingerprint);
      if (entry === undefined || clock() >= entry.expiresAt) return undefined;
      // The version is null while the feed is not current, and then matches no entry.
      return changes.versionOf(entry.key.tenantId, 'keys') === entry.version
        ? entry.key
        : undefined;
    },
    async readThrough(fingerprint, read) {
      const readAt = clock();
      const versionBefore = changes.version();
      const found = await read();
      if (found === undefined) {
        entries.delete(fingerprint);
        return undefined;
      }
      const { expiresInMs, ...key } = found;
      const version = changes.versionOf(key.tenantId, 'keys');
      // The tenant is not known before the read. All versions come from one counter, so a later one belongs to a change
      // that was announced since, perhaps the revocation of this key.
      if (version !== null && version <= versionBefore) {
        entries.set(fingerprint, { key, version, expiresAt: readAt + (expiresInMs ?? Infinity) });
      }
      return key;
    },
  };
}
