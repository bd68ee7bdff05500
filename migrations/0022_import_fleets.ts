import { type Kysely, sql } from 'kysely';

const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  `grant select, insert, update, delete on ${table} to gateway_tenant`,
];

// One credential for many numbers. A number has either its own in number_credential or one of these. The previous release
// does not know them, and treats such a number as one without a token.
const credentials = [
  `create table credential (
     tenant_id text not null references tenant on delete cascade,
     id text not null unique default 'cred_' || replace(gen_random_uuid()::text, '-', ''),
     name text not null check (name <> ''),
     sealed text not null,
     app_id text check (app_id ~ '^[0-9]{5,20}$'),
     expires_at timestamptz(3),
     data_access_expires_at timestamptz(3),
     checked_at timestamptz(3),
     created_at timestamptz(3) not null default clock_timestamp(),
     updated_at timestamptz(3) not null default clock_timestamp(),
     primary key (tenant_id, id)
   )`,
  ...isolate('credential'),
  // Checked at the end of a transaction, so that the order in which a tenant's rows are deleted does not matter.
  `alter table whatsapp_number add column credential_id text,
     add foreign key (tenant_id, credential_id) references credential deferrable initially deferred`,
  'create index whatsapp_number_credential on whatsapp_number (tenant_id, credential_id)',
  // As audit_credential of 0007. Meta's dates of expiry change without a new token, which is no change of the credentials.
  `create function audit_shared_credential() returns trigger language plpgsql set search_path = pg_catalog as $$
   declare
     c public.credential := case when tg_op = 'DELETE' then old else new end;
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
       values (c.tenant_id, done, c.id, jsonb_strip_nulls(jsonb_build_object('name', c.name,
         'encryptionKey', split_part(c.sealed, '.', 2),
         'formerEncryptionKey', case when tg_op = 'UPDATE' then split_part(old.sealed, '.', 2) end)));
     end if;
     return null;
   end $$`,
  'revoke execute on function audit_shared_credential() from public',
  `create trigger audit_shared_credential after insert or delete or update on credential
   for each row execute function audit_shared_credential()`,
  // Responses tell when a token expires; see 0009.
  ...['insert', 'update', 'delete', 'truncate'].flatMap((event) => [
    `create trigger announce_${event} after ${event} on credential ${transitions(event)}
     for each statement execute function announce_change()`,
    `alter table credential enable always trigger announce_${event}`,
  ]),
];

function transitions(event: string): string {
  const former = event === 'update' || event === 'delete' ? 'old table as old_rows' : '';
  const latter = event === 'update' || event === 'insert' ? 'new table as new_rows' : '';
  return event === 'truncate' ? '' : `referencing ${former} ${latter}`;
}

// What happens with numbers that appear in an account later. An account without a row is reported.
const watches = [
  `create table account_watch (
     tenant_id text not null references tenant on delete cascade,
     waba_id text not null check (waba_id ~ '^[0-9]{5,20}$'),
     mode text not null check (mode in ('REPORT', 'IMPORT', 'OFF')),
     updated_at timestamptz(3) not null default clock_timestamp(),
     primary key (tenant_id, waba_id)
   )`,
  ...isolate('account_watch'),
];

// Removing a tenant removes everything that belongs to it, except its audit log, which tells that it was removed.
const removal = [
  'alter table audit drop constraint audit_tenant_id_fkey',
  ...['whatsapp_number', 'api_key', 'waba_snapshot', 'graph_budget'].map(
    (table) => `alter table ${table} drop constraint ${table}_tenant_id_fkey,
       add constraint ${table}_tenant_id_fkey foreign key (tenant_id) references tenant on delete cascade`,
  ),
  'grant delete on tenant to gateway_tenant',
  // A statement that was meant for something else cannot remove a tenant: the transaction has to name it first.
  `create function guard_tenant() returns trigger language plpgsql set search_path = pg_catalog as $$
   begin
     if current_user = 'gateway_tenant'
       and current_setting('app.removed_tenant_id', true) is distinct from old.id
     then
       raise 'the transaction does not remove tenant %', old.id using errcode = 'insufficient_privilege';
     end if;
     return old;
   end $$`,
  'revoke execute on function guard_tenant() from public',
  `create trigger guard_tenant before delete on tenant for each row execute function guard_tenant()`,
  `create function audit_tenant() returns trigger language plpgsql set search_path = pg_catalog as $$
   begin
     insert into public.audit (tenant_id, action, subject, details)
     values (old.id, 'tenant.removed', old.id, jsonb_build_object('name', old.name));
     return null;
   end $$`,
  'revoke execute on function audit_tenant() from public',
  `create trigger audit_tenant after delete on tenant for each row execute function audit_tenant()`,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of [...credentials, ...watches, ...removal]) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
