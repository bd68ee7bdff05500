// Starts PgBouncer in transaction mode, where each transaction may get another connection to PostgreSQL. Needs the
// program `pgbouncer`; without it a warning says which tests are not run.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestPostgresUrl } from '../harness.ts';

/** Whether the program exists. `subject` says what is not tested without it. */
export function hasPgBouncer(subject: string): boolean {
  try {
    execFileSync('pgbouncer', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    process.stderr.write(
      `\n*** NOT TESTED: ${subject}, because the program \`pgbouncer\` was not found. ***\n\n`,
    );
    return false;
  }
}

// PgBouncer refuses connections with parameters that it does not know. The transactions of tenants set the time limits
// again.
const ignored =
  'extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout';

/** Returns the URL of the same database through PgBouncer. */
export async function startPgBouncer(
  stack: AsyncDisposableStack,
  postgres: Pick<TestPostgresUrl, 'url'>,
): Promise<string> {
  const target = new URL(postgres.url);
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-pgbouncer-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
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
  // It refuses to run as root, and other users may not enter the directory.
  const asRoot = process.getuid?.() === 0;
  if (asRoot) {
    await Promise.all([chmod(directory, 0o755), chmod(users, 0o644), chmod(settings, 0o644)]);
  }
  const bouncer = spawn('pgbouncer', [...(asRoot ? ['-u', 'nobody'] : []), settings], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exit = once(bouncer, 'exit');
  stack.defer(async () => {
    bouncer.kill('SIGKILL');
    await exit;
  });
  await untilListening(bouncer);
  return Object.assign(new URL(target), { port: String(port) }).href;
}

async function untilListening(bouncer: ChildProcess): Promise<void> {
  const log: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // `stdio` makes it a pipe.
  createInterface({ input: bouncer.stderr! }).on('line', (line) => {
    if (log.length < 50) log.push(line);
    if (line.includes('process up')) resolve();
  });
  bouncer.once('exit', (code) =>
    reject(new Error(`pgbouncer ended with ${code}:\n${log.join('\n')}`)),
  );
  await promise;
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // The address of a listening TCP server has a port.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
