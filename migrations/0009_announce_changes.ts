import { type Kysely, sql } from 'kysely';

// When a transaction that changes data of responses commits, every gateway that listens to gateway_changes is notified,
// whichever program made the change: one message for each tenant, or one for all tenants if there are many or an id is
// too long for a message. The functions run as the role that makes the change. They read the changed rows from
// transition tables, to which policies do not apply. PostgreSQL cannot prepare a transaction for two-phase commit after
// NOTIFY.
const maxTenants = 100;
const maxIdBytes = 1_000;

/** SQL for the tenants of these rows, at most one more than are announced one by one. */
const tenantsOf = (rows: string) =>
  `array(select distinct r.tenant_id from (${rows}) r limit ${maxTenants + 1})`;

// Of all columns, including those that later migrations add.
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
    if cardinality(tenants) > ${maxTenants}
      or exists (select from unnest(tenants) t(id) where octet_length(t.id) > ${maxIdBytes})
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

/** The tables that responses are built from, with the functions that announce their changes. */
const announcers = {
  whatsapp_number: 'announce_change',
  number_snapshot: 'announce_change',
  waba_snapshot: 'announce_change',
  api_key: 'announce_key_change',
};

/** A trigger with transition tables is for one kind of statement only. */
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
      // In sessions with triggers switched off too, like those of replication tools.
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
