// Owns the keys that were verified: they are not asked for again until the database tells that keys of their tenant have
// changed, or they end.

import type { ChangeFeed } from '../database/change-feed.ts';
import type { FoundKey } from './store.ts';

/** What is known of a key that may be used. */
export type CachedKey = Omit<FoundKey, 'expiresInMs'>;

export interface KeyCache extends Disposable {
  /** Undefined when the database has to be asked. */
  find(fingerprint: string): CachedKey | undefined;
  /** Asks the database, and remembers the key if keys of its tenant have not changed meanwhile. */
  verify(
    fingerprint: string,
    ask: () => Promise<FoundKey | undefined>,
  ): Promise<CachedKey | undefined>;
}

export interface KeyCacheOptions {
  readonly changes: ChangeFeed;
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
  /** Most keys that are remembered; about 500 bytes each. */
  readonly maxKeys?: number;
}

/** For a gateway that remembers nothing. */
export const disabledKeyCache: KeyCache = {
  find: () => undefined,
  verify: (_, ask) => ask(),
  [Symbol.dispose]: () => undefined,
};

interface Remembered {
  readonly key: CachedKey;
  readonly endsAt: number;
}

export function createKeyCache({
  changes,
  clock = () => performance.now(),
  maxKeys = 10_000,
}: KeyCacheOptions): KeyCache {
  const memory = createMemory(maxKeys);
  /** For each question under way the tenants whose keys have changed since; null for all tenants. */
  const underWay = new Set<Set<string | null>>();
  const leave = changes.subscribe(({ tenantId, keys }) => {
    if (!keys) return;
    for (const changed of underWay) changed.add(tenantId);
    memory.forgetTenant(tenantId);
  });
  return {
    find(fingerprint) {
      const found = memory.get(fingerprint);
      if (found === undefined || !changes.isCurrent() || clock() >= found.endsAt) return undefined;
      return found.key;
    },
    async verify(fingerprint, ask) {
      const changed = new Set<string | null>();
      const receivedAt = clock();
      underWay.add(changed);
      const found = await ask().finally(() => underWay.delete(changed));
      if (found === undefined) {
        memory.forget(fingerprint);
        return undefined;
      }
      const { expiresInMs, ...key } = found;
      const isSure = changes.isCurrent() && !changed.has(null) && !changed.has(key.tenantId);
      if (isSure) memory.put(fingerprint, { key, endsAt: receivedAt + (expiresInMs ?? Infinity) });
      return key;
    },
    [Symbol.dispose]() {
      leave();
      memory.forgetTenant(null);
    },
  };
}

/** Keys by their fingerprints. Forgets the one that was verified first when there are too many. */
function createMemory(maxKeys: number) {
  // In order of their verification: to move one with each use costs more than to ask again for one that was forgotten.
  const remembered = new Map<string, Remembered>();
  const ofTenant = new Map<string, Set<string>>();
  const forget = (fingerprint: string): void => {
    const known = remembered.get(fingerprint);
    if (known === undefined) return;
    const { tenantId } = known.key;
    const others = ofTenant.get(tenantId);
    remembered.delete(fingerprint);
    others?.delete(fingerprint);
    if (others?.size === 0) ofTenant.delete(tenantId);
  };
  return {
    get: (fingerprint: string) => remembered.get(fingerprint),
    put(fingerprint: string, known: Remembered): void {
      const { tenantId } = known.key;
      forget(fingerprint);
      remembered.set(fingerprint, known);
      ofTenant.set(tenantId, (ofTenant.get(tenantId) ?? new Set()).add(fingerprint));
      for (const oldest of remembered.keys()) {
        if (remembered.size <= maxKeys) break;
        forget(oldest);
      }
    },
    forget,
    /** Null: those of all tenants. */
    forgetTenant(tenantId: string | null): void {
      const known = tenantId === null ? remembered.keys() : ofTenant.get(tenantId)?.values();
      known?.forEach(forget);
    },
  };
}
