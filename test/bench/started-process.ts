// Owns the processes that the bench starts: each says on standard output where it listens, and ends with the bench.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface StartedProcess extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  /** Milliseconds from the start to the announcement. */
  readonly startMs: number;
  /** Resident memory now, in MB of a million bytes. */
  toMemoryMb(): number;
  /** Has the process open its inspector; answers the address. It is not the same process after that. */
  openInspector(): Promise<string>;
}

export interface ProcessToStart {
  readonly name: string;
  /** Of a TypeScript file, from this folder. */
  readonly path: string;
  readonly args?: readonly string[];
  /** For Node itself. */
  readonly nodeArgs?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * V8 may take it that what a server allocates for a request lives long, and then all of it lives until the next major
 * collection. That halves one run of any contestant and not the next, so all are spared it, as `npm start` is; and the
 * threads that help to collect, which cost more than they help on two cores.
 */
const nodeArgsOfAll = [
  '--no-allocation-site-pretenuring',
  '--no-parallel-scavenge',
  '--inspect-port=0',
];

const running = new Set<number>();

// However the bench ends, nothing of it stays behind.
process.once('exit', () => {
  for (const id of running) end(id);
});

/** Answers a promise of its end. */
export async function endWithBench(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  running.add(pid);
  await once(child, 'exit');
  running.delete(pid);
}

/** Waits for a line of JSON with `url`. Throws with what the process said when it ends before, or after 30 seconds. */
export async function startProcess(what: ProcessToStart): Promise<StartedProcess> {
  const startedAt = performance.now();
  const path = fileURLToPath(new URL(what.path, import.meta.url));
  const child = spawn(
    process.execPath,
    [...nodeArgsOfAll, ...(what.nodeArgs ?? []), path, ...(what.args ?? [])],
    {
      env: { ...toOwnEnvironment(), NODE_ENV: 'production', ...what.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const id = child.pid;
  if (id === undefined) throw new Error(`${what.name} could not be started.`);
  const exit = endWithBench(child);
  const complaints = listen(child.stderr);
  // At once: nothing that it holds is worth the time of a proper ending.
  const stop = async (): Promise<void> => {
    if (running.has(id)) end(id);
    await exit;
  };
  const announced = Promise.withResolvers<string>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const url = toUrl(line);
    if (url !== null) announced.resolve(url);
  });
  const url = await Promise.race([
    announced.promise,
    exit.then(() => null),
    delay(30_000, null, { ref: false }),
  ]);
  const startMs = performance.now() - startedAt;
  if (url === null) {
    await stop();
    throw new Error(`${what.name} did not start: ${complaints.text()}`);
  }
  return {
    name: what.name,
    url,
    startMs,
    toMemoryMb: () =>
      Number(execFileSync('ps', ['-o', 'rss=', '-p', String(id)]).toString()) * 0.001024,
    async openInspector() {
      child.kill('SIGUSR1');
      return await complaints.inspector;
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** What a process says on standard error, where it also announces its inspector. */
function listen(stderr: Readable): { text(): string; readonly inspector: Promise<string> } {
  let said = '';
  const inspector = Promise.withResolvers<string>();
  stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4_000);
    const [, address] = /listening on (ws:\S+)/.exec(said) ?? [];
    if (address !== undefined) inspector.resolve(address);
  });
  return { text: () => said, inspector: inspector.promise };
}

// What configures the gateway in the caller's shell is not to configure what is measured.
function toOwnEnvironment(): Readonly<Record<string, string>> {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'SystemRoot', 'LANG'];
  return Object.fromEntries(
    kept.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

function toUrl(line: string): string | null {
  if (!line.startsWith('{"url"')) return null;
  return (JSON.parse(line) as { url: string }).url;
}

function end(id: number): void {
  try {
    process.kill(id, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
