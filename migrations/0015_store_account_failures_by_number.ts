import { type Kysely, sql } from 'kysely';

// The data of an account are shared by all of its numbers, but a failure to read it concerns the credentials of one number.
// So failures are stored in number_snapshot, as a block 'waba' without data. The columns waba_snapshot.failure and
// attempted_at stay for the previous release: it still writes failures there, which this release does not show, and it
// does not see the failures that are stored by number.
export async function up(db: Kysely<object>): Promise<void> {
  await sql`
    alter table number_snapshot
      drop constraint number_snapshot_block_check,
      add constraint number_snapshot_block_check
        check (block in ('phone', 'profile', 'connection') or block = 'waba' and data is null)`.execute(
    db,
  );
}
