// Sends hostile requests over real sockets and checks each response: its status, form and duration, and what it discloses.

import { Agent, request } from 'node:http';
import { errorCatalogue } from '../../src/errors.ts';
import { listen } from '../../src/http/server.ts';
import { openTestGateway } from '../harness.ts';
import { createChance, createHostileRequest, type HostileRequest } from './hostile-requests.ts';

export interface HostileRun {
  readonly seed: number;
  readonly requests: number;
  readonly serverErrors: number;
  readonly hangs: number;
  readonly foreignRows: number;
  readonly stackTraces: number;
  readonly malformed: number;
  readonly slowestMs: number;
  /** The number of responses by status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** The first faults, with their requests. */
  readonly examples: readonly string[];
}

type Fault = 'serverErrors' | 'hangs' | 'foreignRows' | 'stackTraces' | 'malformed';

interface ReceivedResponse {
  readonly status: number;
  readonly type: string;
  readonly requestId: string;
  readonly text: string;
  readonly durationMs: number;
}

const canary = 'Foreign canary';
const hangMs = 5_000;

/** Opens a gateway with two tenants, one of which attacks and knows ids of the other. */
export async function runHostile(seed: number, requests: number): Promise<HostileRun> {
  await using gateway = await openTestGateway();
  const [attacker, victim] = [await gateway.addTenant(), await gateway.addTenant()];
  const own = [await attacker.addNumber(), await attacker.addNumber({ provider: 'PILOT_STATUS' })];
  const foreign = [
    await victim.addNumber({ name: canary }),
    await victim.addNumber({ name: canary }),
  ];
  const { key } = await attacker.addKey({ scopes: ['operate'] });
  const known = {
    key,
    ownIds: own.map(({ id }) => id),
    foreignIds: foreign.map(({ id }) => id),
  };
  const secrets = [canary, ...foreign.map(({ number }) => number), ...gateway.secrets];
  const server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const chance = createChance(seed);
  const run = createTally(seed, requests);
  let left = requests;
  const attack = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const hostile = createHostileRequest(chance, known);
      // oxlint-disable-next-line no-await-in-loop -- a client that waits for its response
      const response = await send(server.url, agent, hostile);
      run.count(hostile, response, listFaults(hostile, response, secrets));
    }
  };
  await Promise.all(Array.from({ length: 8 }, attack));
  agent.destroy();
  await server.drain();
  return run.toResult();
}

function createTally(seed: number, requests: number) {
  const faults: Record<Fault, number> = {
    serverErrors: 0,
    hangs: 0,
    foreignRows: 0,
    stackTraces: 0,
    malformed: 0,
  };
  const statuses: Record<string, number> = {};
  const examples: string[] = [];
  let slowestMs = 0;
  return {
    count(hostile: HostileRequest, response: ReceivedResponse, found: readonly Fault[]): void {
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      slowestMs = Math.max(slowestMs, Math.round(response.durationMs));
      for (const fault of found) faults[fault] += 1;
      if (found.length === 0 || examples.length >= 10) return;
      const { kind, method, path, headers, body } = hostile;
      const sent = `${method} ${path.slice(0, 100)} ${JSON.stringify(headers).slice(0, 300)} ${body?.toString().slice(0, 300)}`;
      examples.push(
        `${found.join()}: ${kind}: ${sent} -> ${response.status} ${response.text.slice(0, 300)}`,
      );
    },
    toResult: (): HostileRun => ({ seed, requests, ...faults, slowestMs, statuses, examples }),
  };
}

async function send(url: string, agent: Agent, hostile: HostileRequest): Promise<ReceivedResponse> {
  const { method, path, headers, body } = hostile;
  const { promise, resolve } = Promise.withResolvers<ReceivedResponse>();
  const sentAt = performance.now();
  const fail = (text: string) =>
    resolve({ status: 0, type: '', requestId: '', text, durationMs: performance.now() - sentAt });
  const { hostname, port } = new URL(url);
  const length = body === null ? {} : { 'content-length': String(body.length) };
  const options = { hostname, port, agent, method, path, headers: { ...headers, ...length } };
  const outgoing = request(options, (incoming) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('error', (error) => fail(error.message));
    incoming.on('end', () => {
      resolve({
        status: incoming.statusCode ?? 0,
        type: incoming.headers['content-type'] ?? '',
        requestId: String(incoming.headers['x-request-id'] ?? ''),
        text: Buffer.concat(chunks).toString(),
        durationMs: performance.now() - sentAt,
      });
    });
  });
  outgoing.on('error', (error) => fail(error.message));
  outgoing.setTimeout(hangMs, () => outgoing.destroy(new Error('no response')));
  outgoing.end(body ?? undefined);
  return await promise;
}

function listFaults(
  hostile: HostileRequest,
  response: ReceivedResponse,
  secrets: readonly string[],
): readonly Fault[] {
  const { status, text, durationMs } = response;
  // The secrets include the key that the attacker sends: no response may repeat it.
  return [
    ...(status >= 500 ? (['serverErrors'] as const) : []),
    ...(durationMs > hangMs || status === 0 ? (['hangs'] as const) : []),
    ...(secrets.some((secret) => text.includes(secret)) ? (['foreignRows'] as const) : []),
    ...(/\n\s+at |node_modules|file:\/\/|\.ts:\d/.test(text) && !isPage(response)
      ? (['stackTraces'] as const)
      : []),
    ...(isWellFormed(hostile, response) ? [] : (['malformed'] as const)),
  ];
}

function isPage({ status, type }: ReceivedResponse): boolean {
  return status === 200 && type.startsWith('text/html');
}

function isWellFormed({ method, path }: HostileRequest, response: ReceivedResponse): boolean {
  const { status, text, requestId, type } = response;
  if (method === 'HEAD' || status === 304 || status === 204) return text === '';
  if (isPage(response)) return method === 'GET';
  if (requestId === '' || !/^application\/(graphql-response\+)?json/.test(type)) return false;
  const body = parse(text);
  if (typeof body !== 'object' || body === null) return false;
  const isGraphQL = path.split('?')[0] === '/graphql';
  if (isGraphQL) return isGraphQLBody(body as GraphQLBody, status);
  return status === 200 || status === 202 || isRestError(body as RestError, status);
}

interface GraphQLBody {
  readonly data?: unknown;
  readonly errors?: readonly {
    readonly message?: unknown;
    readonly extensions?: { code?: unknown };
  }[];
}

interface RestError {
  readonly error?: unknown;
  readonly code?: unknown;
  readonly requestId?: unknown;
}

function isGraphQLBody({ data, errors }: GraphQLBody, status: number): boolean {
  if (errors === undefined) return status === 200 && data !== undefined;
  return (
    errors.length > 0 &&
    errors.every(
      ({ message, extensions }) => typeof message === 'string' && isCode(extensions?.code),
    )
  );
}

function isRestError({ error, code, requestId }: RestError, status: number): boolean {
  return (
    typeof error === 'string' &&
    isCode(code) &&
    errorCatalogue[code].status === status &&
    typeof requestId === 'string'
  );
}

function isCode(code: unknown): code is keyof typeof errorCatalogue {
  return typeof code === 'string' && Object.hasOwn(errorCatalogue, code);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
