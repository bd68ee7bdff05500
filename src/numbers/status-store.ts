// The SQL that writes the status of numbers, in the transaction that changes what it is derived from.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { holdAccounts } from './account-store.ts';
import { findNumbersForStatus } from './number-queries.ts';
import { staleAfterSeconds } from './number.ts';
import { findOwnerId } from './portfolio.ts';
import { statusVersion, toNumberStatus } from './status.ts';
import { toStatusColumns, verdictOf } from './status-queries.ts';

export interface StatusRequest {
  readonly tenantId: string;
  /** Numbers that this transaction has locked or inserted. */
  readonly ids: readonly string[];
  /** When the evidence changed, for `verdict_changed_at`. */
  readonly at: Date;
}

/** Writes the rows that differ from what is stored of the numbers. */
export async function writeStatuses(
  transaction: TenantTransaction,
  { tenantId, ids, at }: StatusRequest,
): Promise<void> {
  if (ids.length === 0) return;
  await lockStatuses(transaction, tenantId, ids);
  const stored = await findNumbersForStatus(transaction, tenantId, ids);
  const statuses = JSON.stringify(stored.map(toNumberStatus));
  await sql`
    insert into number_status as old (tenant_id, number_id, provider, state, created_at, waba_id, portfolio_id,
      quality_rating, meta_status, messaging_limit_tier, restriction, blocked, verdict, reply_verdict, failing,
      account_failing, observed_at, verdict_changed_at, name_key, search_key, rules_version)
    select n.tenant_id, n.id, n.provider, n.state, n.created_at, n.waba_id, s."portfolioId",
      s."qualityRating", s."metaStatus", s."messagingLimitTier", ${restrictionOf('n', 'a')}, s.blocked, s.verdict,
      s."replyVerdict", s.failing, s."accountFailing", coalesce(s."observedAt", '-infinity'), greatest(n.created_at, n.state_observed_at),
      s."nameKey", s."searchKey", ${statusVersion}::smallint
    from jsonb_to_recordset(${statuses}::jsonb) as s(id text, "portfolioId" text, "qualityRating" text,
      "metaStatus" text, "messagingLimitTier" text, blocked boolean, verdict text, "replyVerdict" text,
      failing boolean, "accountFailing" boolean, "observedAt" timestamptz(3), "nameKey" text, "searchKey" text)
    join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = s.id
    left join account_notice a on a.tenant_id = ${tenantId} and a.waba_id = n.waba_id
    -- In the order of the key, so that two processes cannot deadlock.
    order by n.id
    on conflict (tenant_id, number_id) do update set ${assignments},
      verdict_changed_at = case when ${isOtherVerdict(at)}
        then greatest(old.verdict_changed_at, ${at}::timestamptz(3)) else old.verdict_changed_at end,
      -- A process of an older release does not know all rules of the newer one: the row is derived again.
      rules_version = case when old.rules_version > excluded.rules_version then 0 else excluded.rules_version end
    where (${columnsOf('old')}) is distinct from (${columnsOf('excluded')})`.execute(transaction);
}

/**
 * Of an account, another transaction may be writing the same rows, see `updateStatusesOfAccounts`. This waits for its end,
 * so that the next statement sees the account that it has stored.
 */
async function lockStatuses(
  transaction: TenantTransaction,
  tenantId: string,
  ids: readonly string[],
): Promise<void> {
  await sql`
    select from number_status where tenant_id = ${tenantId} and number_id = any(${ids}::text[])
    -- In the order of the key, as below.
    order by number_id for no key update`.execute(transaction);
}

const derived = [
  'provider',
  'state',
  'waba_id',
  'portfolio_id',
  'quality_rating',
  'meta_status',
  'messaging_limit_tier',
  'restriction',
  'blocked',
  'verdict',
  'reply_verdict',
  'failing',
  'account_failing',
  'observed_at',
  'name_key',
  'search_key',
];

const assignments = sql.join(
  derived.map((column) => sql`${sql.id(column)} = ${sql.ref(`excluded.${column}`)}`),
);

function columnsOf(row: 'old' | 'excluded') {
  return sql.join([...derived, 'rules_version'].map((column) => sql.ref(`${row}.${column}`)));
}

/** Whether the state or a verdict differs from the one of the stored row at this moment. A new row has no verdict yet. */
function isOtherVerdict(at: Date) {
  return sql`old.rules_version > 0 and (${verdictsAt(at, 'old')}) is distinct from (${verdictsAt(at, 'excluded')})`;
}

function verdictsAt(at: Date, row: string) {
  const staleBefore = sql`${new Date(at.getTime() - (staleAfterSeconds + 1) * 1_000)}::timestamptz(3)`;
  const columns = toStatusColumns(row, staleBefore, true);
  return sql`${sql.ref(`${row}.state`)}, ${verdictOf('verdict', columns)}, ${verdictOf('reply_verdict', columns)}`;
}

/** Restrictions of an account are those of Meta's numbers alone. */
function restrictionOf(number: string, notice: string) {
  return sql`case ${sql.ref(`${number}.provider`)} when 'META' then ${sql.ref(`${notice}.effect`)} end`;
}

/** After what was announced of accounts has changed: stores the effect of their restrictions for their numbers. */
export async function updateRestrictionsOfStatuses(
  transaction: TenantTransaction,
  {
    tenantId,
    wabaIds,
    at,
  }: { readonly tenantId: string; readonly wabaIds: readonly string[]; readonly at: Date },
): Promise<void> {
  await sql`
    with changed as materialized (
      select s.number_id, s.provider, s.state, s.blocked, s.verdict, s.reply_verdict, s.observed_at,
        ${restrictionOf('s', 'a')} as restriction
      from account_notice a join number_status s on s.tenant_id = ${tenantId} and s.waba_id = a.waba_id
      where a.tenant_id = ${tenantId} and a.waba_id = any(${wabaIds}::text[])
        and s.restriction is distinct from ${restrictionOf('s', 'a')}
      -- In the order of the key, so that two processes cannot deadlock.
      order by s.number_id for no key update of s
    )
    update number_status s set restriction = changed.restriction,
      verdict_changed_at = case when (${verdictsAt(at, 's')}) is distinct from (${verdictsAt(at, 'changed')})
        then greatest(s.verdict_changed_at, ${at}::timestamptz(3)) else s.verdict_changed_at end
    from changed where s.tenant_id = ${tenantId} and s.number_id = changed.number_id`.execute(
    transaction,
  );
}

/**
 * After good reads of accounts, sent at `observedAt`, of which no newer ones are stored: stores their owner for their
 * numbers, and that none of them fails to read the account, except those whose failure is newer. Of an account whose owner
 * has not changed, no row is written.
 */
export async function updateStatusesOfAccounts(
  transaction: TenantTransaction,
  tenantId: string,
  accounts: readonly { readonly id: string; readonly data: object | null }[],
  observedAt: Date,
): Promise<void> {
  if (accounts.length === 0) return;
  const failedSince = sql`(s.account_failing and exists (
    select from number_snapshot f
    where f.tenant_id = ${tenantId} and f.number_id = s.number_id and f.block = 'waba'
      and (f.failure is not null and f.attempted_at > ${observedAt}::timestamptz(3)
        or f.obstacle is not null and f.obstacle_at > ${observedAt}::timestamptz(3) and f.obstacle_at >= f.attempted_at)
  ))`;
  const owners = accounts.map(({ id, data }) => ({ id, owner: findOwnerId(data) }));
  await sql`
    with changed as materialized (
      select s.number_id, coalesce(a.owner, s.portfolio_id) as portfolio_id, ${failedSince} as is_failing
      from jsonb_to_recordset(${JSON.stringify(owners)}::jsonb) as a(id text, owner text)
      join number_status s on s.tenant_id = ${tenantId} and s.waba_id = a.id
      where s.account_failing and not ${failedSince}
        or s.portfolio_id is distinct from coalesce(a.owner, s.portfolio_id)
      order by s.number_id for no key update of s
    )
    update number_status s set account_failing = changed.is_failing, portfolio_id = changed.portfolio_id
    from changed where s.tenant_id = ${tenantId} and s.number_id = changed.number_id`.execute(
    transaction,
  );
}

/** Of these tenants, those that have numbers without a status, or with one of an older version. */
export async function findOutdatedAcrossTenants(
  database: Database,
  tenantIds: readonly string[],
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id from find_outdated_status(${tenantIds}::text[], ${statusVersion}::integer)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Writes the status of at most so many numbers whose status is missing or outdated. Returns how many there were. */
export async function writeOutdatedStatuses(
  database: Database,
  tenantId: string,
  maxNumbers: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<{ id: string; wabaId: string | null }>`
        select n.id, n.waba_id as "wabaId" from whatsapp_number n
        left join number_status s on s.tenant_id = n.tenant_id and s.number_id = n.id
        where n.tenant_id = ${tenantId} and coalesce(s.rules_version, 0) < ${statusVersion}::smallint
        order by n.id limit ${maxNumbers}::integer for no key update of n`.execute(transaction);
      const ids = rows.map(({ id }) => id);
      await holdAccounts(
        transaction,
        tenantId,
        rows.map(({ wabaId }) => wabaId),
      );
      await writeStatuses(transaction, { tenantId, ids, at: new Date() });
      return ids.length;
    },
    'numbers',
    'UPKEEP',
  );
}
