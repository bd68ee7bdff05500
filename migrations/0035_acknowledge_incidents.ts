import { type Kysely, sql } from 'kysely';

// Who has acknowledged an incident. The change that reports it has the note too.
const iso = (time: string) =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const toValue = (row: 'old' | 'new') => `jsonb_build_object(
  'id', ${row}.id, 'rule', ${row}.rule, 'severity', ${row}.severity,
  'state', case when ${row}.closed_at is null then 'OPEN' else 'CLOSED' end,
  'scope', ${row}.scope, 'subject', ${row}.subject, 'numberCount', ${row}.member_count,
  'openedAt', ${iso(`${row}.opened_at`)}, 'closedAt', ${iso(`${row}.closed_at`)},
  'acknowledgedAt', ${iso(`${row}.acknowledged_at`)}, 'note', ${row}.note)::text`;

// As in 0032, but for the note.
const history = `
  create or replace function add_incident_to_history() returns trigger
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
  end $$`;

const statements = [
  // The id of an API key; null for an operator's command.
  'alter table incident add column acknowledged_by text',
  'grant update (acknowledged_by) on incident to gateway_tenant',
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  history,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
