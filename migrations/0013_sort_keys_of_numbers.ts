import { type Kysely, sql } from 'kysely';

// Lists of numbers show the hints of their keys in this order, oldest first.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`drop index api_key_of_number`.execute(db);
  await sql`create index api_key_of_number on api_key (tenant_id, number_id, created_at, id)`.execute(
    db,
  );
}
