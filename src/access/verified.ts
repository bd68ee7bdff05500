// Owns the keys that were verified: they are not asked for again until the database tells that keys of their tenant have
// changed, or they end.

import type { ChangeFeed } from '../database/change-feed.ts';
import type { FoundKey } from './store.ts';

/** What is known of a key that may be used. */
export type VerifiedKey = Omit<FoundKey, 'expiresInMs'>;

export interface VerifiedKeys extends Disposable {
  /** Undefined when the database has to be asked. */
  find(fingerprint: string): VerifiedKey | undefined;
  /** Asks the database, and remembers the key if keys of its tenant have not changed meanwhile. */
  verify(
    fingerprint: string,
    ask: () => Promise<FoundKey | undefined>,
  ): Promise<VerifiedKey | undefined>;
}

export interface VerifiedKeysOptions {
  readonly changes: ChangeFeed;
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
  /** Most keys that are remembered; about 500 bytes each. */
  readonly mostKeys?: number;
}

/** For a gateway that remembers nothing. */
export const noVerifiedKeys: VerifiedKeys = {
  find: () => undefined,
  verify: (_, ask) => ask(),
  [Symbol.dispose]: () => undefined,
};

interface Remembered {
  readonly key: VerifiedKey;
  readonly endsAt: number;
}

export function createVerifiedKeys({
  changes,
  clock = () => performance.now(),
  mostKeys = 10_000,
}: VerifiedKeysOptions): VerifiedKeys {
  // In order of their verification: to move one with each use costs more than to ask again for one that was forgotten.
  const remembered = new Map<string, Remembered>();
  const ofTenant = new Map<string, Set<string>>();
  /** For each question under way the tenants whose keys have changed since; null for all tenants. */
  const underWay = new Set<Set<string | null>>();
  const forget = (fingerprint: string): void => {
    const known = remembered.get(fingerprint);
    if (known === undefined) return;
    const { tenantId } = known.key;
    const others = ofTenant.get(tenantId);
    remembered.delete(fingerprint);
    others?.delete(fingerprint);
    if (others?.size === 0) ofTenant.delete(tenantId);
  };
  const remember = (fingerprint: string, key: VerifiedKey, endsAt: number): void => {
    forget(fingerprint);
    remembered.set(fingerprint, { key, endsAt });
    ofTenant.set(key.tenantId, (ofTenant.get(key.tenantId) ?? new Set()).add(fingerprint));
    for (const oldest of remembered.keys()) {
      if (remembered.size <= mostKeys) break;
      forget(oldest);
    }
  };
  const leave = changes.subscribe(({ tenantId, keys }) => {
    if (!keys) return;
    for (const changed of underWay) changed.add(tenantId);
    const fingerprints = tenantId === null ? remembered.keys() : ofTenant.get(tenantId)?.values();
    fingerprints?.forEach(forget);
  });
  return {
    find(fingerprint) {
      const found = remembered.get(fingerprint);
      if (found === undefined || !changes.isCurrent() || clock() >= found.endsAt) return undefined;
      return found.key;
    },
    async verify(fingerprint, ask) {
      const changed = new Set<string | null>();
      const askedAt = clock();
      underWay.add(changed);
      const found = await ask().finally(() => underWay.delete(changed));
      if (found === undefined) {
        forget(fingerprint);
        return undefined;
      }
      const { expiresInMs, ...key } = found;
      const isSure = changes.isCurrent() && !changed.has(null) && !changed.has(key.tenantId);
      if (isSure) remember(fingerprint, key, askedAt + (expiresInMs ?? Infinity));
      return key;
    },
    [Symbol.dispose]() {
      leave();
      remembered.clear();
      ofTenant.clear();
    },
  };
}
