// The SQL that only the command line needs.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, queries } from '../database/statement.ts';

/** The own credentials of numbers, those that several numbers share, and the secrets of endpoints. */
export const credentialTables = [
  'number_credential',
  'credential',
  'webhook_endpoint',
  'alert_endpoint',
] as const;
export type CredentialTable = (typeof credentialTables)[number];

export interface CredentialName {
  readonly table: CredentialTable;
  /** Of the number, of the shared credential, or of the endpoint. */
  readonly id: string;
}

export interface SealedCredentialRow extends CredentialName {
  readonly sealed: string;
}

function idOf(table: CredentialTable) {
  return sql.ref(table === 'number_credential' ? 'c.number_id' : 'c.id');
}

export interface Page {
  /** The last id of the page before; '' for the first page. */
  readonly after: string;
  readonly limit: number;
}

/** Whether this tenant sees any number when only row-level security filters, without a condition in the statement. */
export async function seesNumbers(database: Database, tenantId: string): Promise<boolean> {
  const rows = await database.readTenant(tenantId, selectAnyNumber({}));
  return rows.length > 0;
}

const selectAnyNumber = prepare('any', [], () =>
  queries.selectFrom('whatsapp_number').select('id').limit(1),
);

/** Ordered by id. */
export async function listSealedCredentials(
  database: Database,
  tenantId: string,
  table: CredentialTable,
  { after, limit }: Page,
): Promise<readonly SealedCredentialRow[]> {
  const { rows } = await database.withTenant(tenantId, (transaction) =>
    sql<Omit<SealedCredentialRow, 'table'>>`
      select ${idOf(table)} as id, c.sealed from ${sql.table(table)} c
      where c.tenant_id = ${tenantId} and ${idOf(table)} > ${after}
      order by ${idOf(table)} limit ${limit}`.execute(transaction),
  );
  return rows.map(({ id, sealed }) => ({ table, id, sealed }));
}

export async function findSealedCredential(
  database: Database,
  tenantId: string,
  { table, id }: CredentialName,
): Promise<SealedCredentialRow | undefined> {
  const { rows } = await database.withTenant(tenantId, (transaction) =>
    sql<{ sealed: string }>`
      select c.sealed from ${sql.table(table)} c
      where c.tenant_id = ${tenantId} and ${idOf(table)} = ${id}`.execute(transaction),
  );
  return rows[0] && { table, id, sealed: rows[0].sealed };
}

export async function countSealedCredentials(
  database: Database,
  tenantId: string,
): Promise<number> {
  const { rows } = await database.withTenant(tenantId, (transaction) =>
    sql<{ count: number }>`
      select ((select count(*) from number_credential own where own.tenant_id = ${tenantId})
        + (select count(*) from credential shared where shared.tenant_id = ${tenantId})
        + (select count(*) from webhook_endpoint e where e.tenant_id = ${tenantId})
        + (select count(*) from alert_endpoint a where a.tenant_id = ${tenantId}))::int as count`.execute(
      transaction,
    ),
  );
  return rows[0]?.count ?? 0;
}

export interface SealedCredentialChange extends SealedCredentialRow {
  /** The new value of `sealed`. */
  readonly resealed: string;
}

/** In one transaction. Returns those that have changed since they were read, and are kept. */
export async function replaceSealedCredentials(
  database: Database,
  tenantId: string,
  changes: readonly SealedCredentialChange[],
): Promise<readonly CredentialName[]> {
  if (changes.length === 0) return [];
  return await database.withTenant(tenantId, async (transaction) => {
    const missed: CredentialName[] = [];
    // In the order of the primary key, so that two rotations cannot deadlock.
    for (const { table, id, sealed, resealed } of changes) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      const { numAffectedRows } = await sql`
        update ${sql.table(table)} c set sealed = ${resealed}
        where c.tenant_id = ${tenantId} and ${idOf(table)} = ${id} and c.sealed = ${sealed}`.execute(
        transaction,
      );
      if (numAffectedRows === 0n) missed.push({ table, id });
    }
    return missed;
  });
}
