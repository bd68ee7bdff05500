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
  /** Called when keys cannot be verified; that is tried again after `pollMs`. */
  readonly onFailure?: (error: unknown) => void;
}

interface Tenant {
  readonly id: string;
  /** By their ids. */
  readonly keys: Map<string, Key>;
  /** Aborted when no stream of the tenant is open. */
  readonly ended: AbortController;
  /** Makes `keepVerifying` verify all keys at once. */
  verifyNow(): void;
}

interface Key {
  readonly onInvalid: Set<() => void>;
  /** Runs when the key expires. */
  expiry: NodeJS.Timeout | undefined;
}

export function createKeyWatch(options: KeyWatchOptions): KeyWatch {
  const tenants = new Map<string, Tenant>();
  const running = new Set<Promise<void>>();
  const start = (id: string): Tenant => {
    const tenant: Tenant = {
      id,
      keys: new Map(),
      ended: new AbortController(),
      verifyNow: () => undefined,
    };
    tenants.set(id, tenant);
    const run = keepVerifying(tenant, options).finally(() => running.delete(run));
    running.add(run);
    return tenant;
  };
  const end = (tenant: Tenant): void => {
    for (const { expiry } of tenant.keys.values()) clearTimeout(expiry);
    tenants.delete(tenant.id);
    tenant.ended.abort();
  };
  return {
    watch({ tenantId, keyId }, onInvalid) {
      const tenant = tenants.get(tenantId) ?? start(tenantId);
      const key = tenant.keys.get(keyId) ?? { onInvalid: new Set(), expiry: undefined };
      tenant.keys.set(keyId, key);
      key.onInvalid.add(onInvalid);
      // It may have been revoked since it was verified for the request, and its expiry is not known.
      tenant.verifyNow();
      return () => {
        key.onInvalid.delete(onInvalid);
        if (key.onInvalid.size > 0 || tenant.keys.get(keyId) !== key) return;
        clearTimeout(key.expiry);
        tenant.keys.delete(keyId);
        if (tenant.keys.size === 0) end(tenant);
      };
    },
    async [Symbol.asyncDispose]() {
      for (const tenant of tenants.values()) end(tenant);
      await Promise.all(running);
    },
  };
}

const defaultPollMs = 5_000;

/** Verifies the keys of the tenant when one is added and when the tenant's keys change. Never rejects. */
async function keepVerifying(
  tenant: Tenant,
  { database, pollMs = defaultPollMs, onFailure }: KeyWatchOptions,
): Promise<void> {
  const { signal } = tenant.ended;
  // Of the tenant's keys, when they were verified last; null if they have to be verified in any case.
  let verified: number | null = null;
  while (!signal.aborted) {
    const waiting = new AbortController();
    const stopWaiting = () => waiting.abort();
    signal.addEventListener('abort', stopWaiting);
    tenant.verifyNow = () => {
      verified = null;
      stopWaiting();
    };
    // Before the keys are read, so that no change is missed.
    const changed = database.changes.waitForChange(tenant.id, {
      timeoutMs: pollMs,
      signal: waiting.signal,
    });
    const version = database.changes.versionOf(tenant.id, 'keys');
    if (version === null || version !== verified) {
      verified = version;
      // oxlint-disable-next-line no-await-in-loop -- one verification after the other
      await verify(tenant, database).catch((error: unknown) => {
        verified = null;
        if (!signal.aborted) onFailure?.(error);
      });
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    await changed.catch(() => undefined);
    signal.removeEventListener('abort', stopWaiting);
  }
}

async function verify(tenant: Tenant, database: KeyWatchOptions['database']): Promise<void> {
  const ids = [...tenant.keys.keys()];
  if (ids.length === 0) return;
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
  if (lifetimeMs === null || lifetimeMs > maxDelayMs) return;
  key.expiry = setTimeout(() => expireIn(undefined, key), lifetimeMs);
  key.expiry.unref();
}
