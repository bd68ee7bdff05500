// The SQL of budgets: which accounts are to be read less because their rate limit at Meta is nearly used up.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Pause } from './provider.ts';

/** How a statement returns a pause. */
export interface PauseRow {
  readonly percent: Pause['spentPercent'];
  /** Until it is over. */
  readonly ms: number;
}

/** The tenant's accounts that are to be read less, by account. */
export async function listPauses(
  database: Database,
  tenantId: string,
): Promise<ReadonlyMap<string, Pause>> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<PauseRow & { account: string }>`
        select b.account, b.spent_percent as percent,
          extract(epoch from b.spent_until - clock_timestamp())::float8 * 1000 as ms
        from graph_budget b
        where b.tenant_id = ${tenantId} and b.spent_until > clock_timestamp()`.execute(transaction),
    'nothing',
  );
  return toPauses(Object.fromEntries(rows.map((row) => [row.account, row])));
}

/** Adds pauses that were learned of outside a refresh. */
export async function storePauses(
  database: Database,
  tenantId: string,
  pauses: ReadonlyMap<string, Pause>,
): Promise<void> {
  const store = (transaction: TenantTransaction) => recordBudgets(transaction, tenantId, pauses);
  await database.withTenant(tenantId, store, 'nothing');
}

/** Of two pauses of one budget the one with the higher percentage stays, and of two with the same the later one. */
export async function recordBudgets(
  transaction: TenantTransaction,
  tenantId: string,
  pauses: ReadonlyMap<string, Pause>,
): Promise<void> {
  if (pauses.size === 0) return;
  const now = Date.now();
  const rows = [...pauses].map(([account, { spentPercent: percent, until }]) => ({
    account,
    percent,
    ms: until.getTime() - now,
  }));
  // Budgets of apps whose tokens were replaced are never recorded again.
  await sql`
    delete from graph_budget where tenant_id = ${tenantId} and account in (
      select account from graph_budget
      where tenant_id = ${tenantId} and spent_until < clock_timestamp() - interval '1 day'
      for update skip locked)`.execute(transaction);
  // In the order of the key, so that two processes cannot deadlock.
  await sql`
    insert into graph_budget (tenant_id, account, spent_percent, spent_until)
    select ${tenantId}, account, percent, clock_timestamp() + ms * interval '1 millisecond'
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as spent(account text, percent smallint, ms float8)
    order by account
    on conflict (tenant_id, account) do update
      set spent_percent = excluded.spent_percent, spent_until = excluded.spent_until
      where graph_budget.spent_until <= clock_timestamp()
        or (graph_budget.spent_percent, graph_budget.spent_until)
          < (excluded.spent_percent, excluded.spent_until)`.execute(transaction);
}

// The database gives durations and not times, because the clocks of two processes may differ by more than a pause lasts.
export function toPauses(rows: Readonly<Record<string, PauseRow>>): ReadonlyMap<string, Pause> {
  const now = Date.now();
  return new Map(
    Object.entries(rows).map(([account, { percent, ms }]) => [
      account,
      { spentPercent: percent, until: new Date(now + ms) },
    ]),
  );
}
