import { type Kysely, sql } from 'kysely';

// Causes of incidents that no change reports: an access token that ends, an account that Meta has disabled, and one that is
// read too rarely. `alert_causes` has the rights of its caller: a tenant sees its own, and the finder those of all tenants.
const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const hasNumbers = (row: string, account: string) => `exists (
  select from public.number_status n where n.tenant_id = ${row}.tenant_id and n.waba_id = ${row}.${account})`;

// `late_ms` is null while nothing is read in the background. An account whose reads fail has incidents of other rules.
const causes = `
  create function alert_causes(at timestamptz, expiring_ms float8, late_ms float8)
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
    select p.tenant_id, 'SYNC_LATE', 'ACCOUNT', p.subject_id, ${iso('p.last_ok_at')}
    from public.sync_plan p join public.sync_subject s on s.tenant_id = p.tenant_id and s.subject_id = p.subject_id
    where p.kind = 'SWEEP' and late_ms is not null and p.failures = 0 and s.pause is distinct from 'TOKEN'
      and coalesce(p.last_ok_at, p.due_at) < at - late_ms * interval '1 millisecond' and ${hasNumbers('p', 'subject_id')}
  $$`;

// Ids of tenants and nothing else. What is known already of a cause has the subject as its member.
const find = `
  create function find_tenants_to_evaluate(at timestamptz, expiring_ms float8, late_ms float8)
  returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    with observed as (
      select c.tenant_id, c.rule, c.subject from public.alert_causes(at, expiring_ms, late_ms) c
    ), known as (
      select i.tenant_id, i.rule, i.subject from public.incident i
      join public.incident_member m on m.tenant_id = i.tenant_id and m.incident_id = i.id and m.member = i.subject
      where i.closed_at is null and m.left_at is null and i.scope <> 'NUMBER'
        and i.rule in ('TOKEN_EXPIRING', 'ACCOUNT_BANNED', 'SYNC_LATE')
      union
      select c.tenant_id, c.rule, c.subject from public.alert_condition c
      where c.member = c.subject and c.scope <> 'NUMBER' and c.rule in ('TOKEN_EXPIRING', 'ACCOUNT_BANNED', 'SYNC_LATE')
    )
    select f.tenant_id from public.feed_position f
    left join public.alert_position p on p.tenant_id = f.tenant_id
    where f.last > coalesce(p.sequence, 0)
      or exists (select from public.alert_condition c where c.tenant_id = f.tenant_id and c.due_at <= at)
      or f.tenant_id in (
        (select o.tenant_id from (select * from observed except select * from known) o)
        union all
        (select k.tenant_id from (select * from known except select * from observed) k)
      )
    order by f.tenant_id
  $$`;

const signature = 'find_tenants_to_evaluate(timestamptz, float8, float8)';
const ofCauses = 'alert_causes(timestamptz, float8, float8)';

/** What the finder reads beside what `gateway_directory` may read already. */
const columns = {
  credential: 'tenant_id, id, expires_at, data_access_expires_at',
  whatsapp_number: 'tenant_id, credential_id',
  number_status: 'tenant_id, waba_id',
  incident: 'tenant_id, id, rule, scope, subject, closed_at',
  incident_member: 'tenant_id, incident_id, member, left_at',
  alert_condition: 'tenant_id, rule, scope, subject, member',
} as const;

const statements = [
  causes,
  `revoke execute on function ${ofCauses} from public`,
  `grant execute on function ${ofCauses} to gateway_tenant, gateway_directory`,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  ...Object.entries(columns).map(
    ([table, names]) => `grant select (${names}) on ${table} to gateway_directory`,
  ),
  ...['credential', 'incident', 'incident_member'].map(
    (table) => `create policy directory on ${table} for select to gateway_directory using (true)`,
  ),
  find,
  'grant create on schema public to gateway_directory',
  `alter function ${signature} owner to gateway_directory`,
  `revoke execute on function ${signature} from public`,
  `grant execute on function ${signature} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
