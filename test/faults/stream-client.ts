// A client of a stream of changes: what it received and when. It connects again after the last cursor that it has read.

import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface StreamRequest {
  /** The origin of a gateway, which may differ from one connection to the next. */
  readonly toOrigin: () => string;
  readonly key: string;
  readonly after: string;
  /** Over GraphQL; by default over REST. */
  readonly isGraphql?: boolean;
  /** False to discard what is received, which takes less of the machine than the gateway needs. */
  readonly isParsed?: boolean;
  /** By default true: the stream is opened again when it ends. */
  readonly reconnects?: boolean;
}

export interface StreamClient {
  /** New names of numbers with the time at which each was received, as of `performance.now()`. */
  readonly received: readonly {
    readonly sequence: number;
    readonly name: string;
    readonly at: number;
  }[];
  readonly connections: number;
  /** Resolves when the first response has begun. */
  readonly opened: Promise<void>;
  /** Resolves when the last response has ended. */
  readonly ended: Promise<void>;
  stopReconnecting(): void;
  /** Stops reading from the socket. */
  pause(): void;
  close(): void;
}

const agent = new Agent({ keepAlive: false, maxSockets: Infinity });

const subscription = `subscription ($after: String) {
  changes(after: $after) { cursor changes { cursor newValue field } } }`;

export function openStream({
  toOrigin,
  key,
  after,
  isGraphql = false,
  isParsed = true,
  reconnects = true,
}: StreamRequest): StreamClient {
  const received: { sequence: number; name: string; at: number }[] = [];
  const first = Promise.withResolvers<void>();
  let cursor = after;
  let connections = 0;
  const state = { isClosed: false, isStopping: !reconnects };
  let current: IncomingMessage | null = null;
  const take = (id: string, field: unknown, name: string) => {
    cursor = id;
    if (field === 'NAME') received.push({ sequence: toSequence(id), name, at: performance.now() });
  };
  const onBlock = (block: string) => {
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (data === undefined) return;
    const value = JSON.parse(data);
    if (!isGraphql) {
      const id = /^id: (.*)$/m.exec(block)?.[1];
      if (id !== undefined) take(id, value.field, value.newValue);
      return;
    }
    const page = value.data?.changes;
    for (const change of page?.changes ?? []) take(change.cursor, change.field, change.newValue);
    if (page !== undefined) cursor = page.cursor;
  };
  const connect = async (): Promise<void> => {
    const response = await send({ origin: toOrigin(), key, cursor, isGraphql });
    connections += 1;
    current = response;
    if (state.isClosed) response.destroy();
    first.resolve();
    await (isParsed ? readBlocks(response, onBlock) : discard(response));
  };
  const run = async () => {
    do {
      // oxlint-disable no-await-in-loop -- one connection after the other
      await connect().catch(() => undefined);
      if (!state.isStopping && !state.isClosed) await delay(100);
      // oxlint-enable no-await-in-loop
    } while (!state.isStopping && !state.isClosed);
  };
  return {
    received,
    get connections() {
      return connections;
    },
    opened: first.promise,
    ended: run(),
    stopReconnecting: () => void (state.isStopping = true),
    pause: () => void current?.pause(),
    close() {
      state.isClosed = true;
      current?.destroy();
    },
  };
}

export function toSequence(cursor: string): number {
  return Number(cursor.split('.')[2]);
}

interface Sent {
  readonly origin: string;
  readonly key: string;
  readonly cursor: string;
  readonly isGraphql: boolean;
}

async function send({ origin, key, cursor, isGraphql }: Sent): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { 'x-api-key': key, accept: 'text/event-stream' };
  const sent = isGraphql
    ? request(`${origin}/graphql`, {
        agent,
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
      })
    : request(`${origin}/v1/changes`, { agent, headers: { ...headers, 'last-event-id': cursor } });
  sent.once('response', (response) => {
    if (response.statusCode === 200) return void resolve(response);
    response.resume();
    reject(new Error(`Status ${response.statusCode}`));
  });
  sent.on('error', reject);
  sent.end(
    isGraphql ? JSON.stringify({ query: subscription, variables: { after: cursor } }) : undefined,
  );
  return await promise;
}

async function readBlocks(
  response: IncomingMessage,
  onBlock: (block: string) => void,
): Promise<void> {
  let text = '';
  const { promise, resolve } = Promise.withResolvers<void>();
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    const blocks = (text + chunk).split('\n\n');
    text = blocks.pop() ?? '';
    blocks.forEach(onBlock);
  });
  response.once('error', () => resolve());
  response.once('close', () => resolve());
  await promise;
}

async function discard(response: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.resume();
  response.once('error', () => resolve());
  response.once('close', () => resolve());
  await promise;
}
