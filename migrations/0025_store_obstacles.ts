import { type Kysely, sql } from 'kysely';

// Why the newest attempt to read a block could not be made, for example because no access token is stored. It stands next
// to the last attempt, which stays as it is; a row of a block that nobody has ever tried to read has '-infinity' as the time
// of the attempt, which releases before this one take for none. An obstacle counts while `obstacle_at` is not before
// `attempted_at`: the previous release makes attempts and leaves the obstacle where it is.
const columns =
  'alter table number_snapshot add column obstacle jsonb, add column obstacle_at timestamptz(3)';

// With other credentials the obstacles are gone, whichever program stores them. Version 0 makes src/numbers/status-upkeep.ts
// derive the status again. A new key around the same text ('rewrapped', see 0007) changes nothing.
const forgetObstacles = `
  create function forget_obstacles() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    ids text[];
  begin
    if tg_table_name = 'credential' then
      ids := array(select n.id from public.whatsapp_number n
        where n.tenant_id = new.tenant_id and n.credential_id = new.id);
    elsif tg_table_name = 'number_credential' then
      ids := array[new.number_id];
    else
      ids := array[new.id];
    end if;
    delete from public.number_snapshot s
    where s.tenant_id = new.tenant_id and s.number_id = any(ids) and s.attempted_at = '-infinity';
    update public.number_snapshot s set obstacle = null, obstacle_at = null
    where s.tenant_id = new.tenant_id and s.number_id = any(ids) and s.obstacle is not null;
    -- The gateway writes the status of a number itself whose credentials it stores, and not those of all that share them.
    if tg_table_name = 'credential' or current_setting('app.derives_status', true) is distinct from 'on' then
      update public.number_status s set rules_version = 0
      where s.tenant_id = new.tenant_id and s.number_id = any(ids) and (s.failing or s.account_failing);
    end if;
    return null;
  end $$`;

const isOther = `split_part(new.sealed, '.', 4) is distinct from split_part(old.sealed, '.', 4)`;

const triggers = [
  'revoke execute on function forget_obstacles() from public',
  `create trigger forget_obstacles_insert after insert on number_credential
   for each row execute function forget_obstacles()`,
  ...['number_credential', 'credential'].map(
    (table) => `create trigger forget_obstacles after update of sealed on ${table}
     for each row when (${isOther}) execute function forget_obstacles()`,
  ),
  `create trigger forget_obstacles after update of credential_id on whatsapp_number
   for each row when (new.credential_id is distinct from old.credential_id) execute function forget_obstacles()`,
];

// As in 0023, also when an obstacle comes or goes.
const history = [
  'drop trigger add_update_to_history on number_snapshot',
  `create trigger add_update_to_history after update on number_snapshot for each row
   when (old.data is distinct from new.data or (old.failure is null) <> (new.failure is null)
     or old.obstacle is not null or new.obstacle is not null)
   execute function add_read_to_history()`,
];

// As in 0017, but an obstacle counts as the failure of the newest attempt does, and 130497 as any other refusal.
const countNumbersByVerdicts = `
  create or replace function count_numbers_by_verdicts(
    tenant_ids text[], stale_after_seconds integer, connections_are_read boolean, current_rules_version integer)
  returns table (verdict text, reply_verdict text, numbers bigint)
  language sql stable security definer
  set search_path = pg_catalog set plan_cache_mode = force_generic_plan as $$
    with number as (
      select
        n.state <> 'OPEN' and (n.provider = 'META' or not connections_are_read or o.state_observed_at is not null)
          or b.failure ->> 'metaCode' in ('33', '368', '131031') and b.failure ->> 'code' <> 'META_RATE_LIMITED'
          as is_blocked,
        (n.provider = 'META' or connections_are_read)
          and coalesce(case n.provider when 'META' then b.observed_at else o.state_observed_at end, '-infinity')
            <= statement_timestamp() - (stale_after_seconds + 1) * interval '1 second' as is_stale,
        b.failure ->> 'code' in ('META_ACCESS_DENIED', 'ENGINE_ACCESS_DENIED', 'ENGINE_INVALID_RESPONSE')
          or b.obstacle_at >= b.attempted_at and b.obstacle ->> 'code' = 'META_ACCESS_DENIED' as is_refused,
        case when n.provider <> 'META' then 'YES'
          when b.rules_version = current_rules_version and b.judged_at = b.observed_at then b.data_verdict
          else coalesce(b.verdict, 'UNKNOWN') end as data_verdict,
        case when n.provider <> 'META' then 'YES'
          when b.rules_version = current_rules_version and b.judged_at = b.observed_at then b.data_reply_verdict
          when b.verdict = 'YES' then 'YES' else 'UNKNOWN' end as data_reply_verdict
      from public.whatsapp_number n
      left join public.number_snapshot b on b.tenant_id = n.tenant_id and b.number_id = n.id
        and b.block = case n.provider when 'META' then 'phone' else 'connection' end
        and (n.provider = 'META' or connections_are_read) and b.tenant_id = any(tenant_ids)
      cross join lateral (
        select case when n.state_observed_at > n.created_at or b.observed_at is not null
          then n.state_observed_at end as state_observed_at
      ) o
      where n.tenant_id = any(tenant_ids)
    )
    select v.verdict, v.reply_verdict, count(*) from (
      select
        case when is_blocked then 'NO' when is_stale then 'UNKNOWN' when data_verdict = 'NO' then 'NO'
          when is_refused then 'UNKNOWN' else data_verdict end,
        case when is_blocked then 'NO' when is_stale then 'UNKNOWN' when data_reply_verdict = 'NO' then 'NO'
          when is_refused then 'UNKNOWN' else data_reply_verdict end
      from number
    ) v(verdict, reply_verdict) group by v.verdict, v.reply_verdict
  $$`;

const statements = [
  columns,
  forgetObstacles,
  ...triggers,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  // Its function belongs to gateway_directory.
  ...history,
  'grant select (attempted_at, obstacle, obstacle_at) on number_snapshot to gateway_directory',
  'grant create on schema public to gateway_directory',
  countNumbersByVerdicts,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
