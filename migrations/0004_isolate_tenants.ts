import { type Kysely, sql } from 'kysely';

// A tenant sees its own rows alone. FORCE applies the policies to the owner of the tables too. PostgreSQL returns ''
// for a local setting that has ended, hence nullif. The sub-select is evaluated once per statement instead of once per
// row.
const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const tenantColumns = {
  tenant: 'id',
  whatsapp_number: 'tenant_id',
  api_key: 'tenant_id',
  number_credential: 'tenant_id',
  number_snapshot: 'tenant_id',
  waba_snapshot: 'tenant_id',
  refresh_lease: 'tenant_id',
};

const grants = [
  'select, insert on tenant',
  'select, insert, update, delete on whatsapp_number, number_credential, number_snapshot, waba_snapshot, refresh_lease',
  // The hash can be written and not read.
  'insert on api_key',
  'select (tenant_id, id, name, key_prefix, key_last4, number_id, created_at, expires_at, revoked_at, rotated_at) on api_key',
  'update (expires_at, revoked_at, rotated_at) on api_key',
];

export async function up(db: Kysely<object>): Promise<void> {
  const statements = Object.entries(tenantColumns).flatMap(([table, column]) => [
    `alter table ${table} enable row level security`,
    `alter table ${table} force row level security`,
    `create policy tenant_isolation on ${table} using (${column} = ${currentTenant}) with check (${column} = ${currentTenant})`,
  ]);
  for (const statement of [
    ...statements,
    ...grants.map((grant) => `grant ${grant} to gateway_tenant`),
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
