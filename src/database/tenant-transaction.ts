// Makes a transaction a tenant's: sets the role and the tenant that the policies of row-level security check, and the
// time limits.

import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import { prepare, type Statement } from './statement.ts';
import type { Tables } from './tables.ts';

/** Milliseconds, under PostgreSQL's names. */
export const limits = {
  statement_timeout: 2_000,
  lock_timeout: 1_000,
  idle_in_transaction_session_timeout: 5_000,
};

/** A transaction of one statement is never idle, and its statement timeout limits its waits for locks too. */
const readSettings = {
  statement_timeout: limits.statement_timeout,
  transaction_read_only: 'on',
  // One plan serves all tenants. By default PostgreSQL would plan each execution for large tenants, which takes longer
  // than the read.
  plan_cache_mode: 'force_generic_plan',
};

/** The stores write number_status themselves; see migrations/0021_keep_status_of_numbers.ts. */
const writeSettings = { ...limits, 'app.derives_status': 'on' };

/**
 * What the history names as the source of the changes of a transaction, see migrations/0023_record_changes.ts; with the id
 * of an API key as their actor.
 */
export type TransactionCause =
  | 'READ'
  | 'SYNC'
  | 'COMMAND_LINE'
  | 'CLOCK'
  | 'UPKEEP'
  | 'WEBHOOK'
  | 'ALERTS'
  | { readonly source: 'API'; readonly keyId: string };

/** Runs `work` in a transaction of this tenant that may write. */
export async function runAsTenant<T>(
  kysely: Kysely<Tables>,
  tenantId: string,
  work: (transaction: Transaction<Tables>) => Promise<T>,
  cause: TransactionCause,
): Promise<T> {
  return await kysely.transaction().execute(async (transaction) => {
    const settings = { ...writeSettings, ...toCauseSettings(cause) };
    await selectSettings(tenantId, settings).execute(transaction);
    return await work(transaction);
  });
}

function toCauseSettings(cause: TransactionCause): Readonly<Record<string, string>> {
  if (typeof cause === 'string') return { 'app.change_source': cause };
  return { 'app.change_source': cause.source, 'app.change_actor': cause.keyId };
}

/** Returns the statements of a read-only transaction of this tenant. */
export function prependTenant(tenantId: string, statement: Statement): readonly Statement[] {
  return [toReadSettings({ tenantId }), statement];
}

const toReadSettings = prepare('set_tenant', ['tenantId'], ({ tenantId }) =>
  selectSettings(tenantId, readSettings),
);

// Set in each transaction: a pooler does not keep the settings of a connection.
function selectSettings(
  tenantId: string,
  settings: Readonly<Record<string, string | number>>,
): RawBuilder<unknown> {
  const values = [
    set('app.tenant_id', sql`${tenantId}`),
    set('role', sql.lit('gateway_tenant')),
    ...Object.entries(settings).map(([name, value]) => set(name, sql.lit(String(value)))),
  ];
  // No value is null, so there is no row to send.
  return sql`select where num_nulls(${sql.join(values)}) > 0`;
}

function set(name: string, value: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`set_config(${sql.lit(name)}, ${value}, true)`;
}
