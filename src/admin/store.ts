// Owns the SQL that only the command line asks.

import type { Database } from '../database.ts';

export interface SealedCredentialRow {
  readonly number_id: string;
  readonly sealed: string;
}

export async function listSealedCredentials(
  database: Database,
  tenantId: string,
): Promise<readonly SealedCredentialRow[]> {
  return await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('number_credential')
      .select(['number_id', 'sealed'])
      .where('tenant_id', '=', tenantId)
      .orderBy('number_id')
      .execute(),
  );
}
