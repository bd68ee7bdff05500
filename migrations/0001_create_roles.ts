import { type Kysely, sql } from 'kysely';

// Each transaction of a tenant switches to gateway_tenant. gateway_directory owns the functions that look across
// tenants. An operator grants gateway_login to the role that the gateway logs in with. Roles belong to the server, so
// the migration of another database may have created them, or may be creating them.
export async function up(db: Kysely<object>): Promise<void> {
  for (const role of ['gateway_tenant', 'gateway_directory', 'gateway_login']) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql
      .raw(
        `do $$ begin
           if not exists (select from pg_roles where rolname = '${role}') then
             create role ${role} nologin noinherit;
           end if;
         exception when duplicate_object or unique_violation then null;
         end $$`,
      )
      .execute(db);
  }
  await sql`grant gateway_tenant to gateway_login`.execute(db);
  await sql`grant gateway_login to current_user`.execute(db);
  await sql`grant usage on schema public to gateway_tenant, gateway_directory, gateway_login`.execute(
    db,
  );
}
