import { type Kysely, sql } from 'kysely';

// A budget is no longer known to be spent or not, but by how much: what is not urgent ends before the last read is gone.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`
    alter table graph_budget add column spent_percent smallint not null default 100
      check (spent_percent in (75, 90, 100))`.execute(db);
}
