import { type Kysely, sql } from 'kysely';

// An account is late by the cadence that it is planned with, which may be slower than the configured one, and also when its
// reads fail: a list that fails stores no failure of its numbers, so no other rule tells of it.
const columns = [
  // By the plan of the last run; null before the first one, and for what is asked for.
  'alter table sync_plan add column late_after_seconds float8',
  'alter table sync_plan add column created_at timestamptz(3) not null default now()',
];

const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const hasNumbers = (row: string, account: string) => `exists (
  select from public.number_status n where n.tenant_id = ${row}.tenant_id and n.waba_id = ${row}.${account})`;

// As in 0036, but for SYNC_LATE: `late_ms` is the shortest time after which an account is late, and the value is the code of
// the failure. Refused tokens have incidents of their own. A list that Meta refuses is replaced by reads of single numbers,
// which are those of HEALTH.
const causes = `
  create or replace function alert_causes(at timestamptz, expiring_ms float8, late_ms float8)
  returns table (tenant_id text, rule text, scope text, subject text, value text)
  language sql stable set search_path = pg_catalog as $$
    select c.tenant_id, 'TOKEN_EXPIRING', 'TOKEN', c.id, ${iso('least(c.expires_at, c.data_access_expires_at)')}
    from public.credential c
    where least(c.expires_at, c.data_access_expires_at) <= at + expiring_ms * interval '1 millisecond'
      and exists (select from public.whatsapp_number n where n.tenant_id = c.tenant_id and n.credential_id = c.id)
    union all
    select a.tenant_id, 'ACCOUNT_BANNED', 'ACCOUNT', a.waba_id, 'DISABLE'
    from public.account_notice a
    where a.notices #>> '{ban,value,state}' = 'DISABLE' and ${hasNumbers('a', 'waba_id')}
    union all
    select p.tenant_id, 'SYNC_LATE', 'ACCOUNT', p.subject_id,
      (array_agg(p.last_error order by p.kind desc) filter (where p.last_error is not null))[1]
    from public.sync_plan p join public.sync_subject s on s.tenant_id = p.tenant_id and s.subject_id = p.subject_id
    where late_ms is not null and s.pause is distinct from 'TOKEN' and p.last_error is distinct from 'META_ACCESS_DENIED'
      and (p.kind = 'SWEEP' or p.kind = 'HEALTH' and p.late_after_seconds is not null)
      and coalesce(p.last_ok_at, p.created_at)
        < at - greatest(late_ms, 1000 * p.late_after_seconds) * interval '1 millisecond'
      and ${hasNumbers('p', 'subject_id')}
    group by p.tenant_id, p.subject_id
  $$`;

const statements = [...columns, causes];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
