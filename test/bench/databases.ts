// The databases of the bench: a PostgreSQL server, and migrated databases on it that are dropped at the end.

import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { openDatabase } from '../../src/database/database.ts';
import { openPostgresServer } from '../setup-postgres.ts';

/** Shared by all contestants. */
export const pepper = 'the pepper of the bench, which is no secret';
export const encryptionKeys = `bench:${Buffer.alloc(32, 7).toString('base64')}`;

export interface BenchDatabase {
  /** For the gateway: a role that is neither superuser nor owner. */
  readonly url: string;
  /** A superuser: for the seed, the writer, and the peers, which see all rows and filter by tenant. */
  readonly ownerUrl: string;
}

/** The server to use; its settings are not changed. */
export const givenServer = process.env['TEST_DATABASE_URL'];

export interface BenchServer extends AsyncDisposable {
  /** A migrated, empty database. */
  createDatabase(): Promise<BenchDatabase>;
}

/** The server of TEST_DATABASE_URL, whose role must be a superuser, or a new one with these settings (`name=value`). */
export async function openBenchServer(settings: readonly string[] = []): Promise<BenchServer> {
  const made = new AsyncDisposableStack();
  const url = givenServer || made.use(await openPostgresServer(settings)).url;
  const login = `gateway_bench_${randomBytes(6).toString('hex')}`;
  const password = randomBytes(16).toString('hex');
  const admin = made.adopt(new Client({ connectionString: url }), (it) => it.end());
  await admin.connect();
  const createDatabase = async (): Promise<BenchDatabase> => {
    const name = `gateway_bench_${randomBytes(6).toString('hex')}`;
    await admin.query(`create database ${name}`);
    made.defer(async () => void (await admin.query(`drop database ${name} with (force)`)));
    const ownerUrl = Object.assign(new URL(url), { pathname: `/${name}` });
    await migrate(ownerUrl.href);
    await ensureLogin(admin, login, password, made);
    const loginUrl = Object.assign(new URL(ownerUrl), { username: login, password });
    return { url: loginUrl.href, ownerUrl: ownerUrl.href };
  };
  return { createDatabase, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

/** Runs `work` with a connection as superuser. */
export async function withOwner<T>(
  { ownerUrl }: BenchDatabase,
  work: (owner: Client) => Promise<T>,
): Promise<T> {
  const owner = new Client({ connectionString: ownerUrl });
  await owner.connect();
  try {
    return await work(owner);
  } finally {
    await owner.end();
  }
}

async function migrate(url: string): Promise<void> {
  await using database = await openDatabase({ kind: 'postgres', url });
  await database.migrate();
}

// gateway_login exists once a database of the server was migrated. The role owns nothing, so it can be dropped at any time.
async function ensureLogin(
  admin: Client,
  login: string,
  password: string,
  made: AsyncDisposableStack,
): Promise<void> {
  const { rowCount } = await admin.query('select from pg_roles where rolname = $1', [login]);
  if (rowCount !== 0) return;
  await admin.query(
    `create role ${login} login password '${password}'; grant gateway_login to ${login}`,
  );
  made.defer(async () => void (await admin.query(`drop role ${login}`)));
}
