// Tests the limits of documents, operations, tenants and processes.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import {
  type ExecutionArgs,
  getIntrospectionQuery,
  getNamedType,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  isObjectType,
  validate,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRateLimiter } from '../../src/access/rate-limit.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createExecute } from '../../src/graphql/execution.ts';
import { createDocumentCache, createParse } from '../../src/graphql/limits.ts';
import { schema } from '../../src/graphql/schema.ts';
import { createLoadShedder } from '../../src/http/load-shedding.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { createChance, createHostileRequest } from '../http/hostile-requests.ts';
import { createExecutionContext } from './execution-context.ts';

const { graphqlLimits } = parseConfig(readEnvironment({}));
const parse = createParse(graphqlLimits);

const repeat = (count: number, toText: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => toText(index)).join(' ');

const leaves = Object.values((schema.getType('WhatsAppNumber') as GraphQLObjectType).getFields())
  .filter(({ args }) => args.length === 0)
  .map(({ name, type }) => {
    const named = getNamedType(type);
    if (!isObjectType(named)) return name;
    return `${name} { ${Object.values(named.getFields())
      .map((field) =>
        isObjectType(getNamedType(field.type)) ? `${field.name} { __typename }` : field.name,
      )
      .join(' ')} }`;
  })
  .join(' ');

/** Valid documents at one of the limits each. */
const largest = [
  `{ ${repeat(20, (at) => `a${at}: numbers { ${leaves} }`)} }`,
  `{ numbers { ${leaves} ${repeat(58, () => 'id')} } }`,
  `{ numbers { ${leaves} ${repeat(59, () => '... { __typename }')} } }`,
  `{ numbers { ${repeat(100, () => '...A')} } } fragment A on WhatsAppNumber { ${leaves} }`,
  getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }),
];

/** Title, document, and a part of the error message. */
const tooLarge: readonly (readonly [title: string, document: string, message: string])[] = [
  ['31 aliases of __typename', `{ ${repeat(31, (at) => `a${at}: __typename`)} }`, '31'],
  [
    '31 aliases in a fragment',
    `{ ...F } fragment F on Query { ${repeat(31, (at) => `a${at}: __typename`)} }`,
    'at the root: 31',
  ],
  [
    '31 aliases below the root',
    `{ numbers { ${repeat(31, (at) => `a${at}: id`)} } }`,
    'aliases: 31, and the limit is 30',
  ],
  [
    'aliases that a fragment repeats',
    `{ a: numbers { ...F } b: numbers { ...F } } fragment F on WhatsAppNumber { ${repeat(15, (at) => `a${at}: id`)} }`,
    'aliases: 32',
  ],
  ['a field 31 times', `{ ${repeat(31, () => '__typename')} }`, 'fields at the root: 31'],
  ['a field 62 times below', `{ numbers { ${repeat(62, () => 'id')} } }`, 'repeated fields: 61'],
  [
    'repeated fields in an unused fragment',
    `{ __typename } fragment F on WhatsAppNumber { ${repeat(300, () => 'health { sendable }')} }`,
    'repeated fields',
  ],
  ['11 directives', `{ __typename ${repeat(11, () => '@aa')} }`, 'directives: 11'],
  [
    '11 directives spread over fragments',
    `{ ${repeat(11, (at) => `...F${at} @include(if: true)`)} } ${repeat(11, (at) => `fragment F${at} on Query { __typename }`)}`,
    'directives: 11',
  ],
  ['9 levels', `${repeat(9, () => '{ a')} ${'}'.repeat(9)}`, 'levels: 9, and the limit is 8'],
  ['2,001 tokens', `{ ${'a '.repeat(1_999)} }`, 'more than 2000 tokens'],
  ['51 operations', repeat(51, (at) => `query q${at} { __typename }`), 'operations and fragments'],
  [
    'deep lists',
    `{ number(id: ${'['.repeat(21)}${']'.repeat(21)}) { id } }`,
    'values within values',
  ],
  [
    '101 variables',
    `query (${repeat(101, (at) => `$v${at}: ID`)}) { __typename }`,
    'variables: 101',
  ],
  [
    'nested introspection',
    '{ __schema { types { fields { type { fields { name } } } } } }',
    'lists of types within lists of types: 2',
  ],
  [
    'nested introspection through fragments',
    '{ __type(name: "Query") { ...T } } fragment T on __Type { fields { type { ...U } } } fragment U on __Type { inputFields { name } }',
    'lists of types',
  ],
  [
    'fragments that fan out',
    `{ __type(name: "Query") { ...F0 } } ${repeat(12, (at) => `fragment F${at} on __Type { a: ofType { ...F${at + 1} } b: ofType { ...F${at + 1} } }`)} fragment F12 on __Type { name }`,
    'aliases',
  ],
];

describe('a document', () => {
  test.each(tooLarge)(
    'with %s is too complex, and the message says why',
    (_, document, message) => {
      expect(() => parse(document)).toThrow(message);
      expect(() => parse(document)).toThrow(expect.objectContaining({ code: 'QUERY_TOO_COMPLEX' }));
    },
  );

  test.each([
    [
      'the introspection query',
      getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }),
    ],
    [
      '25 numbers read live',
      `{ ${repeat(25, (at) => `n${at}: number(id: "x", refresh: true) { id health { qualityRating } meta { waba { name } } }`)} }`,
    ],
    [
      'cyclic fragments, which validation rejects',
      '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
    ],
  ])('with %s passes', (_, document) => {
    expect(parse(document).definitions.length).toBeGreaterThan(0);
  });

  test('counts the aliases of its fragments, however they are distributed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(8), { minLength: 1, maxLength: 9 }),
        fc.nat(2),
        (sizes, nesting) => {
          let next = 0;
          const fragments = sizes.map((size, at) => {
            const aliases = repeat(size, () => `a${(next += 1)}: name`);
            const more = at % 3 < nesting && at + 1 < sizes.length ? `...F${at + 1}` : '';
            return `fragment F${at} on WhatsAppNumber { id ${aliases} ${more} }`;
          });
          const spreads = repeat(sizes.length, (at) => `...F${at} ... { ...F${at} }`);
          const document = `{ numbers { ${spreads} } } ${fragments.join(' ')}`;
          const count = sizes.reduce((sum, size) => sum + size, 0);
          expect(isRefused(() => parse(document))).toBe(count > graphqlLimits.aliases);
        },
      ),
    );
  });

  test('within the limits costs at most 50 ms before execution', { tags: ['clock'] }, () => {
    const chance = createChance(7);
    const known = { key: 'k', ownIds: ['a'], foreignIds: ['b'] };
    const hostile = Array.from({ length: 3_000 }, () =>
      toQuery(createHostileRequest(chance, known).body),
    );
    for (const document of largest) expect(validate(schema, parse(document))).toEqual([]);
    const queries = [...hostile, ...largest];
    let slowest = 0;
    for (const query of queries) {
      const { user } = process.cpuUsage();
      try {
        validate(schema, parse(query), undefined, { maxErrors: 10, hideSuggestions: true });
      } catch {
        // Too complex or invalid.
      }
      slowest = Math.max(slowest, (process.cpuUsage().user - user) / 1_000);
    }
    console.log(
      `parsing, limits and validation: ${queries.length} documents, slowest ${slowest} ms`,
    );
    expect(slowest).toBeLessThan(50);
  });

  test('at the size limit, 1,000 times, leaves at most 64 MB in memory', () => {
    const cache = createDocumentCache();
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let at = 0; at < 1_000; at += 1) {
      // The maximum of tokens in as few characters as possible.
      const values = '1 '.repeat(1_980);
      const text = `{number(id:"${at}",a:[${values}]){id}}`;
      cache.set(text, parse(text));
    }
    collectGarbage();
    const megabytes = (process.memoryUsage().heapUsed - before) / 1e6;
    console.log(`1,000 documents: ${megabytes.toFixed(1)} MB more heap`);
    expect(megabytes).toBeLessThan(64);
    expect(cache.get('never seen')).toBeUndefined();
  }, 120_000);

  test('that is invalid, 2,000 times, leaves at most 64 MB in memory', async () => {
    await using gateway = await openTestGateway({ environment: { RATE_LIMIT: 'off' } });
    const tenant = await gateway.addTenant();
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    await tenant.graphql('{ numbers { id } }');
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let at = 0; at < 2_000; at += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await tenant.graphql(`{ ${repeat(10, (nth) => `a${at}_${nth}`)} }`);
      expect(body.errors).toHaveLength(10);
    }
    collectGarbage();
    const megabytes = (process.memoryUsage().heapUsed - before) / 1e6;
    console.log(`2,000 invalid documents: ${megabytes.toFixed(1)} MB more heap`);
    expect(megabytes).toBeLessThan(64);
  }, 120_000);
});

test('the list of a large tenant cannot be multiplied by aliases', async () => {
  await using gateway = await openTestGateway({ environment: { RATE_LIMIT: 'off' } });
  const tenant = await gateway.addTenant();
  await gateway.database.query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
    select $1, 'wa_' || lpad(at::text, 32, '0'), '5511999999999', 'Shop', 'META', 'OPEN', 100000 + at, '20001'
    from generate_series(1, 1_001) at`,
    [tenant.id],
  );
  const list = (times: number) =>
    tenant.graphql<Readonly<Record<string, readonly unknown[]>>>(
      `{ ${repeat(times, (at) => `a${at}: numbers { id }`)} }`,
    );
  expect((await list(19)).body.data?.['a18']).toHaveLength(1_001);
  const { status, body } = await list(20);
  expect([status, body.errors?.[0]]).toMatchObject([
    200,
    {
      message: expect.stringContaining('lists 20020 numbers'),
      extensions: { code: 'QUERY_TOO_COMPLEX' },
    },
  ]);
});

function toQuery(body: Buffer | null): string {
  try {
    return String((JSON.parse(String(body)) as { query: unknown }).query);
  } catch {
    return '{';
  }
}

describe('a tenant', () => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    gateway = await openTestGateway({ environment: { RATE_LIMIT: '200/3600' } });
    tenant = await gateway.addTenant();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const withCost = { headers: { 'x-include-cost': '1' } };

  test('gets the cost on request, with calls upstream', async () => {
    const { id } = await tenant.addNumber();
    const query = `query ($live: Boolean!) { number(id: "${id}", refresh: $live) { health { sendable } meta { waba { name } } } }`;
    const { body, headers } = await tenant.graphql(query, {
      variables: { live: true },
      ...withCost,
    });
    expect(body.extensions).toEqual({
      cost: {
        requested: 22,
        actual: expect.any(Number),
        upstreamCalls: expect.any(Number),
        limit: 200,
        remaining: expect.any(Number),
        resetAt: expect.stringMatching(/Z$/),
      },
    });
    const cost = body.extensions?.['cost'] as Record<string, number> | undefined;
    const { actual, upstreamCalls, remaining } = cost ?? {};
    expect(actual).toBe(2 + 10 * (upstreamCalls ?? 0));
    expect(remaining).toBe(200 - (actual ?? 0));
    expect(headers.get('ratelimit-policy')).toBe('"points";q=200;w=3600');
    expect(headers.get('ratelimit')).toMatch(new RegExp(`^"points";r=${remaining};t=\\d+$`));
  });

  test('gets no cost without that header', async () => {
    const { body } = await tenant.graphql('{ __typename }');
    expect(body).toEqual({ data: { __typename: 'Query' } });
  });

  test('without points gets 429 with Retry-After from both APIs, and others do not', async () => {
    const [poor, other] = [await gateway.addTenant(), await gateway.addTenant()];
    for (let left = 200; left > 0; left -= 1) {
      // oxlint-disable-next-line no-await-in-loop -- points are counted one after the other
      await poor.graphql('{ __typename }');
    }
    for (const reply of [await poor.graphql('{ __typename }'), await poor.rest('/v1/numbers')]) {
      expect([reply.status, Number(reply.headers.get('retry-after')) > 0]).toEqual([429, true]);
      expect(reply.headers.get('ratelimit')).toMatch(/^"points";r=\d+;t=\d+$/);
      expect(reply.headers.get('ratelimit-policy')).toMatch(/^"points";q=\d+;w=\d+$/);
      expect(reply.text).toContain('RATE_LIMITED');
    }
    expect((await other.rest('/v1/numbers')).status).toBe(200);
  });

  test('gets points back that were charged and not spent', async () => {
    const rich = await gateway.addTenant();
    for (let left = 20; left > 0; left -= 1) {
      // oxlint-disable-next-line no-await-in-loop -- see above
      expect((await rich.rest('/v1/numbers')).status).toBe(200);
    }
  });

  test('cannot execute an operation that may cost more than the limit', async () => {
    const query = `{ ${repeat(26, (at) => `n${at}: numbers { id }`)} }`;
    const { status, body } = await tenant.graphql(query);
    expect([status, body.errors?.[0]?.extensions?.['code']]).toEqual([400, 'QUERY_TOO_COMPLEX']);
    expect(body.errors?.[0]?.message).toContain('1041 points, and the limit is 1000');
  });
});

test('a tenant with too many requests in flight is refused until one has ended', async () => {
  const rateLimiter = createRateLimiter({ rateLimit: null, tenantMaxRequests: 2 });
  const [first] = [await rateLimiter.admit('a'), await rateLimiter.admit('a')];
  await expect(async () => rateLimiter.admit('a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  await rateLimiter.admit('b');
  first.leave();
  first.leave();
  await rateLimiter.admit('a');
  await expect(async () => rateLimiter.admit('a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
});

test('points that were charged in one window are not returned in the next', async () => {
  const rateLimiter = createRateLimiter({
    rateLimit: { points: 10, seconds: 60 },
    tenantMaxRequests: 9,
  });
  const admission = await rateLimiter.admit('a');
  await admission.charge(8);
  await expect(admission.charge(2)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  expect((await rateLimiter.admit('a')).rateLimit?.remaining).toBe(0);
  await admission.settle(8);
  expect(admission.rateLimit?.remaining).toBe(8);
});

describe('an operation that waits', () => {
  const never = { type: GraphQLString, resolve: () => new Promise<string>(() => undefined) };
  const query = new GraphQLObjectType({ name: 'Query', fields: { never } });
  const toArgs = (signal: AbortSignal): ExecutionArgs => ({
    schema: new GraphQLSchema({ query }),
    document: parse('{ never }'),
    contextValue: createExecutionContext(signal),
  });

  test('ends at the deadline', async () => {
    const { errors = [] } = await createExecute(10, 5)(toArgs(new AbortController().signal));
    expect(errors.map(({ originalError }) => originalError)).toMatchObject([
      { code: 'UNAVAILABLE', message: 'The operation took longer than 0.005 seconds.' },
    ]);
  });

  test('ends when the caller disconnects', async () => {
    const caller = new AbortController();
    const result = createExecute(10)(toArgs(caller.signal));
    caller.abort(new Error('Disconnected.'));
    await expect(result).rejects.toThrow('Disconnected.');
  });
});

test('a delayed event loop is overload only when many requests are in flight', () => {
  // Every delay exceeds this one.
  using load = createLoadShedder({ maxRequests: 10, maxEventLoopDelayMs: -1 });
  load.begin();
  expect(load.findOverload()).toBeNull();
  load.begin();
  expect(load.findOverload()?.reason).toBe('event loop delay');
});

test('a process with too many requests in flight accepts no other', () => {
  using load = createLoadShedder({ maxRequests: 2, maxEventLoopDelayMs: 250 });
  const [slot] = [load.begin(), load.begin()];
  expect(load.findOverload()?.error).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 1 });
  slot.end();
  expect(load.findOverload()).toBeNull();
});

function isRefused(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if ((error as Error).message.startsWith('The document has aliases: ')) return true;
    throw error;
  }
}
