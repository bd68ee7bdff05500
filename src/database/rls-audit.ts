// Owns the search for ways around row-level security: what roles, grants, views and functions let through that the
// policies themselves do not. It reads the catalogue alone, which everybody may.

import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Tables } from './tables.ts';

/** The functions with the rights of their owner that the migrations make. */
const definers = [
  'find_api_key(bytea)',
  'find_tenant_of_key(text)',
  'find_tenant_of_number(text)',
  'list_tenants()',
  'use_api_key(bytea)',
];

/** Answers a sentence each, with what to do. */
export async function findRlsBypasses(kysely: Kysely<Tables>): Promise<readonly string[]> {
  const found = [roles, directory, truncates, views, functions];
  const { rows } = await sql<{ text: string }>`
    with recursive ${context}
    ${sql.join(found, sql` union all `)} order by text`.execute(kysely);
  return rows.map(({ text }) => text);
}

// We ourselves count among those that are looked at, unless we own the tables: then everything would be told, and the
// check of the role says it already. A view is made of what the views under it are made of.
const context: RawBuilder<unknown> = sql`
  relation as (
    select * from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
  ), ours as (
    select current_user::regrole::oid as oid
    where not exists (select from pg_roles where rolname = current_user and rolsuper)
      and not exists (select from relation where pg_has_role(relowner, 'usage'))
  ), taken as (
    select oid, rolname from pg_roles
    where rolname in ('gateway_tenant', 'gateway_login') or oid in (select oid from ours)
  ), made_of_tenants as (
    select oid from relation
    where has_any_column_privilege(to_regrole('gateway_tenant'), oid, 'select, insert, update')
    union
    select r.ev_class from made_of_tenants m
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = m.oid
      and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
  )`;

const roles = sql`
  select format('%1$I is free of row-level security; run: alter role %1$I nosuperuser nobypassrls',
    r.rolname) as text
  from pg_roles r
  where r.rolname in ('gateway_tenant', 'gateway_login') and (r.rolsuper or r.rolbypassrls)`;

const directory = sql`
  select format('%1$I may do what gateway_directory may, across tenants; run: revoke gateway_directory from %1$I, or from the role between them',
    current_user)
  from ours where pg_has_role(oid, to_regrole('gateway_directory'), 'member')`;

const truncates = sql`
  select format('%s may empty %I; run: revoke truncate on %2$I from …',
    string_agg(distinct quote_ident(taken.rolname), ' and '), c.relname)
  from relation c cross join taken where has_table_privilege(taken.oid, c.oid, 'truncate')
  group by c.oid, c.relname`;

// A foreign table depends on nothing that the catalogue could tell, so each one is told.
const views = sql`
  select format('%s shows what it is made of with the rights of its owner; run: alter view %1$s set (security_invoker = true), or revoke all on %1$s from …',
    c.oid::regclass)
  from pg_class c
  where (c.relkind in ('v', 'm') and c.oid in (select oid from made_of_tenants)
      or c.relkind = 'f' and c.relnamespace = current_schema()::regnamespace)
    and exists (select from taken where has_any_column_privilege(taken.oid, c.oid, 'select')
      and has_schema_privilege(taken.oid, c.relnamespace, 'usage'))
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
