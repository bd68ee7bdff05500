// Owns who asks: authentication by API key, and the life of tenants and keys. What they may ask for is the core's.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { RequestMeter } from '../http/request-context.ts';
import { createAuthThrottle } from './auth-throttle.ts';
import { type Counters, createLocalCounters } from './counters.ts';
import { createKey, isKey, type KeyHint, toFingerprint, toKeyHash, toKeyHint } from './key.ts';
import * as store from './store.ts';
import { disabledKeyCache, type CachedKey, type KeyCache } from './key-cache.ts';

/** Somebody whose key was verified, and when they asked. */
export interface Access {
  readonly tenantId: string;
  readonly keyId: string;
  /** The number that the key is bound to; null for a tenant-scoped key. Both see all numbers of the tenant. */
  readonly numberId: string | null;
  /** `performance.now()` at which the request arrived. */
  readonly receivedAt: number;
  /** Counts what the request causes. */
  readonly meter: RequestMeter;
}

export interface Tenant {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
}

/** A key as an operator sees it; never the key itself. */
export interface ApiKey extends KeyHint {
  readonly id: string;
  readonly tenantId: string;
  readonly numberId: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** To the minute; null when it never was. */
  readonly lastUsedAt: Date | null;
}

/** The only time that a key is seen in clear text. */
export interface NewApiKey extends ApiKey {
  readonly key: string;
}

export interface KeyRequest {
  readonly tenantId: string;
  readonly name: string;
  readonly numberId: string | null;
  readonly expiresAt: Date | null;
  /** A key to store instead of a random one, for the demo, whose keys stay the same. */
  readonly key?: string;
}

/** A change of a key or a credential, as the database has noted it. */
export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  readonly actor: string;
  /** `key.created`, `credentials.replaced`, … */
  readonly action: string;
  /** The id of the key, or of the number whose credentials they are. */
  readonly subject: string;
  /** What helps to recognise it; never a secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** A request that has yet to show who sends it. */
export interface AuthenticationRequest {
  readonly meter: RequestMeter;
  readonly headers: Pick<Headers, 'get'>;
  /** `performance.now()` at which it arrived. */
  readonly receivedAt: number;
  /** The address it comes from; see source.ts. */
  readonly clientAddress: string;
}

export interface AccessControl {
  /**
   * Throws one and the same UNAUTHENTICATED for a key that is missing, malformed, unknown, expired or revoked, as the
   * database says at this moment, or has said and does not revoke; see verified.ts. An ill-formed key never reaches the
   * database. RATE_LIMITED, before the database is asked, when the source has tried too many of them; see attempts.ts.
   * A key that is remembered is known at once.
   */
  authenticate(attempt: AuthenticationRequest): MaybePromise<Access>;
  createTenant(name: string, id?: string): Promise<Tenant>;
  listTenants(): Promise<readonly Tenant[]>;
  /** Throws TENANT_NOT_FOUND. */
  getTenant(id: string): Promise<Tenant>;
  /** Throws TENANT_NOT_FOUND, or NUMBER_NOT_FOUND when the number is not the tenant's. */
  createKey(request: KeyRequest): Promise<NewApiKey>;
  listKeys(tenantId: string): Promise<readonly ApiKey[]>;
  /** From now on the key is refused. Throws KEY_NOT_FOUND. */
  revokeKey(keyId: string): Promise<ApiKey>;
  /** What was done to keys and credentials of the tenant, the newest first. Throws TENANT_NOT_FOUND. */
  listAudit(tenantId: string, limit: number): Promise<readonly AuditEntry[]>;
  /** A new key with the name, scope and expiry of the old one, which goes on for `overlapMs`. Throws KEY_NOT_FOUND. */
  rotateKey(keyId: string, overlapMs: number): Promise<NewApiKey>;
}

export interface AccessOptions {
  readonly database: Database;
  readonly pepper: string;
  /** Failures of one source within a minute after which it is throttled; 20 unless told, 0 never. */
  readonly failuresPerMinute?: number;
  /** Where those are counted; in this process unless told. */
  readonly counters?: Counters;
  /** Those that need not be asked for again; none unless told. */
  readonly verified?: KeyCache;
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
}

export function createAccessControl(options: AccessOptions): AccessControl {
  const { database } = options;
  const getTenant = async (id: string): Promise<Tenant> => {
    const row = await store.findTenant(database, id);
    if (row === undefined) {
      throw new GatewayError('TENANT_NOT_FOUND', `There is no tenant ${id}; see: tenant list.`);
    }
    return toTenant(row);
  };
  return {
    authenticate: createAuthenticate(options),
    async createTenant(name, id = `ten_${randomUUID().replaceAll('-', '')}`) {
      return toTenant(await store.insertTenant(database, id, name));
    },
    listTenants: async () => (await store.listTenantsAcrossTenants(database)).map(toTenant),
    getTenant,
    async listAudit(tenantId, limit) {
      await getTenant(tenantId);
      return await store.listAudit(database, tenantId, limit);
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
    async createKey({ tenantId, name, numberId, expiresAt, key = createKey() }) {
      await getTenant(tenantId);
      const row = await store
        .insertKey(database, tenantId, {
          name,
          number_id: numberId,
          expires_at: expiresAt,
          hash: toKeyHash(key, pepper),
          ...toKeyColumns(key),
        })
        .catch((error: unknown) => {
          // 23503: the pair of tenant and number that the foreign key wants is not there.
          if ((error as { code?: unknown }).code !== '23503') throw error;
          const message = `The tenant has no number ${numberId}; see: number list --tenant ${tenantId}.`;
          throw new GatewayError('NUMBER_NOT_FOUND', message);
        });
      return { ...toApiKey(row), key };
    },
    async listKeys(tenantId) {
      await getTenant(tenantId);
      return (await store.listKeys(database, tenantId)).map(toApiKey);
    },
    async revokeKey(keyId) {
      const row = await store.revokeKey(database, await getTenantOfKey(keyId), keyId);
      if (row === undefined) throw toKeyNotFound(keyId);
      return toApiKey(row);
    },
    async rotateKey(keyId, overlapMs) {
      const key = createKey();
      const replacement = { hash: toKeyHash(key, pepper), ...toKeyColumns(key) };
      const tenantId = await getTenantOfKey(keyId);
      const row = await store.replaceKey(database, tenantId, keyId, replacement, overlapMs);
      if (row === undefined) throw toKeyNotFound(keyId);
      return { ...toApiKey(row), key };
    },
  };
}

function createAuthenticate({
  database,
  pepper,
  failuresPerMinute = 20,
  counters = createLocalCounters(),
  verified = disabledKeyCache,
  clock,
}: AccessOptions): AccessControl['authenticate'] {
  const attempts = createAuthThrottle({ failuresPerMinute, counters, ...(clock && { clock }) });
  const refuse = async (clientAddress: string, fingerprint: string | null): Promise<never> => {
    await attempts.recordFailure(clientAddress, fingerprint);
    throw toUnauthenticated();
  };
  return ({ headers, receivedAt, clientAddress, meter }) => {
    const text = headers.get('x-api-key');
    // Whoever sends none has guessed nothing.
    if (text === null) throw toUnauthenticated();
    const fingerprint = isKey(text) ? toFingerprint(text) : null;
    attempts.assertAllowed(clientAddress, fingerprint);
    if (fingerprint === null) return refuse(clientAddress, null);
    const noting = attempts.isUseDue(fingerprint);
    const remembered = noting ? undefined : verified.find(fingerprint);
    if (remembered !== undefined) return toAccess(remembered, receivedAt, meter);
    const ask = () => store.findKeyAcrossTenants(database, toKeyHash(text, pepper), noting);
    return verified.verify(fingerprint, ask).then((key) => {
      if (key === undefined) return refuse(clientAddress, fingerprint);
      attempts.recordVerified(fingerprint, noting);
      return toAccess(key, receivedAt, meter);
    });
  };
}

function toAccess(
  { tenantId, id: keyId, numberId }: CachedKey,
  receivedAt: number,
  meter: RequestMeter,
): Access {
  return { tenantId, keyId, numberId, receivedAt, meter };
}

function toUnauthenticated(): GatewayError {
  return new GatewayError(
    'UNAUTHENTICATED',
    'A valid API key is needed in the x-api-key header; this one is missing, unknown, expired or revoked.',
  );
}

function toKeyNotFound(keyId: string): GatewayError {
  const message = `There is no usable key ${keyId}; see: key list --tenant ID.`;
  return new GatewayError('KEY_NOT_FOUND', message);
}

function toKeyColumns(key: string): Pick<store.KeyRow, 'key_prefix' | 'key_last4'> {
  const { keyPrefix, keyLast4 } = toKeyHint(key);
  return { key_prefix: keyPrefix, key_last4: keyLast4 };
}

function toTenant(row: store.TenantRow): Tenant {
  return { id: row.id, name: row.name, createdAt: row.created_at };
}

function toApiKey(row: store.KeyRow): ApiKey {
  return {
    id: row.id,
    name: row.name,
    keyPrefix: row.key_prefix,
    keyLast4: row.key_last4,
    tenantId: row.tenant_id,
    numberId: row.number_id,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  };
}
