// That no tenant reaches the rows of another one: by the catalogue of the database, by a load of transactions that name
// no tenant, and that these tests fail when a policy is removed. Real PostgreSQL only.

import { randomInt } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestDatabase, type TestDatabase } from '../harness.ts';
import {
  addRows,
  inspectConnections,
  probeIsolation,
  type Query,
  rowOf,
  runInterleaved,
  toTenantColumn,
} from './tenancy-probe.ts';

const isolation = (column: string) =>
  `(${column} = ( SELECT NULLIF(current_setting('app.tenant_id'::text, true), ''::text) AS "nullif"))`;

/** Tables without tenants, with all rights of roles other than their owner. */
const withoutTenant: Readonly<Record<string, readonly string[]>> = {
  kysely_migration: ['gateway_login SELECT'],
  kysely_migration_lock: [],
  lease_holder: [
    'gateway_directory SELECT',
    ...['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((it) => `gateway_login ${it}`),
  ],
  process_lease: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((it) => `gateway_login ${it}`),
  rate_count: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((it) => `gateway_login ${it}`),
};

/** The rights of the functions below, which look across tenants. */
const directory: Readonly<Record<string, readonly string[]>> = {
  alert_condition: ['SELECT'],
  alert_delivery: ['SELECT', 'UPDATE (claimed_until)'],
  alert_endpoint: ['SELECT', 'UPDATE (updated_at)'],
  account_notice: ['SELECT'],
  alert_position: ['SELECT'],
  api_key: ['SELECT', 'UPDATE (last_used_at)'],
  credential: ['SELECT'],
  feed_position: ['SELECT', 'INSERT', 'UPDATE'],
  incident: ['SELECT'],
  incident_member: ['SELECT'],
  meta_event: ['SELECT'],
  number_change: ['SELECT', 'INSERT', 'UPDATE'],
  number_snapshot: ['SELECT'],
  number_status: ['SELECT', 'INSERT', 'UPDATE'],
  sync_plan: ['SELECT', 'INSERT'],
  sync_subject: ['SELECT', 'INSERT', 'UPDATE'],
  tenant: ['SELECT'],
  webhook_endpoint: ['SELECT'],
  whatsapp_number: ['SELECT'],
};

/** The only functions that run with the rights of their owner. */
const definers = [
  'add_endpoint_to_history()',
  'add_forgotten_read_to_history()',
  'add_incident_to_history()',
  'add_number_to_history()',
  'add_operations_to_history()',
  'add_read_to_history()',
  'add_refresh_to_history()',
  'add_restrictions_to_history()',
  'add_security_to_history()',
  'add_status_to_history()',
  'add_webhook_verdict_to_history()',
  'claim_alert_deliveries(timestamp with time zone,timestamp with time zone,integer,integer)',
  'claim_sync(text,double precision,integer,integer,text[],boolean)',
  'count_numbers_by_verdict(text[],integer,boolean)',
  'count_numbers_by_verdicts(text[],integer,boolean,integer)',
  'create_feed_position()',
  'find_api_key(bytea)',
  'find_outdated_status(text[],integer)',
  'find_scoped_key(bytea)',
  'find_tenant_of_key(text)',
  'find_tenant_of_number(text)',
  'find_tenants_to_evaluate(timestamp with time zone)',
  'find_tenants_to_evaluate(timestamp with time zone,double precision,double precision)',
  'find_tenants_with_changes_before(timestamp with time zone)',
  'find_tenants_with_due_notices(timestamp with time zone)',
  'find_tenants_with_events_before(timestamp with time zone)',
  'find_tenants_with_expired_status(timestamp with time zone,boolean)',
  'find_tenants_with_webhook_routes()',
  'find_webhook_endpoint(bytea)',
  'keep_state_of_status()',
  'list_tenants()',
  'mark_status_of_accounts()',
  'mark_status_of_numbers()',
  'mark_status_of_snapshots()',
  'measure_sync()',
  'number_changes()',
  'number_changes_left()',
  'number_changes_of(text,bigint)',
  'plan_sync_of_number()',
  'plan_sync_of_rows()',
  'remove_account_from_history()',
  'use_api_key(bytea)',
  'use_scoped_key(bytea)',
];

/** Rows are inserted by triggers alone. */
const written: ReadonlySet<string> = new Set(['feed_position', 'number_change']);

/** Unique across tenants, since the values are random. */
const uniqueEverywhere: ReadonlySet<string> = new Set([
  'alert_endpoint (id)',
  'api_key (hash)',
  'api_key (id)',
  'audit (id)',
  'credential (id)',
  'tenant (id)',
  'webhook_endpoint (id)',
  'webhook_endpoint (path_hash)',
  'whatsapp_number (id)',
]);

/** Returns a sentence for each thing in the catalogue that would break the isolation of tenants. */
async function inspectCatalogue(query: Query): Promise<readonly string[]> {
  const complaints: string[] = [];
  for (const inspect of [
    inspectTables,
    inspectPolicies,
    inspectGrants,
    inspectKeys,
    inspectForeignKeys,
    inspectFunctions,
    inspectRoles,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    complaints.push(...(await inspect(query)));
  }
  return complaints;
}

async function inspectTables(query: Query): Promise<readonly string[]> {
  const tables = await query<{
    name: string;
    kind: string;
    secured: boolean;
    invoker: boolean;
    columns: string[];
  }>(
    `select c.relname as name, c.relkind as kind, c.relrowsecurity and c.relforcerowsecurity as secured,
       coalesce('security_invoker=true' = any(c.reloptions) or 'security_invoker=on' = any(c.reloptions), false) as invoker,
       array(select attname::text from pg_attribute where attrelid = c.oid and attnum > 0) as columns
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`,
  );
  return tables.flatMap(({ name, kind, secured, invoker, columns }) => {
    if (name in withoutTenant) return [];
    if (kind === 'v') return invoker ? [] : [`view ${name} is not security_invoker`];
    if (kind === 'm' || kind === 'f') return [`${name} is of a kind without policies`];
    if (!columns.includes(toTenantColumn(name))) return [`${name} has no tenant`];
    if (!secured) return [`${name} does not force row-level security`];
    return name in rowOf ? [] : [`${name} has no row in the probe`];
  });
}

async function inspectPolicies(query: Query): Promise<readonly string[]> {
  const tables = await query<{ name: string; policies: Policy[] }>(
    `select c.relname as name, coalesce(jsonb_agg(to_jsonb(p)) filter (where p.policyname is not null), '[]') as policies
     from pg_class c
     left join pg_policies p on p.schemaname = 'public' and p.tablename = c.relname
     where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace group by c.relname`,
  );
  return tables.flatMap(({ name, policies }) => {
    if (name in withoutTenant) return [];
    const column = toTenantColumn(name);
    const [own, ...more] = policies.filter((it) => !it.roles.includes('gateway_directory'));
    const complaints = more.map((it) => `${name}: policy ${it.policyname} is one too many`);
    if (own?.qual !== isolation(column)) complaints.push(`${name}: USING is not the isolation`);
    if (own?.with_check !== isolation(column)) {
      complaints.push(`${name}: WITH CHECK is not the isolation`);
    }
    if (own !== undefined && (own.cmd !== 'ALL' || own.permissive !== 'PERMISSIVE')) {
      complaints.push(`${name}: the isolation is not for all commands`);
    }
    const acrossTenants = policies.filter((it) => it.roles.includes('gateway_directory'));
    for (const { policyname, roles, cmd } of acrossTenants) {
      const known = directory[name]?.some((grant) => grant.split(' ')[0] === cmd) === true;
      if (!known || roles.length !== 1) {
        complaints.push(`${name}: policy ${policyname} looks across tenants`);
      }
    }
    return complaints;
  });
}

interface Policy {
  readonly policyname: string;
  readonly permissive: string;
  readonly roles: readonly string[];
  readonly cmd: string;
  readonly qual: string | null;
  readonly with_check: string | null;
}

async function inspectGrants(query: Query): Promise<readonly string[]> {
  const grants = await query<{
    name: string;
    grantee: string;
    privilege: string;
    further: boolean;
  }>(
    `select c.relname as name, coalesce(r.rolname, 'PUBLIC') as grantee, acl.privilege_type || acl.columns as privilege,
       acl.is_grantable as further
     from pg_class c
     cross join lateral (
       select *, '' as columns from aclexplode(c.relacl) union all
       select acl.*, case acl.privilege_type when 'SELECT' then '' else ' (' || a.attname || ')' end
       from pg_attribute a cross join lateral aclexplode(a.attacl) acl where a.attrelid = c.oid
     ) acl
     left join pg_roles r on r.oid = acl.grantee
     where c.relnamespace = 'public'::regnamespace and acl.grantee <> c.relowner`,
  );
  const others = await query<{ text: string }>(
    `select 'schema public may be changed by ' || coalesce(r.rolname, 'PUBLIC') as text
     from pg_namespace n cross join lateral aclexplode(n.nspacl) acl left join pg_roles r on r.oid = acl.grantee
     where n.nspname = 'public' and acl.privilege_type = 'CREATE' and acl.grantee <> n.nspowner
       and r.rolname is distinct from pg_get_userbyid((select datdba from pg_database where datname = current_database()))
     union all select 'there are default privileges' from pg_default_acl
     union all select 'there is a schema ' || nspname from pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')`,
  );
  const complaints = grants.flatMap(({ name, grantee, privilege, further }) => {
    const grant = `${grantee} ${privilege}`;
    const complaint = `${name} is granted: ${grant}`;
    if (further) return [`${complaint}, and may be granted further`];
    if (name in withoutTenant) return withoutTenant[name]!.includes(grant) ? [] : [complaint];
    const everyday = /^(SELECT|INSERT|UPDATE|DELETE)( |$)/.test(privilege);
    if (grantee === 'gateway_tenant' && everyday) return [];
    const known = grantee === 'gateway_directory' && directory[name]?.includes(privilege) === true;
    return known ? [] : [complaint];
  });
  return [...complaints, ...others.map(({ text }) => text)];
}

async function inspectKeys(query: Query): Promise<readonly string[]> {
  const keys = await query<{ name: string; primary: boolean; columns: string[] }>(
    `select c.relname as name, i.indisprimary as primary,
       array(select pg_get_indexdef(i.indexrelid, place, true) from generate_series(1, i.indnkeyatts) place) as columns
     from pg_index i join pg_class c on c.oid = i.indrelid
     where c.relnamespace = 'public'::regnamespace and i.indisunique`,
  );
  const wrong = keys
    .filter(({ name, columns }) => !(name in withoutTenant) && columns[0] !== 'tenant_id')
    .map(({ name, columns }) => `${name} (${columns.join(', ')})`)
    .filter((key) => !uniqueEverywhere.has(key))
    .map((key) => `${key} does not start with the tenant`);
  const keyed = new Set(keys.filter(({ primary }) => primary).map(({ name }) => name));
  const tables = await query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`,
  );
  const keyless = tables.filter(({ name }) => !keyed.has(name));
  return [...wrong, ...keyless.map(({ name }) => `${name} has no primary key`)];
}

async function inspectForeignKeys(query: Query): Promise<readonly string[]> {
  // Policies do not apply to the checks of foreign keys, so each key has to contain the tenant.
  const found = await query<{ name: string; child: string; parent: string; pairs: string[] }>(
    `select k.conname as name, c.relname as child, p.relname as parent,
       array(select ca.attname || '=' || pa.attname from unnest(k.conkey, k.confkey) as pair(child, parent)
         join pg_attribute ca on ca.attrelid = k.conrelid and ca.attnum = pair.child
         join pg_attribute pa on pa.attrelid = k.confrelid and pa.attnum = pair.parent) as pairs
     from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class p on p.oid = k.confrelid
     where k.contype = 'f' and k.connamespace = 'public'::regnamespace`,
  );
  return found
    .filter(({ parent, pairs }) => !pairs.includes(`tenant_id=${toTenantColumn(parent)}`))
    .map(({ name, child, parent }) => `${name} leads from ${child} to ${parent} of any tenant`);
}

async function inspectFunctions(query: Query): Promise<readonly string[]> {
  const found = await query<{
    name: string;
    definer: boolean;
    owner: string;
    settings: string[] | null;
    callers: string[];
  }>(
    `select f.oid::regprocedure::text as name, f.prosecdef as definer, pg_get_userbyid(f.proowner) as owner,
       f.proconfig as settings,
       array(select coalesce(r.rolname, 'PUBLIC') from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) acl
         left join pg_roles r on r.oid = acl.grantee where acl.grantee <> f.proowner)::text[] as callers
     from pg_proc f where f.pronamespace = 'public'::regnamespace`,
  );
  const complaints = found.flatMap(({ name, definer, owner, settings, callers }) => {
    const fixed = settings?.includes('search_path=pg_catalog') === true;
    const path = fixed ? [] : [`${name} has no fixed search_path`];
    if (!definer) return path;
    if (!definers.includes(name)) return [`${name} runs with its owner’s rights`];
    const wrongCallers = callers.filter((caller) => caller !== 'gateway_login');
    return [
      ...path,
      ...wrongCallers.map((caller) => `${name} may be called by ${caller}`),
      ...(owner === 'gateway_directory' ? [] : [`${name} belongs to ${owner}`]),
    ];
  });
  const missing = definers.filter((name) => !found.some((it) => it.definer && it.name === name));
  return [...complaints, ...missing.map((name) => `${name} is missing`)];
}

async function inspectRoles(query: Query): Promise<readonly string[]> {
  const found = await query<{ text: string }>(
    `select rolname || ' has rights that no role of the gateway may have' as text from pg_roles
     where rolname in ('gateway_tenant', 'gateway_directory', 'gateway_login')
       and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolcanlogin)
     union all
     select m.member::regrole || ' can become ' || m.roleid::regrole from pg_auth_members m
     where m.member in ('gateway_tenant'::regrole, 'gateway_directory'::regrole)
       or (m.roleid = 'gateway_directory'::regrole and (m.set_option or m.inherit_option))
       or (m.member = 'gateway_login'::regrole and (m.roleid <> 'gateway_tenant'::regrole or m.inherit_option))`,
  );
  return found.map(({ text }) => text);
}

describe('the roles', () => {
  test('are no superusers, bypass no policy and own no table', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const ask = sql`
      select current_user <> session_user as switched, bool_or(rolsuper or rolbypassrls) as exempt,
        exists (select from pg_class c join pg_roles o on o.oid = c.relowner
          where o.rolname in (current_user, session_user)) as owner
      from pg_roles where rolname in (current_user, session_user)`;
    const inside = await database.withTenant('a', (transaction) => ask.execute(transaction));
    expect(inside.rows).toEqual([{ switched: true, exempt: false, owner: false }]);
    const outside = await database.acrossTenants((functions) => ask.execute(functions));
    expect(outside.rows).toEqual([{ switched: false, exempt: false, owner: false }]);
  });
});

describe('a transaction', () => {
  test('has its own time limits, whatever those of the connection are', async () => {
    await using database = await openTestDatabase('PostgreSQL', { connections: 1 });
    const ask = sql<{ statement: string; lock: string; idle: string }>`
      select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
        current_setting('idle_in_transaction_session_timeout') as idle`;
    const none = { statement: '0', lock: '0', idle: '0' };
    const { rows } = await database.acrossTenants(async (connection) => {
      await sql`select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
        set_config('idle_in_transaction_session_timeout', '0', false)`.execute(connection);
      return await ask.execute(connection);
    });
    expect(rows).toEqual([none]);
    const inside = await database.withTenant('a', (transaction) => ask.execute(transaction));
    expect(inside.rows).toEqual([{ statement: '2s', lock: '1s', idle: '5s' }]);
    const outside = await database.acrossTenants((connection) => ask.execute(connection));
    expect(outside.rows).toEqual([none]);
  });
});

describe('the catalogue', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openTestDatabase('PostgreSQL');
  });

  afterAll(async () => {
    await database[Symbol.asyncDispose]();
  });

  test('shows that every table, grant, key and function isolates tenants', async () => {
    expect(await inspectCatalogue(database.query)).toEqual([]);
  });

  test.each([
    ['create table new_thing (tenant_id text, id text, primary key (tenant_id, id))'],
    ['create table new_thing (id text primary key)'],
    ['create unlogged table new_thing (tenant_id text primary key)'],
    ['alter table api_key disable row level security'],
    ['alter table number_credential no force row level security'],
    ['drop policy tenant_isolation on waba_snapshot'],
    ['alter policy tenant_isolation on whatsapp_number using (true)'],
    ['alter policy tenant_isolation on whatsapp_number with check (true)'],
    [
      `alter policy tenant_isolation on api_key using (tenant_id = current_setting('app.tenant_id'))`,
    ],
    ['create policy another on number_snapshot using (true)'],
    ['create policy another on waba_snapshot for select to gateway_directory using (true)'],
    ['grant truncate on whatsapp_number to gateway_tenant'],
    ['grant references on whatsapp_number to gateway_tenant'],
    ['grant trigger on whatsapp_number to gateway_tenant'],
    ['grant select on whatsapp_number to public'],
    ['grant select (name) on whatsapp_number to public'],
    ['grant select on whatsapp_number to gateway_login'],
    ['grant select on whatsapp_number to gateway_tenant with grant option'],
    ['grant select on number_credential to gateway_directory'],
    ['grant update (name) on api_key to gateway_directory'],
    ['grant insert on kysely_migration to gateway_login'],
    ['grant create on schema public to gateway_tenant'],
    ['alter default privileges grant select on tables to public'],
    ['create schema elsewhere'],
    ['create view everything as select * from whatsapp_number'],
    ['create materialized view everything as select * from whatsapp_number'],
    ['alter table waba_snapshot drop constraint waba_snapshot_pkey'],
    ['create unique index on whatsapp_number (number)'],
    [
      `alter table number_credential drop constraint number_credential_tenant_id_number_id_fkey,
         add foreign key (number_id) references whatsapp_number (id)`,
    ],
    ['grant execute on function list_tenants() to public'],
    ['grant execute on function list_tenants() to gateway_tenant'],
    ['alter function list_tenants() reset search_path'],
    ['alter function list_tenants() owner to current_user'],
    ['alter function list_tenants() security invoker'],
    [
      `create function peek() returns bigint language sql security definer set search_path = pg_catalog
        as 'select count(*) from public.api_key'`,
    ],
    ['alter role gateway_tenant bypassrls'],
    ['grant gateway_directory to gateway_tenant'],
  ])('a change that breaks the isolation is found: %s', async (change) => {
    await database.query('begin');
    try {
      await database.query(change);
      expect(await inspectCatalogue(database.query)).not.toEqual([]);
    } finally {
      await database.query('rollback');
    }
  });
});

describe('under load', () => {
  const connections = 8;
  const tenants = Array.from({ length: 20 }, (_, index) => `t${index}`);
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openTestDatabase('PostgreSQL', { connections });
    // oxlint-disable-next-line no-await-in-loop -- one connection
    for (const tenant of tenants) await addRows(database.query, tenant);
  });

  afterAll(async () => {
    await database[Symbol.asyncDispose]();
  });

  test('2,000 interleaved transactions, a tenth failing midway, see no row of another tenant', async () => {
    const seed = randomInt(2 ** 31);
    const load = { transactions: 2_000, tenants, connections, seed };
    const result = await runInterleaved(database, load);
    expect(result, `seed ${seed}`).toMatchObject({
      committed: 1_800,
      failed: 200,
      foreignRows: 0,
      leftovers: 0,
    });
    expect(result.ownRows).toBeGreaterThan(2_000);
    expect(await inspectConnections(database, connections, Object.keys(rowOf))).toEqual({
      connections,
      complaints: [],
    });
  });
});

describe('with a policy removed', () => {
  const tables = Object.keys(rowOf);
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openTestDatabase('PostgreSQL', { connections: 1 });
    await addRows(database.query, 'a');
    await addRows(database.query, 'b');
  });

  afterAll(async () => {
    await database[Symbol.asyncDispose]();
  });

  test('the probe reports nothing while all policies exist', async () => {
    expect(await probeIsolation(database, tables)).toEqual([]);
  });

  describe.each(tables)('%s', (table) => {
    const policy = `tenant_isolation on ${table}`;
    const restored = isolation(toTenantColumn(table));
    const changes = [
      [
        'no row-level security',
        `alter table ${table} disable row level security`,
        `alter table ${table} enable row level security`,
      ],
      [
        'no policy',
        `drop policy ${policy}`,
        `create policy ${policy} using ${restored} with check ${restored}`,
      ],
      [
        'an open USING',
        `alter policy ${policy} using (true)`,
        `alter policy ${policy} using ${restored}`,
      ],
      [
        'an open WITH CHECK',
        `alter policy ${policy} with check (true)`,
        `alter policy ${policy} with check ${restored}`,
      ],
    ] as const;
    // Where only triggers insert, no statement of a tenant is checked.
    const tested = changes.filter(([name]) => !written.has(table) || name !== 'an open WITH CHECK');
    test.each(tested)('with %s the probe reports it', async (_, change, undo) => {
      await database.query(change);
      const found = await probeIsolation(database, [table]);
      await database.query(undo);
      expect(found).not.toEqual([]);
      expect(await probeIsolation(database, [table])).toEqual([]);
    });
  });
});
