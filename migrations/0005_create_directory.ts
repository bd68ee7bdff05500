import { type Kysely, sql } from 'kysely';

// The functions that are called before a tenant is known. Their owner may read only the columns that they need.
const functions = [
  `create function find_api_key(key_hash bytea)
   returns table (tenant_id text, id text, number_id text)
   language sql stable security definer set search_path = pg_catalog as $$
     select k.tenant_id, k.id, k.number_id from public.api_key k
     where k.hash = key_hash and k.revoked_at is null
       and (k.expires_at is null or k.expires_at > clock_timestamp())
   $$`,
  `create function find_tenant_of_key(key_id text) returns text
   language sql stable security definer set search_path = pg_catalog as $$
     select k.tenant_id from public.api_key k where k.id = key_id
   $$`,
  `create function find_tenant_of_number(number_id text) returns text
   language sql stable security definer set search_path = pg_catalog as $$
     select n.tenant_id from public.whatsapp_number n where n.id = number_id
   $$`,
  `create function list_tenants() returns table (id text, name text, created_at timestamptz)
   language sql stable security definer set search_path = pg_catalog as $$
     select t.id, t.name, t.created_at from public.tenant t order by t.created_at, t.id
   $$`,
];

const signatures = [
  'find_api_key(bytea)',
  'find_tenant_of_key(text)',
  'find_tenant_of_number(text)',
  'list_tenants()',
];

export async function up(db: Kysely<object>): Promise<void> {
  const statements = [
    // Revoked at the end of this migration: a member of the role would see all tenants through its policies.
    'grant gateway_directory to current_user',
    'grant select (tenant_id, id, number_id, hash, revoked_at, expires_at) on api_key to gateway_directory',
    'grant select (tenant_id, id) on whatsapp_number to gateway_directory',
    'grant select on tenant to gateway_directory',
    ...['api_key', 'whatsapp_number', 'tenant'].map(
      (table) => `create policy directory on ${table} for select to gateway_directory using (true)`,
    ),
    ...functions,
    // The new owner of a function needs the right to create in its schema while the owner is changed.
    'grant create on schema public to gateway_directory',
    ...signatures.flatMap((signature) => [
      `alter function ${signature} owner to gateway_directory`,
      `revoke execute on function ${signature} from public`,
      `grant execute on function ${signature} to gateway_login`,
    ]),
    'revoke create on schema public from gateway_directory',
    'revoke gateway_directory from current_user',
    // A gateway checks at its start whether migrations are pending.
    'grant select on kysely_migration to gateway_login',
  ];
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
