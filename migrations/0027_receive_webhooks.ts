import { type Kysely, sql } from 'kysely';

// Endpoints that receive Meta's webhooks, and the events that were received. A request is for an endpoint before its tenant
// is known, so a function finds the endpoint by the hash of its path.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
];

const tables = [
  // `sealed` has the path, the verify token and the app secrets.
  `create table webhook_endpoint (
     tenant_id text not null references tenant on delete cascade,
     id text not null unique,
     path_hash bytea not null unique,
     proof text not null check (proof in ('SIGNED', 'KEY')),
     sealed text not null check (sealed <> ''),
     created_at timestamptz(3) not null default clock_timestamp(),
     updated_at timestamptz(3) not null default clock_timestamp(),
     primary key (tenant_id, id)
   )`,
  // `phone` has the digits of the number that the event names. The digest is that of the event, so a repetition has the same one. The payload is json and not jsonb, which rejects the
  // character NUL.
  `create table meta_event (
     tenant_id text not null references tenant on delete cascade,
     digest bytea not null,
     waba_id text not null,
     field text not null,
     event text,
     phone text,
     payload json,
     happened_at timestamptz(3) not null,
     received_at timestamptz(3) not null default clock_timestamp(),
     outcome text not null,
     primary key (tenant_id, digest)
   )`,
  'create index meta_event_by_receipt on meta_event (tenant_id, received_at)',
  ...isolate('webhook_endpoint'),
  ...isolate('meta_event'),
  'grant select, insert, delete, update (sealed, updated_at) on webhook_endpoint to gateway_tenant',
  'grant select, insert, delete on meta_event to gateway_tenant',
];

// As audit_credential in 0007.
const trail = [
  `create function audit_webhook_endpoint() returns trigger language plpgsql set search_path = pg_catalog as $$
   declare
     e public.webhook_endpoint := case when tg_op = 'DELETE' then old else new end;
     done text := case
       when tg_op = 'INSERT' then 'webhook.added'
       when tg_op = 'DELETE' then 'webhook.removed'
       when new.sealed = old.sealed then null
       when split_part(new.sealed, '.', 4) = split_part(old.sealed, '.', 4) then 'webhook.rewrapped'
       else 'webhook.rotated'
     end;
   begin
     if done is not null then
       insert into public.audit (tenant_id, action, subject, details)
       values (e.tenant_id, done, e.id, jsonb_build_object('proof', e.proof, 'encryptionKey', split_part(e.sealed, '.', 2)));
     end if;
     return null;
   end $$`,
  'revoke execute on function audit_webhook_endpoint() from public',
  `create trigger audit_webhook_endpoint after insert or update or delete on webhook_endpoint
   for each row execute function audit_webhook_endpoint()`,
];

// In these countries people and Meta write a digit that marks mobile numbers or leave it out; see
// src/numbers/phone-digits.ts.
const isSamePhone = `(n.number = new.phone or left(new.phone, 2) in ('52', '54', '55')
  and left(n.number, 2) = left(new.phone, 2) and right(n.number, 8) = right(new.phone, 8))`;

// No read shows what a security event says, so it becomes a change by itself: of the number, or of the account if the tenant
// has no such number in it. As those of 0023, which see for the rights of the function.
const securityChanges = [
  `create function add_security_to_history() returns trigger
   language plpgsql security definer set search_path = pg_catalog as $$
   declare
     number text := (
       select n.id from public.whatsapp_number n
       where n.tenant_id = new.tenant_id and n.waba_id = new.waba_id and ${isSamePhone}
       order by (n.number = new.phone) desc, n.id limit 1
     );
   begin
     insert into public.number_change
       (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
     values (new.tenant_id, number, case when number is null then new.waba_id end, md5(encode(new.digest, 'hex'))::uuid,
       'SECURITY', null, null, new.event, 'WEBHOOK', null, new.happened_at);
     perform pg_notify('gateway_changes', json_build_object('tenant', new.tenant_id, 'keys', false)::text);
     return null;
   end $$`,
  'revoke execute on function add_security_to_history() from public',
  `create trigger add_to_history after insert on meta_event for each row
   when (new.field = 'security' and new.event is not null) execute function add_security_to_history()`,
];

const functions = [
  `create function find_webhook_endpoint(hash bytea) returns table (tenant_id text, id text, proof text, sealed text)
   language sql stable security definer set search_path = pg_catalog as $$
     select e.tenant_id, e.id, e.proof, e.sealed from public.webhook_endpoint e where e.path_hash = hash
   $$`,
  `create function find_tenants_with_events_before(received_before timestamptz) returns table (tenant_id text)
   language sql stable security definer set search_path = pg_catalog as $$
     select t.id from public.tenant t
     where exists (
       select from public.meta_event e where e.tenant_id = t.id and e.received_at < received_before
     )
   $$`,
];

const signatures = ['find_webhook_endpoint(bytea)', 'find_tenants_with_events_before(timestamptz)'];

const statements = [
  ...tables,
  ...trail,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select on webhook_endpoint, meta_event to gateway_directory',
  'grant select (number, waba_id) on whatsapp_number to gateway_directory',
  ...['webhook_endpoint', 'meta_event'].map(
    (table) => `create policy directory on ${table} for select to gateway_directory using (true)`,
  ),
  ...functions,
  ...securityChanges,
  'grant create on schema public to gateway_directory',
  ...signatures.flatMap((signature) => [
    `alter function ${signature} owner to gateway_directory`,
    `revoke execute on function ${signature} from public`,
    `grant execute on function ${signature} to gateway_login`,
  ]),
  'alter function add_security_to_history() owner to gateway_directory',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
