// Probes of tenant isolation: rows of several tenants in every table, statements that try to reach those of another
// tenant, and a load of interleaved transactions.

import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../../src/database/database.ts';
import { prepare, type Statement } from '../../src/database/statement.ts';

/** Executes one statement as the superuser. */
export type Query = <Row = Record<string, unknown>>(
  text: string,
  values?: readonly unknown[],
) => Promise<readonly Row[]>;

/**
 * SQL that inserts one row of a tenant into each table, in the order of the foreign keys. `$t` stands for the tenant's
 * id.
 */
export const rowOf: Readonly<Record<string, string>> = {
  tenant: `insert into tenant (id, name) values ('$t', 'Tenant $t')`,
  whatsapp_number: `insert into whatsapp_number
    (tenant_id, id, number, name, provider, state, phone_number_id, waba_id, labels)
    values ('$t', 'wa_$t', '5511999999999', 'Shop of $t', 'META', 'OPEN', '10001', '20001', '{of=$t}')`,
  api_key: `insert into api_key (tenant_id, id, name, key_prefix, key_last4, hash, number_id)
    values ('$t', 'key_$t', 'Key of $t', 'ps_abcd', 'wxyz', 'hash of $t', 'wa_$t')`,
  number_credential: `insert into number_credential (tenant_id, number_id, sealed)
    values ('$t', 'wa_$t', 'sealed of $t')`,
  credential: `insert into credential (tenant_id, id, name, sealed)
    values ('$t', 'cred_$t', 'Credential of $t', 'shared by $t')`,
  account_watch: `insert into account_watch (tenant_id, waba_id, mode)
    values ('$t', '20001', 'IMPORT')`,
  number_snapshot: `insert into number_snapshot
    (tenant_id, number_id, block, attempted_at, observed_at, data)
    values ('$t', 'wa_$t', 'phone', now(), now(), '{"verifiedName": "$t"}')`,
  waba_snapshot: `insert into waba_snapshot (tenant_id, waba_id, attempted_at, observed_at, data)
    values ('$t', '20001', now(), now(),
      '{"name": "$t", "ownerBusinessId": "77", "ownerBusinessName": "Owner of $t"}')`,
  account_notice: `insert into account_notice (tenant_id, waba_id, notices)
    values ('$t', '20001', '{"restrictions": {"reportedAt": "2026-01-01T00:00:00.000Z", "digest": "$t", "value": []}}')`,
  number_status: `insert into number_status
    (tenant_id, number_id, provider, state, created_at, observed_at, waba_id, portfolio_id, name_key)
    values ('$t', 'wa_$t', 'META', 'OPEN', now(), now(), '20001', '77', 'shop of $t')`,
  // The first rows of both were written by triggers.
  feed_position: `insert into feed_position (tenant_id) values ('$t') on conflict do nothing`,
  // The last one became known late.
  number_change: `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
    values ('$t', null, 'VERDICT', null, null, null, 'CLOCK', now() + interval '1 hour'),
      ('$t', 'wa_$t', 'GAP', null, '2026-01-01T00:00:00.000Z', '2100-01-01T00:00:00.000Z', 'READ', clock_timestamp()),
      ('$t', 'wa_$t', 'FIELD', 'STATE', 'OPEN', 'CLOSE', 'EXTERNAL', clock_timestamp() - interval '1 hour')`,
  refresh_lease: `insert into refresh_lease (tenant_id, subject, holder, expires_at)
    values ('$t', 'phone:wa_$t', 'holder', now() + interval '1 hour')`,
  graph_budget: `insert into graph_budget (tenant_id, account, spent_until)
    values ('$t', '20001', now() + interval '1 hour')`,
  webhook_endpoint: `insert into webhook_endpoint (tenant_id, id, path_hash, proof, sealed)
    values ('$t', 'whe_$t', 'path of $t', 'SIGNED', 'endpoint of $t')`,
  alert_endpoint: `insert into alert_endpoint (tenant_id, id, host, format, sealed)
    values ('$t', 'ale_$t', 'host of $t', 'STANDARD', 'sealed alert of $t')`,
  alert_delivery: `insert into alert_delivery (tenant_id, endpoint_id, id, type, content, created_at, due_at)
    values ('$t', 'ale_$t', 'msg_$t', 'test', 'content of $t', now(), now())`,
  alert_position: `insert into alert_position (tenant_id) values ('$t')`,
  alert_condition: `insert into alert_condition (tenant_id, rule, scope, subject, member, since, due_at, new_value)
    values ('$t', 'SENDABLE_LOST', 'NUMBER', 'wa_$t', 'wa_$t', now(), now(), 'condition of $t')`,
  incident: `insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, new_value)
    values ('$t', 'inc_$t', 'SENDABLE_LOST', 'CRITICAL', 'NUMBER', 'wa_$t', 1, now(), 'incident of $t')`,
  incident_member: `insert into incident_member (tenant_id, incident_id, member) values ('$t', 'inc_$t', 'wa_$t')`,
  meta_event: `insert into meta_event (tenant_id, digest, waba_id, field, happened_at, outcome)
    values ('$t', 'digest of $t', '20001', 'account_update', now(), 'RECEIVED')`,
  // A trigger has written the first rows of both with the number.
  sync_subject: `insert into sync_subject (tenant_id, subject_id) values ('$t', '20001')
    on conflict do nothing`,
  sync_plan: `insert into sync_plan (tenant_id, subject_id, kind, due_at, last_error)
    values ('$t', '20001', 'REQUEST', now(), 'FAILED')`,
  sync_call: `insert into sync_call (tenant_id, subject_id, minute, calls)
    values ('$t', '20001', now(), 1)`,
  audit: `insert into audit (tenant_id, action, subject) values ('$t', 'probed', '$t')`,
};

export const toTenantColumn = (table: string) => (table === 'tenant' ? 'id' : 'tenant_id');

export async function addRows(query: Query, tenantId: string): Promise<void> {
  for (const insert of Object.values(rowOf)) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of the foreign keys
    await query(insert.replaceAll('$t', tenantId));
  }
}

/** Returns what tenant `a` reaches of `b`, or fails to reach of its own, by statements that name no tenant. */
export async function probeIsolation(
  database: Database,
  tables: readonly string[],
): Promise<readonly string[]> {
  const complaints: string[] = [];
  for (const table of tables) {
    // oxlint-disable no-await-in-loop -- on a pool with one connection too
    const column = toTenantColumn(table);
    const read = await tryAs(database, 'a', `select ${column} as tenant from ${table}`);
    if (typeof read === 'string') complaints.push(`${table}: a read was refused, ${read}`);
    else {
      const seen = read.map((row) => row['tenant']);
      if (!seen.includes('a')) complaints.push(`${table}: a tenant does not see its own row`);
      if (seen.some((tenant) => tenant !== 'a')) complaints.push(`${table}: foreign rows are seen`);
    }
    const rows = await database.readTenant(
      'a',
      toStatement(`select distinct ${column} from ${table}`),
    );
    if (JSON.stringify(rows) !== '[["a"]]') {
      complaints.push(`${table}: a read shows ${JSON.stringify(rows)}`);
    }
    const insert = (rowOf[table] ?? '').replaceAll('$t', 'c');
    if ((await tryAs(database, 'a', insert)) !== '42501') {
      complaints.push(`${table}: a row for another tenant was not refused by the policy`);
    }
    // oxlint-enable no-await-in-loop
  }
  return complaints;
}

/** Returns a statement for `readTenant`. */
export function toStatement(text: string): Statement {
  return prepare('probe', [], () => sql.raw(text))({});
}

/** Returns the rows or the code of the error, and rolls everything back. */
async function tryAs(
  database: Database,
  tenantId: string,
  statement: string,
): Promise<readonly Record<string, unknown>[] | string> {
  const tried = { rows: [] as readonly Record<string, unknown>[] };
  const undo = new Error('undo');
  const work = async (transaction: TenantTransaction) => {
    tried.rows = (await sql.raw<Record<string, unknown>>(statement).execute(transaction)).rows;
    throw undo;
  };
  return await database.withTenant(tenantId, work).catch((error: unknown) => {
    if (error === undo) return tried.rows;
    const { code } = error as { code?: unknown };
    return String(code ?? error);
  });
}

export interface InterleavedLoad {
  readonly transactions: number;
  readonly tenants: readonly string[];
  readonly connections: number;
  readonly seed: number;
}

export interface InterleavedResult {
  readonly committed: number;
  readonly failed: number;
  readonly ownRows: number;
  readonly foreignRows: number;
  /** How often a role or a tenant was still set after a transaction. */
  readonly leftovers: number;
}

const reads = [
  'select tenant_id as tenant from whatsapp_number',
  'select tenant_id as tenant from api_key',
  'select tenant_id as tenant from number_credential',
  'select id as tenant from tenant',
  `select n.tenant_id as tenant from number_snapshot n cross join waba_snapshot w
   where n.tenant_id <> w.tenant_id or true`,
  'update whatsapp_number set name = name returning tenant_id as tenant',
  'update waba_snapshot set failure = null returning tenant_id as tenant',
  `update refresh_lease set holder = holder returning tenant_id as tenant`,
];

const readStatements = reads.filter((statement) => statement.startsWith('select')).map(toStatement);

const failures = [
  'select 1 / 0',
  'select * from nothing',
  `insert into tenant (id, name) values ('nobody', 'Nobody')`,
  `insert into number_credential (tenant_id, number_id, sealed) select id, 'none', 'x' from tenant`,
];

/**
 * Runs concurrent transactions of random tenants, a tenth of which fail midway, and reads. No statement names a tenant.
 */
export async function runInterleaved(
  database: Database,
  { transactions, tenants, connections, seed }: InterleavedLoad,
): Promise<InterleavedResult> {
  const random = createRandom(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const result = { committed: 0, failed: 0, ownRows: 0, foreignRows: 0, leftovers: 0 };
  let started = 0;
  const runOne = async () => {
    const index = started++;
    const tenantId = pick(tenants);
    const fails = index % 10 === 0;
    if (index % 3 === 0) {
      const rows = await database.readTenant(tenantId, pick(readStatements));
      for (const [tenant] of rows) result[tenant === tenantId ? 'ownRows' : 'foreignRows']++;
    }
    if (index % 11 === 0) {
      await database.readTenant(tenantId, toStatement('select 1 / 0')).catch(() => undefined);
    }
    // In one order, so that two transactions of a tenant cannot deadlock.
    const statements = [pick(reads), pick(reads)].toSorted(
      (a, b) => reads.indexOf(a) - reads.indexOf(b),
    );
    const failure = random() < 0.3 ? null : pick(failures);
    await database
      .withTenant(tenantId, async (transaction) => {
        for (const [place, statement] of statements.entries()) {
          // oxlint-disable-next-line no-await-in-loop -- one connection
          const { rows } = await sql.raw<{ tenant: string }>(statement).execute(transaction);
          for (const { tenant } of rows) result[tenant === tenantId ? 'ownRows' : 'foreignRows']++;
          if (!fails || place > 0) continue;
          if (failure === null) throw new RangeError('midway');
          // oxlint-disable-next-line no-await-in-loop -- one connection
          await sql.raw(failure).execute(transaction);
        }
        result.committed++;
      })
      .catch((error: unknown) => {
        if (!fails) throw error;
        result.failed++;
      });
    if (index % 7 !== 0) return;
    const outside = await database.acrossTenants((functions) => whoAmI.execute(functions));
    if (outside.rows.some((row) => row.changed || row.tenant !== '')) result.leftovers++;
  };
  const worker = async () => {
    for (;;) {
      if (started >= transactions) return;
      // oxlint-disable-next-line no-await-in-loop -- each worker runs one after the other
      await runOne();
    }
  };
  // More workers than connections, so that they share them.
  await Promise.all(Array.from({ length: connections * 2 }, worker));
  return result;
}

const whoAmI = sql<{ process: number; changed: boolean; tenant: string }>`
  select pg_backend_pid() as process, current_user <> session_user as changed,
    coalesce(current_setting('app.tenant_id', true), '') as tenant`;

/**
 * Holds all connections of the pool at once and reports a role, a tenant or rights to a table that are left on them.
 */
export async function inspectConnections(
  database: Database,
  connections: number,
  tables: readonly string[],
): Promise<{ readonly connections: number; readonly complaints: readonly string[] }> {
  const complaints: string[] = [];
  const seen = new Set<number>();
  const all = Promise.withResolvers<void>();
  const look = () =>
    database.acrossTenants((functions) =>
      functions.connection().execute(async (connection) => {
        const [row] = (await whoAmI.execute(connection)).rows;
        seen.add(row?.process ?? 0);
        if (row?.changed !== false) complaints.push('a role is still set');
        if (row?.tenant !== '') complaints.push('a tenant is still set');
        for (const table of tables) {
          // oxlint-disable-next-line no-await-in-loop -- one connection
          const error = await sql
            .raw(`select 1 from ${table}`)
            .execute(connection)
            .then(
              () => null,
              (thrown: { code?: unknown }) => thrown.code,
            );
          if (error !== '42501') complaints.push(`${table} can be read without a tenant`);
        }
        if (seen.size >= connections) all.resolve();
        // A smaller pool is reported, not waited for.
        await Promise.race([all.promise, delay(2_000, undefined, { ref: false })]);
      }),
    );
  await Promise.all(Array.from({ length: connections }, look));
  return { connections: seen.size, complaints };
}

/** Mulberry32: the same numbers from 0 to below 1 for the same seed. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
