import { type Kysely, sql } from 'kysely';

// An account whose token was refused is tried again after hours. With another token, whichever program stores it, the
// account is read at once. `requested_at` keeps the reads due that are in flight with the token before; see src/sync/store.ts.
// A new key around the same text ('rewrapped', see 0007) changes nothing.
const readAgain = `
  create function read_with_new_token() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    accounts text[];
  begin
    if tg_table_name = 'credential' then
      accounts := array(select distinct n.waba_id from public.whatsapp_number n
        where n.tenant_id = new.tenant_id and n.credential_id = new.id and n.provider = 'META');
    elsif tg_table_name = 'number_credential' then
      accounts := array(select n.waba_id from public.whatsapp_number n
        where n.tenant_id = new.tenant_id and n.id = new.number_id and n.provider = 'META');
    else
      accounts := array[new.waba_id];
    end if;
    -- In the order of the key, and subjects before their plans, so that two transactions cannot deadlock.
    perform from public.sync_subject s where s.tenant_id = new.tenant_id and s.subject_id = any(accounts)
      order by s.subject_id for no key update;
    update public.sync_plan p set due_at = clock_timestamp(),
      requested_at = greatest(clock_timestamp(), greatest(p.started_at, p.requested_at) + interval '1 millisecond')
    from public.sync_subject s
    where p.tenant_id = new.tenant_id and p.subject_id = any(accounts) and p.kind <> 'REQUEST'
      and s.tenant_id = new.tenant_id and s.subject_id = p.subject_id
      and (p.kind in ('SWEEP', 'HEALTH') or s.pause = 'TOKEN' or p.last_error = 'META_ACCESS_DENIED');
    update public.sync_subject s set pause = null, paused_until = null
    where s.tenant_id = new.tenant_id and s.subject_id = any(accounts) and s.pause = 'TOKEN';
    return null;
  end $$`;

const isOther = `split_part(new.sealed, '.', 4) is distinct from split_part(old.sealed, '.', 4)`;

const triggers = [
  `create trigger read_with_new_token_insert after insert on number_credential
   for each row execute function read_with_new_token()`,
  ...['number_credential', 'credential'].map(
    (table) => `create trigger read_with_new_token after update of sealed on ${table}
     for each row when (${isOther}) execute function read_with_new_token()`,
  ),
  `create trigger read_with_new_token after update of credential_id on whatsapp_number for each row
   when (new.credential_id is distinct from old.credential_id and new.credential_id is not null and new.waba_id is not null)
   execute function read_with_new_token()`,
];

// For the metrics, of all tenants: how long the most overdue read has been due, and how old the oldest good reading of a
// number at Meta is. Numbers whose reads fail do not count.
const measure = `
  create function measure_sync() returns table (lag_seconds float8, oldest_seconds float8)
  language sql stable security definer set search_path = pg_catalog as $$
    select
      (select extract(epoch from greatest(statement_timestamp() - min(p.due_at), interval '0'))::float8
        from public.sync_plan p),
      (select extract(epoch from statement_timestamp() - min(n.observed_at))::float8
        from public.number_status n
        where n.provider = 'META' and isfinite(n.observed_at) and not n.failing)
  $$`;

const statements = [
  readAgain,
  'revoke execute on function read_with_new_token() from public',
  ...triggers,
  measure,
  'revoke execute on function measure_sync() from public',
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  'alter function measure_sync() owner to gateway_directory',
  'grant execute on function measure_sync() to gateway_login',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
