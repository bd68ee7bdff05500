// The locks of accounts, for those who put numbers into them and those who change what was announced of them.

import { type RawBuilder, sql } from 'kysely';
import type { TenantTransaction } from '../database/database.ts';

/**
 * Before numbers are put into accounts: waits for those who change what was announced of these, and lets none begin until
 * the end of the transaction, because neither would see what the other one writes. There may be no row to lock.
 */
export async function holdAccounts(
  transaction: TenantTransaction,
  tenantId: string,
  wabaIds: readonly (string | null)[],
): Promise<void> {
  const known = wabaIds.filter((id) => id !== null);
  if (known.length > 0)
    await lockAccounts(transaction, tenantId, known, sql`pg_advisory_xact_lock_shared`);
}

/** Before what was announced of accounts is changed; see `holdAccounts`. */
export async function claimAccounts(
  transaction: TenantTransaction,
  tenantId: string,
  wabaIds: readonly string[],
): Promise<void> {
  await lockAccounts(transaction, tenantId, wabaIds, sql`pg_advisory_xact_lock`);
}

async function lockAccounts(
  transaction: TenantTransaction,
  tenantId: string,
  wabaIds: readonly string[],
  lock: RawBuilder<unknown>,
): Promise<void> {
  const keys = [...new Set(wabaIds)].map((wabaId) => `account_notice ${tenantId} ${wabaId}`);
  // In one order, so that two processes cannot deadlock.
  await sql`
    select ${lock}(hashtextextended(k.name, 0)) from (
      select name from unnest(${keys}::text[]) g(name) order by name
    ) k`.execute(transaction);
}
