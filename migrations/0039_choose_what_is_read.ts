import { type Kysely, sql } from 'kysely';

// What a request to read numbers is about, and its place in the history.
const columns = [
  // Of a REQUEST: `profiles` names the numbers whose business profile is read, as `phones` does. `reads_account`: whether the
  // account itself is read; null, which the previous release leaves, if that follows from `phones`: all numbers and the account.
  `alter table sync_plan
     add column profiles text[] not null default '{}',
     add column reads_account boolean`,
];

// A mutation sets app.refresh_request before it makes reads due: its number if it is one alone, and what was asked for. It is
// one change, however many numbers and accounts are read. As those of 0023, which see for the rights of the function.
const recorder = `
  create function add_refresh_to_history() returns trigger
  language plpgsql security definer set search_path = pg_catalog as $$
  declare
    request jsonb := current_setting('app.refresh_request')::jsonb;
    tenant text := nullif(current_setting('app.tenant_id', true), '');
  begin
    if exists (select from public.tenant t where t.id = tenant) then
      insert into public.number_change
        (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
      values (tenant, request ->> 'numberId', null, null, 'REFRESH', null, null, request ->> 'value',
        coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
        nullif(current_setting('app.change_actor', true), ''), clock_timestamp());
      perform pg_notify('gateway_changes', json_build_object('tenant', tenant, 'keys', false)::text);
    end if;
    return null;
  end $$`;

const statements = [
  ...columns,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  recorder,
  'revoke execute on function add_refresh_to_history() from public',
  // An upsert fires it once, also when it updates.
  `create trigger add_refresh_to_history after insert on sync_plan for each statement
   when (coalesce(current_setting('app.refresh_request', true), '') <> '') execute function add_refresh_to_history()`,
  'alter function add_refresh_to_history() owner to gateway_directory',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
