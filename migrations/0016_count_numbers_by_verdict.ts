import { type Kysely, sql } from 'kysely';

// Leases of work that one process does for all. Unlogged: after a crash of the server every lease is free.
const processLease = [
  `create unlogged table process_lease (
     name text primary key,
     holder text not null,
     expires_at timestamptz(3) not null
   )`,
  'grant select, insert, update, delete on process_lease to gateway_login',
];

// Returns nothing but counts. The order of the conditions is that of the rules in src/numbers/sendable.ts. A number whose
// last reading lacks the evidence counts with the verdict before it.
const countNumbersByVerdict = `
  create function count_numbers_by_verdict(
    tenant_ids text[], stale_after_seconds integer, connections_are_read boolean)
  returns table (verdict text, numbers bigint)
  language sql stable security definer
  set search_path = pg_catalog set plan_cache_mode = force_generic_plan as $$
    select v.verdict, count(*) from (
      select case
        when n.state <> 'OPEN' or b.failure ->> 'metaCode' in ('33', '368', '131031') then 'NO'
        when n.provider <> 'META' and not connections_are_read then 'YES'
        when coalesce(case n.provider when 'META' then b.observed_at else n.state_observed_at end, '-infinity')
          <= statement_timestamp() - (stale_after_seconds + 1) * interval '1 second' then 'UNKNOWN'
        when b.verdict = 'NO' then 'NO'
        when b.failure ->> 'code' = 'META_ACCESS_DENIED'
          and b.failure ->> 'metaCode' is distinct from '130497' then 'UNKNOWN'
        when n.provider <> 'META' then 'YES'
        else coalesce(b.verdict, 'UNKNOWN')
      end
      from public.whatsapp_number n
      left join public.number_snapshot b on b.tenant_id = n.tenant_id and b.number_id = n.id
        and b.block = case n.provider when 'META' then 'phone' else 'connection' end
        and (n.provider = 'META' or connections_are_read) and b.tenant_id = any(tenant_ids)
      where n.tenant_id = any(tenant_ids)
    ) v(verdict) group by v.verdict
  $$`;

const signature = 'count_numbers_by_verdict(text[], integer, boolean)';

const statements = [
  ...processLease,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (provider, state, state_observed_at) on whatsapp_number to gateway_directory',
  'grant select (tenant_id, number_id, block, verdict, observed_at, failure) on number_snapshot to gateway_directory',
  'create policy directory on number_snapshot for select to gateway_directory using (true)',
  countNumbersByVerdict,
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
