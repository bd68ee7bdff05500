// The image: the steps of the Dockerfile, performed in an empty folder, because no container engine is at hand.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTestPostgresUrl, type TestPostgresUrl } from './harness.ts';
import { startArgs } from './npm-start.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);

interface Instruction {
  readonly name: string;
  readonly rest: string;
}

const instructions: readonly Instruction[] = readFileSync(join(root, 'Dockerfile'), 'utf8')
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [, name = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    return { name, rest };
  });

function findLast(name: string): string {
  return instructions.findLast((instruction) => instruction.name === name)?.rest ?? '';
}

const toWords = (rest: string): readonly string[] => JSON.parse(rest) as string[];
const entrypoint = toWords(findLast('ENTRYPOINT'));
const command = toWords(findLast('CMD'));
const user = Number(/^(\d+):/.exec(findLast('USER'))?.[1]);
const healthCheck = toWords(/CMD (\[.*\])/.exec(findLast('HEALTHCHECK'))?.[1] ?? '[]');

/** Whether .dockerignore, which excludes everything but some names, lets this name into the context. */
function isInContext(name: string): boolean {
  const lines = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');
  const patterns = lines.filter((line) => line !== '' && !line.startsWith('#'));
  expect(patterns[0]).toBe('*');
  return patterns.includes(`!${name}`);
}

/** The folder of WORKDIR. */
let folder: string;
const environment: Record<string, string> = {};
const made = new AsyncDisposableStack();
let database: TestPostgresUrl;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'numbers-gateway-image-'));
  made.defer(() => rm(folder, { recursive: true, force: true }));
  environment['PATH'] = [dirname(process.execPath), process.env['PATH']].join(delimiter);
  for (const instruction of instructions) {
    // oxlint-disable-next-line no-await-in-loop -- in their order
    await perform(instruction);
  }
  database = made.use(await openTestPostgresUrl({ migrated: false }));
}, 120_000);
afterAll(() => made.disposeAsync());

async function perform({ name, rest }: Instruction): Promise<void> {
  switch (name) {
    case 'ENV':
      for (const [, key = '', value = ''] of rest.matchAll(/(\w+)=(\S+)/g))
        environment[key] = value;
      return;
    case 'COPY': {
      const sources = rest.split(' ').slice(0, -1);
      expect(sources.filter((source) => !isInContext(source))).toEqual([]);
      for (const source of sources) {
        cpSync(join(root, source), join(folder, source), { recursive: true });
      }
      return;
    }
    case 'RUN': {
      const line = rest.replaceAll(/--mount=\S+ /g, '');
      const offline = { HOME: process.env['HOME'] ?? '', npm_config_prefer_offline: 'true' };
      await execute('sh', ['-c', line], { cwd: folder, env: { ...environment, ...offline } });
      return;
    }
    case 'USER':
      // The root of the image is read-only to the user, and so is it here when the tests run as that user.
      await chmodAll(folder);
      return;
    default:
      expect(['FROM', 'WORKDIR', 'EXPOSE', 'HEALTHCHECK', 'ENTRYPOINT', 'CMD']).toContain(name);
  }
}

async function chmodAll(directory: string): Promise<void> {
  await execute('chmod', ['-R', 'a-w,a+rX', directory]);
  made.defer(() => execute('chmod', ['-R', 'u+w', directory]).then(() => undefined));
}

/** Runs words as the user of the image, in WORKDIR, with the environment of the image. */
function start(words: readonly string[], more: Readonly<Record<string, string>>): ChildProcess {
  const [program = '', ...args] = words;
  expect(program).toBe('node');
  const isRoot = process.getuid?.() === 0;
  return spawn(process.execPath, args, {
    cwd: folder,
    env: { ...environment, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(isRoot && { uid: user, gid: user }),
  });
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** The exit code, with the output for a failure. */
async function run(words: readonly string[], more: Readonly<Record<string, string>>) {
  const child = start(words, more);
  const output: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => output.push(chunk));
  const [code] = await once(child, 'close');
  return { code: code as number, output: Buffer.concat(output).toString() };
}

test('starts Node as npm start does, as a user that is not root', () => {
  const flags = startArgs.filter((arg) => arg !== '--import' && !arg.endsWith('/compile-cache.js'));
  expect(entrypoint).toEqual(['node', ...flags, 'src/main.ts']);
  expect(user).toBeGreaterThan(0);
  expect(findLast('FROM')).toMatch(/^node:24\b/);
});

test('holds nothing but the program and the packages that it needs', async () => {
  expect(readdirSync(folder).toSorted()).toEqual([
    'migrations',
    'node_modules',
    'package-lock.json',
    'package.json',
    'src',
  ]);
  const packages = await readdir(join(folder, 'node_modules'));
  expect(packages).toContain('kysely');
  const forDevelopment = new Set(['node', 'prettier', 'typescript', 'vitest']);
  expect(packages.filter((name) => forDevelopment.has(name))).toEqual([]);
});

test('migrates, serves from a folder that it cannot write, passes its health check, and stops on SIGTERM', async () => {
  const migrated = await run([...entrypoint, 'migrate'], {
    DATABASE_URL: database.ownerUrl,
    ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
    API_KEY_PEPPER: 'x'.repeat(32),
  });
  expect(migrated).toMatchObject({ code: 0, output: expect.stringContaining('0001_create_roles') });
  const port = String(await findFreePort());
  const secrets = {
    DATABASE_URL: database.url,
    ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
    API_KEY_PEPPER: 'x'.repeat(32),
    PORT: port,
  };
  expect((await run(healthCheck, { PORT: port })).code).toBe(1);
  const server = start([...entrypoint, ...command], secrets);
  const closed = once(server, 'close');
  made.defer(() => void server.kill('SIGKILL'));
  await once(server.stdout!, 'data');
  expect(await run(healthCheck, { PORT: port })).toEqual({ code: 0, output: '' });
  expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
  const readMetrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  await expect.poll(readMetrics).toContain('gateway_numbers{verdict="YES"} 0');
  expect(await readMetrics()).toContain(`node="${process.version}"} 1`);
  server.kill('SIGTERM');
  expect(await closed).toEqual([0, null]);
  expect((await run(healthCheck, { PORT: port })).code).toBe(1);
}, 60_000);
