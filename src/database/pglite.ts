// Owns PGlite, the PostgreSQL inside the process: one connection, and a folder for one process at a time.

import { join } from 'node:path';
import type { PGlite } from '@electric-sql/pglite';
import { CompiledQuery, PGliteDialect } from 'kysely';
import { lockDirectory } from './data-directory.ts';
import { toPgliteChannel } from './change-channel.ts';
import type { Driver, Read } from './driver.ts';
import type { TextRow } from './statement.ts';

/** Refuses a folder in use. */
export async function openEmbedded(directory: string): Promise<Driver> {
  const unlock = await lockDirectory(directory);
  // Loaded here because it takes a while and production never needs it.
  const { PGlite } = await import('@electric-sql/pglite');
  const instance = new PGlite(join(directory, 'postgres'));
  await instance.waitReady;
  const driver = openPglite(instance);
  return {
    ...driver,
    async release() {
      await driver.release();
      await unlock();
    },
  };
}

export function openPglite(instance: PGlite): Driver {
  return {
    dialect: new PGliteDialect({ pglite: instance }),
    read,
    waitFor: (work) => work(),
    warm: async () => undefined,
    openChannel: toPgliteChannel(instance),
    // Kysely closes an instance only after it has used it.
    release: async () => void (instance.closed || (await instance.close())),
  };
}

const read: Read = async (kysely, statements, onSend) =>
  await kysely.transaction().execute(async (transaction) => {
    onSend();
    let rows: readonly unknown[] = [];
    for (const { sql, parameters } of statements) {
      const query = CompiledQuery.raw(sql, [...parameters]);
      // oxlint-disable-next-line no-await-in-loop -- one connection
      ({ rows } = await transaction.executeQuery(query));
    }
    // All columns are texts, see statement.ts.
    return rows.map((row) => Object.values(row as object) as TextRow);
  });
