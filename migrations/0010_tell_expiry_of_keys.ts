import { type Kysely, sql } from 'kysely';

// Returns the remaining time of a key too, so that a cache of keys does not compare the clocks of two machines.
const result = `table (tenant_id text, id text, number_id text, expires_in_ms float8)`;

const findApiKey = `
  create function find_api_key(key_hash bytea) returns ${result}
  language sql stable security definer set search_path = pg_catalog as $$
    select k.tenant_id, k.id, k.number_id,
      extract(epoch from k.expires_at - clock_timestamp())::float8 * 1000
    from public.api_key k
    where k.hash = key_hash and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > clock_timestamp())
  $$`;

const useApiKey = `
  create function use_api_key(key_hash bytea) returns ${result}
  language plpgsql volatile security definer set search_path = pg_catalog as $$
  #variable_conflict use_column
  begin
    return query select f.tenant_id, f.id, f.number_id, f.expires_in_ms
      from public.find_api_key(key_hash) f;
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

const signatures = ['find_api_key(bytea)', 'use_api_key(bytea)'];

const statements = [
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  ...signatures.map((signature) => `drop function ${signature}`),
  findApiKey,
  useApiKey,
  'grant create on schema public to gateway_directory',
  ...signatures.flatMap((signature) => [
    `alter function ${signature} owner to gateway_directory`,
    `revoke execute on function ${signature} from public`,
    `grant execute on function ${signature} to gateway_login`,
  ]),
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
