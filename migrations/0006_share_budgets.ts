import { type Kysely, sql } from 'kysely';

const currentTenant = `(select nullif(current_setting('app.tenant_id', true), ''))`;

const statements = [
  `create table graph_budget (
     tenant_id text not null references tenant,
     account text not null check (account ~ '^(app|[0-9]{5,20})$'),
     spent_until timestamptz(3) not null,
     primary key (tenant_id, account)
   )`,
  `alter table graph_budget enable row level security`,
  `alter table graph_budget force row level security`,
  `create policy tenant_isolation on graph_budget using (tenant_id = ${currentTenant}) with check (tenant_id = ${currentTenant})`,
  `grant select, insert, update, delete on graph_budget to gateway_tenant`,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
