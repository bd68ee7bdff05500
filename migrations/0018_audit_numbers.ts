import { type Kysely, sql } from 'kysely';

// A number may get other ids, or be removed. Triggers do what follows from it in the same transaction, whichever program
// makes the change, as for keys and credentials. They run as the role that makes the change.

// What was read of the former ids says nothing about the number that the new ids belong to.
const forget = `
  create function forget_readings() returns trigger language plpgsql set search_path = pg_catalog as $$
  begin
    delete from public.number_snapshot s
    where s.tenant_id = new.tenant_id and s.number_id = new.id and case s.block
      when 'connection' then new.instance_name is distinct from old.instance_name
      when 'waba' then new.waba_id is distinct from old.waba_id
      else new.phone_number_id is distinct from old.phone_number_id end;
    return null;
  end $$`;

// Each changed column with its value before and after.
const audit = `
  create function audit_number() returns trigger language plpgsql set search_path = pg_catalog as $$
  declare
    n public.whatsapp_number := case when tg_op = 'DELETE' then old else new end;
    facts jsonb;
  begin
    if tg_op = 'DELETE' then
      facts := jsonb_build_object('name', old.name, 'number', old.number, 'provider', old.provider,
        'phoneNumberId', old.phone_number_id, 'wabaId', old.waba_id, 'instanceName', old.instance_name);
    else
      select coalesce(jsonb_object_agg(c.name, c.after), '{}') || coalesce(jsonb_object_agg(c.former, c.before), '{}')
      into facts from (values
        ('name', 'formerName', old.name, new.name),
        ('number', 'formerNumber', old.number, new.number),
        ('phoneNumberId', 'formerPhoneNumberId', old.phone_number_id, new.phone_number_id),
        ('wabaId', 'formerWabaId', old.waba_id, new.waba_id),
        ('instanceName', 'formerInstanceName', old.instance_name, new.instance_name)
      ) as c(name, former, before, after) where c.before is distinct from c.after;
      if facts = '{}' then
        return null;
      end if;
    end if;
    insert into public.audit (tenant_id, action, subject, details)
    values (n.tenant_id, case tg_op when 'DELETE' then 'number.removed' else 'number.updated' end, n.id,
      jsonb_strip_nulls(facts));
    return null;
  end $$`;

const triggers = [
  'revoke execute on function forget_readings() from public',
  'revoke execute on function audit_number() from public',
  `create trigger forget_readings after update of phone_number_id, waba_id, instance_name on whatsapp_number
   for each row execute function forget_readings()`,
  `create trigger audit_number after update of name, number, phone_number_id, waba_id, instance_name or delete
   on whatsapp_number for each row execute function audit_number()`,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of [forget, audit, ...triggers]) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
