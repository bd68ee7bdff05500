import { type Kysely, sql } from 'kysely';

// History: what changed, in the transaction that changes it, whichever program makes it. Triggers compare what was stored
// with what is stored, field by field.
//
// The rows of a transaction get their place in the tenant's order when it commits: a deferred trigger takes the lock of the
// tenant's row in feed_position, which lasts until the commit, and numbers them. So a reader that has seen a number has
// seen all lower ones. Nothing of the gateway is locked after it, so it takes part in no deadlock.
//
// Other software must not fail because of the feed. Rows that cannot be numbered at once are committed without a place
// (awaits_place), and get it with the next transaction that changes anything of the tenant, or from the gateway's clock
// within 5 s:
// - those of SERIALIZABLE transactions, because reading the rows of others would make PostgreSQL abort some of them;
// - those of REPEATABLE READ transactions that do not see the last place, because another one has committed meanwhile;
// - those that exist when constraints are made immediate, because the lock would be held during the rest of the transaction;
// - those of a commit that waited half a second for the lock.
// A row that awaits its place comes before the later ones of the same number: whoever could change the number after it
// also sees it, and numbers both.
//
// Two-phase commit (PREPARE TRANSACTION) is not possible for changes that are announced, see
// migrations/0009_announce_changes.ts. With session_replication_role = replica nothing is recorded: a logical replica
// receives the rows of number_change with the others. Neither is TRUNCATE.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
];

const tables = [
  `create table feed_position (
     tenant_id text primary key references tenant on delete cascade,
     epoch text not null default replace(gen_random_uuid()::text, '-', ''),
     first bigint not null default 1,
     last bigint not null default 0,
     created_at timestamptz(3) not null default clock_timestamp()
   ) with (fillfactor = 50)`,
  `create table number_change (
     tenant_id text not null references tenant on delete cascade,
     id bigint not null generated always as identity,
     sequence bigint,
     number_id text,
     waba_id text,
     observation uuid,
     kind text not null,
     field text,
     previous_value text,
     new_value text,
     source text not null,
     actor text,
     occurred_at timestamptz(3) not null,
     recorded_at timestamptz(3) not null default clock_timestamp(),
     awaits_place boolean not null default current_setting('transaction_isolation') = 'serializable',
     primary key (tenant_id, id)
   ) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02)`,
  'create unique index number_change_by_sequence on number_change (tenant_id, sequence)',
  // Read from the first id of a transaction on: it has an entry of every row until the next vacuum, and all of them while
  // an old snapshot, like that of a backup, is in use.
  'create index number_change_unnumbered on number_change (id) where sequence is null',
  // Nearly always empty.
  'create index number_change_awaiting_place on number_change (tenant_id, id) where awaits_place',
  'create index number_change_of_number on number_change (tenant_id, number_id, sequence) where number_id is not null',
  ...isolate('feed_position'),
  ...isolate('number_change'),
  'grant select, update (epoch, first) on feed_position to gateway_tenant',
  'grant select, delete on number_change to gateway_tenant',
  // Set once the evidence of the row has expired, to the time at which it did; migrations/0021_keep_status_of_numbers.ts.
  'alter table number_status add column stale_since timestamptz(3)',
  `create index number_status_by_expiry on number_status (tenant_id, observed_at)
     where stale_since is null and observed_at > '-infinity'`,
];

// The words of the fields are those of the GraphQL type ChangeField. Not everything that is read: the URL of a picture, for
// example, is signed and changes with each read.
const phoneFields = {
  DISPLAY_PHONE_NUMBER: 'displayPhoneNumber',
  VERIFIED_NAME: 'verifiedName',
  QUALITY_RATING: 'qualityRating',
  MESSAGING_LIMIT_TIER: 'messagingLimitTier',
  PIN_ENABLED: 'isPinEnabled',
  META_STATUS: 'status',
  NAME_STATUS: 'nameStatus',
  CODE_VERIFICATION_STATUS: 'codeVerificationStatus',
  PLATFORM_TYPE: 'platformType',
  THROUGHPUT_LEVEL: 'throughputLevel',
  ACCOUNT_MODE: 'accountMode',
  OFFICIAL_BUSINESS_ACCOUNT: 'isOfficialBusinessAccount',
  ON_BUSINESS_APP: 'isOnBusinessApp',
};

const profileFields = {
  PROFILE_ABOUT: 'about',
  PROFILE_EMAIL: 'email',
  PROFILE_WEBSITES: 'websites',
  PROFILE_VERTICAL: 'vertical',
  PROFILE_ADDRESS: 'address',
  PROFILE_DESCRIPTION: 'description',
};

const wabaFields = {
  ACCOUNT_NAME: 'name',
  ACCOUNT_CURRENCY: 'currency',
  ACCOUNT_COUNTRY: 'country',
  ACCOUNT_TIMEZONE: 'timezoneId',
  ACCOUNT_VERIFICATION_STATUS: 'businessVerificationStatus',
  ACCOUNT_REVIEW_STATUS: 'accountReviewStatus',
  ACCOUNT_MESSAGING_LIMIT_TIER: 'messagingLimitTier',
  ACCOUNT_OWNERSHIP_TYPE: 'ownershipType',
  ACCOUNT_OWNER_ID: 'ownerBusinessId',
  ACCOUNT_OWNER_NAME: 'ownerBusinessName',
};

const members = (block: string, fields: Readonly<Record<string, string>>) =>
  Object.entries(fields).map(([field, member]) => `('${block}', '${field}', data ->> '${member}')`);

const health = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'].map(
  (type) => `('phone', 'HEALTH_${type}', public.worst_health(data, '${type}'))`,
);

const readers = [
  // Of the newest attempt, or why it could not be made, which a later migration stores beside it.
  `create function failure_of_read(stored jsonb) returns jsonb
   language sql immutable set search_path = pg_catalog as $$
     select case when (stored ->> 'obstacle_at')::timestamptz >= (stored ->> 'attempted_at')::timestamptz
       then nullif(stored -> 'obstacle', 'null') else nullif(stored -> 'failure', 'null') end
   $$`,
  // There may be several entities of a type.
  `create function worst_health(data jsonb, type text) returns text
   language sql immutable set search_path = pg_catalog as $$
     select coalesce(max(word) filter (where word = 'BLOCKED'), max(word) filter (where word = 'LIMITED'), max(word))
     from (
       select entity ->> 'canSendMessage' as word from jsonb_path_query(data, '$.healthStatus.entities[*]') entity
       where entity ->> 'entityType' = type
     ) entities
   $$`,
  // The fields that have a value.
  `create function fields_of_block(block text, data jsonb) returns table (field text, value text)
   language sql immutable set search_path = pg_catalog as $$
     select f.field, left(f.value, 2000) from (values ${[
       ...members('phone', phoneFields),
       ...health,
       ...members('profile', profileFields),
       ...members('waba', wabaFields),
     ].join(', ')}) f(block, field, value)
     where f.block = fields_of_block.block and f.value is not null
   $$`,
];

// As src/numbers/status-queries.ts, for a row whose evidence is fresh until it is marked as stale. Without a function: it is
// evaluated for every row that changes.
const verdictOf = (row: 'old' | 'new', column: 'verdict' | 'reply_verdict') => `
  (case
    when ${row}.provider <> 'META' and not isfinite(${row}.observed_at)
      then case when ${row}.blocked then 'NO' else 'UNKNOWN' end
    when ${row}.blocked or ${row}.state <> 'OPEN' then 'NO'
    when ${row}.stale_since is not null then 'UNKNOWN'
    else coalesce(${row}.${column}, 'UNKNOWN') end)`;

/** As in src/numbers/number.ts. */
const lifetime = `interval '3601 seconds'`;

const hasGap = `(old.stale_since is not null and new.stale_since is null
  or new.provider = 'META' and isfinite(old.observed_at) and new.observed_at > old.observed_at + ${lifetime})`;

// As in 0021: software that writes a state need not have rights on these tables, and has not set a tenant. Each function
// writes rows of the changed row's tenant alone.
const recorder = 'language plpgsql security definer set search_path = pg_catalog as';

const insertInto = `insert into public.number_change
  (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)`;

/** `subject` is the id of the number or the account. */
const origin = (subject: string) => `md5(pg_current_xact_id()::text || '/' || ${subject})::uuid`;
const source = `coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
  nullif(current_setting('app.change_actor', true), '')`;

// The rows of a tenant that is being removed are removed too.
const tenantExists = (row: 'old' | 'new') =>
  `exists (select from public.tenant t where t.id = ${row}.tenant_id)`;

const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const recorders = [
  `create function create_feed_position() returns trigger ${recorder} $$
   begin
     insert into public.feed_position (tenant_id) values (new.id);
     return null;
   end $$`,
  `create function add_number_to_history() returns trigger ${recorder} $$
   begin
     if tg_op = 'DELETE' then
       if ${tenantExists('old')} then
         ${insertInto}
         values (old.tenant_id, old.id, null, ${origin('old.id')}, 'REMOVED', null, null, null, ${source}, clock_timestamp());
       end if;
     elsif tg_op = 'INSERT' then
       ${insertInto}
       values (new.tenant_id, new.id, null, ${origin('new.id')}, 'ADDED', null, null,
         jsonb_strip_nulls(jsonb_build_object('STATE', new.state, 'NAME', new.name, 'NUMBER', new.number, 'WABA_ID', new.waba_id))::text,
         ${source}, clock_timestamp());
     else
       ${insertInto}
       select new.tenant_id, new.id, null, ${origin('new.id')}, 'FIELD', f.field, f.previous, f.value, ${source},
         case f.field when 'STATE' then new.state_observed_at else clock_timestamp() end
       from (values ('STATE', old.state, new.state), ('NAME', old.name, new.name), ('NUMBER', old.number, new.number),
         ('WABA_ID', old.waba_id, new.waba_id)) f(field, previous, value)
       where f.previous is distinct from f.value;
     end if;
     return null;
   end $$`,
  // `tg_argv` is the block of an account; a row of a number names its own.
  `create function add_read_to_history() returns trigger ${recorder} $$
   declare
     is_of_account boolean := tg_table_name = 'waba_snapshot';
     number text := case when not is_of_account then to_jsonb(new) ->> 'number_id' end;
     account text := case when is_of_account then to_jsonb(new) ->> 'waba_id' end;
     block text := case when is_of_account then 'waba' else to_jsonb(new) ->> 'block' end;
     -- What READ_FAILING and ADDED name as their field.
     subject text := case block when 'waba' then 'ACCOUNT' else upper(block) end;
     observation uuid := ${origin('coalesce(number, account)')};
     former jsonb;
     former_failure jsonb;
     failure jsonb := public.failure_of_read(to_jsonb(new));
     attempted timestamptz := greatest(new.attempted_at, (to_jsonb(new) ->> 'obstacle_at')::timestamptz);
     fields jsonb;
   begin
     if tg_op = 'UPDATE' then
       former := old.data;
       former_failure := public.failure_of_read(to_jsonb(old));
       -- New credentials end a failure without an attempt.
       if failure is null and new.attempted_at = old.attempted_at then
         attempted := clock_timestamp();
       end if;
     end if;
     if former is null and new.data is not null then
       select jsonb_object_agg(f.field, f.value) into fields from public.fields_of_block(block, new.data) f;
       if fields is not null then
         ${insertInto}
         values (new.tenant_id, number, account, observation, 'ADDED', subject, null, fields::text, ${source},
           coalesce(new.observed_at, clock_timestamp()));
       end if;
     elsif former is distinct from new.data then
       ${insertInto}
       select new.tenant_id, number, account, observation, 'FIELD', field, f.value, g.value, ${source},
         coalesce(new.observed_at, clock_timestamp())
       from public.fields_of_block(block, former) f full join public.fields_of_block(block, new.data) g using (field)
       where f.value is distinct from g.value
       order by field;
     end if;
     -- The failures of accounts are stored by number, see 0015.
     if not is_of_account and (former_failure is null) <> (failure is null) then
       ${insertInto}
       values (new.tenant_id, number, null, observation,
         case when failure is null then 'READ_RECOVERED' else 'READ_FAILING' end,
         subject, former_failure ->> 'code', failure ->> 'code', ${source}, coalesce(attempted, clock_timestamp()));
     end if;
     return null;
   end $$`,
  // What was read of ids that a number has no more is deleted, see 0018. With the number itself, REMOVED says it all.
  `create function add_forgotten_read_to_history() returns trigger ${recorder} $$
   begin
     if exists (select from public.whatsapp_number n where n.tenant_id = old.tenant_id and n.id = old.number_id)
       and ${tenantExists('old')}
     then
       ${insertInto}
       select old.tenant_id, old.number_id, null, ${origin('old.number_id')}, 'FIELD', f.field, f.value, null, ${source},
         clock_timestamp()
       from public.fields_of_block(old.block, old.data) f;
       if public.failure_of_read(to_jsonb(old)) is not null then
         ${insertInto}
         values (old.tenant_id, old.number_id, null, ${origin('old.number_id')}, 'READ_RECOVERED',
           case old.block when 'waba' then 'ACCOUNT' else upper(old.block) end,
           public.failure_of_read(to_jsonb(old)) ->> 'code', null, ${source}, clock_timestamp());
       end if;
     end if;
     return null;
   end $$`,
  `create function remove_account_from_history() returns trigger ${recorder} $$
   begin
     if ${tenantExists('old')} then
       ${insertInto}
       values (old.tenant_id, null, old.waba_id, ${origin('old.waba_id')}, 'REMOVED', null, null, null, ${source}, clock_timestamp());
     end if;
     return null;
   end $$`,
  `create function end_staleness() returns trigger language plpgsql set search_path = pg_catalog as $$
   begin
     new.stale_since := null;
     return new;
   end $$`,
  `create function add_status_to_history() returns trigger ${recorder} $$
   declare
     previous text[] := '{null,null}';
     occurred timestamptz := case when isfinite(new.observed_at) then new.observed_at else clock_timestamp() end;
   begin
     if tg_op = 'UPDATE' then
       previous := array[${verdictOf('old', 'verdict')}, ${verdictOf('old', 'reply_verdict')}];
       if new.stale_since is distinct from old.stale_since and new.stale_since is not null then
         occurred := new.stale_since;
       elsif new.observed_at is not distinct from old.observed_at then
         occurred := clock_timestamp();
       end if;
       if ${hasGap} then
         ${insertInto}
         values (new.tenant_id, new.number_id, null, ${origin('new.number_id')}, 'GAP', null,
           ${iso(`coalesce(old.stale_since, old.observed_at + ${lifetime})`)}, ${iso('new.observed_at')}, ${source}, occurred);
       end if;
     end if;
     ${insertInto}
     select new.tenant_id, new.number_id, null, ${origin('new.number_id')}, 'VERDICT', f.field, f.previous, f.value, ${source}, occurred
     from (values ('VERDICT', previous[1], ${verdictOf('new', 'verdict')}),
       ('REPLY_VERDICT', previous[2], ${verdictOf('new', 'reply_verdict')})) f(field, previous, value)
     where f.previous is distinct from f.value and (tg_op = 'UPDATE' or f.value <> 'UNKNOWN');
     return null;
   end $$`,
];

// A sequential scan may look cheaper while the statistics are those of an empty table.
const numbering = `language plpgsql security definer set search_path = pg_catalog set enable_seqscan = off`;

const numberers = [
  // Numbers the rows of this transaction, of which `first_id` is the first one, and those that await their place. Waits for
  // less than deadlock_timeout.
  `create function number_changes_of(tenant text, first_id bigint) returns void ${numbering} set lock_timeout = '500ms' as $$
   declare
     former bigint;
     numbered bigint := 0;
     place tid;
   begin
     select p.last into former from public.feed_position p where p.tenant_id = tenant for no key update;
     if not found then
       insert into public.feed_position (tenant_id) select t.id from public.tenant t where t.id = tenant
         on conflict do nothing;
       select p.last into former from public.feed_position p where p.tenant_id = tenant for no key update;
       if not found then return; end if;
     end if;
     -- Row by row: a join may be planned for an empty table, and then takes a time that grows with the square of the rows.
     for place in
       select u.place from (
         select o.id, o.ctid as place from public.number_change o
         where o.tenant_id = tenant and o.id >= first_id and o.sequence is null
         union
         select w.id, w.ctid from public.number_change w where w.tenant_id = tenant and w.awaits_place
       ) u order by u.id
     loop
       numbered := numbered + 1;
       update public.number_change c set sequence = former + numbered, awaits_place = false where c.ctid = place;
     end loop;
     update public.feed_position p set last = former + numbered where p.tenant_id = tenant and numbered > 0;
   exception when serialization_failure or lock_not_available or deadlock_detected or query_canceled then
     update public.number_change c set awaits_place = true
     where c.tenant_id = tenant and c.id >= first_id and c.sequence is null and not c.awaits_place;
   end $$`,
  `create function number_changes() returns trigger ${numbering} as $$
   declare
     tenant text;
     last_id bigint;
   begin
     -- The first row of a transaction numbers all of them, and the others need not be looked up: that would take a time that
     -- grows with their square. A later row has a higher id than all that exist.
     if new.id <= coalesce(nullif(current_setting('app.changes_numbered_through', true), ''), '0')::bigint then
       return null;
     end if;
     -- Before the commit: the row is inserted by another trigger, which has not ended, or the statement is SET CONSTRAINTS.
     if pg_trigger_depth() > 1 or current_query() ilike '%set%constraints%' then
       update public.number_change c set awaits_place = true
       where c.tenant_id = new.tenant_id and c.id = new.id;
       return null;
     end if;
     select max(c.id) into last_id from public.number_change c where c.id >= new.id and c.sequence is null;
     -- In the order of their ids, so that two transactions of several tenants cannot deadlock.
     for tenant in
       select distinct c.tenant_id from public.number_change c
       where c.id >= new.id and c.sequence is null and not c.awaits_place order by 1
     loop
       perform public.number_changes_of(tenant, new.id);
     end loop;
     perform set_config('app.changes_numbered_through', last_id::text, true);
     return null;
   end $$`,
  `create function number_changes_left() returns void ${numbering} as $$
   declare
     tenant text;
   begin
     for tenant in select distinct c.tenant_id from public.number_change c where c.awaits_place order by 1 loop
       perform public.number_changes_of(tenant, null);
       perform pg_notify('gateway_changes', json_build_object('tenant', tenant, 'keys', false)::text);
     end loop;
   end $$`,
];

// They return ids of tenants and nothing else.
const finders = [
  `create function find_tenants_with_expired_status(expired_before timestamptz, with_connections boolean)
   returns table (tenant_id text)
   language sql stable security definer set search_path = pg_catalog as $$
     select t.id from public.tenant t
     where exists (
       select from public.number_status s
       where s.tenant_id = t.id and s.stale_since is null and s.observed_at > '-infinity'
         and s.observed_at <= expired_before and (with_connections or s.provider = 'META')
     )
   $$`,
  `create function find_tenants_with_changes_before(recorded_before timestamptz)
   returns table (tenant_id text)
   language sql stable security definer set search_path = pg_catalog as $$
     select p.tenant_id from public.feed_position p
     where exists (
       select from public.number_change c
       where c.tenant_id = p.tenant_id and c.sequence = p.first and c.recorded_at < recorded_before
     )
   $$`,
];

const changedRead =
  '(old.data is distinct from new.data or (old.failure is null) <> (new.failure is null))';
const changedVerdict = ['verdict', 'reply_verdict']
  .map(
    (column) =>
      `${verdictOf('old', column as 'verdict')} <> ${verdictOf('new', column as 'verdict')}`,
  )
  .join(' or ');

// Triggers of one event run in the order of their names. Those of 0021 begin with "keep" and "mark", so the change of a
// state comes before that of the verdict which follows from it.
const triggers = [
  `create trigger create_feed_position after insert on tenant for each row execute function create_feed_position()`,
  `create trigger add_to_history after insert or delete on whatsapp_number
   for each row execute function add_number_to_history()`,
  `create trigger add_update_to_history after update on whatsapp_number for each row
   when ((old.state, old.name, old.number, old.waba_id) is distinct from (new.state, new.name, new.number, new.waba_id))
   execute function add_number_to_history()`,
  ...['number_snapshot', 'waba_snapshot'].flatMap((table) => [
    `create trigger add_insert_to_history after insert on ${table} for each row execute function add_read_to_history()`,
    `create trigger add_update_to_history after update on ${table} for each row when ${changedRead}
     execute function add_read_to_history()`,
  ]),
  `create trigger add_delete_to_history after delete on number_snapshot
   for each row execute function add_forgotten_read_to_history()`,
  `create trigger add_delete_to_history after delete on waba_snapshot
   for each row execute function remove_account_from_history()`,
  `create trigger end_staleness before update on number_status for each row
   when (old.stale_since is not null and new.stale_since is not null and new.observed_at > old.observed_at)
   execute function end_staleness()`,
  `create trigger add_insert_to_history after insert on number_status
   for each row execute function add_status_to_history()`,
  `create trigger add_update_to_history after update on number_status for each row when (${changedVerdict} or ${hasGap})
   execute function add_status_to_history()`,
  `create constraint trigger number_changes after insert on number_change deferrable initially deferred
   for each row when (not new.awaits_place) execute function number_changes()`,
];

const definers = [
  'create_feed_position()',
  'add_number_to_history()',
  'add_read_to_history()',
  'add_forgotten_read_to_history()',
  'remove_account_from_history()',
  'add_status_to_history()',
  'number_changes_of(text, bigint)',
  'number_changes()',
];

const forGateway = [
  'number_changes_left()',
  'find_tenants_with_expired_status(timestamptz, boolean)',
  'find_tenants_with_changes_before(timestamptz)',
];

const statements = [
  ...tables,
  'insert into feed_position (tenant_id) select id from tenant',
  ...readers,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select, insert, update on feed_position, number_change to gateway_directory',
  ...['feed_position', 'number_change'].flatMap((table) =>
    [
      ['select', 'using (true)'],
      ['insert', 'with check (true)'],
      ['update', 'using (true) with check (true)'],
    ].map(
      ([command, condition]) =>
        `create policy directory_${command} on ${table} for ${command} to gateway_directory ${condition}`,
    ),
  ),
  ...[
    'failure_of_read(jsonb)',
    'worst_health(jsonb, text)',
    'fields_of_block(text, jsonb)',
  ].flatMap((signature) => [
    `revoke execute on function ${signature} from public`,
    `grant execute on function ${signature} to gateway_directory`,
  ]),
  ...recorders,
  ...numberers,
  ...finders,
  'grant create on schema public to gateway_directory',
  ...[...definers, ...forGateway].map(
    (signature) => `revoke execute on function ${signature} from public`,
  ),
  ...triggers,
  ...[...definers, ...forGateway].map(
    (signature) => `alter function ${signature} owner to gateway_directory`,
  ),
  ...forGateway.map((signature) => `grant execute on function ${signature} to gateway_login`),
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
  'revoke execute on function end_staleness() from public',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
