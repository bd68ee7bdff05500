// Owns the SQL that only the command line asks.

import type { Database } from '../database/database.ts';
import { prepare, queries } from '../database/statement.ts';

export interface SealedCredentialRow {
  readonly number_id: string;
  readonly sealed: string;
}

export interface Page {
  /** The id of the number before the first one; '' for the beginning. */
  readonly after: string;
  readonly limit: number;
}

/** Whether row-level security alone, without a condition in the statement, lets this tenant see any number. */
export async function seesNumbers(database: Database, tenantId: string): Promise<boolean> {
  const rows = await database.readTenant(tenantId, selectAnyNumber({}));
  return rows.length > 0;
}

const selectAnyNumber = prepare('any', [], () =>
  queries.selectFrom('whatsapp_number').select('id').limit(1),
);

/** By id of the number. */
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
  /** What is to stand in the place of `sealed`. */
  readonly resealed: string;
}

/** In one transaction, each if it is still as it was read. Answers the numbers whose credentials are not. */
export async function replaceSealedCredentials(
  database: Database,
  tenantId: string,
  changes: readonly SealedCredentialChange[],
): Promise<readonly string[]> {
  if (changes.length === 0) return [];
  return await database.withTenant(tenantId, async (transaction) => {
    const missed: string[] = [];
    // In the order of the key, as they were read, so that two rotations can never wait for each other.
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
