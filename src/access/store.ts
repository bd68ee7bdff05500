// The SQL statements for tenants, keys, their audit trail and shared counters.

import { CompiledQuery, type Insertable, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, type TextRow } from '../database/statement.ts';
import type { ApiKeyTable } from '../database/tables.ts';
import type { ApiKey, FoundKey, KeyScope } from './key.ts';

export interface Tenant {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
}

/** A change of a key, of credentials or of a number, or the removal of the tenant, recorded by a database trigger. */
export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  readonly actor: string;
  /** `key.created`, `credentials.replaced`, … */
  readonly action: string;
  /** The id of what was changed; for the own credentials of a number, the id of the number. */
  readonly subject: string;
  /** Describes the subject; never contains a secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

type NewKeyRow = Pick<
  Insertable<ApiKeyTable>,
  'name' | 'key_prefix' | 'key_last4' | 'hash' | 'number_id' | 'scopes' | 'expires_at'
>;

/** The key with this hash unless it is revoked or expired. `isUseDue` records its use in the same statement. */
export function findKeyAcrossTenants(
  database: Database,
  hash: Buffer,
  isUseDue: boolean,
): Promise<FoundKey | undefined> {
  const call = isUseDue ? useKey : findKey;
  return database.callAcrossTenants(call({ hash: hash.toString('hex') })).then(toFoundKey);
}

function toFoundKey([row]: readonly TextRow[]): FoundKey | undefined {
  if (row === undefined) return undefined;
  const [tenantId, id, numberId = null, scopes, expiresInMs = null] = row;
  return {
    // Three of the columns are not nullable.
    tenantId: tenantId!,
    id: id!,
    numberId,
    scopes: scopes!.split(' ') as KeyScope[],
    expiresInMs: expiresInMs === null ? null : Number(expiresInMs),
  };
}

const findKey = prepareCall('find_scoped_key');
const useKey = prepareCall('use_scoped_key');

function prepareCall(name: string) {
  return prepare(
    name,
    ['hash'],
    ({ hash }) => sql`
      select tenant_id, id, number_id, scopes, expires_in_ms::text
      from ${sql.id(name)}(decode(${hash}, 'hex'))`,
  );
}

export async function findTenantOfKeyAcrossTenants(
  database: Database,
  keyId: string,
): Promise<string | undefined> {
  const query = sql<{ id: string | null }>`select find_tenant_of_key(${keyId}) as id`;
  const { rows } = await database.acrossTenants((functions) => query.execute(functions));
  return rows[0]?.id ?? undefined;
}

/** Runs a statement of rate-limiter-flexible on its table, which holds names and counts only. Returns the rows. */
export async function countAcrossTenants(
  database: Database,
  text: string,
  values: readonly unknown[],
): Promise<readonly unknown[]> {
  const query = CompiledQuery.raw(text, [...values]);
  const { rows } = await database.acrossTenants((functions) => functions.executeQuery(query));
  return rows;
}

export async function listTenantsAcrossTenants(database: Database): Promise<readonly Tenant[]> {
  const query = sql<Tenant>`select id, name, created_at as "createdAt" from list_tenants()`;
  const { rows } = await database.acrossTenants((functions) => query.execute(functions));
  return rows;
}

const tenantColumns = ['id', 'name', 'created_at as createdAt'] as const;

export async function findTenant(
  database: Database,
  tenantId: string,
): Promise<Tenant | undefined> {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('tenant')
        .select(tenantColumns)
        .where('id', '=', tenantId)
        .executeTakeFirst(),
    'nothing',
  );
}

export async function insertTenant(
  database: Database,
  tenantId: string,
  name: string,
): Promise<Tenant> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .insertInto('tenant')
      .values({ id: tenantId, name })
      .returning(tenantColumns)
      .executeTakeFirstOrThrow(),
  );
}

/** What was removed with a tenant. */
export interface RemovedRows {
  readonly numbers: number;
  /** Keys that were usable until then. */
  readonly keys: number;
}

/** A large tenant takes longer than the time limit of a statement: triggers audit each number and each key. */
const removalTimeoutMs = 120_000;

/** Foreign keys delete everything that belongs to the tenant. */
export async function deleteTenant(database: Database, tenantId: string): Promise<RemovedRows> {
  return await database.withTenant(tenantId, async (transaction) => {
    await sql`
      select set_config('statement_timeout', ${String(removalTimeoutMs)}, true),
        set_config('app.removed_tenant_id', ${tenantId}, true)`.execute(transaction);
    const { numbers } = await transaction
      .selectFrom('whatsapp_number')
      .select(sql<number>`count(*)::int`.as('numbers'))
      .where('tenant_id', '=', tenantId)
      .executeTakeFirstOrThrow();
    const { keys } = await transaction
      .selectFrom('api_key')
      .select(sql<number>`count(*)::int`.as('keys'))
      .where('tenant_id', '=', tenantId)
      .where('revoked_at', 'is', null)
      .where(isUnexpired)
      .executeTakeFirstOrThrow();
    // Leases have no foreign key.
    await transaction.deleteFrom('refresh_lease').where('tenant_id', '=', tenantId).execute();
    await transaction.deleteFrom('tenant').where('id', '=', tenantId).execute();
    return { numbers, keys };
  });
}

const keyColumns = [
  'id',
  'tenant_id as tenantId',
  'name',
  'key_prefix as keyPrefix',
  'key_last4 as keyLast4',
  'number_id as numberId',
  'scopes',
  'created_at as createdAt',
  'expires_at as expiresAt',
  'revoked_at as revokedAt',
  'last_used_at as lastUsedAt',
] as const;

export async function insertKey(
  database: Database,
  tenantId: string,
  key: NewKeyRow,
): Promise<ApiKey> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .insertInto('api_key')
      .values({ tenant_id: tenantId, ...key })
      .returning(keyColumns)
      .executeTakeFirstOrThrow(),
  );
}

export async function listKeys(database: Database, tenantId: string): Promise<readonly ApiKey[]> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('api_key')
      .select(keyColumns)
      .where('tenant_id', '=', tenantId)
      .orderBy('created_at')
      .orderBy('id')
      .execute(),
  );
}

/**
 * The time until each of the keys expires, in milliseconds on the clock of the database; null for one that never does. A key
 * that is revoked or expired, or does not exist, is missing.
 */
export async function listKeyLifetimes(
  database: Pick<Database, 'withTenant'>,
  tenantId: string,
  keyIds: readonly string[],
): Promise<ReadonlyMap<string, number | null>> {
  const expiresInMs = sql<
    number | null
  >`(extract(epoch from expires_at - clock_timestamp()) * 1000)::float8`;
  const rows = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('api_key')
        .select(['id', expiresInMs.as('expiresInMs')])
        .where('tenant_id', '=', tenantId)
        .where('id', 'in', keyIds)
        .where('revoked_at', 'is', null)
        .where(isUnexpired)
        .execute(),
    'nothing',
  );
  return new Map(rows.map((row) => [row.id, row.expiresInMs]));
}

/** Newest first. */
export async function listAudit(
  database: Database,
  tenantId: string,
  limit: number,
): Promise<readonly AuditEntry[]> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('audit')
      .select(['id', 'at', 'actor', 'action', 'subject', 'details'])
      .where('tenant_id', '=', tenantId)
      .orderBy('position', 'desc')
      .limit(limit)
      .execute(),
  );
}

/** A key that is revoked already keeps its time of revocation. */
export async function revokeKey(
  database: Database,
  tenantId: string,
  keyId: string,
): Promise<ApiKey | undefined> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .updateTable('api_key')
      .set({ revoked_at: sql<Date>`coalesce(revoked_at, clock_timestamp())` })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', keyId)
      .returning(keyColumns)
      .executeTakeFirst(),
  );
}

/**
 * Inserts the replacement with the name, number, scopes and expiry of the old key, and lets the old key expire after the overlap unless it expires
 * earlier. Undefined when the old key is missing, expired, revoked or rotated already: the expiry of a rotated key is the end
 * of an overlap, which no other key should inherit.
 */
export async function replaceKey(
  database: Database,
  tenantId: string,
  keyId: string,
  replacement: Pick<NewKeyRow, 'hash' | 'key_prefix' | 'key_last4'>,
  overlapMs: number,
): Promise<ApiKey | undefined> {
  return await database.withTenant(tenantId, async (transaction) => {
    const old = await transaction
      .selectFrom('api_key')
      .select(['name', 'number_id', 'scopes', 'expires_at'])
      .where('tenant_id', '=', tenantId)
      .where('id', '=', keyId)
      .where('revoked_at', 'is', null)
      .where('rotated_at', 'is', null)
      .where(isUnexpired)
      .forUpdate()
      .executeTakeFirst();
    if (old === undefined) return undefined;
    const end = sql<Date>`clock_timestamp() + ${overlapMs}::float8 * interval '1 millisecond'`;
    await transaction
      .updateTable('api_key')
      // least() ignores nulls; a null here is a key that never expires.
      .set({
        expires_at: sql<Date>`least(expires_at, ${end})`,
        rotated_at: sql<Date>`clock_timestamp()`,
      })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', keyId)
      .execute();
    return await transaction
      .insertInto('api_key')
      .values({ tenant_id: tenantId, ...old, ...replacement })
      .returning(keyColumns)
      .executeTakeFirstOrThrow();
  });
}

const isUnexpired = sql<boolean>`(expires_at is null or expires_at > clock_timestamp())`;
