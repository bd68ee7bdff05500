// Owns who is measured: how each contestant is started, on which database, and that all of them answer the same.

import { isDeepStrictEqual } from 'node:util';
import { type BenchDatabase, encryptionKeys, pepper } from './databases.ts';
import { tenantSize } from './fleet.ts';
import { inTurn, toRange } from './in-turn.ts';
import {
  type Answer,
  ask,
  type GraphQLShape,
  graphqlShapes,
  type Question,
  toQuestion,
} from './shapes.ts';
import { startProcess, type StartedProcess } from './started-process.ts';
import { startArgs, startEnvironment } from '../npm-start.ts';

/** As shipped: verified keys and whole answers stay in memory until the change feed tells of a change. */
export const gatewayName = 'this gateway';
/** The same process without that memory: each request is authenticated and answered in PostgreSQL. */
export const uncachedName = 'this gateway, memory off';
export type GatewayName = typeof gatewayName | typeof uncachedName;

interface PeerProgram {
  /** From this folder. */
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
 * The gateway as it runs in production, but for the log line of each request, which no contestant writes, and for the
 * points of a tenant: they are counted, and more than one tenant could ever spend.
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
      ...startEnvironment,
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      PORT: '0',
      LOG_LEVEL: 'error',
      GRAPHIQL: 'off',
      RATE_LIMIT: '999999999/10',
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

/**
 * The question as this contestant has to be asked: PostGraphile makes its schema from the database, where an id is a
 * text.
 */
export function toDialect(name: string, question: Question): Question {
  if (name !== ('PostGraphile 5' satisfies PeerName)) return question;
  return { ...question, body: question.body.replace('$id: ID!', '$id: String!') };
}

/** Throws at the first answer that differs from the gateway's. Asks for every number of these tenants. */
export async function assertAgreement(
  contestants: readonly StartedProcess[],
  places: readonly number[],
): Promise<number> {
  const questions = places.flatMap((place) =>
    graphqlShapes.flatMap((shape) =>
      toRange(shape === 'detail' ? tenantSize : 1).map((index) => ({
        shape,
        question: toQuestion(shape, place, index + 1),
      })),
    ),
  );
  await inTurn(questions, async ({ shape, question }) => {
    const answers = await inTurn(contestants, async (contestant) => ({
      name: contestant.name,
      answer: await ask(contestant.url, toDialect(contestant.name, question)),
    }));
    const [first, ...others] = answers;
    for (const other of others) assertSame(shape, first, other);
  });
  return questions.length;
}

interface NamedAnswer {
  readonly name: string;
  readonly answer: Answer;
}

function assertSame(
  shape: GraphQLShape,
  expected: NamedAnswer | undefined,
  { name, answer }: NamedAnswer,
): void {
  if (expected === undefined) return;
  const bodies = [expected.answer, answer].map(({ status, text }) => {
    const body: unknown = status === 200 ? JSON.parse(text) : undefined;
    const data = (body as { data?: unknown } | undefined)?.data;
    return body === undefined || data === undefined || 'errors' in (body as object) ? null : data;
  });
  if (bodies[0] !== null && isDeepStrictEqual(bodies[0], bodies[1])) return;
  const texts = [expected, { name, answer }].map(
    (said) => `${said.name}: ${said.answer.status} ${said.answer.text.slice(0, 3_000)}`,
  );
  throw new Error(`Answers to ${shape} differ, nothing was measured.\n${texts.join('\n')}`);
}
