// Authenticates requests by API key, and manages tenants and their keys.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { RequestMeter } from '../http/request-context.ts';
import { createAuthThrottle } from './auth-throttle.ts';
import {
  type ApiKey,
  type CachedKey,
  createKey,
  disabledKeyCache,
  isKey,
  type KeyCache,
  type KeyScope,
  readKey,
  toFingerprint,
  toKeyHash,
  toKeyHint,
} from './key.ts';
import { type Counters, createLocalCounters } from './counters.ts';
import * as store from './store.ts';
import type { AuditEntry, RemovedRows, Tenant } from './store.ts';

export type { ApiKey, KeyScope } from './key.ts';
export type { AuditEntry, Tenant } from './store.ts';

/** An authenticated request. Every operation of the core takes one. */
export interface Access {
  readonly tenantId: string;
  readonly keyId: string;
  /** The number that the key is bound to; null for a tenant-scoped key. Both see all numbers of the tenant. */
  readonly numberId: string | null;
  /** What the key allows; see `assertScope`. */
  readonly scopes: readonly KeyScope[];
  /** `performance.now()` at which the request arrived. */
  readonly receivedAt: number;
  /** Measures what the request causes. */
  readonly meter: RequestMeter;
}

export type RemovedTenant = Tenant & RemovedRows;

/** The only time that the key itself is returned. */
export interface NewApiKey extends ApiKey {
  readonly key: string;
}

export interface KeyRequest {
  readonly tenantId: string;
  readonly name: string;
  /** Null for a tenant-scoped key. */
  readonly numberId: string | null;
  /**
   * `read` by default, which `operate` includes. A key of a number cannot have `webhooks`, because webhooks are about
   * accounts.
   */
  readonly scopes?: readonly KeyScope[];
  readonly expiresAt: Date | null;
  /** Random by default. The demo sets it, so that its keys stay the same. */
  readonly key?: string;
}

/** What authentication needs of a request. */
export interface AuthenticationRequest {
  readonly meter: RequestMeter;
  readonly headers: Pick<Headers, 'get'>;
  /** `performance.now()` at which the request arrived. */
  readonly receivedAt: number;
  /** See auth-throttle.ts. */
  readonly clientAddress: string;
}

export interface AccessControl {
  /**
   * Throws the same UNAUTHENTICATED for a key that is missing, malformed, unknown, expired or revoked. A revoked key is
   * refused at most one second after the commit; see key.ts. Throws RATE_LIMITED, before it queries the database,
   * when the client's network has sent too many invalid keys; see auth-throttle.ts. A malformed key causes no query.
   * Returns the access itself, not a promise, for a cached key.
   */
  authenticate(request: AuthenticationRequest): MaybePromise<Access>;
  createTenant(name: string, id?: string): Promise<Tenant>;
  listTenants(): Promise<readonly Tenant[]>;
  /** Throws TENANT_NOT_FOUND. */
  getTenant(id: string): Promise<Tenant>;
  /**
   * Deletes the tenant with everything that belongs to it, in one transaction. Only its audit log stays, which says so.
   * Throws TENANT_NOT_FOUND.
   */
  removeTenant(id: string): Promise<RemovedTenant>;
  /**
   * Throws TENANT_NOT_FOUND, NUMBER_NOT_FOUND when the tenant does not have the number, or INVALID_REQUEST for a scope that a
   * key of a number cannot have.
   */
  createKey(request: KeyRequest): Promise<NewApiKey>;
  listKeys(tenantId: string): Promise<readonly ApiKey[]>;
  /** Has no effect on a key that is revoked already. Throws KEY_NOT_FOUND. */
  revokeKey(keyId: string): Promise<ApiKey>;
  /** Changes in the tenant, newest first, also of one that was removed. Throws TENANT_NOT_FOUND. */
  listAudit(tenantId: string, limit: number): Promise<readonly AuditEntry[]>;
  /**
   * Creates a key with the name, number, scopes and expiry of the old one, which stays valid for `overlapMs`. Throws KEY_NOT_FOUND
   * for a key that is unknown, expired, revoked or rotated already.
   */
  rotateKey(keyId: string, overlapMs: number): Promise<NewApiKey>;
}

export interface AccessOptions {
  readonly database: Database;
  readonly pepper: string;
  /** See auth-throttle.ts; 20 by default. */
  readonly maxFailuresPerMinute?: number;
  /** Counters of failures, in this process by default. */
  readonly counters?: Counters;
  /** Disabled by default. */
  readonly keyCache?: KeyCache;
  /** Milliseconds on a monotonic clock. */
  readonly clock?: () => number;
}

export function createAccessControl(options: AccessOptions): AccessControl {
  const { database } = options;
  const getTenant = async (id: string): Promise<Tenant> => {
    const tenant = await store.findTenant(database, id);
    if (tenant === undefined) {
      throw new GatewayError('TENANT_NOT_FOUND', `There is no tenant ${id}; see: tenant list.`);
    }
    return tenant;
  };
  return {
    authenticate: createAuthenticate(options),
    async createTenant(name, id = `ten_${randomUUID().replaceAll('-', '')}`) {
      return await store.insertTenant(database, id, name);
    },
    listTenants: async () => store.listTenantsAcrossTenants(database),
    getTenant,
    async removeTenant(id) {
      const tenant = await getTenant(id);
      const counts = await store.deleteTenant(database, id);
      return { ...tenant, ...counts };
    },
    async listAudit(tenantId, limit) {
      const entries = await store.listAudit(database, tenantId, limit);
      // A tenant that was removed still has entries.
      if (entries.length === 0) await getTenant(tenantId);
      return entries;
    },
    ...createKeyRing(options, getTenant),
  };
}

function createKeyRing(
  { database, pepper }: AccessOptions,
  getTenant: AccessControl['getTenant'],
): Pick<AccessControl, 'createKey' | 'listKeys' | 'revokeKey' | 'rotateKey'> {
  const getTenantOfKey = async (keyId: string): Promise<string> => {
    const tenantId = await store.findTenantOfKeyAcrossTenants(database, keyId);
    if (tenantId === undefined) throw toKeyNotFound(keyId);
    return tenantId;
  };
  return {
    async createKey(request) {
      const { tenantId, numberId, key = createKey() } = request;
      const columns = { ...toGivenColumns(request), ...toKeyColumns(key, pepper) };
      await getTenant(tenantId);
      const row = await store.insertKey(database, tenantId, columns).catch((error: unknown) => {
        throw isForeignKeyViolation(error) ? toNumberNotFound(tenantId, numberId) : error;
      });
      return { ...row, key };
    },
    async listKeys(tenantId) {
      await getTenant(tenantId);
      return await store.listKeys(database, tenantId);
    },
    async revokeKey(keyId) {
      const row = await store.revokeKey(database, await getTenantOfKey(keyId), keyId);
      if (row === undefined) throw toKeyNotFound(keyId);
      return row;
    },
    async rotateKey(keyId, overlapMs) {
      const key = createKey();
      const tenantId = await getTenantOfKey(keyId);
      const row = await store.replaceKey(
        database,
        tenantId,
        keyId,
        toKeyColumns(key, pepper),
        overlapMs,
      );
      if (row === undefined) throw toKeyNotFound(keyId);
      return { ...row, key };
    },
  };
}

function createAuthenticate({
  database,
  pepper,
  maxFailuresPerMinute = 20,
  counters = createLocalCounters(),
  keyCache = disabledKeyCache,
  clock,
}: AccessOptions): AccessControl['authenticate'] {
  const throttle = createAuthThrottle({ maxFailuresPerMinute, counters, ...(clock && { clock }) });
  const refuse = async (clientAddress: string, fingerprint: string | null): Promise<never> => {
    await throttle.recordFailure(clientAddress, fingerprint);
    throw toUnauthenticated();
  };
  return ({ headers, receivedAt, clientAddress, meter }) => {
    const key = readKey(headers);
    // A missing key is no guess, so it is not counted.
    if (key === null) throw toUnauthenticated();
    const fingerprint = isKey(key) ? toFingerprint(key) : null;
    throttle.assertAllowed(clientAddress, fingerprint);
    if (fingerprint === null) return refuse(clientAddress, null);
    const isUseDue = throttle.isUseDue(fingerprint);
    const cached = isUseDue ? undefined : keyCache.find(fingerprint);
    if (cached !== undefined) return toAccess(cached, receivedAt, meter);
    const read = () => store.findKeyAcrossTenants(database, toKeyHash(key, pepper), isUseDue);
    return keyCache.readThrough(fingerprint, read).then((found) => {
      if (found === undefined) return refuse(clientAddress, fingerprint);
      throttle.recordVerified(fingerprint, isUseDue);
      return toAccess(found, receivedAt, meter);
    });
  };
}

function toAccess(
  { tenantId, id: keyId, numberId, scopes }: CachedKey,
  receivedAt: number,
  meter: RequestMeter,
): Access {
  return { tenantId, keyId, numberId, scopes, receivedAt, meter };
}

/** Throws FORBIDDEN unless the key has the scope. */
export function assertScope({ scopes }: Pick<Access, 'scopes'>, scope: KeyScope): void {
  if (scopes.includes(scope)) return;
  const message = `The API key lacks the scope ${scope}, which this request needs. Send another key; the gateway's operator creates it with: key create --scope ${scope}.`;
  throw new GatewayError('FORBIDDEN', message);
}

function toUnauthenticated(): GatewayError {
  return new GatewayError(
    'UNAUTHENTICATED',
    'Send a valid API key in the x-api-key header, or as a Bearer token: the key is missing, malformed, unknown, expired or revoked.',
  );
}

/** The tenant has no such number. */
function isForeignKeyViolation(error: unknown): boolean {
  return (error as { code?: unknown }).code === '23503';
}

function toNumberNotFound(tenantId: string, numberId: string | null): GatewayError {
  const message = `The tenant has no number ${numberId}; see: number list --tenant ${tenantId}.`;
  return new GatewayError('NUMBER_NOT_FOUND', message);
}

function toKeyNotFound(keyId: string): GatewayError {
  const message = `There is no usable key ${keyId}; see: key list --tenant ID.`;
  return new GatewayError('KEY_NOT_FOUND', message);
}

/** Throws INVALID_REQUEST. */
function toGivenColumns({ name, numberId, scopes = ['read'], expiresAt }: KeyRequest) {
  if (numberId !== null && scopes.includes('webhooks')) {
    const message =
      'A key of a number cannot have the scope webhooks; omit --number, or omit the scope.';
    throw new GatewayError('INVALID_REQUEST', message);
  }
  const included: readonly KeyScope[] = scopes.includes('operate') ? ['read'] : [];
  const distinct = [...new Set([...scopes, ...included])].toSorted();
  return { name, number_id: numberId, scopes: distinct, expires_at: expiresAt };
}

function toKeyColumns(key: string, pepper: string) {
  const { keyPrefix, keyLast4 } = toKeyHint(key);
  return { hash: toKeyHash(key, pepper), key_prefix: keyPrefix, key_last4: keyLast4 };
}
