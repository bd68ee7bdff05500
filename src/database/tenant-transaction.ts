// Owns what makes a transaction a tenant's: the role and the tenant that row-level security goes by, and the limits.

import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import { prepare, type Statement } from './statement.ts';
import type { Tables } from './tables.ts';

/** Milliseconds, in PostgreSQL's names. */
export const limits = {
  statement_timeout: 2_000,
  lock_timeout: 1_000,
  idle_in_transaction_session_timeout: 5_000,
};

/** What a transaction of one statement needs: it is never idle, and while it waits for a lock its time runs too. */
const readingSettings = {
  statement_timeout: limits.statement_timeout,
  transaction_read_only: 'on',
  // All tenants are asked for alike. Left to itself PostgreSQL takes the large ones for a reason to plan each time anew,
  // which takes longer than the reading.
  plan_cache_mode: 'force_generic_plan',
};

/** Executes `work` in a transaction of this tenant that may write. */
export async function enter<T>(
  kysely: Kysely<Tables>,
  tenantId: string,
  work: (transaction: Transaction<Tables>) => Promise<T>,
): Promise<T> {
  return await kysely.transaction().execute(async (transaction) => {
    await selectEntrance(tenantId, limits).execute(transaction);
    return await work(transaction);
  });
}

/** The transaction of this tenant that reads with one statement. */
export function toReading(tenantId: string, statement: Statement): readonly Statement[] {
  return [toReadingEntrance({ tenantId }), statement];
}

const toReadingEntrance = prepare('enter', ['tenantId'], ({ tenantId }) =>
  selectEntrance(tenantId, readingSettings),
);

// A pooler between us and PostgreSQL hands on no settings of a connection, so they are told to each transaction.
function selectEntrance(
  tenantId: string,
  settings: Readonly<Record<string, string | number>>,
): RawBuilder<unknown> {
  const told = Object.entries(settings).map(([name, value]) => set(name, sql.lit(String(value))));
  const settled = [
    set('app.tenant_id', sql`${tenantId}`),
    set('role', sql.lit('gateway_tenant')),
    ...told,
  ];
  // None of them is ever null, so there is no row, which nobody would read.
  return sql`select where num_nulls(${sql.join(settled)}) > 0`;
}

function set(name: string, value: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`set_config(${sql.lit(name)}, ${value}, true)`;
}
