import { type Kysely, sql } from 'kysely';

// Whoever lists numbers with the hints of their keys, oldest first, finds them in this order.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`drop index api_key_of_number`.execute(db);
  await sql`create index api_key_of_number on api_key (tenant_id, number_id, created_at, id)`.execute(
    db,
  );
}
