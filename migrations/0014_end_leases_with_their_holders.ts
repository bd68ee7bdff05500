import { type Kysely, sql } from 'kysely';

// A process that holds leases renews its row here, so that its leases end soon after it dies. Unlogged, as the leases are.
// The previous release writes leases without a row here. Such a lease is valid until its own expiry, which both releases
// write; a lease whose holder has a row is valid only while both have not expired.
const statements = [
  `create unlogged table lease_holder (
     holder text primary key,
     alive_until timestamptz(3) not null
   )`,
  'grant select, insert, update, delete on lease_holder to gateway_login',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
