// GraphQL over Server-Sent Events, with a schema of its own: what is sent, how it ends, and what is refused.

import { hash } from 'node:crypto';
import {
  GraphQLError,
  GraphQLInt,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { GatewayError } from '../../src/errors.ts';
import type { GraphQLContext } from '../../src/graphql/builder.ts';
import { withLastEvent } from '../../src/graphql/events.ts';
import { createGraphQLEndpoint } from '../../src/graphql/server.ts';
import { yieldUntil } from '../../src/http/event-stream.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import {
  createTestSource,
  openTicksGateway,
  type TestSource,
  type TicksGateway,
  type TicksOptions,
} from '../http/ticks.ts';

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

function createSchema(sources: TestSource[], contexts: unknown[]): GraphQLSchema {
  const Query = new GraphQLObjectType({ name: 'Query', fields: { a: { type: GraphQLString } } });
  const ticks = {
    type: GraphQLInt,
    args: { step: { type: new GraphQLNonNull(GraphQLInt) }, refused: { type: GraphQLString } },
    subscribe(_root: unknown, { refused }: { readonly refused?: string }, context: GraphQLContext) {
      if (refused === 'for good') throw new GatewayError('CURSOR_UNKNOWN', 'Unknown.');
      if (refused === 'for now') {
        throw new GatewayError('UNAVAILABLE', 'Later.', { retryAfterSeconds: 3 });
      }
      const source = createTestSource();
      sources.push(source);
      const { signal } = context.request;
      return withLastEvent(yieldUntil(source, signal), context.stream!, (last) => `${last}!`);
    },
    resolve(tick: string, { step }: { readonly step: number }, context: GraphQLContext) {
      contexts.push(context);
      if (tick === 'defect') throw new Error('Defect.');
      return tick === '1!' ? -1 : Number(tick) * step;
    },
  };
  const Subscription = new GraphQLObjectType({ name: 'Subscription', fields: { ticks } });
  const go = { type: GraphQLString, resolve: () => 'gone' };
  const Mutation = new GraphQLObjectType({ name: 'Mutation', fields: { go } });
  return new GraphQLSchema({ query: Query, subscription: Subscription, mutation: Mutation });
}

interface Stage {
  readonly ticks: TicksGateway;
  readonly sources: readonly TestSource[];
  readonly contexts: readonly unknown[];
  /** With `Accept: text/event-stream`, unless told otherwise. */
  send(query: string, init?: RequestInit & { readonly variables?: object }): Promise<Response>;
  sendGet(query: string, headers?: Readonly<Record<string, string>>): Promise<Response>;
}

function openStage(options: TicksOptions = {}): Stage {
  const sources: TestSource[] = [];
  const contexts: unknown[] = [];
  const { numbers, fleet, history, operations, sync, incidents, webhookRoutes, access, telemetry } =
    gateway.gateway;
  const graphql = createGraphQLEndpoint({
    schema: createSchema(sources, contexts),
    limits: parseConfig(readEnvironment({})).graphqlLimits,
    numbers,
    fleet,
    history,
    operations,
    sync,
    incidents,
    webhookRoutes,
    tenants: access,
    telemetry,
    graphiql: { keys: null },
    persistedQueries: true,
    suggestions: false,
  });
  const ticks = openTicksGateway(gateway, { graphql, ...options });
  onTestFinished(() => ticks[Symbol.asyncDispose]());
  const accept = 'text/event-stream';
  return {
    ticks,
    sources,
    contexts,
    send: (query, { headers, variables, ...init } = {}) =>
      ticks.fetch('/graphql', tenant.key, {
        method: 'POST',
        body: JSON.stringify({ query, variables }),
        headers: { accept, 'content-type': 'application/json', ...(headers as object) },
        ...init,
      }),
    sendGet: (query, headers = {}) =>
      ticks.fetch(`/graphql?${new URLSearchParams({ query })}`, tenant.key, {
        headers: { accept, ...headers },
      }),
  };
}

const subscription = 'subscription { ticks(step: 10) }';

/** The events of a whole response. */
function parseEvents(text: string): readonly (readonly [event: string, data: unknown])[] {
  return text
    .split('\n\n')
    .slice(0, -1)
    .map((block) => {
      const [, event = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      return [event, data === '' ? null : JSON.parse(data)];
    });
}

async function readEvents(response: Response) {
  return parseEvents(await response.text());
}

const complete = ['complete', null];

describe.each(['POST', 'GET'])('a subscription with %s', (method) => {
  test('sends a next event for each of its events, and complete when its source ends', async () => {
    const { ticks, sources, contexts, ...stage } = openStage();
    const send = method === 'POST' ? stage.send : stage.sendGet;
    const response = await send(subscription);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    expect(response.headers.get('cache-control')).toBe('no-store, no-transform');
    expect([ticks.streams.count, ticks.load.inFlight]).toEqual([1, 0]);
    const [source] = sources;
    for (const tick of ['1', 'defect', '2']) source!.send(tick);
    const reading = readEvents(response);
    await vi.waitUntil(() => source!.asked === 4);
    source!.finish();
    expect(await reading).toEqual([
      ['next', { data: { ticks: 10 } }],
      [
        'next',
        {
          errors: [expect.objectContaining({ path: ['ticks'], extensions: expect.anything() })],
          data: { ticks: null },
        },
      ],
      ['next', { data: { ticks: 20 } }],
      complete,
    ]);
    expect(ticks.streams.count).toBe(0);
    // A context for each event, so that what was loaded for one is not reused.
    expect(new Set(contexts).size).toBe(3);
  });
});

test('a client that disconnects ends the source', async () => {
  const { ticks, sources, send } = openStage();
  const response = await send(subscription);
  const reader = response.body!.getReader();
  const reading = reader.read();
  await vi.waitUntil(() => sources[0]?.asked);
  await reader.cancel();
  await reading;
  await vi.waitUntil(() => sources[0]!.ended > 0);
  expect(ticks.streams.count).toBe(0);
});

test('a source that fails ends the stream without complete, so that the client connects again', async () => {
  const { sources, send } = openStage();
  const response = await send(subscription);
  sources[0]!.send('1');
  const reading = readEvents(response);
  await vi.waitUntil(() => sources[0]!.asked === 2);
  sources[0]!.fail(new GraphQLError('Broken.'));
  expect(await reading).toEqual([['next', { data: { ticks: 10 } }]]);
});

test('a process that stops sends a last event, and 100 ms later ends the stream without complete', async () => {
  const { ticks, sources, send } = openStage();
  const response = await send(subscription);
  const reader = response.body!.getReader();
  sources[0]!.send('1');
  await reader.read();
  const next = reader.read();
  await vi.waitUntil(() => sources[0]!.asked === 2);
  const drained = ticks.streams.drain();
  expect(parseEvents(Buffer.from((await next).value!).toString())).toEqual([
    ['next', { data: { ticks: -1 } }],
  ]);
  const startedAt = performance.now();
  expect((await reader.read()).done).toBe(true);
  expect(performance.now() - startedAt).toBeGreaterThan(90);
  await drained;
  const refused = await send(subscription);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
});

describe('an error before the stream', () => {
  test.each([
    ['a syntax error', 'subscription {', 'INVALID_REQUEST'],
    ['an unknown field', 'subscription { nope }', 'INVALID_REQUEST'],
    ['a missing argument', 'subscription { ticks }', 'INVALID_REQUEST'],
    ['a wrong variable', 'subscription ($step: Int!) { ticks(step: $step) }', 'INVALID_REQUEST'],
    ['a limit', `subscription { ${'a '.repeat(2_000)} }`, 'QUERY_TOO_COMPLEX'],
    ['two root fields', 'subscription { ticks(step: 1) b: ticks(step: 1) }', 'INVALID_REQUEST'],
    [
      'a source that refuses',
      'subscription { ticks(step: 1, refused: "for good") }',
      'CURSOR_UNKNOWN',
    ],
  ])('is sent as next and complete: %s', async (_, query, code) => {
    const { ticks, send } = openStage();
    const response = await send(query);
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store, no-transform');
    expect(await readEvents(response)).toEqual([
      ['next', { errors: [expect.objectContaining({ extensions: expect.anything() })] }],
      complete,
    ]);
    expect((await readEvents(await send(query)))[0]).toMatchObject([
      'next',
      { errors: [{ extensions: { code } }] },
    ]);
    expect(ticks.streams.count).toBe(0);
  });

  test('is sent as next and complete: a wrong key', async () => {
    const { send } = openStage();
    const response = await send(subscription, { headers: { 'x-api-key': 'ps_wrong' } });
    expect(await readEvents(response)).toMatchObject([
      ['next', { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] }],
      complete,
    ]);
  });

  test('keeps its status if it may be over later, so that the client tries again', async () => {
    const { send } = openStage();
    const response = await send('subscription { ticks(step: 1, refused: "for now") }');
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '3']);
    expect(await response.json()).toMatchObject({
      errors: [{ message: 'Later.', extensions: { code: 'UNAVAILABLE', retryAfterSeconds: 3 } }],
    });
  });

  test('keeps its status at a limit of streams', async () => {
    const { send } = openStage({ limits: { key: 1 } });
    await send(subscription);
    const response = await send(subscription);
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '5']);
    expect(await response.json()).toMatchObject({
      errors: [{ extensions: { code: 'TOO_MANY_STREAMS', retryable: true } }],
    });
  });
});

test.each(['application/json', '*/*', 'text/*', 'text/event-stream;q=0'])(
  'a subscription that accepts %s is refused, and told what to send',
  async (accept) => {
    const { ticks, send } = openStage();
    const response = await send(subscription, { headers: { accept } });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      errors: [
        {
          message:
            'A subscription is answered with a stream of events; send it with the header accept: text/event-stream.',
          extensions: { code: 'INVALID_REQUEST' },
        },
      ],
    });
    expect(ticks.streams.count).toBe(0);
  },
);

test('a subscription is streamed to a client that would rather have JSON, as urql does', async () => {
  const { send } = openStage();
  const headers = {
    accept: 'application/graphql-response+json, application/json, text/event-stream',
  };
  const response = await send(subscription, { headers });
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  await response.body!.cancel();
  const query = await send('{ a }', { headers });
  expect(await query.json()).toEqual({ data: { a: null } });
});

test('a query is answered with one next and complete, and counts as a request', async () => {
  const { ticks, send, sendGet } = openStage();
  for (const response of [await send('{ a }'), await sendGet('{ a }')]) {
    expect(response.status).toBe(200);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect(await readEvents(response)).toEqual([['next', { data: { a: null } }], complete]);
  }
  expect(ticks.streams.count).toBe(0);
  expect(gateway.logLines.at(-1)).not.toContain('streamEnd');
});

test('a mutation is refused with GET, as before', async () => {
  const { sendGet } = openStage();
  const response = await sendGet('mutation { go }', { accept: 'application/json' });
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
});

test('a subscription can be sent as the hash of its document', async () => {
  const { ticks } = openStage();
  const sha256Hash = hash('sha256', subscription);
  const send = (query: string | undefined) =>
    ticks.fetch('/graphql', tenant.key, {
      method: 'POST',
      headers: { accept: 'text/event-stream', 'content-type': 'application/json' },
      body: JSON.stringify({ query, extensions: { persistedQuery: { version: 1, sha256Hash } } }),
    });
  expect(await readEvents(await send(undefined))).toMatchObject([
    ['next', { errors: [{ extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }] }],
    complete,
  ]);
  for (const query of [subscription, undefined]) {
    // oxlint-disable no-await-in-loop -- one after the other
    const response = await send(query);
    expect(ticks.streams.count).toBe(1);
    await response.body!.cancel();
    // oxlint-enable no-await-in-loop
  }
});
