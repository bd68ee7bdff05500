// Puts a server under load with wrk, or with autocannon where wrk is not installed. Both repeat a list of requests.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { writeScratch } from './scratch.ts';
import type { BenchRequest } from './shapes.ts';
import { endWithBench } from './started-process.ts';

export interface Load {
  readonly url: string;
  readonly requests: readonly BenchRequest[];
  readonly connections: number;
  readonly seconds: number;
}

export interface Sample {
  /** Responses with 200 per second. */
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Responses with another status, timeouts and broken connections. */
  readonly failures: number;
}

/** The last line that a generator prints, as JSON. */
export interface GeneratorReport {
  readonly requests: number;
  readonly failures: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const generator = hasWrk() ? 'wrk' : 'autocannon';

/** Throws if the generator fails, if nothing is answered, or if more than one request in a hundred fails. */
export async function putUnderLoad(load: Load): Promise<Sample> {
  const report = (await (generator === 'wrk'
    ? runWrk(load)
    : runAutocannon(load))) as GeneratorReport;
  if (report.requests === 0)
    throw new Error(`No request was answered within ${load.seconds} seconds.`);
  if (report.failures > report.requests / 100) {
    throw new Error(`${report.failures} of ${report.requests} requests failed under load.`);
  }
  return {
    requestsPerSecond: (report.requests - report.failures) / report.seconds,
    p50Ms: report.p50Ms,
    p99Ms: report.p99Ms,
    failures: report.failures,
  };
}

function hasWrk(): boolean {
  try {
    // wrk prints its version and exits with 1.
    execFileSync('wrk', ['-v'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

/** Passes `script` the path of a file with the requests, then `args`. Resolves to the JSON that it prints at its end. */
export async function runWrk(
  { url, requests, connections, seconds }: Load,
  script: 'wrk.lua' | 'pace.lua' = 'wrk.lua',
  args: readonly string[] = [],
): Promise<unknown> {
  const { host, port } = new URL(url);
  const texts = requests.map((request) => toWire(request, host));
  // The port makes the name unique: several servers may be under load at once.
  const path = await writeScratch(`requests-${port}`, texts.join('\0'));
  return await runGenerator('wrk', [
    '--threads=1',
    `--connections=${connections}`,
    `--duration=${seconds}s`,
    '--timeout=10s',
    `--script=${fileURLToPath(new URL(script, import.meta.url))}`,
    url,
    '--',
    path,
    ...args,
  ]);
}

async function runAutocannon(load: Load): Promise<unknown> {
  const { port } = new URL(load.url);
  const path = await writeScratch(`load-${port}.json`, JSON.stringify(load));
  const program = fileURLToPath(new URL('peers/autocannon.ts', import.meta.url));
  return await runGenerator(process.execPath, [program, path]);
}

async function runGenerator(command: string, args: readonly string[]): Promise<unknown> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  endWithBench(child);
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  if (code !== 0) throw new Error(`${command} exited with ${code}: ${output}`);
  // wrk prints its own summary first.
  return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as unknown;
}

function toWire({ method, path, headers, body }: BenchRequest, host: string): string {
  const all = {
    host,
    ...headers,
    ...(body !== '' && { 'content-length': String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
}
