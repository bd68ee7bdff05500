// Applies the migrations in `migrations/` that a database does not have yet.

import { readdir } from 'node:fs/promises';
import { type Kysely, sql } from 'kysely';
import { type MigrationProvider, Migrator } from 'kysely/migration';
import { ConfigurationError } from '../config.ts';
import type { Tables } from './tables.ts';

/**
 * Applies the pending migrations in order and returns their names. Processes that do so at once wait for each other.
 */
export async function applyMigrations(kysely: Kysely<Tables>): Promise<readonly string[]> {
  return await kysely.connection().execute(applyOn);
}

/** Returns the names of the migrations that are not applied yet. */
export async function listPendingMigrations(kysely: Kysely<Tables>): Promise<readonly string[]> {
  const all = await new Migrator({ db: kysely, provider }).getMigrations();
  return all.filter((migration) => !migration.executedAt).map((migration) => migration.name);
}

async function applyOn(connection: Kysely<Tables>): Promise<readonly string[]> {
  // The time limits are for requests; a change of a large table may take longer.
  await sql`select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)`.execute(
    connection,
  );
  try {
    const migrator = new Migrator({ db: connection, provider });
    const { error, results = [] } = await migrator.migrateToLatest();
    if ((error as { code?: unknown } | undefined)?.code === insufficientPrivilege) {
      throw new ConfigurationError([
        'DATABASE_URL names a role that may not change the tables; run migrate as the role that owns them',
      ]);
    }
    if (error !== undefined) throw error;
    return results.map((result) => result.migrationName);
  } finally {
    await sql`reset all`.execute(connection);
  }
}

const insufficientPrivilege = '42501';

const directory = new URL('../../migrations/', import.meta.url);

const provider: MigrationProvider = {
  async getMigrations() {
    const files = (await readdir(directory)).filter((file) => file.endsWith('.ts'));
    const entries = files.map(async (file) => [
      file.slice(0, -'.ts'.length),
      await import(new URL(file, directory).href),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  },
};
