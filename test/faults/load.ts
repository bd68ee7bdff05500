// The load of a fault run: requests at a fixed rate or from a number of callers. Every response is kept.

import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface LoadResponse {
  /** 0 without a response. */
  readonly status: number;
  /** '' when it is compressed. */
  readonly body: string;
  /** Null when the body is not compressed, and without a response. */
  readonly contentEncoding: string | null;
  /** `performance.now()` at which the request was sent. */
  readonly sentAt: number;
  readonly durationMs: number;
  /** Why there was no response. */
  readonly problem: string | null;
}

export interface LoadRequest {
  readonly url: string;
  readonly key: string;
  /** JSON, which makes it a POST. */
  readonly body?: string;
  /** The header; without it, nothing is compressed. */
  readonly acceptEncoding?: string;
}

export interface RunningLoad {
  /** Waits for open requests, and resolves to all responses. */
  stop(): Promise<readonly LoadResponse[]>;
}

const timeoutMs = 20_000;

async function send(agent: Agent, sent: LoadRequest): Promise<LoadResponse> {
  const { url, key, body: json, acceptEncoding } = sent;
  const sentAt = performance.now();
  const { promise, resolve } = Promise.withResolvers<LoadResponse>();
  const finish = (
    response: Pick<LoadResponse, 'status' | 'body' | 'contentEncoding' | 'problem'>,
  ) => resolve({ ...response, sentAt, durationMs: performance.now() - sentAt });
  const fail = (problem: string) => finish({ status: 0, body: '', contentEncoding: null, problem });
  const method = json === undefined ? 'GET' : 'POST';
  const headers = {
    'x-api-key': key,
    ...(json !== undefined && { 'content-type': 'application/json' }),
    ...(acceptEncoding !== undefined && { 'accept-encoding': acceptEncoding }),
  };
  const outgoing = request(url, { agent, method, headers }, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.once('end', () => {
      const { statusCode: status = 0, headers: received } = response;
      const contentEncoding = received['content-encoding'] ?? null;
      const body = contentEncoding === null ? Buffer.concat(chunks).toString() : '';
      finish({ status, body, contentEncoding, problem: null });
    });
    response.once('error', (error) => fail(`cut: ${error.message}`));
  });
  outgoing.setTimeout(timeoutMs, () => outgoing.destroy(new Error('no response in time')));
  outgoing.once('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
  outgoing.end(json);
  return await promise;
}

/** Each caller sends its next request when the last one is answered. */
export function startCallers(count: number, next: (index: number) => LoadRequest): RunningLoad {
  const agent = new Agent({ keepAlive: true, maxSockets: count });
  const responses: LoadResponse[] = [];
  let [sent, stopped] = [0, false];
  const caller = async () => {
    for (;;) {
      if (stopped) return;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const response = await send(agent, next(sent++));
      responses.push(response);
      // A refused caller waits a moment, as Retry-After demands.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      if (response.status !== 200) await delay(10);
    }
  };
  const callers = Promise.all(Array.from({ length: count }, caller));
  return {
    async stop() {
      stopped = true;
      await callers;
      agent.destroy();
      return responses;
    },
  };
}

/** Sends at a fixed rate, whether or not earlier requests are answered; at most `maxOpen` are open at a time. */
export function startRate(
  perSecond: number,
  next: (index: number) => LoadRequest,
  maxOpen = 2_000,
): RunningLoad {
  const agent = new Agent({ keepAlive: true, maxSockets: maxOpen });
  const responses: LoadResponse[] = [];
  const open = new Set<Promise<void>>();
  const startedAt = performance.now();
  let sent = 0;
  const sendAndKeep = async (what: LoadRequest) => void responses.push(await send(agent, what));
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond);
    while (sent < due && open.size < maxOpen) {
      const one = sendAndKeep(next(sent)).finally(() => open.delete(one));
      sent++;
      open.add(one);
    }
  }, 5);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      agent.destroy();
      return responses;
    },
  };
}

/** Counts each status, or each reason for having none: `200: 12, ECONNRESET: 1`. */
export function toTally(responses: readonly LoadResponse[]): string {
  const tally = Map.groupBy(responses, ({ problem, status }) => problem ?? String(status));
  return [...tally].map(([what, group]) => `${what}: ${group.length}`).join(', ');
}
