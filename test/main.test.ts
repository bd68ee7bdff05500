// The process: its output, signals and exit codes. Each test starts `node src/main.ts` or `npm start`.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sentinelWabaId } from './simulator/simulator.ts';
import { type CommandLine, openCommandLine } from './admin/command-line.ts';
import { startScript } from './npm-start.ts';
import { openFaultProxy } from './providers/fault-proxy.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const main = join(root, 'src', 'main.ts');

interface Started extends AsyncDisposable {
  readonly child: ChildProcess;
  /** The output so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves once standard output matches. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  /** The exit code, or the signal that killed it. */
  readonly ended: Promise<number | string>;
}

/** Starts the program with these variables and PATH only. Disposal kills it if it is still running. */
function start(
  words: string,
  environment: Readonly<Record<string, string>> = {},
  flags: readonly string[] = [],
): Started {
  const args = [...flags, main, ...words.split(' ').filter(Boolean)];
  return startProcess(process.execPath, args, environment);
}

/** A detached process is killed together with its children. */
function startProcess(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  detached = false,
): Started {
  const child = spawn(command, args, {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached,
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    ended,
    async until(pattern) {
      for (;;) {
        const match = pattern.exec(output.stdout);
        if (match !== null) return match;
        // oxlint-disable-next-line no-await-in-loop -- waits for the next chunk
        const end = await Promise.race([once(child.stdout, 'data'), ended]);
        if (!Array.isArray(end) && !pattern.test(output.stdout)) {
          throw new Error(`It ended with ${end}: ${output.stdout}${output.stderr}`);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      if (detached) killGroup(child);
      else child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Kills the process and its children. */
function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of them have ended.
  }
}

/** Sends the request that this curl command would send. */
async function runCurl(command: string): Promise<{ status: number; json: unknown }> {
  const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare);
  const headers: [string, string][] = [];
  let url = '';
  let body: string | undefined;
  for (let index = 1; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const next = words[index + 1] ?? '';
    if (word === '-H') headers.push(next.split(': ', 2) as [string, string]);
    if (word === '-d') body = next;
    if (word === '-H' || word === '-d') index += 1;
    else if (word.startsWith('http')) url = word;
  }
  const method = body === undefined ? 'GET' : 'POST';
  const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) });
  return { status: response.status, json: await response.json() };
}

describe('the demo', () => {
  /** The first test seeds it, and the others start faster. */
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-demo-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  test('prints working keys and commands, locks its data directory, exits with 0, and keeps its keys across restarts', async () => {
    const environment = { DATA_DIR: directory, PORT: '0' };
    await using first = start('', environment);
    await first.until(/Ctrl-C/);
    const curls = first.stdout().match(/curl .*/g) ?? [];
    expect(curls).toHaveLength(4);
    const [list, detail, graphql, fleet] = await Promise.all(curls.map(runCurl));
    expect(fleet).toMatchObject({
      status: 200,
      json: { data: expect.any(Array), total: expect.any(Number) },
    });
    expect(list).toMatchObject({ status: 200, json: expect.any(Array) });
    expect(detail).toMatchObject({
      status: 200,
      json: { meta: { phone: { qualityRating: 'GREEN' } } },
    });
    expect(graphql).toMatchObject({
      status: 200,
      json: { data: { number: { meta: { waba: { name: expect.any(String) } } } } },
    });
    const keys = toKeys(first);
    expect(keys).toHaveLength(3);
    const [, url = ''] = /demo: (\S+)/.exec(first.stdout()) ?? [];
    for (const key of keys) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { status } = await fetch(`${url}/v1/numbers`, { headers: { 'x-api-key': key } });
      expect(status).toBe(200);
    }
    const [, page = ''] = /GraphiQL +(\S+)/.exec(first.stdout()) ?? [];
    const { status, headers } = await fetch(page, { headers: { accept: 'text/html' } });
    expect([status, headers.get('content-type')]).toEqual([
      200,
      expect.stringMatching('text/html'),
    ]);

    await using command = start('tenant list', environment);
    expect(await command.ended).toBe(1);
    expect(command.stdout()).toBe('');
    expect(command.stderr()).toMatch(/^CONFIGURATION: .*\n- DATA_DIR .* is in use by process \d+/);

    first.child.kill('SIGINT');
    expect(await first.ended).toBe(0);

    await using second = start('serve', environment);
    await second.until(/Ctrl-C/);
    expect(toKeys(second)).toEqual(keys);
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe(0);

    await using doctor = start('doctor', environment);
    expect(await doctor.ended).toBe(0);
  }, 60_000);

  test('keeps running after the reader of its log has ended', async () => {
    await using demo = start('', { DATA_DIR: directory, PORT: '0' });
    await demo.until(/Ctrl-C/);
    demo.child.stderr?.destroy();
    const [curl = ''] = demo.stdout().match(/curl .*/g) ?? [];
    // Each request writes a log line.
    for (let time = 0; time < 3; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await runCurl(curl)).status).toBe(200);
    }
    demo.child.kill('SIGTERM');
    expect(await demo.ended).toBe(0);
  }, 60_000);

  test('receives SIGTERM through npm start, which ends with its exit code', async () => {
    await using npm = startProcess('npm', ['start'], { DATA_DIR: directory, PORT: '0' }, true);
    await npm.until(/Ctrl-C/);
    npm.child.kill('SIGTERM');
    expect(await npm.ended).toBe(0);
    expect(npm.stderr()).toContain('"msg":"stopped"');
  }, 60_000);
});

test('npm start replaces a POSIX shell, so that signals reach the gateway, and runs without exec on Windows', () => {
  const [inPosixShell = '', onWindows, ...others] = startScript.split(' || ');
  expect(inPosixShell).toBe(`exec ${onWindows}`);
  expect(onWindows).toMatch(/^node( [\w./=-]+)+$/);
  expect(others).toEqual([]);
});

function toKeys({ stdout }: Started): readonly string[] {
  return [...new Set(stdout().match(/ps_\w{49}/g))];
}

describe('in production', () => {
  let line: CommandLine;
  beforeAll(async () => {
    line = await openCommandLine();
  });
  afterAll(() => line[Symbol.asyncDispose]());

  interface HeldServer extends AsyncDisposable {
    readonly url: string;
    readonly started: Started;
    /** The response to a request that waits for Meta. */
    readonly response: Promise<Response>;
    release(): void;
  }

  async function serveHeldRequest(): Promise<HeldServer> {
    const tenant = await line.addTenant();
    const { json: key } = await line.run<{ key: string }>(`key create --tenant ${tenant}`);
    const { json: number } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name X --number 55119 --provider META --phone-number-id 990000000000 --waba-id ${sentinelWabaId} --credentials - --no-check`,
      { stdin: '{"accessToken":"EAA0123456789abcdefghijkl"}' },
    );
    const started = start('serve', line.environment);
    const [text] = await started.until(/.*\n/);
    const { url } = JSON.parse(text) as { url: string };
    const held = line.simulator.hold('990000000000');
    line.simulator.clearCalls();
    const response = fetch(`${url}/v1/numbers/${number.id}?refresh=1`, {
      headers: { 'x-api-key': key.key },
    });
    // A rejection before the test awaits the response is not unhandled.
    response.catch(() => undefined);
    while (line.simulator.calls.length === 0) {
      // oxlint-disable-next-line no-await-in-loop -- waits for the request to arrive at Meta
      await delay(10);
    }
    return {
      url,
      started,
      response,
      release: () => held.release(),
      async [Symbol.asyncDispose]() {
        held.release();
        await started[Symbol.asyncDispose]();
      },
    };
  }

  test('prints its URL and no secret, and finishes requests in flight on SIGTERM', async () => {
    await using held = await serveHeldRequest();
    const { started } = held;
    started.child.kill('SIGTERM');
    while (!started.stderr().includes('draining')) {
      // oxlint-disable-next-line no-await-in-loop -- waits for the line
      await once(started.child.stderr!, 'data');
    }
    expect((await fetch(`${held.url}/readyz`)).status).toBe(503);
    held.release();
    expect((await held.response).status).toBe(200);
    expect(await started.ended).toBe(0);
    expect(started.stdout()).toBe(`${JSON.stringify({ url: held.url })}\n`);
    const { ENCRYPTION_KEYS = '', API_KEY_PEPPER = '' } = line.environment;
    for (const secret of [ENCRYPTION_KEYS, API_KEY_PEPPER, 'EAA', 'ps_']) {
      expect(started.stdout() + started.stderr()).not.toContain(secret);
    }
  });

  test('exits on SIGTERM when PostgreSQL does not respond to the Terminate message', async () => {
    await using proxy = await openFaultProxy(line.database.url);
    const database = Object.assign(new URL(line.database.url), { host: new URL(proxy.url).host });
    await using started = start('serve', { ...line.environment, DATABASE_URL: database.href });
    const [text] = await started.until(/.*\n/);
    const { url } = JSON.parse(text) as { url: string };
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    // https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-TERMINATE
    proxy.setFault('X\0\0\0\u0004', { kind: 'blackhole' });
    started.child.kill('SIGTERM');
    expect(await started.ended).toBe(0);
  });

  test('exits at once on a second signal', async () => {
    await using held = await serveHeldRequest();
    const { started } = held;
    started.child.kill('SIGINT');
    while (!started.stderr().includes('draining')) {
      // oxlint-disable-next-line no-await-in-loop -- waits for the line
      await once(started.child.stderr!, 'data');
    }
    started.child.kill('SIGINT');
    expect(await started.ended).toBe(130);
    await expect(held.response).rejects.toThrow('fetch failed');
  });

  test('reports a port in use with how to fix it', async () => {
    const port = new URL(line.environment['META_GRAPH_URL'] ?? '').port;
    await using started = start('', { ...line.environment, PORT: port });
    expect(await started.ended).toBe(1);
    expect(started.stderr()).toContain(`- PORT ${port} at HOST 127.0.0.1 is already in use; stop`);
  });

  test('a command exits by itself after printing its result into a pipe', async () => {
    const environment = { ...line.environment, LOG_LEVEL: 'info' };
    await using started = start('tenant create --name Piped', environment);
    expect(await started.ended).toBe(0);
    expect(JSON.parse(started.stdout())).toMatchObject({ name: 'Piped' });
    expect(started.stderr()).toBe('');
  });
});

test('does not start with an invalid configuration, and reports all problems together', async () => {
  await using started = start('', { DATABASE_URL: 'postgres://localhost/x', GRAPHIQL: 'maybe' });
  expect(await started.ended).toBe(1);
  expect(started.stdout()).toBe('');
  expect(started.stderr()).toMatch(/ENCRYPTION_KEYS.*\n.*API_KEY_PEPPER.*\n.*GRAPHIQL/);
});

test('exits with 2 after wrong usage', async () => {
  await using started = start('tenant create');
  expect(await started.ended).toBe(2);
  expect(started.stderr()).toMatch(/^INVALID_REQUEST: required option '--name <name>'/);
});

test('refuses to run on an older Node, naming the required version', async () => {
  const pretend =
    'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"22.18.0"}})';
  await using started = start('--version', {}, ['--import', pretend]);
  expect(await started.ended).toBe(1);
  expect(started.stdout()).toBe('');
  expect(started.stderr()).toMatch(/^This program needs Node 24 or newer/);
});
