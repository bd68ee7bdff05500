// The processes that the bench starts: each prints its URL on standard output, and ends with the bench.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface StartedProcess extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  /** Milliseconds from the start until it printed its URL. */
  readonly startMs: number;
  /** Resident memory, in MB of a million bytes. */
  readMemoryMb(): number;
  /** Opens the inspector of the process and resolves to its address. Measure nothing else afterwards. */
  openInspector(): Promise<string>;
}

export interface ProcessToStart {
  readonly name: string;
  /** A TypeScript file, relative to this folder. */
  readonly path: string;
  readonly args?: readonly string[];
  /** For Node itself. */
  readonly nodeArgs?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** The flags of `npm start` that would otherwise make one run differ from the next; see README.md. */
const commonNodeArgs = [
  '--no-allocation-site-pretenuring',
  '--no-parallel-scavenge',
  '--inspect-port=0',
];

const running = new Set<number>();

// However the bench ends, no process is left.
process.once('exit', () => {
  for (const id of running) end(id);
});

/** Resolves when the process has ended. */
export async function endWithBench(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  running.add(pid);
  await once(child, 'exit');
  running.delete(pid);
}

/** Waits for a line of JSON with `url`. Throws with the output of the process if it ends first, or after 30 seconds. */
export async function startProcess(what: ProcessToStart): Promise<StartedProcess> {
  const startedAt = performance.now();
  const path = fileURLToPath(new URL(what.path, import.meta.url));
  const child = spawn(
    process.execPath,
    [...commonNodeArgs, ...(what.nodeArgs ?? []), path, ...(what.args ?? [])],
    {
      env: { ...readOwnEnvironment(), NODE_ENV: 'production', ...what.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const id = child.pid;
  if (id === undefined) throw new Error(`${what.name} could not be started.`);
  const exit = endWithBench(child);
  const stderr = watchStderr(child.stderr);
  // Killed: it holds nothing that needs a clean shutdown.
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
    throw new Error(`${what.name} did not start: ${stderr.text()}`);
  }
  return {
    name: what.name,
    url,
    startMs,
    readMemoryMb: () =>
      Number(execFileSync('ps', ['-o', 'rss=', '-p', String(id)]).toString()) * 0.001024,
    async openInspector() {
      child.kill('SIGUSR1');
      return await stderr.inspector;
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** Node also prints the address of the inspector on standard error. */
function watchStderr(stderr: Readable): { text(): string; readonly inspector: Promise<string> } {
  let output = '';
  const inspector = Promise.withResolvers<string>();
  stderr.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4_000);
    const [, address] = /listening on (ws:\S+)/.exec(output) ?? [];
    if (address !== undefined) inspector.resolve(address);
  });
  return { text: () => output, inspector: inspector.promise };
}

// Variables of the caller's shell must not configure the contestants.
function readOwnEnvironment(): Readonly<Record<string, string>> {
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
    // It has already ended.
  }
}
