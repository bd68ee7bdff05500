// Owns putting a server under load: by wrk where it is installed, otherwise by autocannon. Both run in a process of
// their own and go through a list of requests again and again.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { writeScratch } from './scratch.ts';
import type { Question } from './shapes.ts';
import { endWithBench } from './started-process.ts';

export interface LoadShedder {
  readonly url: string;
  readonly questions: readonly Question[];
  readonly connections: number;
  readonly seconds: number;
}

export interface Sample {
  /** Good answers a second. */
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Other answers than 200, timeouts and broken connections. */
  readonly failures: number;
}

/** What a generator prints as its last line. */
export interface GeneratorReport {
  readonly requests: number;
  readonly failures: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const generator = hasWrk() ? 'wrk' : 'autocannon';

/** Throws when the generator fails, when nothing is answered, or when more than one answer in a hundred is none. */
export async function putUnderLoad(load: LoadShedder): Promise<Sample> {
  const report = (await (generator === 'wrk'
    ? runWrk(load)
    : runAutocannon(load))) as GeneratorReport;
  if (report.requests === 0) throw new Error(`No answer came within ${load.seconds} seconds.`);
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
    // wrk says its version and ends with 1.
    execFileSync('wrk', ['-v'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

/** `script` is given the path of a file with the requests, then `args`. Answers the JSON that it prints at its end. */
export async function runWrk(
  { url, questions, connections, seconds }: LoadShedder,
  script: 'wrk.lua' | 'pace.lua' = 'wrk.lua',
  args: readonly string[] = [],
): Promise<unknown> {
  const { host, port } = new URL(url);
  const requests = questions.map((question) => toWire(question, host));
  // Several servers may be under load at once.
  const path = await writeScratch(`requests-${port}`, requests.join('\0'));
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

async function runAutocannon(load: LoadShedder): Promise<unknown> {
  const { port } = new URL(load.url);
  const path = await writeScratch(`load-${port}.json`, JSON.stringify(load));
  const program = fileURLToPath(new URL('peers/autocannon.ts', import.meta.url));
  return await runGenerator(process.execPath, [program, path]);
}

async function runGenerator(command: string, args: readonly string[]): Promise<unknown> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  endWithBench(child);
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${said}`);
  // wrk prints its own summary first.
  return JSON.parse(said.trimEnd().split('\n').at(-1) ?? '') as unknown;
}

function toWire({ method, path, headers, body }: Question, host: string): string {
  const all = {
    host,
    ...headers,
    ...(body !== '' && { 'content-length': String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
}
