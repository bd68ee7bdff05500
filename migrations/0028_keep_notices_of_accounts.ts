import { type Kysely, sql } from 'kysely';

// What Meta announces of accounts to webhooks alone, one row for each account: the newest announcement of each subject, and
// which restrictions are in force. src/webhooks/store.ts writes the row in the transaction that stores the event.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const table = [
  // `open`: the restrictions that are in force, of which the history knows. `effect`: what they do together, see
  // src/numbers/restriction.ts. `next_end`: when the first of them ends. `ends_by_reads`: whether one has no expiry time,
  // and ends when the account's health was read as AVAILABLE from `available_from` to `available_to`.
  `create table account_notice (
     tenant_id text not null references tenant on delete cascade,
     waba_id text not null,
     notices jsonb not null default '{}',
     open jsonb not null default '[]',
     effect text check (effect in ('INFORMS', 'START', 'REPLIES', 'BOTH')),
     next_end timestamptz(3),
     ends_by_reads boolean not null default false,
     available_from timestamptz(3),
     available_to timestamptz(3),
     primary key (tenant_id, waba_id)
   )`,
  'create index account_notice_by_end on account_notice (tenant_id, next_end) where next_end is not null',
  'alter table account_notice enable row level security',
  'alter table account_notice force row level security',
  `create policy tenant_isolation on account_notice using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  'grant select, insert, update, delete on account_notice to gateway_tenant',
];

// The release before this one stores events and nothing else, so the gateway looks for those that were not applied.
const events = [
  'alter table meta_event add column applied boolean not null default false',
  `create index meta_event_to_apply on meta_event (tenant_id, received_at)
     where not applied and field in ('account_update', 'business_capability_update')`,
  'grant update (applied) on meta_event to gateway_tenant',
];

const rank = `case
    when blocked or meta_status = 'BANNED' then 0
    when state <> 'OPEN' or restriction = 'BOTH'
      or (verdict = 'NO' and (meta_status is distinct from 'RESTRICTED' or reply_verdict = 'NO')) then 1
    when meta_status = 'RESTRICTED' or restriction is not null then 2
    when quality_rating = 'RED' then 3
    when failing or account_failing then 4
    when meta_status = 'FLAGGED' or quality_rating = 'YELLOW' then 5
    else 6 end`;

// The part for the restriction comes last, because the previous release reads the others by their place.
const words = `provider || '|' || state || '|' || coalesce(quality_rating, '') || '|' || coalesce(meta_status, '') || '|' ||
    coalesce(messaging_limit_tier, '') || '|' || coalesce(verdict, '') || '|' || coalesce(reply_verdict, '') || '|' ||
    case when blocked then 'blocked' else '' end || '|' || case when failing then 'failing' else '' end || '|' ||
    case when account_failing then 'failing' else '' end || '|' || case when isfinite(observed_at) then 'observed' else '' end
    || '|' || coalesce(restriction, '')`;

// As in 0021, with the effect of the account's restrictions.
const status = [
  `alter table number_status add column restriction text, drop column rank, drop column words`,
  `alter table number_status
     add column rank smallint not null generated always as (${rank}) stored,
     add column words text collate "C" not null generated always as (${words}) stored`,
  `create index number_status_by_attention on number_status (tenant_id, rank, observed_at, number_id)
     include (provider, state, quality_rating, meta_status, messaging_limit_tier, blocked, verdict, reply_verdict,
       failing, account_failing, waba_id, portfolio_id, restriction)`,
  'create index number_status_by_words on number_status (tenant_id, words, waba_id, portfolio_id, observed_at)',
];

// As in 0023, and src/numbers/status-queries.ts.
const verdictOf = (row: 'old' | 'new', column: 'verdict' | 'reply_verdict') => `
  (case
    when ${row}.provider <> 'META' and not isfinite(${row}.observed_at)
      then case when ${row}.blocked then 'NO' else 'UNKNOWN' end
    when ${row}.blocked or ${row}.state <> 'OPEN'
      or ${row}.restriction in ('BOTH', '${column === 'verdict' ? 'START' : 'REPLIES'}') then 'NO'
    when ${row}.stale_since is not null then 'UNKNOWN'
    else coalesce(${row}.${column}, 'UNKNOWN') end)`;

const lifetime = `interval '3601 seconds'`;

const hasGap = `(old.stale_since is not null and new.stale_since is null
  or new.provider = 'META' and isfinite(old.observed_at) and new.observed_at > old.observed_at + ${lifetime})`;

const recorder = 'language plpgsql security definer set search_path = pg_catalog as';

const insertInto = `insert into public.number_change
  (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)`;

const origin = (subject: string) => `md5(pg_current_xact_id()::text || '/' || ${subject})::uuid`;
const source = `coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
  nullif(current_setting('app.change_actor', true), '')`;

const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const addStatusToHistory = `
  create or replace function add_status_to_history() returns trigger ${recorder} $$
  declare
    previous text[] := '{null,null}';
    occurred timestamptz := case when isfinite(new.observed_at) then new.observed_at else clock_timestamp() end;
  begin
    if tg_op = 'UPDATE' then
      previous := array[${verdictOf('old', 'verdict')}, ${verdictOf('old', 'reply_verdict')}];
      if new.stale_since is distinct from old.stale_since and new.stale_since is not null then
        occurred := new.stale_since;
      elsif new.observed_at is not distinct from old.observed_at then
        occurred := clock_timestamp();
      end if;
      if ${hasGap} then
        ${insertInto}
        values (new.tenant_id, new.number_id, null, ${origin('new.number_id')}, 'GAP', null,
          ${iso(`coalesce(old.stale_since, old.observed_at + ${lifetime})`)}, ${iso('new.observed_at')}, ${source}, occurred);
      end if;
    end if;
    ${insertInto}
    select new.tenant_id, new.number_id, null, ${origin('new.number_id')}, 'VERDICT', f.field, f.previous, f.value, ${source}, occurred
    from (values ('VERDICT', previous[1], ${verdictOf('new', 'verdict')}),
      ('REPLY_VERDICT', previous[2], ${verdictOf('new', 'reply_verdict')})) f(field, previous, value)
    where f.previous is distinct from f.value and (tg_op = 'UPDATE' or f.value <> 'UNKNOWN');
    return null;
  end $$`;

const changedVerdict = (['verdict', 'reply_verdict'] as const)
  .map((column) => `${verdictOf('old', column)} <> ${verdictOf('new', column)}`)
  .join(' or ');

const reportedAt = (row: 'old' | 'new') =>
  `(${row}.notices #>> '{restrictions,reportedAt}')::timestamptz`;

// A restriction of an account opens, gets another end, or ends: at Meta's time of the list that says so, at its expiry, or
// with the last of the reads that show its end.
const addRestrictionsToHistory = `
  create function add_restrictions_to_history() returns trigger ${recorder} $$
  begin
    ${insertInto}
    select new.tenant_id, null, new.waba_id, ${origin('new.waba_id')}, 'RESTRICTION', null,
      case when o.type is not null then jsonb_build_object('type', o.type, 'expiresAt', o."expiresAt")::text end,
      case when n.type is not null then jsonb_build_object('type', n.type, 'expiresAt', n."expiresAt")::text end,
      ${source},
      case when ${reportedAt('new')} is distinct from ${reportedAt('old')} then ${reportedAt('new')}
        when n.type is null then coalesce(o."expiresAt"::timestamptz, new.available_to, clock_timestamp())
        else clock_timestamp() end
    from jsonb_to_recordset(old.open) o(type text, "expiresAt" text)
      full join jsonb_to_recordset(new.open) n(type text, "expiresAt" text) using (type)
    where o is distinct from n
    order by coalesce(o.type, n.type);
    return null;
  end $$`;

const history = [
  addStatusToHistory,
  addRestrictionsToHistory,
  'drop trigger add_update_to_history on number_status',
  `create trigger add_update_to_history after update on number_status for each row when (${changedVerdict} or ${hasGap})
   execute function add_status_to_history()`,
  `create trigger add_to_history after update on account_notice for each row when (old.open is distinct from new.open)
   execute function add_restrictions_to_history()`,
];

// As in 0009: responses are built from this table too.
const changes = {
  insert: 'referencing new table as new_rows',
  update: 'referencing old table as old_rows new table as new_rows',
  delete: 'referencing old table as old_rows',
  truncate: '',
};

const announcers = Object.entries(changes).flatMap(([event, rows]) => [
  `create trigger announce_${event} after ${event} on account_notice ${rows}
   for each statement execute function announce_change()`,
  `alter table account_notice enable always trigger announce_${event}`,
]);

// As in 0025, and the restrictions of an account count for its numbers.
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

// Returns ids of tenants and nothing else.
const findTenants = `
  create function find_tenants_with_due_notices(due_at timestamptz) returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    select t.id from public.tenant t
    where exists (
      select from public.account_notice a where a.tenant_id = t.id and a.next_end <= due_at
    ) or exists (
      select from public.meta_event e
      where e.tenant_id = t.id and not e.applied and e.field in ('account_update', 'business_capability_update')
    )
  $$`;

const finder = 'find_tenants_with_due_notices(timestamptz)';

const statements = [
  ...table,
  ...events,
  ...status,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select on account_notice to gateway_directory',
  'create policy directory on account_notice for select to gateway_directory using (true)',
  'grant create on schema public to gateway_directory',
  ...history,
  'revoke execute on function add_restrictions_to_history() from public',
  countNumbersByVerdicts,
  findTenants,
  'alter function add_restrictions_to_history() owner to gateway_directory',
  `alter function ${finder} owner to gateway_directory`,
  `revoke execute on function ${finder} from public`,
  `grant execute on function ${finder} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
  ...announcers,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
