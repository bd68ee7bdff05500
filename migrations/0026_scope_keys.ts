import { type Kysely, sql } from 'kysely';

// A key has scopes: `read` or `webhooks`, or both. Those that exist read.
//
// The previous release knows no scopes and looks keys up with find_api_key and use_api_key, so these find keys that read and
// no others. A key that its command line rotates becomes one that reads.
const columns = [
  `alter table api_key
     add column scopes text[] not null default '{read}',
     add constraint api_key_scopes check (cardinality(scopes) > 0 and scopes <@ array['read', 'webhooks']),
     -- Webhooks are about accounts.
     add constraint api_key_of_number check (number_id is null or scopes = array['read'])`,
  'grant select (scopes) on api_key to gateway_tenant',
];

const keyTrail = `
  create or replace function audit_key() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    k public.api_key := case when tg_op = 'DELETE' then old else new end;
    done text := case
      when tg_op = 'INSERT' then 'key.created'
      when tg_op = 'DELETE' then 'key.deleted'
      when new.revoked_at is distinct from old.revoked_at then 'key.revoked'
      when new.rotated_at is distinct from old.rotated_at then 'key.rotated'
      when new.expires_at is distinct from old.expires_at then 'key.expiry-changed'
    end;
  begin
    if done is not null then
      insert into public.audit (tenant_id, action, subject, details)
      values (k.tenant_id, done, k.id, jsonb_build_object(
        'name', k.name, 'keyPrefix', k.key_prefix, 'keyLast4', k.key_last4, 'numberId', k.number_id,
        'scopes', k.scopes,
        'expiresAt', to_char(k.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
    end if;
    return null;
  end $$`;

const findApiKey = `
  create or replace function find_api_key(key_hash bytea)
  returns table (tenant_id text, id text, number_id text, expires_in_ms float8)
  language sql stable security definer set search_path = pg_catalog as $$
    select k.tenant_id, k.id, k.number_id,
      extract(epoch from k.expires_at - clock_timestamp())::float8 * 1000
    from public.api_key k
    where k.hash = key_hash and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > clock_timestamp())
      and 'read' = any(k.scopes)
  $$`;

/** The scopes are separated by spaces. */
const result = 'table (tenant_id text, id text, number_id text, scopes text, expires_in_ms float8)';

const findScopedKey = `
  create function find_scoped_key(key_hash bytea) returns ${result}
  language sql stable security definer set search_path = pg_catalog as $$
    select k.tenant_id, k.id, k.number_id, array_to_string(k.scopes, ' '),
      extract(epoch from k.expires_at - clock_timestamp())::float8 * 1000
    from public.api_key k
    where k.hash = key_hash and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > clock_timestamp())
  $$`;

// As use_api_key in 0010.
const useScopedKey = `
  create function use_scoped_key(key_hash bytea) returns ${result}
  language plpgsql volatile security definer set search_path = pg_catalog as $$
  #variable_conflict use_column
  begin
    return query select f.tenant_id, f.id, f.number_id, f.scopes, f.expires_in_ms
      from public.find_scoped_key(key_hash) f;
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

const signatures = ['find_scoped_key(bytea)', 'use_scoped_key(bytea)'];

const statements = [
  ...columns,
  keyTrail,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (scopes) on api_key to gateway_directory',
  findApiKey,
  findScopedKey,
  useScopedKey,
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
