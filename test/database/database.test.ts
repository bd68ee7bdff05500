// That a tenant reaches its own rows and no others, that migrations work, and that a database in trouble is reported as
// UNAVAILABLE. No statement names the tenant, so only row-level security keeps tenants apart.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { ConfigurationError } from '../../src/config.ts';
import {
  type Database,
  openDatabase,
  type TenantTransaction,
} from '../../src/database/database.ts';
import { openFaultProxy } from '../providers/fault-proxy.ts';
import { databases, openTestDatabase, openTestPostgresUrl, type TestDatabase } from '../harness.ts';

const tables = [
  'tenant',
  'credential',
  'account_watch',
  'whatsapp_number',
  'api_key',
  'number_credential',
  'number_snapshot',
  'waba_snapshot',
  'account_notice',
  'number_status',
  'feed_position',
  'number_change',
  'refresh_lease',
  'graph_budget',
  'webhook_endpoint',
  'meta_event',
  'alert_endpoint',
  'alert_delivery',
  'sync_subject',
  'sync_plan',
  'sync_call',
  'alert_position',
  'alert_condition',
  'incident',
  'incident_member',
  'audit',
] as const;
type Table = (typeof tables)[number];

/** SQL that inserts one row of a tenant into each table. `$t` stands for the tenant's id. */
const rows: Readonly<Record<Table, string>> = {
  tenant: `insert into tenant (id, name) values ('$t', 'Tenant')`,
  whatsapp_number: `insert into whatsapp_number
    (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
    values ('$t', 'wa_$t', '5511999999999', 'Shop', 'META', 'OPEN', '10001', '20001')`,
  api_key: `insert into api_key (tenant_id, id, name, key_prefix, key_last4, hash)
    values ('$t', 'key_$t', 'Key', 'ps_abcd', 'wxyz', 'hash of $t')`,
  credential: `insert into credential (tenant_id, id, name, sealed)
    values ('$t', 'cred_$t', 'Credential', 'sealed')`,
  account_watch: `insert into account_watch (tenant_id, waba_id, mode) values ('$t', '20001', 'OFF')`,
  number_credential: `insert into number_credential (tenant_id, number_id, sealed)
    values ('$t', 'wa_$t', 'sealed')`,
  number_snapshot: `insert into number_snapshot (tenant_id, number_id, block, attempted_at)
    values ('$t', 'wa_$t', 'phone', clock_timestamp())`,
  waba_snapshot: `insert into waba_snapshot (tenant_id, waba_id, attempted_at)
    values ('$t', '20001', clock_timestamp())`,
  account_notice: `insert into account_notice (tenant_id, waba_id) values ('$t', '20001')`,
  number_status: `insert into number_status (tenant_id, number_id, provider, state, created_at)
    values ('$t', 'wa_$t', 'META', 'OPEN', clock_timestamp())`,
  // A trigger has written it with the tenant.
  feed_position: `insert into feed_position (tenant_id) values ('$t') on conflict do nothing`,
  number_change: `insert into number_change (tenant_id, kind, source, occurred_at)
    values ('$t', 'ADDED', 'READ', clock_timestamp())`,
  refresh_lease: `insert into refresh_lease (tenant_id, subject, holder, expires_at)
    values ('$t', 'phone:1', 'holder', clock_timestamp())`,
  graph_budget: `insert into graph_budget (tenant_id, account, spent_until)
    values ('$t', '20001', clock_timestamp())`,
  webhook_endpoint: `insert into webhook_endpoint (tenant_id, id, path_hash, proof, sealed)
    values ('$t', 'whe_$t', 'path of $t', 'SIGNED', 'endpoint of $t')`,
  meta_event: `insert into meta_event (tenant_id, digest, waba_id, field, happened_at, outcome)
    values ('$t', 'digest of $t', '20001', 'account_update', now(), 'RECEIVED')`,
  alert_endpoint: `insert into alert_endpoint (tenant_id, id, host, format, sealed)
    values ('$t', 'ale_$t', 'host', 'STANDARD', 'sealed')`,
  alert_delivery: `insert into alert_delivery (tenant_id, endpoint_id, id, type, created_at, due_at)
    values ('$t', 'ale_$t', 'msg_$t', 'test', now(), now())`,
  // A trigger has written the first rows of both with the number.
  sync_subject: `insert into sync_subject (tenant_id, subject_id) values ('$t', '20001')
    on conflict do nothing`,
  sync_plan: `insert into sync_plan (tenant_id, subject_id, kind, due_at)
    values ('$t', '20001', 'REQUEST', clock_timestamp())`,
  sync_call: `insert into sync_call (tenant_id, subject_id, minute, calls)
    values ('$t', '20001', clock_timestamp(), 1)`,
  alert_position: `insert into alert_position (tenant_id) values ('$t')`,
  alert_condition: `insert into alert_condition (tenant_id, rule, scope, subject, member, since, due_at, new_value)
    values ('$t', 'SENDABLE_LOST', 'NUMBER', 'wa_$t', 'wa_$t', now(), now(), 'condition of $t')`,
  incident: `insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, new_value)
    values ('$t', 'inc_$t', 'SENDABLE_LOST', 'CRITICAL', 'NUMBER', 'wa_$t', 1, now(), 'incident of $t')`,
  incident_member: `insert into incident_member (tenant_id, incident_id, member) values ('$t', 'inc_$t', 'wa_$t')`,
  audit: `insert into audit (tenant_id, action, subject) values ('$t', 'test', 'subject')`,
};

const tenantColumn = (table: Table) => (table === 'tenant' ? 'id' : 'tenant_id');

/** Assigns a column that the tenant may write, without changing anything. */
const updates: Partial<Record<Table, string>> = {
  whatsapp_number: 'name = name',
  api_key: 'revoked_at = null',
  credential: 'sealed = sealed',
  account_watch: 'mode = mode',
  number_credential: 'sealed = sealed',
  number_snapshot: 'failure = null',
  waba_snapshot: 'failure = null',
  account_notice: 'effect = effect',
  number_status: 'failing = failing',
  feed_position: 'epoch = epoch',
  refresh_lease: 'holder = holder',
  graph_budget: 'spent_until = spent_until',
  webhook_endpoint: 'sealed = sealed',
  alert_endpoint: 'sealed = sealed',
  alert_delivery: 'attempts = attempts',
  sync_subject: 'quota = quota',
  sync_plan: 'due_at = due_at',
  sync_call: 'calls = calls',
  meta_event: 'applied = true',
  alert_position: 'clock = clock',
  alert_condition: 'due_at = due_at',
  incident: 'note = note',
  incident_member: 'left_at = left_at',
};
const updatable = tables.filter((table) => updates[table] !== undefined);
const deletable: readonly Table[] = [
  ...updatable.filter(
    (table) => !['api_key', 'feed_position', 'alert_position', 'incident_member'].includes(table),
  ),
  'number_change',
];

async function addTenant(database: TestDatabase, tenantId: string): Promise<void> {
  for (const table of tables) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of the foreign keys
    await database.query(rows[table].replaceAll('$t', tenantId));
  }
}

/** Returns the rows of the statement and rolls it back. */
async function tryAs(
  database: Database,
  tenantId: string,
  statement: string,
): Promise<readonly Record<string, unknown>[]> {
  const tried = { rows: [] as readonly Record<string, unknown>[] };
  const undo = new Error('undo');
  const work = async (transaction: TenantTransaction) => {
    tried.rows = (await sql.raw<Record<string, unknown>>(statement).execute(transaction)).rows;
    throw undo;
  };
  await database.withTenant(tenantId, work).catch((error: unknown) => {
    if (error !== undo) throw error;
  });
  return tried.rows;
}

async function findKey(database: Database, hash: string) {
  const find = sql<{ expires_in_ms: number }>`select * from find_scoped_key(${Buffer.from(hash)})`;
  return await database.acrossTenants(async (functions) => (await find.execute(functions)).rows);
}

async function migrateEmpty(): Promise<readonly string[]> {
  await using database = await openTestDatabase('PostgreSQL', { migrated: false });
  return await database.migrate();
}

const toTenants = (found: readonly Record<string, unknown>[]) =>
  [...new Set(found.map((row) => row['tenant']))].toSorted();

const denied = expect.objectContaining({ code: '42501' });

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openTestDatabase(kind);
    await addTenant(database, 'a');
    await addTenant(database, 'b');
  });

  afterAll(async () => {
    await database[Symbol.asyncDispose]();
  });

  test('the policies apply: the role is no superuser, does not bypass them and owns no table', async () => {
    const [role] = await tryAs(
      database,
      'a',
      `select rolname as name, rolsuper or rolbypassrls as exempt,
         exists (select from pg_class where relowner = r.oid) as owner
       from pg_roles r where rolname = current_user`,
    );
    expect(role).toEqual({ name: 'gateway_tenant', exempt: false, owner: false });
  });

  test('every table with a tenant is listed here and forces its policies on every role', async () => {
    const found = await database.query<{ name: string; forced: boolean }>(
      `select c.relname as name, c.relrowsecurity and c.relforcerowsecurity as forced
       from pg_class c
       where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
         and c.relname not like 'kysely%' and c.relname not in ('lease_holder', 'process_lease', 'rate_count')
       order by 1`,
    );
    expect(found).toEqual(tables.toSorted().map((name) => ({ name, forced: true })));
  });

  test.each(tables)('%s: a tenant reads its own rows and no others', async (table) => {
    const read = `select ${tenantColumn(table)} as tenant from ${table}`;
    expect(toTenants(await tryAs(database, 'a', read))).toEqual(['a']);
    expect(toTenants(await tryAs(database, 'b', read))).toEqual(['b']);
  });

  test.each(tables)('%s: without a known tenant nothing is read', async (table) => {
    const read = `select ${tenantColumn(table)} as tenant from ${table}`;
    for (const unknown of ['', 'c', ' a', 'A', '%']) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      expect(await tryAs(database, unknown, read)).toEqual([]);
    }
  });

  test.each(updatable)('%s: a tenant changes its own rows and no others', async (table) => {
    const change = `update ${table} set ${updates[table]} returning tenant_id as tenant`;
    expect(toTenants(await tryAs(database, 'a', change))).toEqual(['a']);
  });

  test.each(deletable)('%s: a tenant deletes its own rows and no others', async (table) => {
    const remove = `delete from ${table} returning tenant_id as tenant`;
    expect(toTenants(await tryAs(database, 'a', remove))).toEqual(['a']);
  });

  test.each(tables)('%s: a row for another tenant is refused', async (table) => {
    const insert = rows[table].replaceAll('$t', 'b');
    await expect(tryAs(database, 'a', insert)).rejects.toEqual(denied);
  });

  test.each(updatable)('%s: a row cannot be moved to another tenant', async (table) => {
    await expect(tryAs(database, 'a', `update ${table} set tenant_id = 'b'`)).rejects.toEqual(
      denied,
    );
  });

  test.each(tables)('%s: a tenant can neither truncate nor drop it', async (table) => {
    for (const statement of [`truncate ${table} cascade`, `drop table ${table} cascade`]) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      await expect(tryAs(database, 'a', statement)).rejects.toEqual(denied);
    }
  });

  test.each([
    ['a tenant', `update tenant set name = 'x'`],
    ['a tenant', `delete from tenant`],
    ['a key', `delete from api_key`],
    ['the name of a key', `update api_key set name = 'x'`],
    ['the hash of a key', `update api_key set hash = 'x'`],
    ['the use of a key', `update api_key set last_used_at = null`],
    ['the scopes of a key', `update api_key set scopes = '{read}'`],
    ['an audit entry', `update audit set action = 'x'`],
    ['an audit entry', `delete from audit`],
    [
      'the time of an audit entry',
      `insert into audit (tenant_id, at, action, subject) values ('a', now(), 'x', 'x')`,
    ],
    [
      'the actor of an audit entry',
      `insert into audit (tenant_id, actor, action, subject) values ('a', 'x', 'x', 'x')`,
    ],
  ])('a tenant cannot change %s: %s', async (_, statement) => {
    await expect(tryAs(database, 'a', statement)).rejects.toEqual(denied);
  });

  test.each([
    'select hash from api_key',
    'select * from api_key',
    'select length(hash) from api_key',
    `select id from api_key where hash = 'hash of a'`,
    'select id from api_key order by hash',
    'update api_key set revoked_at = null returning hash',
  ])('the hash of a key cannot be read back: %s', async (statement) => {
    await expect(tryAs(database, 'a', statement)).rejects.toEqual(denied);
  });

  test.each([
    `select * from find_api_key('hash of b')`,
    `select * from use_api_key('hash of b')`,
    `select * from find_scoped_key('hash of b')`,
    `select * from use_scoped_key('hash of b')`,
    `select * from find_webhook_endpoint('hash of b')`,
    `select * from find_tenants_with_webhook_routes()`,
    `select * from claim_alert_deliveries(now(), now(), 1, 1)`,
    `select * from find_tenants_to_evaluate(now())`,
    `select * from find_tenants_to_evaluate(now(), 1, 1)`,
    `select find_tenant_of_key('key_b')`,
    `select find_tenant_of_number('wa_b')`,
    'select * from list_tenants()',
    `select * from count_numbers_by_verdict('{b}', 3600, true)`,
    'select * from lease_holder',
    'select * from process_lease',
    'select * from kysely_migration',
  ])('a tenant cannot call what looks across tenants: %s', async (statement) => {
    await expect(tryAs(database, 'a', statement)).rejects.toEqual(denied);
  });

  test.each([
    [
      'a credential',
      `insert into number_credential (tenant_id, number_id, sealed) values ('a', 'wa_b', 'x')`,
    ],
    [
      'a snapshot',
      `insert into number_snapshot (tenant_id, number_id, block, attempted_at)
       values ('a', 'wa_b', 'profile', now())`,
    ],
    [
      'a key',
      `insert into api_key (tenant_id, name, key_prefix, key_last4, hash, number_id)
       values ('a', 'x', 'x', 'x', 'x', 'wa_b')`,
    ],
  ])('%s cannot refer to the number of another tenant', async (_, insert) => {
    await expect(tryAs(database, 'a', insert)).rejects.toMatchObject({ code: '23503' });
  });

  test.each([
    ['unknown', `'{read,write}'`, 'null'],
    ['missing', `'{}'`, 'null'],
    ['for webhooks, of a number', `'{webhooks}'`, `'wa_a'`],
  ])('a key cannot have scopes that are %s', async (_, scopes, number) => {
    const insert = `insert into api_key (tenant_id, name, key_prefix, key_last4, hash, scopes, number_id)
      values ('a', 'x', 'x', 'x', 'x', ${scopes}, ${number})`;
    await expect(tryAs(database, 'a', insert)).rejects.toMatchObject({ code: '23514' });
  });

  test('a transaction is committed, and rolled back when it fails', async () => {
    const rename = (name: string, fail: boolean) =>
      database.withTenant('a', async (transaction) => {
        await transaction.updateTable('whatsapp_number').set({ name }).execute();
        if (fail) throw new RangeError('no');
      });
    await rename('Kept', false);
    await expect(rename('Lost', true)).rejects.toThrow(RangeError);
    const found = await database.query('select tenant_id, name from whatsapp_number order by 1');
    expect(found).toEqual([
      { tenant_id: 'a', name: 'Kept' },
      { tenant_id: 'b', name: 'Shop' },
    ]);
  });

  test('a key is found by its hash unless it is revoked or has expired', async () => {
    expect(await findKey(database, 'hash of b')).toEqual([
      { tenant_id: 'b', id: 'key_b', number_id: null, scopes: 'read', expires_in_ms: null },
    ]);
    await database.query(
      `update api_key set expires_at = now() + interval '1 hour' where id = 'key_b'`,
    );
    const [ending] = await findKey(database, 'hash of b');
    expect(ending?.expires_in_ms).toBeGreaterThan(3_590_000);
    expect(ending?.expires_in_ms).toBeLessThanOrEqual(3_600_000);
    for (const column of ['revoked_at', 'expires_at']) {
      // oxlint-disable no-await-in-loop -- one after the other
      // In the past, since times are rounded to milliseconds.
      await database.query(
        `update api_key set ${column} = now() - interval '1 second' where id = 'key_b'`,
      );
      expect(await findKey(database, 'hash of b')).toEqual([]);
      await database.query(`update api_key set ${column} = null where id = 'key_b'`);
      // oxlint-enable no-await-in-loop
    }
  });

  describe('a state that other software writes', () => {
    const old = '2026-01-01T00:00:00Z';
    const change = async (assignment: string) => {
      await database.query(
        `update whatsapp_number set state = 'OPEN', state_observed_at = $1, updated_at = $1
         where id = 'wa_b'`,
        [old],
      );
      // A statement of its own, so that the one before does not count.
      const [changed] = await database.query<{ observed: boolean; updated: boolean }>(
        `update whatsapp_number set ${assignment} where id = 'wa_b'
         returning state_observed_at > '2026-01-02' as observed, updated_at > '2026-01-02' as updated`,
      );
      return changed;
    };

    beforeAll(async () => {
      // Otherwise the first change of state here would count as an observation.
      await database.query(`update whatsapp_number set state = 'OPEN' where id = 'wa_b'`);
    });

    test('counts as an observation of that moment', async () => {
      expect(await change(`state = 'CLOSE'`)).toEqual({ observed: true, updated: true });
      await database.query(
        `update whatsapp_number set state = 'OPEN', state_observed_at = '2026-01-01' where id = 'wa_b'`,
      );
    });

    test('is no observation if it is the same, or if another column is written', async () => {
      for (const assignment of [`state = 'OPEN'`, `name = 'Other'`]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(await change(assignment)).toEqual({ observed: false, updated: false });
      }
    });

    test('keeps the times that are written with it', async () => {
      const both = `state_observed_at = '2026-01-01T12:00:00Z', updated_at = '2026-01-01T12:00:00Z'`;
      expect(await change(`state = 'CLOSE', ${both}`)).toEqual({ observed: false, updated: false });
    });
  });

  test('a transaction has one statement more, which sets the tenant', async () => {
    database.clearStatements();
    await database.withTenant('a', (transaction) =>
      transaction.selectFrom('tenant').select('id').execute(),
    );
    expect(database.statements).toHaveLength(2);
    expect(database.statements[0]).toContain('set_config');
  });
});

describe.each(databases)('with a single connection, on %s', (kind) => {
  const whoAmI = `select current_user as name, coalesce(current_setting('app.tenant_id', true), '') as tenant`;

  async function askOutside(database: Database): Promise<unknown> {
    return await database.acrossTenants(
      async (functions) => (await sql.raw(whoAmI).execute(functions)).rows[0],
    );
  }

  test('role and tenant end with the transaction, whether it succeeds or fails', async () => {
    await using database = await openTestDatabase(kind, { connections: 1 });
    const before = await askOutside(database);
    expect(before).toMatchObject({ tenant: '' });
    expect(before).not.toMatchObject({ name: 'gateway_tenant' });
    const inside = { name: 'gateway_tenant', tenant: 'a' };
    expect(await tryAs(database, 'a', whoAmI)).toEqual([inside]);
    expect(await askOutside(database)).toEqual(before);
    await expect(tryAs(database, 'a', 'select 1 / 0')).rejects.toMatchObject({ code: '22012' });
    expect(await askOutside(database)).toEqual(before);
  });

  test('a tenant’s id is never executed as SQL', async () => {
    await using database = await openTestDatabase(kind, { connections: 1 });
    const name = `a', true), set_config('role', 'postgres', true); --`;
    expect(await tryAs(database, name, whoAmI)).toEqual([{ name: 'gateway_tenant', tenant: name }]);
  });
});

describe.each(databases)('these tests can fail, on %s:', (kind) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openTestDatabase(kind);
    await addTenant(database, 'a');
    await addTenant(database, 'b');
  });

  afterAll(async () => {
    await database[Symbol.asyncDispose]();
  });

  test.each(tables)('without row-level security %s shows the rows of others', async (table) => {
    await database.query(`alter table ${table} disable row level security`);
    const read = `select ${tenantColumn(table)} as tenant from ${table}`;
    expect(toTenants(await tryAs(database, 'a', read))).toEqual(['a', 'b']);
  });
});

describe.each(databases)('migrating on %s', (kind) => {
  test('applies all migrations in order, and none the second time', async () => {
    await using database = await openTestDatabase(kind, { migrated: false });
    const pending = await database.pendingMigrations();
    expect(pending.length).toBeGreaterThanOrEqual(5);
    expect(pending).toEqual(pending.toSorted());
    expect(pending.every((name) => /^\d{4}_[a-z]+(_[a-z]+)+$/.test(name))).toBe(true);
    expect(await database.migrate()).toEqual(pending);
    expect(await database.migrate()).toEqual([]);
    expect(await database.pendingMigrations()).toEqual([]);
  });

  test('leaves nothing pending for the login role of the gateway', async () => {
    await using database = await openTestDatabase(kind);
    expect(await database.pendingMigrations()).toEqual([]);
  });
});

describe('on PostgreSQL', () => {
  test('the login role of the gateway is no superuser, bypasses no policy and owns no table', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const { rows: found } = await database.acrossTenants((functions) =>
      sql`select rolsuper, rolbypassrls, rolcreaterole,
            exists (select from pg_class where relowner = r.oid) as owner
          from pg_roles r where rolname = current_user`.execute(functions),
    );
    expect(found).toEqual([
      { rolsuper: false, rolbypassrls: false, rolcreaterole: false, owner: false },
    ]);
  });

  test('without a tenant the login role cannot read any table', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    for (const table of tables) {
      const read = sql.raw(`select 1 from ${table}`);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(database.acrossTenants((functions) => read.execute(functions))).rejects.toEqual(
        denied,
      );
    }
  });

  test('an owner who is no superuser can migrate, and sees no tenant’s rows', async () => {
    await using made = await openTestPostgresUrl({ migrated: false });
    await using admin = await openDatabase({ kind: 'postgres', url: made.ownerUrl });
    const run = (statement: string) =>
      admin.acrossTenants((functions) => sql.raw(statement).execute(functions));
    const owner = `gateway_owner_${process.pid}`;
    await run(`create role ${owner} login createrole password 'owner'`);
    try {
      await run(
        `grant gateway_tenant, gateway_directory, gateway_login to ${owner} with admin option, inherit false`,
      );
      await run(
        `grant create on database "${new URL(made.ownerUrl).pathname.slice(1)}" to ${owner}`,
      );
      await run(`alter schema public owner to ${owner}`);
      const url = Object.assign(new URL(made.ownerUrl), { username: owner, password: 'owner' });
      await using database = await openDatabase({ kind: 'postgres', url: url.href });
      expect(await database.migrate()).not.toEqual([]);
      await database.withTenant('a', (transaction) =>
        transaction.insertInto('tenant').values({ id: 'a', name: 'A' }).execute(),
      );
      const seen = await database.acrossTenants(
        async (functions) => (await sql`select * from tenant`.execute(functions)).rows,
      );
      expect(seen).toEqual([]);
    } finally {
      await run(`drop owned by ${owner} cascade`);
      await run(`drop role ${owner}`);
    }
  });

  test('two processes that migrate at the same time apply each migration once', async () => {
    await using made = await openTestPostgresUrl({ migrated: false });
    const source = { kind: 'postgres', url: made.ownerUrl } as const;
    await using one = await openDatabase(source);
    await using other = await openDatabase(source);
    const applied = await Promise.all([one.migrate(), other.migrate()]);
    expect(applied.map((names) => names.length).toSorted((a, b) => a - b)).toEqual([
      0,
      expect.any(Number),
    ]);
    expect(await one.pendingMigrations()).toEqual([]);
  });

  test('databases of one server can be migrated at the same time', async () => {
    const applied = await Promise.all([migrateEmpty(), migrateEmpty(), migrateEmpty()]);
    expect(applied.every((names) => names.length > 0)).toBe(true);
  });
});

const ask = (database: Database) => database.withTenant('a', async () => 1);

describe('PostgreSQL in trouble', () => {
  const unavailable = {
    name: 'GatewayError',
    code: 'UNAVAILABLE',
    status: 503,
    retryAfterSeconds: 1,
  };

  test.each([
    'postgres://nobody@127.0.0.1:1/x',
    'postgres://nobody@localhost:1/x',
    'postgres://nobody@database.invalid/x',
  ])('that cannot be reached (%s) is UNAVAILABLE', async (url) => {
    await using database = await openDatabase({ kind: 'postgres', url });
    await expect(database.ping()).rejects.toMatchObject(unavailable);
    await expect(ask(database)).rejects.toMatchObject(unavailable);
    await expect(database.pendingMigrations()).rejects.toMatchObject(unavailable);
  });

  test('with all connections in use is UNAVAILABLE until one is released', async () => {
    await using database = await openTestDatabase('PostgreSQL', { connections: 1 });
    const [entered, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const holding = database.withTenant('a', async () => {
      entered.resolve();
      await release.promise;
    });
    await entered.promise;
    await expect(ask(database)).rejects.toMatchObject(unavailable);
    release.resolve();
    await holding;
    await ask(database);
  });

  test('is available to a process whose connections are all in use, until no result came for one second', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    await using database = await openTestDatabase('PostgreSQL', { connections: 1 });
    const [entered, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const holding = database.withTenant('a', async () => {
      entered.resolve();
      await release.promise;
    });
    await entered.promise;
    vi.advanceTimersByTime(999);
    await database.ping();
    vi.advanceTimersByTime(1);
    await expect(database.ping()).rejects.toMatchObject(unavailable);
    release.resolve();
    await holding;
    await database.ping();
  });

  test('that ends an idle connection is reported, and no request fails', async () => {
    const lost = Promise.withResolvers<Error>();
    await using database = await openTestDatabase('PostgreSQL', {
      connections: 1,
      onConnectionLost: lost.resolve,
    });
    await ask(database);
    await database.query(endAll);
    expect((await lost.promise).message).toContain('terminating connection');
    await ask(database);
  });

  test('that ends the connection of a transaction is UNAVAILABLE, and the transaction is rolled back', async () => {
    await using database = await openTestDatabase('PostgreSQL', { connections: 1 });
    const work = database.withTenant('a', async (transaction) => {
      await transaction.insertInto('tenant').values({ id: 'a', name: 'A' }).execute();
      await database.query(endAll);
      await transaction.selectFrom('tenant').select('id').execute();
    });
    await expect(work).rejects.toMatchObject(unavailable);
    expect(await database.query('select * from tenant')).toEqual([]);
    await ask(database);
  });

  test('that stops answering is UNAVAILABLE after three seconds, and does not keep the database from closing', async () => {
    await using made = await openTestPostgresUrl();
    await using proxy = await openFaultProxy(made.url);
    const url = Object.assign(new URL(made.url), { host: new URL(proxy.url).host }).href;
    await using database = await openDatabase({ kind: 'postgres', url });
    const statement = { name: 'one', sql: 'select 1::text', parameters: [] };
    await database.readTenant('a', statement);
    // Idle for longer than the time limit, like a connection that a firewall has forgotten.
    await delay(3_100);
    // A read in flight, one that waits for its end, and a transaction.
    const silenced = ['one', 'begin'];
    for (const text of silenced) proxy.setFault(text, { kind: 'mute' });
    const met = proxy.untilFault();
    const first = database.readTenant('a', statement);
    first.catch(() => undefined);
    await met;
    const second = database.readTenant('a', statement);
    const settled: string[] = [];
    for (const [name, work] of Object.entries({ first, second })) {
      work.catch(() => settled.push(name));
    }
    const entering = ask(database);
    for (const work of [first, entering, second]) {
      // oxlint-disable-next-line no-await-in-loop -- all of them are under way
      await expect(work).rejects.toMatchObject(unavailable);
    }
    // The second one has waited for the first, and does not start another read.
    expect(settled).toEqual(['first', 'second']);
    for (const text of silenced) proxy.setFault(text, null);
    expect(await database.readTenant('a', statement)).toEqual([['1']]);
  });

  test('may take longer for migrations', async () => {
    await using made = await openTestPostgresUrl({ migrated: false });
    await using database = await openDatabase({ kind: 'postgres', url: made.ownerUrl });
    await using owner = await openTestDatabase('PostgreSQL', { of: made, migrated: false });
    // The lock that Kysely holds while it migrates.
    await owner.query('begin; select pg_advisory_xact_lock(3853314791062309107)');
    const held = owner.query('select pg_sleep(3.2); commit');
    expect(await database.migrate()).not.toEqual([]);
    await held;
  });

  test('that is too slow is UNAVAILABLE after two seconds', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    await expect(tryAs(database, 'a', 'select pg_sleep(15)')).rejects.toMatchObject(unavailable);
  });

  test('an error in a statement is not reported as UNAVAILABLE', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    await expect(tryAs(database, 'a', 'select * from nothing')).rejects.toMatchObject({
      code: '42P01',
    });
  });

  const endAll = `select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()`;
});

describe('the embedded database', () => {
  const source = new URL('../../src/database/database.ts', import.meta.url).href;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-embedded-'));
  });

  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  test('is refused while another process uses it, with the id of that process, and opened when the process is dead', async () => {
    const holder = spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `import { openDatabase } from ${JSON.stringify(source)};
         const database = await openDatabase({ kind: 'embedded', directory: process.argv[1] });
         await database.migrate();
         process.stdout.write('open');
         setInterval(() => {}, 1_000);`,
        directory,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await once(holder.stdout, 'data');
      const refusal = await openDatabase({ kind: 'embedded', directory }).catch(
        (error: unknown) => error,
      );
      expect(refusal).toBeInstanceOf(ConfigurationError);
      expect((refusal as ConfigurationError).problems).toEqual([
        expect.stringMatching(
          new RegExp(`^DATA_DIR ${directory} is in use by process ${holder.pid};.*DATABASE_URL`),
        ),
      ]);
    } finally {
      holder.kill('SIGKILL');
      await once(holder, 'exit');
    }
    await using database = await openDatabase({ kind: 'embedded', directory });
    expect(await database.pendingMigrations()).toEqual([]);
  });

  test('that was closed can be opened again with its data', async () => {
    const embedded = { kind: 'embedded', directory } as const;
    {
      await using database = await openDatabase(embedded);
      await database.migrate();
      await database.withTenant('a', (transaction) =>
        transaction.insertInto('tenant').values({ id: 'a', name: 'A' }).execute(),
      );
    }
    await using database = await openDatabase(embedded);
    const kept = await database.withTenant('a', (transaction) =>
      transaction.selectFrom('tenant').select('name').execute(),
    );
    expect(kept).toEqual([{ name: 'A' }]);
  });
});
