import { type Kysely, sql } from 'kysely';

// The counts of the rate limiter for all processes. They are valid for one window, so the table is unlogged, and a
// crash loses one window. The columns are those of the library rate-limiter-flexible, in its order.
const statements = [
  `create unlogged table rate_count (
     key text primary key,
     points integer not null default 0,
     expire bigint
   )`,
  'grant select, insert, update, delete on rate_count to gateway_login',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
