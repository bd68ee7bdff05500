// Load from a generator that costs next to nothing itself: it shares its processors with the gateway, and every
// millisecond that it takes is one in which the gateway cannot answer. The same request over connections that are kept,
// and of each answer no more is read than its status and where it ends.

import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Ask } from './load.ts';

export interface FloodOptions {
  readonly url: string;
  /** One for each connection, in turn. */
  readonly keys: readonly string[];
  readonly connections: number;
  /** Whether or not earlier ones were answered; null: each connection asks again as soon as it has its answer. */
  readonly perSecond: number | null;
  /** For which nothing is counted, and then for which it is. */
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface FloodFigures {
  /** Answers a second, by status; 0 is a connection that broke. */
  readonly perSecond: Readonly<Record<number, number>>;
  /** Of the answers with 200, in milliseconds. */
  readonly durationsMs: readonly number[];
}

interface Caller {
  ask(): void;
  close(): void;
}

const tickMs = 5;

export async function flood(options: FloodOptions): Promise<FloodFigures> {
  const { url, keys, connections, perSecond, warmUpMs, measureMs } = options;
  const counts: Record<number, number> = {};
  const durationsMs: number[] = [];
  const idle: Caller[] = [];
  let isCounting = false;
  const finish = (caller: Caller, status: number, durationMs: number): void => {
    if (isCounting) counts[status] = (counts[status] ?? 0) + 1;
    if (isCounting && status === 200) durationsMs.push(durationMs);
    if (status === 0) return;
    if (perSecond === null) caller.ask();
    else idle.push(caller);
  };
  const callers = await Promise.all(
    Array.from({ length: connections }, (_, index) =>
      openCaller({ url, key: keys[index % keys.length]! }, finish),
    ),
  );
  const startedAt = performance.now();
  let asked = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * (perSecond ?? 0));
    for (; asked < due; asked += 1) idle.pop()?.ask();
  }, tickMs);
  if (perSecond === null) for (const caller of callers) caller.ask();
  else idle.push(...callers);
  await delay(warmUpMs);
  isCounting = true;
  const countedFrom = performance.now();
  await delay(measureMs);
  isCounting = false;
  const seconds = (performance.now() - countedFrom) / 1_000;
  clearInterval(timer);
  for (const caller of callers) caller.close();
  const rates = Object.entries(counts).map(([status, count]) => [status, count / seconds]);
  return { perSecond: Object.fromEntries(rates), durationsMs };
}

async function openCaller(
  { url, key }: Ask,
  finish: (caller: Caller, status: number, durationMs: number) => void,
): Promise<Caller> {
  const { hostname, port, pathname } = new URL(url);
  const request = `GET ${pathname} HTTP/1.1\r\nhost: ${hostname}\r\nx-api-key: ${key}\r\n\r\n`;
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  await once(socket, 'connect');
  let [askedAt, status, missing] = [0, 0, 0];
  const caller: Caller = {
    ask() {
      askedAt = performance.now();
      socket.write(request);
    },
    close: () => socket.destroy(),
  };
  socket.on('data', (chunk: Buffer) => {
    if (missing === 0) {
      const head = chunk.toString('latin1', 0, 1_024);
      status = Number(head.slice('HTTP/1.1 '.length, 12));
      const [, length = '0'] = /\r\ncontent-length: (\d+)/i.exec(head) ?? [];
      missing = head.indexOf('\r\n\r\n') + 4 + Number(length);
    }
    missing -= chunk.length;
    if (missing === 0) finish(caller, status, performance.now() - askedAt);
  });
  socket.on('error', () => undefined);
  socket.once('close', () => finish(caller, 0, 0));
  return caller;
}
