// The SQL of what operators do: adding, changing and removing numbers, and storing their credentials.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
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

export async function updateCredential(
  database: Database,
  tenantId: string,
  numberId: string,
  sealed: string,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    upsertCredential(transaction, tenantId, numberId, sealed),
  );
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

/** The sealed credentials of the number; undefined when there are none. */
export async function findCredential(
  database: Database,
  tenantId: string,
  numberId: string,
): Promise<string | undefined> {
  const row = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('number_credential')
        .select('sealed')
        .where('tenant_id', '=', tenantId)
        .where('number_id', '=', numberId)
        .executeTakeFirst(),
    'nothing',
  );
  return row?.sealed;
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
}
