import { type Kysely, sql } from 'kysely';

// One incident per cause: an incident covers less specific rules that the same cause sets off, and accounts and numbers of a
// session engine are grouped too. The previous release shows the new scope as one that it does not know.
const columns = [
  'alter table incident drop constraint incident_scope_check',
  `alter table incident add constraint incident_scope_check
     check (scope in ('NUMBER', 'ACCOUNT', 'PORTFOLIO', 'TOKEN', 'ENGINE'))`,
  // Names of rules, see `coveredBy` in src/alerts/rules.ts.
  `alter table incident add column covers text[] not null default '{}'`,
  'grant update (covers) on incident to gateway_tenant',
  // The id of the incident that covers it, or did. While one does, it is due at the end of time.
  'alter table alert_condition add column covered_by text',
];

// As in 0037, but each account of an incident about several accounts is known.
const find = `
  create or replace function find_tenants_to_evaluate(at timestamptz, expiring_ms float8, late_ms float8)
  returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    with observed as (
      select c.tenant_id, c.rule, c.subject from public.alert_causes(at, expiring_ms, late_ms) c
    ), known as (
      select i.tenant_id, i.rule, m.member as subject from public.incident i
      join public.incident_member m on m.tenant_id = i.tenant_id and m.incident_id = i.id
        and (m.member = i.subject or i.rule = 'SYNC_LATE')
      where i.closed_at is null and m.left_at is null and i.scope <> 'NUMBER'
        and i.rule in ('TOKEN_EXPIRING', 'ACCOUNT_BANNED', 'SYNC_LATE')
      union
      select c.tenant_id, c.rule, c.subject from public.alert_condition c
      where c.member = c.subject and c.scope <> 'NUMBER' and c.rule in ('TOKEN_EXPIRING', 'ACCOUNT_BANNED', 'SYNC_LATE')
    )
    select f.tenant_id from public.feed_position f
    left join public.alert_position p on p.tenant_id = f.tenant_id
    where f.last > coalesce(p.sequence, 0)
      or exists (select from public.alert_condition c where c.tenant_id = f.tenant_id and c.due_at <= at)
      or f.tenant_id in (
        (select o.tenant_id from (select * from observed except select * from known) o)
        union all
        (select k.tenant_id from (select * from known except select * from observed) k)
      )
      or f.tenant_id in (
        select i.tenant_id from public.incident i
        join public.incident_member m on m.tenant_id = i.tenant_id and m.incident_id = i.id and m.left_at is null
        left join public.whatsapp_number n on n.tenant_id = i.tenant_id and n.id = m.member
        where i.closed_at is null and not i.told and i.acknowledged_at is null
          and (n.muted_until is null or n.muted_until <= at)
      )
    order by f.tenant_id
  $$`;

const statements = [
  ...columns,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  find,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
