// Inspects the database for `doctor`: the role that is used, row-level security with every way around it, and triggers.

import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Tables } from './tables.ts';

export interface DatabaseInspection {
  readonly version: string;
  readonly role: {
    readonly name: string;
    readonly superuser: boolean;
    readonly bypassesRowSecurity: boolean;
    readonly ownsTables: boolean;
  };
  /** The tables that a tenant's transaction may read or write. */
  readonly tables: readonly {
    readonly name: string;
    /** Whether row-level security is forced, on the owner too, and its policies allow a tenant its own rows alone. */
    readonly isIsolated: boolean;
  }[];
  /** Ways around row-level security: a sentence for each, with what to do. */
  readonly rlsBypasses: readonly string[];
  /** Tables whose changes are not announced, so that cached responses would be outdated. */
  readonly unannouncedTables: readonly string[];
}

/** Reads the system catalogue, which every role may read. */
export async function inspect(kysely: Kysely<Tables>): Promise<DatabaseInspection> {
  const { rows: tables } = await sql<DatabaseInspection['tables'][number] & { owned: boolean }>`
    select c.relname as name, pg_has_role(c.relowner, 'usage') as owned,
      c.relrowsecurity and c.relforcerowsecurity and count(p.oid) > 0 and coalesce(bool_and(
        pg_get_expr(p.polqual, c.oid) is not distinct from ${isolation} and
        pg_get_expr(p.polwithcheck, c.oid) is not distinct from ${isolation}), true) as "isIsolated"
    from pg_class c
    left join pg_policy p on p.polrelid = c.oid and p.polpermissive
      and exists (select from unnest(p.polroles) as r(oid) where r.oid = 0
        or r.oid is distinct from to_regrole('gateway_directory')::oid
          and pg_has_role(to_regrole('gateway_login')::oid, r.oid, 'member'))
    where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
      and has_any_column_privilege(to_regrole('gateway_tenant'), c.oid, 'select, insert, update')
    group by c.oid order by c.relname`.execute(kysely);
  const { rows } = await sql<DatabaseInspection['role'] & { version: string }>`
    select current_setting('server_version') as version, rolname as name, rolsuper as superuser,
      rolbypassrls as "bypassesRowSecurity"
    from pg_roles where rolname = current_user`.execute(kysely);
  const rlsBypasses = await findRlsBypasses(kysely);
  const { rows: unannounced } = await sql<{ name: string }>`
    select t.name from unnest(${announcingTables}::text[]) as t(name)
    where (select count(*) from pg_trigger
      where tgrelid = to_regclass(t.name) and tgname ^@ 'announce_' and tgenabled = 'A') < 4
    order by t.name`.execute(kysely);
  // The current user always has a row.
  const { version, ...role } = rows[0]!;
  return {
    version,
    role: { ...role, ownsTables: tables.some((table) => table.owned) },
    tables: tables.map(({ name, isIsolated }) => ({ name, isIsolated })),
    rlsBypasses,
    unannouncedTables: unannounced.map(({ name }) => name),
  };
}

/** The condition of the policies in the migrations, as PostgreSQL prints it. */
const isolation: RawBuilder<string> = sql`format('(%s = ( SELECT NULLIF(current_setting(%L::text, true), %L::text) AS "nullif"))',
    case c.relname when 'tenant' then 'id' else 'tenant_id' end, 'app.tenant_id', '')`;

/** The tables that responses are built from; see `migrations/0009_announce_changes.ts`. */
const announcingTables = [
  'account_notice',
  'api_key',
  'credential',
  'incident',
  'incident_member',
  'number_snapshot',
  'number_status',
  'waba_snapshot',
  'whatsapp_number',
];

/** The functions of the migrations that run with the rights of their owner. */
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

/** Returns a sentence for each way around row-level security, with what to do. */
async function findRlsBypasses(kysely: Kysely<Tables>): Promise<readonly string[]> {
  const found = [roles, directory, truncates, views, functions];
  const { rows } = await sql<{ text: string }>`
    with recursive ${context}
    ${sql.join(found, sql` union all `)} order by text`.execute(kysely);
  return rows.map(({ text }) => text);
}

// The current role is examined too, unless it owns the tables: then everything would be reported, and the check of the
// role says so already. A view that selects from another view exposes the tables below that one.
const context: RawBuilder<unknown> = sql`
  relation as (
    select * from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
  ), login as (
    select current_user::regrole::oid as oid
    where not exists (select from pg_roles where rolname = current_user and rolsuper)
      and not exists (select from relation where pg_has_role(relowner, 'usage'))
  ), examined as (
    select oid, rolname from pg_roles
    where rolname in ('gateway_tenant', 'gateway_login') or oid in (select oid from login)
  ), tenant_relation as (
    select oid from relation
    where has_any_column_privilege(to_regrole('gateway_tenant'), oid, 'select, insert, update')
    union
    select r.ev_class from tenant_relation m
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = m.oid
      and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
  )`;

const roles = sql`
  select format('%1$I bypasses row-level security; run: alter role %1$I nosuperuser nobypassrls',
    r.rolname) as text
  from pg_roles r
  where r.rolname in ('gateway_tenant', 'gateway_login') and (r.rolsuper or r.rolbypassrls)`;

const directory = sql`
  select format('%1$I has the rights of gateway_directory, which reach across tenants; run: revoke gateway_directory from %1$I, or from the role that passes it on',
    current_user)
  from login where pg_has_role(oid, to_regrole('gateway_directory'), 'member')`;

const truncates = sql`
  select format('%s may truncate %I; run: revoke truncate on %2$I from …',
    string_agg(distinct quote_ident(examined.rolname), ' and '), c.relname)
  from relation c cross join examined where has_table_privilege(examined.oid, c.oid, 'truncate')
  group by c.oid, c.relname`;

// The catalogue does not say what a foreign table shows, so every one is reported.
const views = sql`
  select format('%s shows rows with the rights of its owner; run: alter view %1$s set (security_invoker = true), or revoke all on %1$s from …',
    c.oid::regclass)
  from pg_class c
  where (c.relkind in ('v', 'm') and c.oid in (select oid from tenant_relation)
      or c.relkind = 'f' and c.relnamespace = current_schema()::regnamespace)
    and exists (select from examined where has_any_column_privilege(examined.oid, c.oid, 'select')
      and has_schema_privilege(examined.oid, c.relnamespace, 'usage'))
    and not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on'], false)`;

const functions = sql`
  select format('function %s runs with the rights of its owner; %s', p.oid::regprocedure,
    case when p.oid::regprocedure::text = any(${definers}::text[])
      then format('run: alter function %s set search_path = pg_catalog', p.oid::regprocedure)
      else format('run: alter function %s security invoker, or drop it', p.oid::regprocedure) end)
  from pg_proc p
  where p.prosecdef and p.pronamespace = current_schema()::regnamespace
    and not (p.oid::regprocedure::text = any(${definers}::text[])
      and coalesce(p.proconfig && array['search_path=pg_catalog', 'search_path=pg_catalog, pg_temp'], false))`;
