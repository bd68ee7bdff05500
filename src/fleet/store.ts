// The SQL of shared credentials, of accounts, and of what happens with numbers that appear in them.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** A shared credential without the secret. */
export interface SharedCredential {
  readonly id: string;
  readonly name: string;
  /** How many numbers use it. */
  readonly numbers: number;
  /** From here to `checkedAt`: what Meta said about the token at that time. Null when it has not said anything. */
  readonly appId: string | null;
  readonly expiresAt: Date | null;
  readonly dataAccessExpiresAt: Date | null;
  readonly checkedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface SealedCredential {
  readonly credential: SharedCredential;
  readonly sealed: string;
}

/** Oldest first. */
export async function listCredentials(
  database: Database,
  tenantId: string,
): Promise<readonly SealedCredential[]> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<SharedCredential & { sealed: string }>`
        select c.id, c.name, c.sealed, c.app_id as "appId", c.expires_at as "expiresAt",
          c.data_access_expires_at as "dataAccessExpiresAt", c.checked_at as "checkedAt",
          c.created_at as "createdAt", c.updated_at as "updatedAt",
          (select count(*)::int from whatsapp_number n
            where n.tenant_id = ${tenantId} and n.credential_id = c.id) as numbers
        from credential c where c.tenant_id = ${tenantId} order by c.created_at, c.id`.execute(
        transaction,
      ),
    'nothing',
  );
  return rows.map(({ sealed, ...credential }) => ({ credential, sealed }));
}

export interface CredentialFacts {
  readonly appId: string | null;
  readonly expiresAt: Date | null;
  readonly dataAccessExpiresAt: Date | null;
}

export interface NewCredential {
  readonly id: string;
  readonly name: string;
  readonly sealed: string;
  /** Null when Meta did not inspect the token. */
  readonly facts: CredentialFacts | null;
}

export async function insertCredential(
  database: Database,
  tenantId: string,
  { id, name, sealed, facts }: NewCredential,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    transaction
      .insertInto('credential')
      .values({ tenant_id: tenantId, id, name, sealed, ...toColumns(facts) })
      .execute(),
  );
}

/** Replaces the token for all numbers that use it. The name stays unless there is one. */
export async function updateCredential(
  database: Database,
  tenantId: string,
  { id, name, sealed, facts }: Omit<NewCredential, 'name'> & { readonly name: string | null },
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    transaction
      .updateTable('credential')
      .set({
        sealed,
        updated_at: sql<Date>`clock_timestamp()`,
        ...(name !== null && { name }),
        ...toColumns(facts),
      })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', id)
      .execute(),
  );
}

export async function recordFacts(
  database: Database,
  tenantId: string,
  credentialId: string,
  facts: CredentialFacts,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    transaction
      .updateTable('credential')
      .set(toColumns(facts))
      .where('tenant_id', '=', tenantId)
      .where('id', '=', credentialId)
      .execute(),
  );
}

function toColumns(facts: CredentialFacts | null) {
  return {
    app_id: facts?.appId ?? null,
    expires_at: facts?.expiresAt ?? null,
    data_access_expires_at: facts?.dataAccessExpiresAt ?? null,
    checked_at: facts === null ? null : sql<Date>`clock_timestamp()`,
  };
}

/** What happens with numbers that appear in an account later. */
export type WatchMode = 'REPORT' | 'IMPORT' | 'OFF';

/** An account that a number of the tenant is in, or for which something is set. */
export interface KnownAccount {
  readonly wabaId: string;
  /** Null until the account was read. */
  readonly name: string | null;
  readonly numbers: number;
  readonly watch: WatchMode;
}

/** Those with the most numbers first. */
export async function listAccounts(
  database: Database,
  tenantId: string,
): Promise<readonly KnownAccount[]> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<KnownAccount>`
        with counted as (
          select n.waba_id, count(*)::int as numbers from whatsapp_number n
          where n.tenant_id = ${tenantId} and n.waba_id is not null group by n.waba_id
        ), watched as (
          select w.waba_id, w.mode from account_watch w where w.tenant_id = ${tenantId}
        )
        select waba_id as "wabaId", s.data ->> 'name' as name,
          coalesce(counted.numbers, 0) as numbers, coalesce(watched.mode, 'REPORT') as watch
        from counted full join watched using (waba_id)
        left join lateral (
          select s.data from waba_snapshot s
          where s.tenant_id = ${tenantId} and s.waba_id = coalesce(counted.waba_id, watched.waba_id)
        ) s on true
        order by numbers desc, waba_id`.execute(transaction),
    'nothing',
  );
  return rows;
}

export async function findWatchMode(
  database: Database,
  tenantId: string,
  wabaId: string,
): Promise<WatchMode> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<{ mode: WatchMode }>`
        select w.mode from account_watch w
        where w.tenant_id = ${tenantId} and w.waba_id = ${wabaId}`.execute(transaction),
    'nothing',
  );
  return rows[0]?.mode ?? 'REPORT';
}

export async function setWatchMode(
  database: Database,
  tenantId: string,
  wabaId: string,
  mode: WatchMode,
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .insertInto('account_watch')
        .values({ tenant_id: tenantId, waba_id: wabaId, mode })
        .onConflict((conflict) =>
          conflict
            .columns(['tenant_id', 'waba_id'])
            .doUpdateSet({ mode, updated_at: sql<Date>`clock_timestamp()` }),
        )
        .execute(),
    'nothing',
  );
}
