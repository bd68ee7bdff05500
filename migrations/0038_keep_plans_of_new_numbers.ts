import { type Kysely, sql } from 'kysely';

// A subject is deleted when it has no number any more; see `deleteSubject` in src/sync/store.ts. A number that is added at
// that moment keeps its subject from being deleted until the addition has ended, or plans it again.
const subjectOf = (row: string) =>
  `case ${row}.provider when 'META' then ${row}.waba_id else 'engine' end`;

const toPlanner = (name: string, rows: string) => `
  create or replace function ${name}() returns trigger
  language plpgsql security definer set search_path = pg_catalog as $$
  declare
    expected integer := (select count(*) from (${rows}) r);
    kept integer;
  begin
    loop
      insert into public.sync_subject (tenant_id, subject_id)
      select r.tenant_id, r.subject_id from (${rows}) r order by 1, 2 on conflict do nothing;
      perform from public.sync_subject s join (${rows}) r on r.tenant_id = s.tenant_id and r.subject_id = s.subject_id
      order by s.tenant_id, s.subject_id for key share of s;
      get diagnostics kept = row_count;
      exit when kept >= expected;
    end loop;
    insert into public.sync_plan (tenant_id, subject_id, kind, due_at)
    select r.tenant_id, r.subject_id, k.kind, clock_timestamp() from (${rows}) r
    cross join unnest(case r.subject_id when 'engine' then array['ENGINE'] else array['SWEEP', 'HEALTH', 'PROFILE', 'ACCOUNT'] end) k(kind)
    order by 1, 2, 3 on conflict do nothing;
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

// As in 0033, but only numbers that Meta refuses do not count: they are tried again after hours.
const measure = `
  create or replace function measure_sync() returns table (lag_seconds float8, oldest_seconds float8)
  language sql stable security definer set search_path = pg_catalog as $$
    select
      (select extract(epoch from greatest(statement_timestamp() - min(p.due_at), interval '0'))::float8
        from public.sync_plan p),
      (select extract(epoch from statement_timestamp() - min(n.observed_at))::float8
        from public.number_status n
        where n.provider = 'META' and isfinite(n.observed_at) and (not n.failing or not exists (
          select from public.number_snapshot f
          where f.tenant_id = n.tenant_id and f.number_id = n.number_id and f.block = 'phone'
            and coalesce(case when f.obstacle_at >= f.attempted_at then f.obstacle end, f.failure) ->> 'code' = 'META_ACCESS_DENIED'
        )))
  $$`;

const statements = [
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  ...planners,
  measure,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
