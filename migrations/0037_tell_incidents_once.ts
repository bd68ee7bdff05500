import { type Kysely, sql } from 'kysely';

// Whether endpoints are told of an incident: not while all its numbers are muted. Its end is told exactly if it was told.
// The previous release tells of those that it opens.
const columns = [
  'alter table incident add column told boolean not null default true',
  'grant update (told) on incident to gateway_tenant',
  'create index incident_untold on incident (tenant_id) where closed_at is null and not told',
];

// As in 0036, and tenants where the mute of a number has ended of which nobody was told.
const find = `
  create or replace function find_tenants_to_evaluate(at timestamptz, expiring_ms float8, late_ms float8)
  returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    with observed as (
      select c.tenant_id, c.rule, c.subject from public.alert_causes(at, expiring_ms, late_ms) c
    ), known as (
      select i.tenant_id, i.rule, i.subject from public.incident i
      join public.incident_member m on m.tenant_id = i.tenant_id and m.incident_id = i.id and m.member = i.subject
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

const insertInto = `insert into public.number_change
  (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)`;
const source = `coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
  nullif(current_setting('app.change_actor', true), '')`;
const origin = (subject: string) => `md5(pg_current_xact_id()::text || '/' || ${subject})::uuid`;
const denied = 'META_ACCESS_DENIED';

// As in 0023, and also when reads that fail begin to fail because of the access token, or do not any more.
const recordReads = `
  create or replace function add_read_to_history() returns trigger 
  language plpgsql security definer set search_path = pg_catalog as $$
  declare
    is_of_account boolean := tg_table_name = 'waba_snapshot';
    number text := case when not is_of_account then to_jsonb(new) ->> 'number_id' end;
    account text := case when is_of_account then to_jsonb(new) ->> 'waba_id' end;
    block text := case when is_of_account then 'waba' else to_jsonb(new) ->> 'block' end;
    -- What READ_FAILING and ADDED name as their field.
    subject text := case block when 'waba' then 'ACCOUNT' else upper(block) end;
    observation uuid := ${origin('coalesce(number, account)')};
    former jsonb;
    former_failure jsonb;
    failure jsonb := public.failure_of_read(to_jsonb(new));
    attempted timestamptz := greatest(new.attempted_at, (to_jsonb(new) ->> 'obstacle_at')::timestamptz);
    fields jsonb;
  begin
    if tg_op = 'UPDATE' then
      former := old.data;
      former_failure := public.failure_of_read(to_jsonb(old));
      -- New credentials end a failure without an attempt.
      if failure is null and new.attempted_at = old.attempted_at then
        attempted := clock_timestamp();
      end if;
    end if;
    if former is null and new.data is not null then
      select jsonb_object_agg(f.field, f.value) into fields from public.fields_of_block(block, new.data) f;
      if fields is not null then
        ${insertInto}
        values (new.tenant_id, number, account, observation, 'ADDED', subject, null, fields::text, ${source},
          coalesce(new.observed_at, clock_timestamp()));
      end if;
    elsif former is distinct from new.data then
      ${insertInto}
      select new.tenant_id, number, account, observation, 'FIELD', field, f.value, g.value, ${source},
        coalesce(new.observed_at, clock_timestamp())
      from public.fields_of_block(block, former) f full join public.fields_of_block(block, new.data) g using (field)
      where f.value is distinct from g.value
      order by field;
    end if;
    -- The failures of accounts are stored by number, see 0015.
    if not is_of_account and ((former_failure is null) <> (failure is null)
      or (former_failure ->> 'code' = '${denied}') is distinct from (failure ->> 'code' = '${denied}'))
    then
      ${insertInto}
      values (new.tenant_id, number, null, observation,
        case when failure is null then 'READ_RECOVERED' else 'READ_FAILING' end,
        subject, former_failure ->> 'code', failure ->> 'code', ${source}, coalesce(attempted, clock_timestamp()));
    end if;
    return null;
  end $$`;

// As in 0025.
const readTriggers = [
  'drop trigger add_update_to_history on number_snapshot',
  `create trigger add_update_to_history after update on number_snapshot for each row
   when (old.data is distinct from new.data or (old.failure ->> 'code') is distinct from (new.failure ->> 'code')
     or old.obstacle is not null or new.obstacle is not null)
   execute function add_read_to_history()`,
];

const statements = [
  ...columns,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (told, acknowledged_at) on incident to gateway_directory',
  'grant select (id, muted_until) on whatsapp_number to gateway_directory',
  'grant create on schema public to gateway_directory',
  find,
  recordReads,
  ...readTriggers,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
