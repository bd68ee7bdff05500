import { type Kysely, sql } from 'kysely';

// Other software that shares the database changes `state` and does not know the columns of the gateway. Its change
// counts as an observation at the time of the change.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`
    create function track_state_change() returns trigger language plpgsql set search_path = pg_catalog as $$
    begin
      if new.state is distinct from old.state then
        if new.state_observed_at = old.state_observed_at then
          new.state_observed_at := clock_timestamp();
        end if;
        if new.updated_at = old.updated_at then
          new.updated_at := clock_timestamp();
        end if;
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger track_state_change before update on whatsapp_number
    for each row execute function track_state_change()`.execute(db);
}
