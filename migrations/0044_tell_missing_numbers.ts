import { type Kysely, sql } from 'kysely';

// A number that is missing at Meta has a code of its own, META_NUMBER_MISSING, which was META_ACCESS_DENIED before.

// As in 0028, and with that code.
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
        coalesce(a.effect in ('BOTH', 'START'), false) as is_restricted,
        coalesce(a.effect in ('BOTH', 'REPLIES'), false) as is_reply_restricted,
        (n.provider = 'META' or connections_are_read)
          and coalesce(case n.provider when 'META' then b.observed_at else o.state_observed_at end, '-infinity')
            <= statement_timestamp() - (stale_after_seconds + 1) * interval '1 second' as is_stale,
        b.failure ->> 'code' in
            ('META_ACCESS_DENIED', 'META_NUMBER_MISSING', 'ENGINE_ACCESS_DENIED', 'ENGINE_INVALID_RESPONSE')
          or b.obstacle_at >= b.attempted_at and b.obstacle ->> 'code' in ('META_ACCESS_DENIED', 'META_NUMBER_MISSING')
          as is_refused,
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
      left join public.account_notice a on a.tenant_id = n.tenant_id and a.waba_id = n.waba_id
        and n.provider = 'META' and a.effect is not null
      cross join lateral (
        select case when n.state_observed_at > n.created_at or b.observed_at is not null
          then n.state_observed_at end as state_observed_at
      ) o
      where n.tenant_id = any(tenant_ids)
    )
    select v.verdict, v.reply_verdict, count(*) from (
      select
        case when is_blocked or is_restricted then 'NO' when is_stale then 'UNKNOWN' when data_verdict = 'NO' then 'NO'
          when is_refused then 'UNKNOWN' else data_verdict end,
        case when is_blocked or is_reply_restricted then 'NO' when is_stale then 'UNKNOWN'
          when data_reply_verdict = 'NO' then 'NO' when is_refused then 'UNKNOWN' else data_reply_verdict end
      from number
    ) v(verdict, reply_verdict) group by v.verdict, v.reply_verdict
  $$`;

// As in 0038, and with that code.
const measure = `
  create or replace function measure_sync() returns table (lag_seconds float8, oldest_seconds float8)
  language sql stable security definer set search_path = pg_catalog as $$
    select
      (select extract(epoch from greatest(statement_timestamp() - min(p.due_at), interval '0'))::float8
        from public.sync_plan p),
      (select extract(epoch from statement_timestamp() - min(n.observed_at))::float8
        from public.number_status n
        where n.provider = 'META' and isfinite(n.observed_at) and (not n.failing or not exists (
          select from public.number_snapshot f
          where f.tenant_id = n.tenant_id and f.number_id = n.number_id and f.block = 'phone'
            and coalesce(case when f.obstacle_at >= f.attempted_at then f.obstacle end, f.failure) ->> 'code' in ('META_ACCESS_DENIED', 'META_NUMBER_MISSING')
        )))
  $$`;

const statements = [
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  countNumbersByVerdicts,
  measure,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
