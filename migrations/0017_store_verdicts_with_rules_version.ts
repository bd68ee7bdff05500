import { type Kysely, sql } from 'kysely';

// The two verdicts that the data of a block support by themselves, with the version of the rules that made them. They count
// only while `judged_at` is `observed_at`: the previous release replaces the data without judging them by these rules.
// `verdict` stays the last one that a read supported, which both releases write.
const columns = `
  alter table number_snapshot
    add column data_verdict text check (data_verdict in ('YES', 'NO', 'UNKNOWN')),
    add column data_reply_verdict text check (data_reply_verdict in ('YES', 'NO', 'UNKNOWN')),
    add column rules_version smallint,
    add column judged_at timestamptz(3)`;

// Returns nothing but counts. The order of the conditions is that of the rules in src/numbers/sendable.ts. Data that these
// rules have not judged count with the last verdict of the other ones, which is at most an hour old, or as UNKNOWN. The
// previous release still calls count_numbers_by_verdict.
const countNumbersByVerdicts = `
  create function count_numbers_by_verdicts(
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
          and b.failure ->> 'metaCode' is distinct from '130497' as is_refused,
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

const signature = 'count_numbers_by_verdicts(text[], integer, boolean, integer)';

const statements = [
  columns,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (created_at) on whatsapp_number to gateway_directory',
  `grant select (data_verdict, data_reply_verdict, rules_version, judged_at) on number_snapshot
     to gateway_directory`,
  countNumbersByVerdicts,
  'grant create on schema public to gateway_directory',
  `alter function ${signature} owner to gateway_directory`,
  `revoke execute on function ${signature} from public`,
  `grant execute on function ${signature} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
