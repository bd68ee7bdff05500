// The SQL that only the command line needs.

import type { Database } from '../database/database.ts';
import { prepare, queries } from '../database/statement.ts';

export interface SealedCredentialRow {
  readonly number_id: string;
  readonly sealed: string;
}

export interface Page {
  /** The last number id of the page before; '' for the first page. */
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

/** Ordered by number id. */
export async function listSealedCredentials(
  database: Database,
  tenantId: string,
  { after, limit }: Page,
): Promise<readonly SealedCredentialRow[]> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('number_credential')
      .select(['number_id', 'sealed'])
      .where('tenant_id', '=', tenantId)
      .where('number_id', '>', after)
      .orderBy('number_id')
      .limit(limit)
      .execute(),
  );
}

export async function findSealedCredential(
  database: Database,
  tenantId: string,
  numberId: string,
): Promise<SealedCredentialRow | undefined> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('number_credential')
      .select(['number_id', 'sealed'])
      .where('tenant_id', '=', tenantId)
      .where('number_id', '=', numberId)
      .executeTakeFirst(),
  );
}

export async function countSealedCredentials(
  database: Database,
  tenantId: string,
): Promise<number> {
  const { count } = await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('number_credential')
      .select(({ fn }) => fn.countAll().as('count'))
      .where('tenant_id', '=', tenantId)
      .executeTakeFirstOrThrow(),
  );
  return Number(count);
}

export interface SealedCredentialChange extends SealedCredentialRow {
  /** The new value of `sealed`. */
  readonly resealed: string;
}

/** In one transaction. Returns the ids of the numbers whose credentials have changed since they were read, and are kept. */
export async function replaceSealedCredentials(
  database: Database,
  tenantId: string,
  changes: readonly SealedCredentialChange[],
): Promise<readonly string[]> {
  if (changes.length === 0) return [];
  return await database.withTenant(tenantId, async (transaction) => {
    const missed: string[] = [];
    // In the order of the primary key, so that two rotations cannot deadlock.
    for (const { number_id, sealed, resealed } of changes) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      const { numUpdatedRows } = await transaction
        .updateTable('number_credential')
        .set({ sealed: resealed })
        .where('tenant_id', '=', tenantId)
        .where('number_id', '=', number_id)
        .where('sealed', '=', sealed)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) missed.push(number_id);
    }
    return missed;
  });
}
