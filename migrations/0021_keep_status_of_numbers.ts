import { type Kysely, sql } from 'kysely';

// One row for each number with what a fleet is filtered, ordered and counted by. A verdict changes with time, so the row
// has the evidence and its age; src/numbers/status-queries.ts derives the verdict at a moment. The gateway writes the row
// in the transaction that changes the evidence, see src/numbers/status-store.ts.
//
// Two generated columns depend on the other ones alone, so that they are right whoever writes those: `rank`, the steps of
// the order by attention, 0 for the worst; and `words`, all words and flags in one text, by which numbers are counted in
// the order of an index.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const rank = `case
    when blocked or meta_status = 'BANNED' then 0
    when state <> 'OPEN' or (verdict = 'NO' and (meta_status is distinct from 'RESTRICTED' or reply_verdict = 'NO')) then 1
    when meta_status = 'RESTRICTED' then 2
    when quality_rating = 'RED' then 3
    when failing or account_failing then 4
    when meta_status = 'FLAGGED' or quality_rating = 'YELLOW' then 5
    else 6 end`;

const words = `provider || '|' || state || '|' || coalesce(quality_rating, '') || '|' || coalesce(meta_status, '') || '|' ||
    coalesce(messaging_limit_tier, '') || '|' || coalesce(verdict, '') || '|' || coalesce(reply_verdict, '') || '|' ||
    case when blocked then 'blocked' else '' end || '|' || case when failing then 'failing' else '' end || '|' ||
    case when account_failing then 'failing' else '' end || '|' || case when isfinite(observed_at) then 'observed' else '' end`;

const table = [
  `create table number_status (
     tenant_id text not null,
     number_id text not null,
     provider text not null,
     state text not null,
     created_at timestamptz(3) not null,
     waba_id text,
     portfolio_id text,
     quality_rating text,
     meta_status text,
     messaging_limit_tier text,
     blocked boolean not null default false,
     verdict text check (verdict in ('YES', 'NO')),
     reply_verdict text check (reply_verdict in ('YES', 'NO')),
     failing boolean not null default false,
     account_failing boolean not null default false,
     observed_at timestamptz(3) not null default '-infinity',
     verdict_changed_at timestamptz(3) not null default clock_timestamp(),
     name_key text collate "C" not null default '',
     search_key text not null default '',
     rules_version smallint not null default 0,
     rank smallint not null generated always as (${rank}) stored,
     words text collate "C" not null generated always as (${words}) stored,
     primary key (tenant_id, number_id) include (rules_version),
     foreign key (tenant_id, number_id) references whatsapp_number on delete cascade
   ) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
     autovacuum_analyze_scale_factor = 0.05)`,
  // All columns of a row comparison have one direction, so that an index serves the range and the order. The default order
  // has the columns of the filters with it, so that rows that do not match are skipped in the index.
  `create index number_status_by_attention on number_status (tenant_id, rank, observed_at, number_id)
     include (provider, state, quality_rating, meta_status, messaging_limit_tier, blocked, verdict, reply_verdict,
       failing, account_failing, waba_id, portfolio_id)`,
  'create index number_status_by_name on number_status (tenant_id, name_key, number_id)',
  'create index number_status_by_creation on number_status (tenant_id, created_at, number_id)',
  'create index number_status_by_verdict_change on number_status (tenant_id, verdict_changed_at, number_id)',
  'create index number_status_by_observation on number_status (tenant_id, observed_at, number_id)',
  'create index number_status_by_words on number_status (tenant_id, words, waba_id, portfolio_id, observed_at)',
  'create index number_status_of_account on number_status (tenant_id, waba_id)',
  'alter table number_status enable row level security',
  'alter table number_status force row level security',
  `create policy tenant_isolation on number_status using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  'grant select, insert, update, delete on number_status to gateway_tenant',
];

// The functions of triggers run with the rights of gateway_directory: software that writes a state need not have rights on
// this table. Each writes the rows of the changed row's tenant alone.
const changed = 'language plpgsql security definer set search_path = pg_catalog as';

const functions = [
  `create function keep_state_of_status() returns trigger ${changed} $$
   begin
     update public.number_status s set
       state = new.state,
       verdict_changed_at = greatest(s.verdict_changed_at, new.state_observed_at),
       observed_at = case s.provider when 'META' then s.observed_at else new.state_observed_at end
     where s.tenant_id = new.tenant_id and s.number_id = new.id;
     return null;
   end $$`,
  // Version 0 makes src/numbers/status-upkeep.ts write the row again. It also finds numbers without a row.
  `create function mark_status_of_numbers() returns trigger ${changed} $$
   begin
     -- By hashing: the plan of a join may have been made for a statement that changed one row.
     update public.number_status s set rules_version = 0
     from (
       select n.tenant_id, n.id, n.number, n.name, n.provider, n.waba_id, n.phone_number_id, n.instance_name
       from new_rows n
       except
       select o.tenant_id, o.id, o.number, o.name, o.provider, o.waba_id, o.phone_number_id, o.instance_name
       from old_rows o
     ) changed
     where s.tenant_id = changed.tenant_id and s.number_id = changed.id and s.rules_version <> 0;
     return null;
   end $$`,
  `create function mark_status_of_snapshots() returns trigger ${changed} $$
   begin
     update public.number_status s set rules_version = 0 from new_rows n
     where s.tenant_id = n.tenant_id and s.number_id = n.number_id and s.rules_version <> 0;
     return null;
   end $$`,
  `create function mark_status_of_accounts() returns trigger ${changed} $$
   begin
     update public.number_status s set rules_version = 0 from new_rows n
     where s.tenant_id = n.tenant_id and s.waba_id = n.waba_id and s.rules_version <> 0
       and (s.account_failing
         or s.portfolio_id is distinct from coalesce(n.data ->> 'ownerBusinessId', s.portfolio_id));
     return null;
   end $$`,
  // Returns nothing but ids of tenants.
  `create function find_outdated_status(tenant_ids text[], current_rules_version integer)
   returns table (tenant_id text)
   language sql stable security definer set search_path = pg_catalog as $$
     select t.id from unnest(tenant_ids) t(id)
     where exists (
       select from public.whatsapp_number n
       left join public.number_status s on s.tenant_id = n.tenant_id and s.number_id = n.id
       where n.tenant_id = t.id and coalesce(s.rules_version, 0) < current_rules_version
     )
   $$`,
];

const triggerFunctions = [
  'keep_state_of_status()',
  'mark_status_of_numbers()',
  'mark_status_of_snapshots()',
  'mark_status_of_accounts()',
];

const finder = 'find_outdated_status(text[], integer)';

// The gateway sets this in the transactions of a tenant, because it derives the rows itself. The previous release, and SQL
// that somebody types, does not.
const byOthers = `for each statement
   when (current_setting('app.derives_status', true) is distinct from 'on') execute function`;

const newRows = 'referencing new table as new_rows';
const allRows = 'referencing old table as old_rows new table as new_rows';

// A trigger with rows of its statement is for one kind of statement only.
const triggers = [
  `create trigger keep_state_of_status after update of state on whatsapp_number
   for each row when (old.state is distinct from new.state) execute function keep_state_of_status()`,
  `create trigger mark_status after update on whatsapp_number ${allRows} ${byOthers} mark_status_of_numbers()`,
  ...['insert', 'update'].flatMap((event) => [
    `create trigger mark_status_${event} after ${event} on number_snapshot ${newRows} ${byOthers} mark_status_of_snapshots()`,
    `create trigger mark_status_${event} after ${event} on waba_snapshot ${newRows} ${byOthers} mark_status_of_accounts()`,
  ]),
];

// As in 0009: responses are built from this table too.
const events = {
  insert: 'referencing new table as new_rows',
  update: 'referencing old table as old_rows new table as new_rows',
  delete: 'referencing old table as old_rows',
  truncate: '',
};

const announcers = Object.entries(events).flatMap(([event, rows]) => [
  `create trigger announce_${event} after ${event} on number_status ${rows}
   for each statement execute function announce_change()`,
  `alter table number_status enable always trigger announce_${event}`,
]);

const statements = [
  ...table,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select, insert, update on number_status to gateway_directory',
  ...['select', 'insert', 'update'].map(
    (command) =>
      `create policy directory_${command} on number_status for ${command} to gateway_directory
       ${command === 'select' ? 'using (true)' : command === 'insert' ? 'with check (true)' : 'using (true) with check (true)'}`,
  ),
  ...functions,
  ...triggerFunctions.map((signature) => `revoke execute on function ${signature} from public`),
  ...triggers,
  'grant create on schema public to gateway_directory',
  ...[...triggerFunctions, finder].map(
    (signature) => `alter function ${signature} owner to gateway_directory`,
  ),
  `revoke execute on function ${finder} from public`,
  `grant execute on function ${finder} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
  ...announcers,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
