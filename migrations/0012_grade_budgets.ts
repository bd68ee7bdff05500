import { type Kysely, sql } from 'kysely';

// Stores how much of a budget is spent, so that reads which are not urgent pause before the budget is exhausted.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`
    alter table graph_budget add column spent_percent smallint not null default 100
      check (spent_percent in (75, 90, 100))`.execute(db);
}
