// The SQL of what Meta announces of accounts: storing it, and following the end of restrictions.

import { sql } from 'kysely';
import type { TenantTransaction } from '../database/database.ts';
import { toTimeText } from '../database/statement.ts';
import { claimAccounts } from './account-store.ts';
import type { MetaPhone } from './meta.ts';
import { type AccountNotices, findOpen, mergeNotices, toRestrictions } from './account-notices.ts';
import { minMsBetweenReads } from './restriction.ts';
import { updateRestrictionsOfStatuses } from './status-store.ts';

export interface NoticesToStore {
  readonly tenantId: string;
  /** By the id of the account. */
  readonly accounts: ReadonlyMap<string, AccountNotices>;
  readonly now: Date;
}

/** Adds what was announced to what is known, and writes what follows for the numbers of the accounts. */
export async function storeNotices(
  transaction: TenantTransaction,
  { tenantId, accounts, now }: NoticesToStore,
): Promise<void> {
  const wabaIds = [...accounts.keys()];
  if (wabaIds.length === 0) return;
  await claimAccounts(transaction, tenantId, wabaIds);
  // In the order of the key, here and below, so that two processes cannot deadlock.
  await sql`
    insert into account_notice (tenant_id, waba_id)
    select ${tenantId}, id from unnest(${wabaIds}::text[]) a(id) order by id
    on conflict (tenant_id, waba_id) do nothing`.execute(transaction);
  const { rows } = await sql<NoticeRow>`
    select ${columns} from account_notice
    where tenant_id = ${tenantId} and waba_id = any(${wabaIds}::text[])
    order by waba_id for no key update`.execute(transaction);
  const merged = rows.map((row) => ({
    former: row,
    notices: mergeNotices(row.notices, accounts.get(row.wabaId) ?? {}),
  }));
  await writeNotices(transaction, tenantId, merged, now);
}

/** Closes the restrictions that have ended, of at most so many accounts. Returns which. */
export async function closeEnded(
  transaction: TenantTransaction,
  tenantId: string,
  now: Date,
  maxAccounts: number,
): Promise<readonly string[]> {
  const due = sql`select waba_id as "wabaId" from account_notice
    where tenant_id = ${tenantId} and next_end <= ${now}::timestamptz
    order by waba_id limit ${maxAccounts}::integer`;
  const { rows: found } = await sql<Pick<NoticeRow, 'wabaId'>>`${due}`.execute(transaction);
  const wabaIds = found.map(({ wabaId }) => wabaId);
  if (wabaIds.length === 0) return [];
  await claimAccounts(transaction, tenantId, wabaIds);
  const { rows } = await sql<NoticeRow>`
    select ${columns} from account_notice
    where tenant_id = ${tenantId} and next_end <= ${now}::timestamptz and waba_id = any(${wabaIds}::text[])
    order by waba_id for no key update skip locked`.execute(transaction);
  const unchanged = rows.map((row) => ({ former: row, notices: row.notices }));
  await writeNotices(transaction, tenantId, unchanged, now);
  return rows.map(({ wabaId }) => wabaId);
}

interface NoticeRow {
  readonly wabaId: string;
  readonly notices: AccountNotices;
  readonly availableFrom: Date | null;
  readonly availableTo: Date | null;
}

const columns = sql`
  waba_id as "wabaId", notices, available_from as "availableFrom", available_to as "availableTo"`;

async function writeNotices(
  transaction: TenantTransaction,
  tenantId: string,
  changed: readonly { readonly former: NoticeRow; readonly notices: AccountNotices }[],
  now: Date,
): Promise<void> {
  if (changed.length === 0) return;
  const rows = changed.map(({ former, notices }) => toRow(former, notices, now));
  await sql`
    update account_notice a set notices = r.notices, open = r.open, effect = r.effect, next_end = r."nextEnd",
      ends_by_reads = r."endsByReads", available_from = r."availableFrom", available_to = r."availableTo"
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as r("wabaId" text, notices jsonb, open jsonb, effect text,
      "nextEnd" timestamptz(3), "endsByReads" boolean, "availableFrom" timestamptz(3), "availableTo" timestamptz(3))
    where a.tenant_id = ${tenantId} and a.waba_id = r."wabaId"
      and (a.notices, a.open, a.effect, a.next_end, a.ends_by_reads)
        is distinct from (r.notices, r.open, r.effect, r."nextEnd", r."endsByReads")`.execute(
    transaction,
  );
  const wabaIds = rows.map(({ wabaId }) => wabaId);
  await updateRestrictionsOfStatuses(transaction, { tenantId, wabaIds, at: now });
}

function toRow(former: NoticeRow, notices: AccountNotices, now: Date) {
  const { wabaId, availableFrom, availableTo } = former;
  // Reads say nothing of restrictions that were announced after them.
  const isOther = notices.restrictions?.digest !== former.notices.restrictions?.digest;
  const reads = {
    availableFrom: isOther ? null : (availableFrom?.toISOString() ?? null),
    availableTo: isOther ? null : (availableTo?.toISOString() ?? null),
  };
  const { nextEnd, ...open } = findOpen(toRestrictions(wabaId, notices, reads), now);
  const end = nextEnd === null ? null : toTimeText(Date.parse(nextEnd));
  return { wabaId, notices, ...open, ...reads, nextEnd: end };
}

/** Deletes what was announced of accounts in which the tenant has no number. */
export async function deleteUnusedNotices(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<void> {
  await sql`
    delete from account_notice a
    where a.tenant_id = ${tenantId} and not exists (
      select from whatsapp_number n where n.tenant_id = ${tenantId} and n.waba_id = a.waba_id
    )`.execute(transaction);
}

/**
 * Before a number is changed or deleted: locks it, and then what was announced of its account, in the order of other
 * transactions. Those that write what was announced write the status of the account's numbers next.
 */
export async function lockNotices(
  transaction: TenantTransaction,
  tenantId: string,
  numberId: string,
): Promise<void> {
  await sql`
    with locked as materialized (
      select waba_id from whatsapp_number where tenant_id = ${tenantId} and id = ${numberId} for update
    )
    select from account_notice a join locked on locked.waba_id = a.waba_id
    where a.tenant_id = ${tenantId} for update of a`.execute(transaction);
}

/** What the health of a number says of its account. */
export function listAccountHealth(data: object | null) {
  const { healthStatus } = (data ?? {}) as Partial<MetaPhone>;
  return (healthStatus?.entities ?? [])
    .filter(({ entityType }) => entityType === 'WABA')
    .map(({ id, canSendMessage }) => ({ id, word: canSendMessage }));
}

/**
 * Restrictions without an expiry time end when two reads that are far enough apart find the account AVAILABLE, see
 * restriction.ts. Common table expressions that store the first and the last of such reads; then, the end is due. They read
 * `current`, numbers with their account and what `listAccountHealth` returns of their reading.
 */
export function followEndsByReads(tenantId: string, observedAt: Date) {
  const at = sql`${observedAt}::timestamptz(3)`;
  const apart = sql`${minMsBetweenReads}::float8 * interval '1 millisecond'`;
  return sql`
    seen as (
      select current.waba_id, bool_and(entity.word is not distinct from 'AVAILABLE') as available
      from current cross join lateral jsonb_to_recordset(current.accounts) as entity(id text, word text)
      where entity.id = current.waba_id
      group by current.waba_id
    ), restricted as materialized (
      select a.waba_id, seen.available from account_notice a join seen on seen.waba_id = a.waba_id
      where a.tenant_id = ${tenantId} and a.ends_by_reads
        and (a.notices #>> '{restrictions,reportedAt}')::timestamptz < ${at}
        and coalesce(a.available_to - a.available_from < ${apart}, true)
      order by a.waba_id for no key update of a
    ), followed as (
      update account_notice a set
        available_from = case when restricted.available then least(a.available_from, ${at}) end,
        available_to = case when restricted.available then greatest(a.available_to, ${at}) end,
        next_end = case when restricted.available and ${at} - a.available_from >= ${apart} then least(a.next_end, ${at})
          else a.next_end end
      from restricted where a.tenant_id = ${tenantId} and a.waba_id = restricted.waba_id
    )`;
}
