import { type Kysely, sql } from 'kysely';

// Endpoints of tenants that alerts are sent to, and what is still to be sent. A process claims deliveries before their tenants
// are known, so a function gives it their ids and nothing else.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
];

const tables = [
  // `sealed` has the URL and the signing secrets. No rules are all rules.
  `create table alert_endpoint (
     tenant_id text not null references tenant on delete cascade,
     id text not null unique,
     host text not null,
     format text not null check (format in ('STANDARD', 'SLACK', 'CHANGES')),
     rules text[] not null default '{}',
     sealed text not null check (sealed <> ''),
     state text not null default 'ON' check (state in ('ON', 'OFF')),
     off_reason text check ((off_reason is null) = (state = 'ON')),
     failing_since timestamptz(3),
     last_outcome text,
     last_attempt_at timestamptz(3),
     created_at timestamptz(3) not null default clock_timestamp(),
     updated_at timestamptz(3) not null default clock_timestamp(),
     primary key (tenant_id, id)
   )`,
  // A row is deleted once it was delivered. `content` is null until the message is written for the first attempt; `change_id`
  // is that of the change which it reports.
  `create table alert_delivery (
     tenant_id text not null,
     endpoint_id text not null,
     id text not null,
     type text not null,
     incident_id text,
     change_id bigint,
     content text,
     attempts integer not null default 0,
     created_at timestamptz(3) not null,
     due_at timestamptz(3) not null,
     claimed_until timestamptz(3),
     primary key (tenant_id, endpoint_id, id),
     foreign key (tenant_id, endpoint_id) references alert_endpoint on delete cascade
   ) with (autovacuum_vacuum_scale_factor = 0.02)`,
  'create index alert_delivery_by_time on alert_delivery (tenant_id, endpoint_id, due_at, id)',
  ...isolate('alert_endpoint'),
  ...isolate('alert_delivery'),
  `grant select, insert, delete,
     update (sealed, state, off_reason, failing_since, last_outcome, last_attempt_at, updated_at)
   on alert_endpoint to gateway_tenant`,
  `grant select, insert, delete, update (content, attempts, due_at, claimed_until) on alert_delivery to gateway_tenant`,
];

// As audit_webhook_endpoint in 0027.
const trail = [
  `create function audit_alert_endpoint() returns trigger language plpgsql set search_path = pg_catalog as $$
   declare
     e public.alert_endpoint := case when tg_op = 'DELETE' then old else new end;
     done text := case
       when tg_op = 'INSERT' then 'alert.added'
       when tg_op = 'DELETE' then 'alert.removed'
       when new.sealed = old.sealed then null
       when split_part(new.sealed, '.', 4) = split_part(old.sealed, '.', 4) then 'alert.rewrapped'
       else 'alert.rotated'
     end;
   begin
     if done is not null then
       insert into public.audit (tenant_id, action, subject, details)
       values (e.tenant_id, done, e.id, jsonb_build_object('host', e.host, 'format', e.format, 'encryptionKey', split_part(e.sealed, '.', 2)));
     end if;
     return null;
   end $$`,
  'revoke execute on function audit_alert_endpoint() from public',
  `create trigger audit_alert_endpoint after insert or update or delete on alert_endpoint
   for each row execute function audit_alert_endpoint()`,
];

const toValue = (row: 'old' | 'new') => `jsonb_strip_nulls(jsonb_build_object(
  'id', ${row}.id, 'host', ${row}.host, 'format', ${row}.format, 'state', ${row}.state, 'reason', ${row}.off_reason))::text`;

// As the triggers of 0023, which see. The rows of a tenant that is being removed are removed too.
const history = [
  `create function add_endpoint_to_history() returns trigger
   language plpgsql security definer set search_path = pg_catalog as $$
   declare
     e public.alert_endpoint := case when tg_op = 'DELETE' then old else new end;
   begin
     if exists (select from public.tenant t where t.id = e.tenant_id) then
       insert into public.number_change
         (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
       values (e.tenant_id, null, null, null, 'ENDPOINT', null,
         case when tg_op <> 'INSERT' then ${toValue('old')} end, case when tg_op <> 'DELETE' then ${toValue('new')} end,
         coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
         nullif(current_setting('app.change_actor', true), ''), clock_timestamp());
       perform pg_notify('gateway_changes', json_build_object('tenant', e.tenant_id, 'keys', false)::text);
     end if;
     return null;
   end $$`,
  'revoke execute on function add_endpoint_to_history() from public',
  `create trigger add_to_history after insert or delete on alert_endpoint
   for each row execute function add_endpoint_to_history()`,
  `create trigger add_update_to_history after update on alert_endpoint for each row
   when (new.state <> old.state) execute function add_endpoint_to_history()`,
];

// The lock of the endpoint keeps two processes from claiming at the same time, so that together they stay within its limit.
const claim = `
  create function claim_alert_deliveries(
    at timestamptz, until timestamptz, max_deliveries integer, max_per_endpoint integer)
  returns table (tenant_id text, endpoint_id text, id text)
  language plpgsql volatile security definer set search_path = pg_catalog as $$
  #variable_conflict use_column
  declare
    e record;
    room integer;
    remaining integer := max_deliveries;
  begin
    for e in
      select endpoint.tenant_id, endpoint.id from public.alert_endpoint endpoint
      where exists (
        select from public.alert_delivery d
        where d.tenant_id = endpoint.tenant_id and d.endpoint_id = endpoint.id and d.due_at <= at
          and (d.claimed_until is null or d.claimed_until <= at)
      )
      order by (
        select min(d.due_at) from public.alert_delivery d
        where d.tenant_id = endpoint.tenant_id and d.endpoint_id = endpoint.id
      )
      for no key update of endpoint skip locked
    loop
      exit when remaining <= 0;
      select least(remaining, max_per_endpoint - count(*)) into room from public.alert_delivery d
      where d.tenant_id = e.tenant_id and d.endpoint_id = e.id and d.claimed_until > at;
      if room > 0 then
        return query
          update public.alert_delivery d set claimed_until = until
          from (
            select c.tenant_id, c.endpoint_id, c.id from public.alert_delivery c
            where c.tenant_id = e.tenant_id and c.endpoint_id = e.id and c.due_at <= at
              and (c.claimed_until is null or c.claimed_until <= at)
            order by c.due_at, c.id limit room for no key update skip locked
          ) claimed
          where d.tenant_id = claimed.tenant_id and d.endpoint_id = claimed.endpoint_id and d.id = claimed.id
          returning d.tenant_id, d.endpoint_id, d.id;
        get diagnostics room = row_count;
        remaining := remaining - room;
      end if;
    end loop;
  end $$`;

const signature = 'claim_alert_deliveries(timestamptz, timestamptz, integer, integer)';

const statements = [
  ...tables,
  ...trail,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (tenant_id, id), update (updated_at) on alert_endpoint to gateway_directory',
  `grant select (tenant_id, endpoint_id, id, due_at, claimed_until), update (claimed_until) on alert_delivery
   to gateway_directory`,
  ...['alert_endpoint', 'alert_delivery'].flatMap((table) => [
    `create policy directory on ${table} for select to gateway_directory using (true)`,
    `create policy directory_claim on ${table} for update to gateway_directory using (true) with check (true)`,
  ]),
  claim,
  ...history,
  'grant create on schema public to gateway_directory',
  `alter function ${signature} owner to gateway_directory`,
  `revoke execute on function ${signature} from public`,
  `grant execute on function ${signature} to gateway_login`,
  'alter function add_endpoint_to_history() owner to gateway_directory',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
