import { type Kysely, sql } from 'kysely';

// Like find_api_key, and stores the time of the use. It does not wait for a transaction that changes the key, and its
// commit does not wait for the disk: after a crash the next use stores the time again.
const useApiKey = `
  create function use_api_key(key_hash bytea)
  returns table (tenant_id text, id text, number_id text)
  language plpgsql volatile security definer set search_path = pg_catalog as $$
  #variable_conflict use_column
  begin
    return query select f.tenant_id, f.id, f.number_id from public.find_api_key(key_hash) f;
    if not found or current_setting('transaction_read_only') = 'on' then
      return;
    end if;
    perform set_config('synchronous_commit', 'off', true);
    update public.api_key k set last_used_at = clock_timestamp()
    from (
      select u.tenant_id, u.id from public.api_key u
      where u.hash = key_hash
        and (u.last_used_at is null or u.last_used_at <= clock_timestamp() - interval '1 minute')
      for no key update skip locked
    ) due
    where k.tenant_id = due.tenant_id and k.id = due.id;
  end $$`;

const statements = [
  'alter table api_key add column last_used_at timestamptz(3)',
  'grant select (last_used_at) on api_key to gateway_tenant',
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (last_used_at), update (last_used_at) on api_key to gateway_directory',
  'create policy directory_use on api_key for update to gateway_directory using (true) with check (true)',
  useApiKey,
  'grant create on schema public to gateway_directory',
  'alter function use_api_key(bytea) owner to gateway_directory',
  'revoke execute on function use_api_key(bytea) from public',
  'grant execute on function use_api_key(bytea) to gateway_login',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
