import { type Kysely, sql } from 'kysely';

// Meta counts the calls of each app. A budget is stored as `app` or the id of an account, and after it a hash that stands for
// the app. The previous release still stores budgets without the hash, which this release does not read.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`
    alter table graph_budget drop constraint graph_budget_account_check,
      add constraint graph_budget_account_check
        check (account ~ '^(app|[0-9]{5,20})( [A-Za-z0-9_-]{43})?$')`.execute(db);
}
