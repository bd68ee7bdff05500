import { type Kysely, sql } from 'kysely';

// Whoever changes what answers are made of, the commit tells every gateway that listens to gateway_changes: a message for
// each tenant concerned, or one for everybody when there are many or an id is too long for a message. The functions run
// as the role that makes the change; what its statement changed stands in transition tables, which obey no policy.
// PostgreSQL refuses to prepare a transaction for two-phase commit once it has notified.
const mostTenants = 100;
const longestId = 1_000;

/** SQL for the tenants of these rows, one more than are told one by one at most. */
const tenantsOf = (rows: string) =>
  `array(select distinct r.tenant_id from (${rows}) r limit ${mostTenants + 1})`;

// A column that is added one day counts as well.
const keyRows = (table: string) => `select tenant_id, to_jsonb(k) - 'last_used_at' from ${table} k`;

const toFunction = (name: string, changedRows: string, keys: boolean) => `
  create function ${name}() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    tenants text[];
  begin
    case tg_op
      when 'INSERT' then tenants := ${tenantsOf('select tenant_id from new_rows')};
      when 'UPDATE' then tenants := ${tenantsOf(changedRows)};
      when 'DELETE' then tenants := ${tenantsOf('select tenant_id from old_rows')};
      else tenants := array[null::text];
    end case;
    if cardinality(tenants) > ${mostTenants}
      or exists (select from unnest(tenants) t(id) where octet_length(t.id) > ${longestId})
    then
      tenants := array[null::text];
    end if;
    perform pg_notify('gateway_changes', json_build_object('tenant', t.id, 'keys', ${keys})::text)
    from unnest(tenants) t(id);
    return null;
  end $$`;

const functions = [
  toFunction(
    'announce_change',
    'select tenant_id from old_rows union all select tenant_id from new_rows',
    false,
  ),
  toFunction(
    'announce_key_change',
    `(${keyRows('old_rows')} except ${keyRows('new_rows')})
     union all (${keyRows('new_rows')} except ${keyRows('old_rows')})`,
    true,
  ),
];

/** The tables that answers are made of, and what tells of their changes. */
const announcers = {
  whatsapp_number: 'announce_change',
  number_snapshot: 'announce_change',
  waba_snapshot: 'announce_change',
  api_key: 'announce_key_change',
};

/** Transition tables want a trigger for each kind of statement. */
const events = {
  insert: 'referencing new table as new_rows',
  update: 'referencing old table as old_rows new table as new_rows',
  delete: 'referencing old table as old_rows',
  truncate: '',
};

export async function up(db: Kysely<object>): Promise<void> {
  const triggers = Object.entries(announcers).flatMap(([table, name]) =>
    Object.entries(events).flatMap(([event, rows]) => [
      `create trigger announce_${event} after ${event} on ${table} ${rows}
       for each statement execute function ${name}()`,
      // Also for those who have switched off triggers for their session, as copying tools do.
      `alter table ${table} enable always trigger announce_${event}`,
    ]),
  );
  const names = [...new Set(Object.values(announcers))];
  for (const statement of [
    ...functions,
    ...names.map((name) => `revoke execute on function ${name}() from public`),
    ...triggers,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
