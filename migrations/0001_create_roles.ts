import { type Kysely, sql } from 'kysely';

// gateway_tenant is taken in each transaction of a tenant; gateway_directory owns the functions that look across
// tenants; gateway_login is what an operator grants to the role that the gateway logs in with.
// Roles belong to the whole server, so another database may have made them already, perhaps at this very moment.
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
