import { type Kysely, sql } from 'kysely';

// Incidents, which the gateway opens and closes when it evaluates the rules of alerts, src/alerts/rules.ts, over the changes
// of a tenant in their order. Each change is evaluated once: the position moves in the transaction that writes what follows.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
];

const tables = [
  // The last change that was evaluated, and the time up to which.
  `create table alert_position (
     tenant_id text primary key references tenant on delete cascade,
     sequence bigint not null default 0,
     clock timestamptz(3) not null default '-infinity'
   ) with (fillfactor = 50)`,
  // What is so, and has not lasted long enough to be an incident. `member` is what holds: the id of a number, or a restriction
  // of an account.
  `create table alert_condition (
     tenant_id text not null references tenant on delete cascade,
     rule text not null,
     scope text not null,
     subject text not null,
     member text not null,
     since timestamptz(3) not null,
     due_at timestamptz(3) not null,
     previous_value text,
     new_value text,
     primary key (tenant_id, rule, subject, member)
   )`,
  'create index alert_condition_by_time on alert_condition (tenant_id, due_at)',
  // `last_change` is the id of the newest row of number_change that reports it.
  `create table incident (
     tenant_id text not null references tenant on delete cascade,
     id text not null,
     rule text not null,
     severity text not null,
     scope text not null check (scope in ('NUMBER', 'ACCOUNT', 'PORTFOLIO', 'TOKEN')),
     subject text not null,
     member_count integer not null,
     previous_value text,
     new_value text,
     opened_at timestamptz(3) not null,
     closed_at timestamptz(3),
     acknowledged_at timestamptz(3),
     note text,
     last_change bigint,
     primary key (tenant_id, id)
   )`,
  `create unique index incident_open on incident (tenant_id, rule, scope, subject) where closed_at is null`,
  'create index incident_by_time on incident (tenant_id, opened_at desc, id desc)',
  `create table incident_member (
     tenant_id text not null,
     incident_id text not null,
     member text not null,
     left_at timestamptz(3),
     primary key (tenant_id, incident_id, member),
     foreign key (tenant_id, incident_id) references incident on delete cascade
   )`,
  'create index incident_member_by_member on incident_member (tenant_id, member) where left_at is null',
  ...['alert_position', 'alert_condition', 'incident', 'incident_member'].flatMap(isolate),
  'grant select, insert, update (sequence, clock) on alert_position to gateway_tenant',
  'grant select, insert, delete, update (due_at, new_value) on alert_condition to gateway_tenant',
  `grant select, insert, delete, update (member_count, closed_at, acknowledged_at, note) on incident to gateway_tenant`,
  'grant select, insert, update (left_at) on incident_member to gateway_tenant',
];

const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const toValue = (row: 'old' | 'new') => `jsonb_build_object(
  'id', ${row}.id, 'rule', ${row}.rule, 'severity', ${row}.severity,
  'state', case when ${row}.closed_at is null then 'OPEN' else 'CLOSED' end,
  'scope', ${row}.scope, 'subject', ${row}.subject, 'numberCount', ${row}.member_count,
  'openedAt', ${iso(`${row}.opened_at`)}, 'closedAt', ${iso(`${row}.closed_at`)},
  'acknowledgedAt', ${iso(`${row}.acknowledged_at`)})::text`;

// As the triggers of 0023, which see; before the row is written, because it names the change.
const history = [
  `create function add_incident_to_history() returns trigger
   language plpgsql security definer set search_path = pg_catalog as $$
   begin
     -- It runs before row-level security refuses a row of another tenant.
     if not exists (select from public.tenant t where t.id = new.tenant_id) then
       return new;
     end if;
     insert into public.number_change
       (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
     values (new.tenant_id, case when new.scope = 'NUMBER' then new.subject end,
       case when new.scope = 'ACCOUNT' then new.subject end, null, 'INCIDENT', null,
       case when tg_op = 'UPDATE' then ${toValue('old')} end, ${toValue('new')},
       coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
       nullif(current_setting('app.change_actor', true), ''),
       case when tg_op = 'INSERT' then coalesce(new.closed_at, new.opened_at)
         when new.closed_at is distinct from old.closed_at then new.closed_at
         else coalesce(new.acknowledged_at, clock_timestamp()) end)
     returning id into new.last_change;
     return new;
   end $$`,
  'revoke execute on function add_incident_to_history() from public',
  `create trigger add_to_history before insert on incident for each row execute function add_incident_to_history()`,
  `create trigger add_update_to_history before update on incident for each row
   when ((old.closed_at, old.acknowledged_at) is distinct from (new.closed_at, new.acknowledged_at))
   execute function add_incident_to_history()`,
];

// As in 0009: responses are built from these tables too.
const events = {
  insert: 'referencing new table as new_rows',
  update: 'referencing old table as old_rows new table as new_rows',
  delete: 'referencing old table as old_rows',
  truncate: '',
};

const announcers = ['incident', 'incident_member'].flatMap((table) =>
  Object.entries(events).flatMap(([event, rows]) => [
    `create trigger announce_${event} after ${event} on ${table} ${rows}
     for each statement execute function announce_change()`,
    `alter table ${table} enable always trigger announce_${event}`,
  ]),
);

// Ids of tenants and nothing else.
const find = `
  create function find_tenants_to_evaluate(at timestamptz) returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    select f.tenant_id from public.feed_position f
    left join public.alert_position p on p.tenant_id = f.tenant_id
    where f.last > coalesce(p.sequence, 0)
      or exists (
        select from public.alert_condition c where c.tenant_id = f.tenant_id and c.due_at <= at
      )
    order by f.tenant_id
  $$`;

const signature = 'find_tenants_to_evaluate(timestamptz)';

const statements = [
  ...tables,
  // What is past raises no alert.
  'insert into alert_position (tenant_id, sequence) select tenant_id, last from feed_position',
  ...announcers,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant select (tenant_id, sequence) on alert_position to gateway_directory',
  'grant select (tenant_id, due_at) on alert_condition to gateway_directory',
  ...['alert_position', 'alert_condition'].map(
    (table) => `create policy directory on ${table} for select to gateway_directory using (true)`,
  ),
  find,
  ...history,
  'grant create on schema public to gateway_directory',
  `alter function ${signature} owner to gateway_directory`,
  `revoke execute on function ${signature} from public`,
  `grant execute on function ${signature} to gateway_login`,
  'alter function add_incident_to_history() owner to gateway_directory',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
