// Opens PGlite, the PostgreSQL inside the process: one connection, and a directory for one process at a time.

import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PGlite } from '@electric-sql/pglite';
import { PGliteDialect } from 'kysely';
import { ConfigurationError } from '../config.ts';
import {
  changesChannel,
  createHeartbeatChannelName,
  type ListenToNotifications,
} from './change-feed.ts';
import type { Driver, PostgresOptions } from './postgres.ts';
import type { Read, TextRow } from './statement.ts';

type PgliteOptions = Pick<PostgresOptions, 'onStatement'>;

/** Throws a ConfigurationError while another process uses the directory. */
export async function openEmbedded(directory: string, options: PgliteOptions): Promise<Driver> {
  const unlock = await lockDirectory(directory);
  // Loaded here because it takes a while, and is not needed with a PostgreSQL server.
  const { PGlite } = await import('@electric-sql/pglite');
  const instance = new PGlite(join(directory, 'postgres'));
  await instance.waitReady;
  const driver = openPglite(instance, options);
  return {
    ...driver,
    async release() {
      await driver.release();
      await unlock();
    },
  };
}

export function openPglite(instance: PGlite, options: PgliteOptions): Driver {
  return {
    dialect: new PGliteDialect({ pglite: instance }),
    read: createRead(instance, options),
    withoutTimeLimit: (work) => work(),
    warm: async () => undefined,
    listenToNotifications: createPgliteListener(instance),
    // Kysely closes an instance only if it has used it.
    release: async () => void (instance.closed || (await instance.close())),
  };
}

function createRead(instance: PGlite, { onStatement }: PgliteOptions): Read {
  return async (statements, onSend) =>
    await instance.transaction(async (transaction) => {
      onSend();
      let rows: readonly TextRow[] = [];
      for (const { sql, parameters } of statements) {
        onStatement?.(sql);
        const query = transaction.query<string[]>(sql, [...parameters], { rowMode: 'array' });
        // oxlint-disable-next-line no-await-in-loop -- one connection
        ({ rows } = await query);
      }
      return rows;
    });
}

/** A notification is heard before the statement that sends it ends. */
export function createPgliteListener(instance: PGlite): ListenToNotifications {
  return async ({ onChange, onHeartbeat }) => {
    const heartbeatChannel = createHeartbeatChannelName();
    const unlisten = [
      await instance.listen(changesChannel, onChange),
      await instance.listen(heartbeatChannel, onHeartbeat),
    ];
    return {
      async sendHeartbeat(message) {
        await instance.query('select pg_notify($1, $2)', [heartbeatChannel, message]);
      },
      async [Symbol.asyncDispose]() {
        if (!instance.closed) await Promise.all(unlisten.map((end) => end()));
      },
    };
  };
}

/**
 * Creates the directory if it does not exist, and returns the function that unlocks it. Throws a ConfigurationError
 * while another process has locked it: two processes would destroy the data, and PGlite does not notice.
 */
async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, 'process.id');
  const draft = `${path}.${randomUUID()}`;
  const found = await readFile(path, 'utf8').catch(() => null);
  if (found !== null) {
    const holder = Number(found);
    if (holder !== process.pid && isRunning(holder)) throw createInUseError(directory, holder);
    await removeStale(path, found);
  }
  // Written first and linked afterwards: no process reads half of the file, and of two processes one fails.
  await writeFile(draft, String(process.pid));
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw createInUseError(directory, null);
  } finally {
    await rm(draft, { force: true });
  }
  return () => rm(path, { force: true });
}

/** Moves the file away before removing it: another process may have replaced it since it was read. */
async function removeStale(path: string, stale: string): Promise<void> {
  const moved = `${path}.${randomUUID()}`;
  await rename(path, moved).catch(() => undefined);
  const content = await readFile(moved, 'utf8').catch(() => stale);
  if (content !== stale) await link(moved, path);
  await rm(moved, { force: true });
}

function createInUseError(directory: string, holder: number | null): ConfigurationError {
  const by = holder === null ? 'another process' : `process ${holder}`;
  return new ConfigurationError([
    `DATA_DIR ${directory} is in use by ${by}; stop it, choose another directory, or set DATABASE_URL to share one database`,
  ]);
}

function isRunning(processId: number): boolean {
  if (!Number.isSafeInteger(processId) || processId <= 0) return false;
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    // A process of another user exists too.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
