// The contestants: how each is started, and the check that all of them give the same responses.

import { isDeepStrictEqual } from 'node:util';
import { type BenchDatabase, encryptionKeys, pepper } from './databases.ts';
import { tenantSize } from './fleet.ts';
import { inTurn, toRange } from './in-turn.ts';
import {
  type BenchResponse,
  type GraphQLShape,
  graphqlShapes,
  type BenchRequest,
  send,
  toRequest,
} from './shapes.ts';
import { startProcess, type StartedProcess } from './started-process.ts';
import { startArgs } from '../npm-start.ts';

/** As shipped: verified keys and responses are cached until the change feed reports a change. */
export const gatewayName = 'this gateway';
/** Without the cache: each request is authenticated and answered in PostgreSQL. */
export const uncachedName = 'this gateway, cache off';
export type GatewayName = typeof gatewayName | typeof uncachedName;

interface PeerProgram {
  /** Relative to this folder. */
  readonly path: string;
  readonly environment?: Readonly<Record<string, string>>;
}

const peerPrograms = {
  'node:http + one SQL': { path: 'peers/sql.ts' },
  'Mercurius + JIT': { path: 'peers/mercurius.ts' },
  'Mercurius + JIT, key cached': { path: 'peers/mercurius.ts', environment: { KEY_CACHE: 'on' } },
  'Mercurius + JIT, DataLoader': { path: 'peers/mercurius.ts', environment: { DATA_LOADER: 'on' } },
  'Apollo Server 5': { path: 'peers/apollo.ts' },
  'PostGraphile 5': { path: 'peers/postgraphile.ts' },
  'Yoga as first written': { path: 'peers/yoga.ts' },
} as const satisfies Record<string, PeerProgram>;
export type PeerName = keyof typeof peerPrograms;
export const peerNames = Object.keys(peerPrograms) as readonly PeerName[];

/**
 * The gateway as it runs in production, with two exceptions: no log line per request, since no contestant writes one, and
 * a rate limit that no load reaches.
 */
export async function startGateway(
  { url }: Pick<BenchDatabase, 'url'>,
  environment: Readonly<Record<string, string>> = {},
  name: GatewayName = gatewayName,
): Promise<StartedProcess> {
  return await startProcess({
    name,
    path: '../../src/main.ts',
    args: ['serve', '--json'],
    nodeArgs: startArgs,
    environment: {
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      PORT: '0',
      LOG_LEVEL: 'error',
      GRAPHIQL: 'off',
      RATE_LIMIT: '999999999/10',
      // What a section measures must not run beside reads in the background.
      SYNC: 'off',
      ...(name === uncachedName && { ANSWER_CACHE_MB: '0' }),
      ...environment,
    },
  });
}

export async function startPeer(
  name: PeerName,
  { ownerUrl }: BenchDatabase,
): Promise<StartedProcess> {
  const { path, environment }: PeerProgram = peerPrograms[name];
  return await startProcess({
    name,
    path,
    environment: { DATABASE_URL: ownerUrl, API_KEY_PEPPER: pepper, ...environment },
  });
}

/** The request in the form that this contestant accepts: PostGraphile derives its schema from the database, where ids are text. */
export function toDialect(name: string, request: BenchRequest): BenchRequest {
  if (name !== ('PostGraphile 5' satisfies PeerName)) return request;
  return { ...request, body: request.body.replace('$id: ID!', '$id: String!') };
}

/** Compares every number of these tenants; throws at the first response that differs from the gateway's. Returns the count. */
export async function assertAgreement(
  contestants: readonly StartedProcess[],
  places: readonly number[],
): Promise<number> {
  const requests = places.flatMap((place) =>
    graphqlShapes.flatMap((shape) =>
      toRange(shape === 'detail' ? tenantSize : 1).map((index) => ({
        shape,
        request: toRequest(shape, place, index + 1),
      })),
    ),
  );
  await inTurn(requests, async ({ shape, request }) => {
    const responses = await inTurn(contestants, async (contestant) => ({
      name: contestant.name,
      response: await send(contestant.url, toDialect(contestant.name, request)),
    }));
    const [first, ...others] = responses;
    for (const other of others) assertSame(shape, first, other);
  });
  return requests.length;
}

interface NamedResponse {
  readonly name: string;
  readonly response: BenchResponse;
}

function assertSame(
  shape: GraphQLShape,
  expected: NamedResponse | undefined,
  { name, response }: NamedResponse,
): void {
  if (expected === undefined) return;
  const bodies = [expected.response, response].map(({ status, text }) => {
    const body: unknown = status === 200 ? JSON.parse(text) : undefined;
    const data = (body as { data?: unknown } | undefined)?.data;
    return body === undefined || data === undefined || 'errors' in (body as object) ? null : data;
  });
  if (bodies[0] !== null && isDeepStrictEqual(bodies[0], bodies[1])) return;
  const texts = [expected, { name, response }].map(
    (given) => `${given.name}: ${given.response.status} ${given.response.text.slice(0, 3_000)}`,
  );
  throw new Error(`Responses to ${shape} differ; nothing was measured.\n${texts.join('\n')}`);
}
