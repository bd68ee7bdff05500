import { type Kysely, sql } from 'kysely';

// When what is read from the upstreams without a caller; see src/sync/. A subject is an account of Meta's, or `engine` for
// the numbers of the session engine. Its lease keeps two processes from reading it at the same time, and ends with its
// holder, see 0014.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const isolate = (table: string) => [
  `alter table ${table} enable row level security`,
  `alter table ${table} force row level security`,
  `create policy tenant_isolation on ${table} using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  `grant select, insert, update, delete on ${table} to gateway_tenant`,
];

const tables = [
  // `quota` is how many calls an hour Meta allows. `reads_health`: whether Meta gives the health of numbers in the list of an
  // account. `missing` has the numbers that the last complete lists did not have, and in how many of them in a row.
  // `paused_until` is why and until when nothing is read although something is due.
  `create table sync_subject (
     tenant_id text not null references tenant on delete cascade,
     subject_id text not null,
     lease_holder text,
     lease_until timestamptz(3),
     quota integer not null default 200,
     pages integer not null default 1,
     numbers integer not null default 0,
     is_risky boolean not null default false,
     reads_health boolean not null default true,
     changed_at timestamptz(3),
     missing jsonb not null default '{}',
     unknown_numbers integer not null default 0,
     pause text check (pause in ('BUDGET', 'TOKEN')),
     paused_until timestamptz(3),
     primary key (tenant_id, subject_id)
   ) with (fillfactor = 50)`,
  // REQUEST: what a webhook has asked for: the numbers with these digits or ids, or everything while \`phones\` is null.
  // It is due at 'infinity' when nothing is asked for.
  `create table sync_plan (
     tenant_id text not null,
     subject_id text not null,
     kind text not null check (kind in ('REQUEST', 'SWEEP', 'HEALTH', 'PROFILE', 'ACCOUNT', 'ENGINE')),
     due_at timestamptz(3) not null,
     phones text[],
     requested_at timestamptz(3),
     started_at timestamptz(3),
     last_ok_at timestamptz(3),
     last_error text,
     failures integer not null default 0,
     primary key (tenant_id, subject_id, kind),
     foreign key (tenant_id, subject_id) references sync_subject on delete cascade
   ) with (fillfactor = 50)`,
  'create index sync_plan_by_due_time on sync_plan (due_at)',
  // The calls of the rolling hour, by minute.
  `create table sync_call (
     tenant_id text not null,
     subject_id text not null,
     minute timestamptz(3) not null,
     calls integer not null,
     primary key (tenant_id, subject_id, minute),
     foreign key (tenant_id, subject_id) references sync_subject on delete cascade
   )`,
  ...['sync_subject', 'sync_plan', 'sync_call'].flatMap(isolate),
];

/** Rows of a subject; what was planned stays. `due` is SQL for when its kinds are due first. */
const planSubjects = (rows: string, due: string) => [
  `insert into public.sync_subject (tenant_id, subject_id)
   select r.tenant_id, r.subject_id from (${rows}) r order by 1, 2 on conflict do nothing`,
  `insert into public.sync_plan (tenant_id, subject_id, kind, due_at)
   select r.tenant_id, r.subject_id, k.kind, ${due} from (${rows}) r
   cross join unnest(case r.subject_id when 'engine' then array['ENGINE'] else array['SWEEP', 'HEALTH', 'PROFILE', 'ACCOUNT'] end) k(kind)
   order by 1, 2, 3 on conflict do nothing`,
];

const subjectOf = (row: string) =>
  `case ${row}.provider when 'META' then ${row}.waba_id else 'engine' end`;

// Software that adds a number need not have rights on these tables; see 0021.
const toPlanner = (name: string, rows: string) => `
  create function ${name}() returns trigger
  language plpgsql security definer set search_path = pg_catalog as $$
  begin
    ${planSubjects(rows, 'clock_timestamp()').join(';\n    ')};
    return null;
  end $$`;

const planners = [
  toPlanner(
    'plan_sync_of_rows',
    `select distinct n.tenant_id, ${subjectOf('n')} as subject_id from new_rows n where ${subjectOf('n')} is not null`,
  ),
  toPlanner(
    'plan_sync_of_number',
    `select new.tenant_id, ${subjectOf('new')} as subject_id where ${subjectOf('new')} is not null`,
  ),
];

const plannerSignatures = ['plan_sync_of_rows()', 'plan_sync_of_number()'];

// Of those with the same time, requests come first. A row that changed since it was read is read again under its lock, so
// that no two processes get one subject.
const claim = `
  create function claim_sync(new_holder text, lease_ms float8, max_reads integer, max_of_tenant integer,
    reading_tenants text[], only_requests boolean)
  returns table (tenant_id text, subject_id text)
  language sql volatile security definer set search_path = pg_catalog as $$
    with due as (
      select p.tenant_id, p.subject_id, bool_or(p.kind = 'REQUEST') as is_requested, min(p.due_at) as due_at
      from public.sync_plan p
      where p.due_at <= statement_timestamp() and (p.kind = 'REQUEST' or not only_requests)
      group by p.tenant_id, p.subject_id
    ), free as (
      select d.*, row_number() over (partition by d.tenant_id order by d.is_requested desc, d.due_at) as place
      from due d join public.sync_subject s on s.tenant_id = d.tenant_id and s.subject_id = d.subject_id
      where s.lease_holder is null or s.lease_until <= clock_timestamp() or not exists (
        select from public.lease_holder h
        where h.holder = s.lease_holder and h.alive_until > clock_timestamp()
      )
    ), picked as (
      select s.tenant_id, s.subject_id from public.sync_subject s
      join free f on f.tenant_id = s.tenant_id and f.subject_id = s.subject_id
      where f.place + (select count(*) from unnest(reading_tenants) r(id) where r.id = f.tenant_id) <= max_of_tenant and (
        s.lease_holder is null or s.lease_until <= clock_timestamp() or not exists (
          select from public.lease_holder h
          where h.holder = s.lease_holder and h.alive_until > clock_timestamp()
        )
      )
      order by f.is_requested desc, f.due_at limit max_reads for no key update of s skip locked
    )
    update public.sync_subject s
    set lease_holder = new_holder, lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
    from picked where s.tenant_id = picked.tenant_id and s.subject_id = picked.subject_id
    returning s.tenant_id, s.subject_id
  $$`;

const claimSignature = 'claim_sync(text, float8, integer, integer, text[], boolean)';

const triggers = [
  `create trigger plan_sync_insert after insert on whatsapp_number referencing new table as new_rows
   for each statement execute function plan_sync_of_rows()`,
  `create trigger plan_sync_update after update of waba_id on whatsapp_number for each row
   when (new.waba_id is distinct from old.waba_id) execute function plan_sync_of_number()`,
];

// Spread over five minutes, so that the numbers that exist are not all read at once.
const existing = planSubjects(
  `select distinct n.tenant_id, ${subjectOf('n')} as subject_id from public.whatsapp_number n
   where ${subjectOf('n')} is not null`,
  `clock_timestamp() + (hashtext(r.tenant_id || r.subject_id) & 16383) / 16384.0 * interval '5 minutes'`,
);

const statements = [
  ...tables,
  ...existing,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant select, insert on sync_plan to gateway_directory',
  'grant select, insert, update on sync_subject to gateway_directory',
  'grant select on lease_holder to gateway_directory',
  ...['sync_subject', 'sync_plan'].flatMap((table) => [
    `create policy directory_select on ${table} for select to gateway_directory using (true)`,
    `create policy directory_insert on ${table} for insert to gateway_directory with check (true)`,
  ]),
  'create policy directory_update on sync_subject for update to gateway_directory using (true) with check (true)',
  ...planners,
  claim,
  'grant create on schema public to gateway_directory',
  ...plannerSignatures.map((signature) => `revoke execute on function ${signature} from public`),
  `revoke execute on function ${claimSignature} from public`,
  ...triggers,
  ...plannerSignatures.map((signature) => `alter function ${signature} owner to gateway_directory`),
  `alter function ${claimSignature} owner to gateway_directory`,
  `grant execute on function ${claimSignature} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
