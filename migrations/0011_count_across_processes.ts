import { type Kysely, sql } from 'kysely';

// What is counted for all processes together, and forgotten when its window of time is over: so it needs no log, and a
// crash that empties it costs one window. The columns are those that the limiter library writes, in its order.
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
