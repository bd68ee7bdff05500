import { type Kysely, sql } from 'kysely';

// What operators note about numbers: labels, and until when alerts are silent. Keys of the scope `operate` write them; a key
// that operates also reads, and has both scopes, so that the previous release accepts it for reading.
const columns = [
  `alter table whatsapp_number
     add column labels text[] not null default '{}',
     add column muted_until timestamptz(3),
     add column mute_note text,
     add constraint whatsapp_number_labels check (cardinality(labels) <= 20)`,
  `create index whatsapp_number_labelled on whatsapp_number (tenant_id, id) include (labels) where labels <> '{}'`,
  'alter table api_key drop constraint api_key_scopes, drop constraint api_key_of_number',
  `alter table api_key
     add constraint api_key_scopes check (cardinality(scopes) > 0 and scopes <@ array['read', 'operate', 'webhooks']
       and ('read' = any(scopes) or 'operate' <> all(scopes))),
     -- Webhooks are about accounts.
     add constraint api_key_of_number check (number_id is null or 'webhooks' <> all(scopes))`,
];

const values = (row: 'old' | 'new') => [
  `case when cardinality(${row}.labels) > 0 then to_json(${row}.labels)::text end`,
  `case when ${row}.muted_until is not null then json_build_object('until',
     to_char(${row}.muted_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'note', ${row}.mute_note)::text end`,
];
const [formerLabels, formerMute] = values('old');
const [labels, mute] = values('new');

// As those of 0023, which see for the rights of the function.
const recorder = `
  create function add_operations_to_history() returns trigger
  language plpgsql security definer set search_path = pg_catalog as $$
  begin
    insert into public.number_change
      (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
    select new.tenant_id, new.id, null, md5(pg_current_xact_id()::text || '/' || new.id)::uuid, c.kind, null, c.previous, c.value,
      coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
      nullif(current_setting('app.change_actor', true), ''), clock_timestamp()
    from (values ('LABELS', ${formerLabels}, ${labels}), ('MUTE', ${formerMute}, ${mute})) c(kind, previous, value)
    where c.previous is distinct from c.value;
    return null;
  end $$`;

const statements = [
  ...columns,
  recorder,
  'revoke execute on function add_operations_to_history() from public',
  `create trigger add_operations_to_history after update of labels, muted_until, mute_note on whatsapp_number for each row
   when ((old.labels, old.muted_until, old.mute_note) is distinct from (new.labels, new.muted_until, new.mute_note))
   execute function add_operations_to_history()`,
  // Revoked at the end of this migration, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  'alter function add_operations_to_history() owner to gateway_directory',
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
