// That tenants stay apart behind PgBouncer in transaction mode, where a connection to PostgreSQL changes hands with each
// transaction. Needs the program `pgbouncer`, and says so loudly where there is none.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { sql } from 'kysely';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../src/database.ts';
import { openTestPostgresUrl, type TestPostgresUrl } from './harness.ts';
import { addRows, probeIsolation, rowOf, runInterleaved } from './tenancy-probe.ts';

// The three time-outs that the gateway asks for when it connects: PgBouncer refuses what it does not know, and the
// transactions of tenants set theirs again.
const ignored =
  'extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout';

const installed = isInstalled();
if (!installed) {
  process.stderr.write(
    '\n*** NOT TESTED: isolation through PgBouncer, because there is no program `pgbouncer` here. ***\n\n',
  );
}

describe.skipIf(!installed)('behind PgBouncer in transaction mode', () => {
  const tenants = Array.from({ length: 10 }, (_, index) => `t${index}`);
  const made = new AsyncDisposableStack();
  let database: Database;

  beforeAll(async () => {
    const postgres = made.use(await openTestPostgresUrl());
    await addTenants(postgres, [...tenants, 'a', 'b']);
    const url = await startPgBouncer(made, postgres);
    database = made.use(await openDatabase({ kind: 'postgres', url }, { connections: 8 }));
  });

  afterAll(async () => {
    await made.disposeAsync();
  });

  test('what is on trial is not let off, and shares connections', async () => {
    const ask = sql<{ role: string; process: number; exempt: boolean }>`
      select rolname as role, rolsuper or rolbypassrls as exempt, pg_backend_pid() as process
      from pg_roles where rolname = current_user`;
    const asked = Array.from({ length: 40 }, () =>
      database.withTenant('a', async (transaction) => (await ask.execute(transaction)).rows[0]),
    );
    const found = await Promise.all(asked);
    expect(found.every((row) => row?.role === 'gateway_tenant' && !row.exempt)).toBe(true);
    // Eight connections of ours on two of PostgreSQL's.
    expect(new Set(found.map((row) => row?.process)).size).toBeLessThanOrEqual(2);
  });

  test('a tenant reaches its own rows and nothing else', async () => {
    expect(await probeIsolation(database, Object.keys(rowOf))).toEqual([]);
  });

  test('1,000 interleaved transactions, a tenth failing midway, see no row of another tenant', async () => {
    const seed = randomInt(2 ** 31);
    const load = { transactions: 1_000, tenants, connections: 8, seed };
    expect(await runInterleaved(database, load), `seed ${seed}`).toMatchObject({
      committed: 900,
      failed: 100,
      foreignRows: 0,
      left: 0,
    });
  });

  test('the time-outs of a tenant’s transaction hold all the same', async () => {
    const ask = sql<{ statement: string; lock: string; idle: string }>`
      select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
        current_setting('idle_in_transaction_session_timeout') as idle`;
    const { rows } = await database.withTenant('a', (transaction) => ask.execute(transaction));
    expect(rows).toEqual([{ statement: '2s', lock: '1s', idle: '5s' }]);
  });
});

function isInstalled(): boolean {
  try {
    execFileSync('pgbouncer', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function addTenants(postgres: TestPostgresUrl, ids: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: postgres.ownerUrl });
  await client.connect();
  try {
    const query = async (text: string) => (await client.query(text)).rows as never;
    // oxlint-disable-next-line no-await-in-loop -- one connection
    for (const id of ids) await addRows(query, id);
  } finally {
    await client.end();
  }
}

/** The URL of the same database, through PgBouncer. */
async function startPgBouncer(
  made: AsyncDisposableStack,
  postgres: TestPostgresUrl,
): Promise<string> {
  const target = new URL(postgres.url);
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-pgbouncer-'));
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const port = await findFreePort();
  const name = target.pathname.slice(1);
  const users = join(directory, 'users');
  await writeFile(users, `"${target.username}" "${target.password}"\n`);
  const settings = join(directory, 'pgbouncer.ini');
  await writeFile(
    settings,
    `[databases]
${name} = host=${target.hostname} port=${target.port} dbname=${name}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = plain
auth_file = ${users}
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = ${ignored}
`,
  );
  // It refuses to run as root, and may not enter our folder as somebody else.
  const asRoot = process.getuid?.() === 0;
  if (asRoot) {
    await Promise.all([chmod(directory, 0o755), chmod(users, 0o644), chmod(settings, 0o644)]);
  }
  const bouncer = spawn('pgbouncer', [...(asRoot ? ['-u', 'nobody'] : []), settings], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exit = once(bouncer, 'exit');
  made.defer(async () => {
    bouncer.kill('SIGKILL');
    await exit;
  });
  await untilListening(bouncer);
  return Object.assign(new URL(target), { port: String(port) }).href;
}

async function untilListening(bouncer: ChildProcess): Promise<void> {
  const said: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Asked for as a pipe.
  createInterface({ input: bouncer.stderr! }).on('line', (line) => {
    if (said.length < 50) said.push(line);
    if (line.includes('process up')) resolve();
  });
  bouncer.once('exit', (code) =>
    reject(new Error(`pgbouncer ended with ${code}:\n${said.join('\n')}`)),
  );
  await promise;
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A listening TCP server has an address with a port.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
