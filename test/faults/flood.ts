// Load from wrk, which uses little CPU itself: it shares the cores with the gateway. Warns on standard error if wrk is not
// installed.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export interface FloodOptions {
  readonly url: string;
  /** Used in rotation, one per request. */
  readonly keys: readonly string[];
  /** Each sends its next request when the last one is answered. */
  readonly connections: number;
  /** Responses of the warm-up are not counted. */
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface FloodFigures {
  /** Responses per second, by status. */
  readonly perSecond: Readonly<Record<number, number>>;
  /** Broken connections, and requests without a response for ten seconds. */
  readonly broken: number;
  /** Of the responses with 200. */
  readonly p95Ms: number;
}

/** Whether wrk is installed. `subject`: what is not tested without it. */
export function hasWrk(subject: string): boolean {
  try {
    // It prints its version and exits with 1.
    execFileSync('wrk', ['-v'], { stdio: 'ignore' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      process.stderr.write(`\n*** NOT TESTED: ${subject}, because wrk is not installed. ***\n\n`);
      return false;
    }
  }
  return true;
}

/** The output of flood.lua. */
interface FloodReport {
  readonly broken: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** Counts of responses with 200, by whole milliseconds. */
  readonly durations: Readonly<Record<string, number>>;
}

export async function flood(options: FloodOptions): Promise<FloodFigures> {
  const { broken, statuses, durations } = await runWrk(options);
  const seconds = options.measureMs / 1_000;
  const rates = Object.entries(statuses).map(([status, count]) => [status, count / seconds]);
  return { perSecond: Object.fromEntries(rates), broken, p95Ms: toP95(durations) };
}

async function runWrk(options: FloodOptions): Promise<FloodReport> {
  const { url, keys, connections, warmUpMs, measureMs } = options;
  const { host, pathname } = new URL(url);
  const directory = mkdtempSync(join(tmpdir(), 'numbers-gateway-flood-'));
  try {
    // The keys are in a file, because other users can read arguments.
    const path = join(directory, 'requests');
    const requests = keys.map(
      (key) => `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\nx-api-key: ${key}\r\n\r\n`,
    );
    writeFileSync(path, requests.join('\0'));
    const child = spawn(
      'wrk',
      [
        '--threads=1',
        `--connections=${connections}`,
        `--duration=${Math.ceil((warmUpMs + measureMs) / 1_000) + 1}s`,
        '--timeout=10s',
        `--script=${fileURLToPath(new URL('flood.lua', import.meta.url))}`,
        url,
        '--',
        path,
        String(warmUpMs),
        String(measureMs),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    // In production callers run on other machines: here wrk gets only the CPU that the gateway and its database leave.
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    if (code !== 0) throw new Error(`wrk exited with ${code}: ${output}`);
    // wrk prints its own summary first.
    return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as FloodReport;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function toP95(durations: FloodReport['durations']): number {
  const sorted = Object.entries(durations)
    .map(([ms, count]) => ({ ms: Number(ms), count }))
    .toSorted((a, b) => a.ms - b.ms);
  let left = 0.95 * sorted.reduce((sum, { count }) => sum + count, 0);
  for (const { ms, count } of sorted) {
    left -= count;
    if (left <= 0) return ms;
  }
  return 0;
}
