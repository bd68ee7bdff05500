// Watches the API keys of streams, which may be open for longer than their key is valid.

import type { Database } from '../database/database.ts';
import * as store from './store.ts';

export interface KeyWatch extends AsyncDisposable {
  /**
   * Calls `onInvalid` once when the key is revoked, at most one second after the commit while the change feed is current and
   * five seconds otherwise, or when it expires. Returns a function that ends the watch.
   */
  watch(key: WatchedKey, onInvalid: () => void): () => void;
}

export interface WatchedKey {
  readonly tenantId: string;
  readonly keyId: string;
}

export interface KeyWatchOptions {
  readonly database: Pick<Database, 'changes' | 'withTenant'>;
  /** How often keys are verified while the change feed is not current. */
  readonly pollMs?: number;
  /** Called when keys can no longer be verified, which is tried again every `pollMs`. Once until they are verified again. */
  readonly onFailure?: (error: unknown) => void;
}

interface Tenant {
  readonly id: string;
  /** By their ids. */
  readonly keys: Map<string, Key>;
  /** Makes `keepVerifying` look at once whether there is a key to verify. */
  wake(): void;
  /** Whether a key was added since the keys were verified. */
  hasNewKey: boolean;
}

interface Key {
  readonly onInvalid: Set<() => void>;
  /** Runs when the key expires. */
  expiry: NodeJS.Timeout | undefined;
}

export function createKeyWatch({
  database,
  pollMs = defaultPollMs,
  onFailure,
}: KeyWatchOptions): KeyWatch {
  const tenants = new Map<string, Tenant>();
  const running = new Set<Promise<void>>();
  const verifyKeys = createVerify(database, onFailure);
  const start = (id: string): Tenant => {
    const tenant: Tenant = { id, keys: new Map(), wake: () => undefined, hasNewKey: false };
    tenants.set(id, tenant);
    return tenant;
  };
  const run = (tenant: Tenant): void => {
    const promise = keepVerifying({
      tenant,
      database,
      pollMs,
      verify: verifyKeys,
      onEnd: () => tenants.delete(tenant.id),
    }).then(() => void running.delete(promise));
    running.add(promise);
  };
  return {
    watch({ tenantId, keyId }, onInvalid) {
      const known = tenants.get(tenantId);
      const tenant = known ?? start(tenantId);
      const key = tenant.keys.get(keyId) ?? { onInvalid: new Set(), expiry: undefined };
      tenant.keys.set(keyId, key);
      key.onInvalid.add(onInvalid);
      // It may have been revoked since it was verified for the request, and its expiry is not known.
      tenant.hasNewKey = true;
      if (known === undefined) run(tenant);
      else tenant.wake();
      return () => {
        key.onInvalid.delete(onInvalid);
        if (key.onInvalid.size === 0 && tenant.keys.get(keyId) === key) forget(tenant, keyId);
      };
    },
    async [Symbol.asyncDispose]() {
      for (const tenant of tenants.values()) {
        for (const keyId of tenant.keys.keys()) forget(tenant, keyId);
      }
      await Promise.all(running);
    },
  };
}

function forget(tenant: Tenant, keyId: string): void {
  clearTimeout(tenant.keys.get(keyId)?.expiry);
  tenant.keys.delete(keyId);
  if (tenant.keys.size === 0) tenant.wake();
}

const defaultPollMs = 5_000;

interface Verifying extends Required<Pick<KeyWatchOptions, 'database' | 'pollMs'>> {
  readonly tenant: Tenant;
  /** Resolves to whether the keys were verified. */
  readonly verify: (tenant: Tenant) => Promise<boolean>;
  /** Called when no key is left. */
  readonly onEnd: () => void;
}

/**
 * Verifies the keys of the tenant when one is added and when the tenant's keys change, one verification after the other: streams
 * that are opened and closed meanwhile cause no further ones. Ends when no key is left. Never rejects.
 */
async function keepVerifying(options: Verifying): Promise<void> {
  const { tenant, database, pollMs } = options;
  // Of the tenant's keys, when they were verified last; null if they have to be verified in any case.
  let verified: number | null = null;
  while (tenant.keys.size > 0) {
    const waiting = new AbortController();
    tenant.wake = () => waiting.abort();
    // Before the keys are read, so that no change is missed.
    const changed = database.changes.waitForChange(tenant.id, {
      timeoutMs: pollMs,
      signal: waiting.signal,
    });
    const version = database.changes.versionOf(tenant.id, 'keys');
    if (tenant.hasNewKey || version === null || version !== verified) {
      tenant.hasNewKey = false;
      // oxlint-disable-next-line no-await-in-loop -- one verification after the other
      verified = (await options.verify(tenant)) ? version : null;
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    await changed.catch(() => undefined);
  }
  options.onEnd();
}

function createVerify(
  database: KeyWatchOptions['database'],
  onFailure: KeyWatchOptions['onFailure'],
): Verifying['verify'] {
  let isFailing = false;
  return async (tenant) => {
    try {
      await verify(tenant, database);
      isFailing = false;
      return true;
    } catch (error) {
      if (!isFailing) onFailure?.(error);
      isFailing = true;
      return false;
    }
  };
}

async function verify(tenant: Tenant, database: KeyWatchOptions['database']): Promise<void> {
  const ids = [...tenant.keys.keys()];
  const lifetimes = await store.listKeyLifetimes(database, tenant.id, ids);
  for (const id of ids) {
    const key = tenant.keys.get(id);
    if (key !== undefined) expireIn(lifetimes.get(id), key);
  }
}

/** The longest delay of a timer. */
const maxDelayMs = 2 ** 31 - 1;

/** `lifetimeMs` is null for a key that never expires, and undefined for one that is invalid. */
function expireIn(lifetimeMs: number | null | undefined, key: Key): void {
  clearTimeout(key.expiry);
  if (lifetimeMs === undefined) {
    for (const onInvalid of key.onInvalid) onInvalid();
    return;
  }
  if (lifetimeMs === null) return;
  const delayMs = Math.min(lifetimeMs, maxDelayMs);
  const restMs = lifetimeMs - delayMs;
  key.expiry = setTimeout(() => expireIn(restMs > 0 ? restMs : undefined, key), delayMs);
  key.expiry.unref();
}
