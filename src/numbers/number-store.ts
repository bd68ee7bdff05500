// The SQL of what operators do: adding, changing and removing numbers, and storing their credentials.

import { sql } from 'kysely';
import type { Database, TenantTransaction, TransactionCause } from '../database/database.ts';
import { holdAccounts } from './account-store.ts';
import type { StoredCredentials } from './credentials.ts';
import { deleteUnusedNotices, lockNotices } from './notice-store.ts';
import type { ConnectionState, ProviderName } from './provider.ts';
import { writeStatuses } from './status-store.ts';

export async function findTenantOfNumberAcrossTenants(
  database: Database,
  numberId: string,
): Promise<string | undefined> {
  const query = sql<{ id: string | null }>`select find_tenant_of_number(${numberId}) as id`;
  const { rows } = await database.acrossTenants((functions) => query.execute(functions));
  return rows[0]?.id ?? undefined;
}

export interface NewNumberRow {
  readonly id?: string;
  readonly instance_name: string | null;
  readonly number: string;
  readonly name: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  readonly phone_number_id: string | null;
  readonly waba_id: string | null;
}

/** `seal` encrypts the credentials for the id, which is known only after the insertion. Null stores none. */
export async function insertNumber(
  database: Database,
  tenantId: string,
  row: NewNumberRow,
  seal: ((numberId: string) => string) | null,
): Promise<string> {
  return await database.withTenant(tenantId, async (transaction) => {
    await holdAccounts(transaction, tenantId, [row.waba_id]);
    const { id } = await transaction
      .insertInto('whatsapp_number')
      .values({ tenant_id: tenantId, ...row })
      .returning('id')
      .executeTakeFirstOrThrow();
    if (seal !== null) await upsertCredential(transaction, tenantId, id, seal(id));
    await writeStatuses(transaction, { tenantId, ids: [id], at: new Date() });
    return id;
  });
}

/** The number has its own credentials from then on. A trigger deletes its obstacles, here and in `shareCredential`. */
export async function updateCredential(
  database: Database,
  tenantId: string,
  numberId: string,
  sealed: string,
): Promise<void> {
  await database.withTenant(tenantId, async (transaction) => {
    await setSharedCredential(transaction, tenantId, numberId, null);
    await upsertCredential(transaction, tenantId, numberId, sealed);
    await writeStatuses(transaction, { tenantId, ids: [numberId], at: new Date() });
  });
}

async function upsertCredential(
  transaction: TenantTransaction,
  tenantId: string,
  numberId: string,
  sealed: string,
): Promise<void> {
  await transaction
    .insertInto('number_credential')
    .values({ tenant_id: tenantId, number_id: numberId, sealed })
    .onConflict((conflict) => conflict.columns(['tenant_id', 'number_id']).doUpdateSet({ sealed }))
    .execute();
}

/** Counts as an observation at the present time, which a trigger stores. */
export async function updateState(
  database: Database,
  tenantId: string,
  numberId: string,
  state: ConnectionState,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    transaction
      .updateTable('whatsapp_number')
      .set({ state })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', numberId)
      .execute(),
  );
}

/** What an operator may change of a number. */
export async function findNumber(database: Database, tenantId: string, numberId: string) {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('whatsapp_number')
        .select(['name', 'number', 'provider', 'instance_name as instanceName'])
        .select(['phone_number_id as phoneNumberId', 'waba_id as wabaId'])
        .where('tenant_id', '=', tenantId)
        .where('id', '=', numberId)
        .executeTakeFirst(),
    'nothing',
  );
}

/** By number: its own credentials, or those that it shares. Numbers without any are left out. */
export async function readCredentials(
  transaction: TenantTransaction,
  tenantId: string,
  numberIds: readonly string[],
): Promise<ReadonlyMap<string, StoredCredentials>> {
  const { rows } = await sql<StoredCredentials & { id: string }>`
    select n.id, coalesce(own.sealed, shared.sealed) as sealed,
      case when own.sealed is null then shared.id end as "credentialId"
    from whatsapp_number n
    left join number_credential own on own.tenant_id = n.tenant_id and own.number_id = n.id
    left join credential shared on shared.tenant_id = n.tenant_id and shared.id = n.credential_id
    where n.tenant_id = ${tenantId} and n.id = any(${numberIds}::text[])
      and coalesce(own.sealed, shared.sealed) is not null`.execute(transaction);
  return new Map(rows.map(({ id, ...stored }) => [id, stored]));
}

export async function findCredentials(
  database: Database,
  tenantId: string,
  numberId: string,
): Promise<StoredCredentials | undefined> {
  const found = await database.withTenant(
    tenantId,
    (transaction) => readCredentials(transaction, tenantId, [numberId]),
    'nothing',
  );
  return found.get(numberId);
}

/** Lets a number use shared credentials instead of its own. False when the tenant has no such credential. */
export async function shareCredential(
  database: Database,
  tenantId: string,
  numberId: string,
  credentialId: string,
): Promise<boolean> {
  return await database.withTenant(tenantId, async (transaction) => {
    const shared = await transaction
      .selectFrom('credential')
      .select('id')
      .where('tenant_id', '=', tenantId)
      .where('id', '=', credentialId)
      .executeTakeFirst();
    if (shared === undefined) return false;
    await setSharedCredential(transaction, tenantId, numberId, credentialId);
    await transaction
      .deleteFrom('number_credential')
      .where('tenant_id', '=', tenantId)
      .where('number_id', '=', numberId)
      .execute();
    await writeStatuses(transaction, { tenantId, ids: [numberId], at: new Date() });
    return true;
  });
}

async function setSharedCredential(
  transaction: TenantTransaction,
  tenantId: string,
  numberId: string,
  credentialId: string | null,
): Promise<void> {
  await transaction
    .updateTable('whatsapp_number')
    .set({ credential_id: credentialId })
    .where('tenant_id', '=', tenantId)
    .where('id', '=', numberId)
    .execute();
}

export interface NewMetaNumberRow {
  readonly number: string;
  readonly name: string;
  readonly state: ConnectionState;
  readonly phone_number_id: string;
  readonly waba_id: string;
}

/** Leaves out numbers whose phone number id the tenant has. Returns the ids of the others by their phone number id. */
export async function insertMetaNumbers(
  database: Database,
  tenantId: string,
  rows: readonly NewMetaNumberRow[],
  credentialId: string,
  cause: TransactionCause,
): Promise<ReadonlyMap<string, string>> {
  const insert = sql<{ id: string; phoneNumberId: string }>`
    insert into whatsapp_number
      (tenant_id, number, name, provider, state, phone_number_id, waba_id, credential_id)
    select ${tenantId}, number, name, 'META', state, phone_number_id, waba_id, ${credentialId}
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as new(number text, name text, state text, phone_number_id text, waba_id text)
    -- In the order of the key, so that two imports cannot deadlock.
    order by phone_number_id
    on conflict (tenant_id, phone_number_id) do nothing
    returning id, phone_number_id as "phoneNumberId"`;
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const wabaIds = rows.map((row) => row.waba_id);
      await holdAccounts(transaction, tenantId, wabaIds);
      const { rows: inserted } = await insert.execute(transaction);
      const ids = inserted.map(({ id }) => id);
      await writeStatuses(transaction, { tenantId, ids, at: new Date() });
      return new Map(inserted.map(({ id, phoneNumberId }) => [phoneNumberId, id]));
    },
    'numbers',
    cause,
  );
}

/** The ids of the tenant's numbers by their phone number ids. */
export async function listPhoneNumberIds(
  database: Database,
  tenantId: string,
): Promise<ReadonlyMap<string, string>> {
  const rows = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('whatsapp_number')
        .select(['id', 'phone_number_id as phoneNumberId'])
        .where('tenant_id', '=', tenantId)
        .where('phone_number_id', 'is not', null)
        .execute(),
    'nothing',
  );
  return new Map(rows.map(({ id, phoneNumberId }) => [phoneNumberId ?? '', id]));
}

export type NumberColumns = Partial<Omit<NewNumberRow, 'id' | 'provider'>>;

/**
 * A trigger deletes what was read of the former ids, and audits the change. Data of an account that no number has any more
 * are deleted. Returns false when there is no such number.
 */
export async function updateNumber(
  database: Database,
  tenantId: string,
  numberId: string,
  columns: NumberColumns,
): Promise<boolean> {
  return await database.withTenant(tenantId, async (transaction) => {
    await holdAccounts(transaction, tenantId, [columns.waba_id ?? null]);
    await lockNotices(transaction, tenantId, numberId);
    const { numUpdatedRows } = await transaction
      .updateTable('whatsapp_number')
      .set({ ...columns, updated_at: sql<Date>`clock_timestamp()` })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', numberId)
      .executeTakeFirst();
    await deleteUnusedWabas(transaction, tenantId);
    await writeStatuses(transaction, { tenantId, ids: [numberId], at: new Date() });
    return numUpdatedRows > 0n;
  });
}

/**
 * Deletes a number with its keys, credentials and readings; triggers audit each. Returns the ids of its keys that were
 * usable; undefined when there is no such number.
 */
export async function deleteNumber(
  database: Database,
  tenantId: string,
  numberId: string,
): Promise<readonly string[] | undefined> {
  return await database.withTenant(tenantId, async (transaction) => {
    await lockNotices(transaction, tenantId, numberId);
    const keys = await transaction
      .selectFrom('api_key')
      .select('id')
      .where('tenant_id', '=', tenantId)
      .where('number_id', '=', numberId)
      .where('revoked_at', 'is', null)
      .where(sql<boolean>`(expires_at is null or expires_at > clock_timestamp())`)
      .orderBy('created_at')
      .orderBy('id')
      .execute();
    const { numDeletedRows } = await transaction
      .deleteFrom('whatsapp_number')
      .where('tenant_id', '=', tenantId)
      .where('id', '=', numberId)
      .executeTakeFirst();
    await deleteUnusedWabas(transaction, tenantId);
    return numDeletedRows > 0n ? keys.map(({ id }) => id) : undefined;
  });
}

/** Deletes the data of accounts in which the tenant has no number. */
async function deleteUnusedWabas(transaction: TenantTransaction, tenantId: string): Promise<void> {
  await sql`
    delete from waba_snapshot w
    where w.tenant_id = ${tenantId} and w.waba_id not in (
      select n.waba_id from whatsapp_number n where n.tenant_id = ${tenantId} and n.waba_id is not null
    )`.execute(transaction);
  await deleteUnusedNotices(transaction, tenantId);
}
