// Runs once before all tests: creates a PostgreSQL server with a migrated template database, and a file with a migrated
// PGlite. The harness copies its databases from these two.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { Client } from 'pg';
import type { TestProject } from 'vitest/node';
import { openDatabase } from '../src/database/database.ts';
import { openPostgresServer, type PostgresServer } from './setup-postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** As the superuser, to a database that no test uses. */
    readonly postgresUrl: string;
    /** The name of the migrated database that is copied. */
    readonly postgresTemplate: string;
    /** The login role of the gateway, `user:password`: neither superuser nor owner. */
    readonly postgresLogin: string;
    /** The file with the migrated PGlite. */
    readonly pglitePath: string;
  }
}

const made = new AsyncDisposableStack();

export async function setup({ provide }: TestProject): Promise<void> {
  try {
    const [server, dump] = await Promise.all([openServer(), dumpMigratedPglite()]);
    const path = join(server.directory, 'pglite.tar');
    await writeFile(path, dump);
    provide('pglitePath', path);
    await createTemplate(server.url, provide);
  } catch (error) {
    await made.disposeAsync();
    throw error;
  }
}

export async function teardown(): Promise<void> {
  await made.disposeAsync();
}

async function openServer(): Promise<Pick<PostgresServer, 'url' | 'directory'>> {
  const url = process.env['TEST_DATABASE_URL'];
  if (!url) return made.use(await openServerInMemory());
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-tests-'));
  made.defer(() => rm(directory, { recursive: true, force: true }));
  return { url, directory };
}

/** In memory a database is copied three times as fast as on a disk. The tests need less than a gigabyte. */
const memory = '/dev/shm';
const minFreeBytes = 4 * 2 ** 30;

async function openServerInMemory(): Promise<PostgresServer> {
  const { bavail, bsize } = await statfs(memory).catch(() => ({ bavail: 0, bsize: 0 }));
  if (bavail * bsize < minFreeBytes) return await openPostgresServer();
  // It may not be writable, or may forbid programs.
  return await openPostgresServer([], memory).catch(() => openPostgresServer());
}

async function createTemplate(url: string, provide: TestProject['provide']): Promise<void> {
  const suffix = randomBytes(6).toString('hex');
  const [template, login] = [`gateway_template_${suffix}`, `gateway_login_${suffix}`];
  const password = randomBytes(16).toString('hex');
  const admin = new Client({ connectionString: url });
  await admin.connect();
  made.defer(() => admin.end());
  await admin.query(`create database ${template}`);
  made.defer(async () => void (await admin.query(`drop database ${template}`)));
  await migrate(Object.assign(new URL(url), { pathname: `/${template}` }).href);
  await admin.query(
    `create role ${login} login password '${password}'; grant gateway_login to ${login}`,
  );
  made.defer(async () => void (await admin.query(`drop role ${login}`)));
  provide('postgresUrl', url);
  provide('postgresTemplate', template);
  provide('postgresLogin', `${login}:${password}`);
}

async function migrate(url: string): Promise<void> {
  await using database = await openDatabase({ kind: 'postgres', url });
  await database.migrate();
}

/** Small, because a test copies all files and all of the shared memory: in half of the time that the defaults take. */
async function dumpMigratedPglite(): Promise<Buffer> {
  const instance = await PGlite.create({
    initDbStartParams: ['--wal-segsize=1'],
    postgresqlconf: ['shared_buffers=4MB', 'min_wal_size=2MB', 'max_wal_size=2MB'],
  });
  await using database = await openDatabase({ kind: 'pglite', instance });
  await database.migrate();
  for (const template of ['template0', 'template1']) {
    // oxlint-disable no-await-in-loop -- one connection
    await instance.query('update pg_database set datistemplate = false where datname = $1', [
      template,
    ]);
    await instance.exec(`drop database ${template}`);
    // oxlint-enable no-await-in-loop
  }
  await instance.exec('checkpoint');
  const dump = await instance.dumpDataDir('none');
  return Buffer.from(await dump.arrayBuffer());
}
