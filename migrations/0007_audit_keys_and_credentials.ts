import { type Kysely, sql } from 'kysely';

// Triggers write the audit trail in the transaction of the change, so every change of a key or a credential has an
// entry, whichever program makes it. They run as the role that makes the change.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

// The position orders entries with the same time.
const table = [
  `create table audit (
     tenant_id text not null references tenant,
     id text not null unique default 'aud_' || replace(gen_random_uuid()::text, '-', ''),
     position bigint not null generated always as identity,
     at timestamptz(3) not null default clock_timestamp(),
     actor text not null default 'operator',
     action text not null check (action <> ''),
     subject text not null check (subject <> ''),
     details jsonb not null default '{}',
     primary key (tenant_id, id)
   )`,
  'create index audit_listing on audit (tenant_id, position)',
  'alter table audit enable row level security',
  'alter table audit force row level security',
  `create policy tenant_isolation on audit using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  'grant select on audit to gateway_tenant',
  // The database sets the actor and the time.
  'grant insert (tenant_id, action, subject, details) on audit to gateway_tenant',
];

const keyTrail = `
  create function audit_key() returns trigger language plpgsql set search_path = pg_catalog as $$
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
        'expiresAt', to_char(k.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
    end if;
    return null;
  end $$`;

// The last part of a sealed value is the encrypted content. If it is unchanged, only its data key was encrypted again.
const credentialTrail = `
  create function audit_credential() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    c public.number_credential := case when tg_op = 'DELETE' then old else new end;
    done text := case
      when tg_op = 'INSERT' then 'credentials.stored'
      when tg_op = 'DELETE' then 'credentials.deleted'
      when new.sealed = old.sealed then null
      when split_part(new.sealed, '.', 4) = split_part(old.sealed, '.', 4) then 'credentials.rewrapped'
      else 'credentials.replaced'
    end;
  begin
    if done is not null then
      insert into public.audit (tenant_id, action, subject, details)
      values (c.tenant_id, done, c.number_id, jsonb_strip_nulls(jsonb_build_object(
        'encryptionKey', split_part(c.sealed, '.', 2),
        'formerEncryptionKey', case when tg_op = 'UPDATE' then split_part(old.sealed, '.', 2) end)));
    end if;
    return null;
  end $$`;

const triggers = [
  'revoke execute on function audit_key() from public',
  'revoke execute on function audit_credential() from public',
  // Without last_used_at: using a key does not change it.
  `create trigger audit_key after insert or delete or update of name, number_id, hash, expires_at, revoked_at, rotated_at
   on api_key for each row execute function audit_key()`,
  `create trigger audit_credential after insert or delete or update on number_credential
   for each row execute function audit_credential()`,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of [...table, keyTrail, credentialTrail, ...triggers]) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
