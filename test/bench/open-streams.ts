// Clients of streams that take as little of the machine as possible: they discard what they receive, except for one.

import { connect, type Socket } from 'node:net';
import { inTurn, toRange } from './in-turn.ts';
import type { BenchRequest } from './shapes.ts';

export interface OpenStreams extends Disposable {
  /** Forgets what the first stream has received. */
  clear(): void;
  /** Resolves when the first stream has received this text since then. */
  receive(text: string): Promise<void>;
}

/** So many at a time, so that no connection is refused. */
const atOnce = 50;

/** Resolves when all responses have begun. */
export async function openStreams(
  url: string,
  request: BenchRequest,
  count: number,
): Promise<OpenStreams> {
  const sockets: Socket[] = [];
  let [text, onText] = ['', () => undefined as void];
  const onChunk = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    onText();
  };
  await inTurn(toRange(Math.ceil(count / atOnce)), async (turn) => {
    const some = toRange(Math.min(atOnce, count - turn * atOnce));
    const opened = some.map((index) => open(url, request, turn + index === 0 ? onChunk : discard));
    sockets.push(...(await Promise.all(opened)));
  });
  return {
    clear() {
      text = '';
    },
    async receive(wanted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      onText = () => {
        if (text.includes(wanted)) resolve();
      };
      onText();
      await promise;
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function discard(): void {
  // Nothing is kept.
}

/** All connections read into the same memory. */
const buffer = Buffer.alloc(2 ** 20);

async function open(
  url: string,
  { method, path, headers, body }: BenchRequest,
  onChunk: (chunk: Buffer) => void,
): Promise<Socket> {
  const { hostname, port, host } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const callback = (bytes: number): boolean => {
    onChunk(buffer.subarray(0, bytes));
    resolve(socket);
    return true;
  };
  const socket: Socket = connect({
    host: hostname,
    port: Number(port),
    onread: { buffer, callback },
  });
  socket.once('error', reject);
  const sent = {
    host,
    ...headers,
    ...(body !== '' && { 'content-length': String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(sent).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  return await promise;
}
