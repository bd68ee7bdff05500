// Load from wrk, which costs next to nothing itself: it shares its processors with the gateway, and every millisecond that
// it takes is one in which the gateway cannot answer. Says so loudly where there is no wrk.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export interface FloodOptions {
  readonly url: string;
  /** One for each request, in turn. */
  readonly keys: readonly string[];
  /** Each asks again as soon as it has its answer. */
  readonly connections: number;
  /** For which nothing is counted, and then for which it is. */
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface FloodFigures {
  /** Answers a second, by status. */
  readonly perSecond: Readonly<Record<number, number>>;
  /** Connections that broke, and questions without an answer for ten seconds. */
  readonly broken: number;
  /** Of the answers with 200, in milliseconds. */
  readonly p95Ms: number;
}

/** Whether the program is there. `subject`: what is not tested where it is not. */
export function hasWrk(subject: string): boolean {
  try {
    // It says its version and ends with 1.
    execFileSync('wrk', ['-v'], { stdio: 'ignore' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      process.stderr.write(
        `\n*** NOT TESTED: ${subject}, because there is no program \`wrk\` here. ***\n\n`,
      );
      return false;
    }
  }
  return true;
}

/** What flood.lua prints. */
interface FloodReport {
  readonly broken: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** Good answers, by whole milliseconds. */
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
    // The keys are in a file: everybody sees arguments.
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
    // It would be on other machines: here it gets what the gateway and its database leave.
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    if (code !== 0) throw new Error(`wrk ended with ${code}: ${said}`);
    // It prints its own summary first.
    return JSON.parse(said.trimEnd().split('\n').at(-1) ?? '') as FloodReport;
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
