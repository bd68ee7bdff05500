// Tests the GraphQL API: stored and live values, the number of reads they take, and the errors of requests.

import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createGateway } from '../../src/gateway.ts';
import {
  databases,
  type GraphQLBody,
  openTestGateway,
  type Reply,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

/** The same for requests whose responses are compared as a whole. */
const requestId = { 'x-request-id': 'the-same' };

function toComparable({ status, headers, text }: Reply<unknown>) {
  // The tenant's remaining points change with each request.
  return { status, headers: [...headers].filter(([name]) => name !== 'ratelimit'), text };
}

function toCodes({ body }: Reply<GraphQLBody<unknown>>): readonly unknown[] {
  return (body.errors ?? []).map((error) => error.extensions?.['code']);
}

async function addNumbers(
  tenant: TestTenant,
  count: number,
  options: Parameters<TestTenant['addNumber']>[0] = {},
): Promise<readonly TestNumber[]> {
  const added: TestNumber[] = [];
  for (const _ of Array.from({ length: count })) {
    // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
    added.push(await tenant.addNumber(options));
  }
  return added;
}

describe.each(databases)('on %s', (database) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('a list with keys, health and details of 25 numbers takes one SQL statement besides that for the key', async () => {
    const tenant = await gateway.addTenant();
    const numbers = await addNumbers(tenant, 25);
    await tenant.addKey({ name: 'Default', numberId: numbers[7]?.id ?? '' });
    gateway.clearStatements();

    const { body } = await tenant.graphql<{ numbers: readonly Record<string, unknown>[] }>(
      `{ numbers {
        id apiKeys { name } health { qualityRating sendable sendability { verdict } }
        meta { phone { verifiedName } waba { name } } } }`,
    );

    expect(body.errors).toBeUndefined();
    expect(body.data?.numbers.map((number) => number['id'])).toEqual(numbers.map(({ id }) => id));
    expect(body.data?.numbers[7]).toMatchObject({ apiKeys: [{ name: 'Default' }] });
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements).toHaveLength(2);
    expect(gateway.simulator.calls).toEqual([]);
  });

  test('a repeated operation reads what its variables include, and nothing else', async () => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber();
    await tenant.addKey({ name: 'Default', numberId: number.id });
    const query = `query Repeated($keys: Boolean!, $meta: Boolean!) { numbers {
      id apiKeys @include(if: $keys) { name } meta @skip(if: $meta) { waba { id } } } }`;
    for (let turn = 0; turn < 12; turn += 1) {
      const variables = { keys: turn % 2 === 0, meta: turn % 3 === 0 };
      gateway.clearStatements();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await tenant.graphql(query, { variables: { ...variables, turn } });
      expect(body.errors).toBeUndefined();
      const read = gateway.statements.find((statement) => statement.includes('whatsapp_number'));
      expect(read?.includes('api_key')).toBe(variables.keys);
      expect(read?.includes('waba_snapshot')).toBe(!variables.meta);
    }
  });

  test('a list that is selected under many aliases is read once', async () => {
    const tenant = await gateway.addTenant();
    await addNumbers(tenant, 2);
    gateway.clearStatements();
    const names = Array.from({ length: 5 }, (_, index) => `a${index}: numbers { id }`);
    const { body } = await tenant.graphql(`{ ${names.join(' ')} }`);
    expect(Object.keys(body.data ?? {})).toHaveLength(5);
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements).toHaveLength(2);
  });

  test('a number of another tenant is answered like a missing one, byte for byte', async () => {
    const [mine, other] = [await gateway.addTenant(), await gateway.addTenant()];
    const { id } = await other.addNumber();
    const read = (wanted: string) =>
      mine.graphql('query ($id: ID!) { number(id: $id, refresh: true) { id name } }', {
        variables: { id: wanted },
        headers: requestId,
      });

    const foreign = await read(id);

    expect(foreign.body).toEqual({
      errors: [
        {
          message: 'There is no number with this id.',
          locations: [{ line: 1, column: 20 }],
          path: ['number'],
          extensions: { code: 'NUMBER_NOT_FOUND', retryable: false, requestId: 'the-same' },
        },
      ],
      data: { number: null },
    });
    expect(toComparable(foreign)).toEqual(toComparable(await read(`wa_${'0'.repeat(32)}`)));
  });
});

describe('a live read', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  /** The HTTP requests that one operation causes at Meta. */
  async function countCalls(send: () => Promise<Reply<GraphQLBody<unknown>>>) {
    gateway.simulator.clearCalls();
    const { body } = await send();
    expect(body.errors).toBeUndefined();
    const { calls } = gateway.simulator;
    return {
      requests: calls.length,
      // An operation is, for example, `phone 123`.
      kinds: calls.flatMap((call) => call.operations.map((name) => name.split(' ')[0])).toSorted(),
    };
  }

  test('25 numbers of one account in one operation take at most two HTTP requests to Meta', async () => {
    const tenant = await gateway.addTenant();
    const { wabaId } = await tenant.addNumber();
    const credentials = { accessToken: `EAA${'x'.repeat(40)}`, appSecret: null };
    const numbers = await addNumbers(tenant, 25, { wabaId, credentials });
    const fields = numbers.map(
      ({ id }, index) => `a${index}: number(id: "${id}", refresh: true) { ...All }`,
    );
    const query = `query { ${fields.join('\n')} }
      fragment All on WhatsAppNumber { health { qualityRating } meta { waba { name } profile { about } } }`;

    const { requests } = await countCalls(() => tenant.graphql(query));

    expect(requests).toBeLessThanOrEqual(2);
  });

  const phone = ['phone'];
  const cases: readonly (readonly [string, string, Record<string, unknown>, readonly string[]])[] =
    [
      ['health', '{ health { sendable } }', {}, phone],
      ['an alias of health', '{ h: health { __typename } }', {}, phone],
      ['meta.phone', '{ meta { phone { verifiedName } } }', {}, phone],
      ['meta.profile', '{ meta { profile { about } } }', {}, ['profile']],
      ['meta.waba', '{ meta { waba { name } } }', {}, ['waba']],
      [
        'two metas under aliases',
        '{ a: meta { waba { id } } b: meta { profile { about } } }',
        {},
        ['profile', 'waba'],
      ],
      ['nothing of Meta', '{ name }', {}, ['phone', 'profile', 'waba']],
      ['no block of meta', '{ meta { fetchedAt } }', {}, ['phone', 'profile', 'waba']],
      ['a fragment', '{ ...F }', {}, ['waba']],
      [
        'an inline fragment',
        '{ ... on WhatsAppNumber { ... { meta { ... on MetaDetails { waba { id } } } } } }',
        {},
        ['waba'],
      ],
      [
        'a skipped field',
        '{ health @skip(if: $yes) { sendable } meta { waba { id } } }',
        { yes: true },
        ['waba'],
      ],
      [
        'a field that is not skipped',
        '{ health @skip(if: $yes) { sendable } meta { waba { id } } }',
        { yes: false },
        ['phone', 'waba'],
      ],
      [
        'a fragment that is not included',
        '{ ...F @include(if: $yes) meta { profile { about } } }',
        { yes: false },
        ['profile'],
      ],
      [
        'an inline fragment by its default',
        '{ ... @include(if: $yes) { health { sendable } } meta { waba { id } } }',
        {},
        ['phone', 'waba'],
      ],
    ];
  test.each(cases)(
    'for a selection of %s reads these blocks',
    async (_, selection, variables, kinds) => {
      const tenant = await gateway.addTenant();
      const { id } = await tenant.addNumber();
      const declared = selection.includes('$yes') ? '($yes: Boolean! = true)' : '';
      const fragment = selection.includes('...F')
        ? 'fragment F on WhatsAppNumber { meta { waba { name } } }'
        : '';
      const query = `query ${declared} { number(id: "${id}", refresh: true) ${selection} } ${fragment}`;

      const calls = await countCalls(() => tenant.graphql(query, { variables }));

      expect(calls.kinds).toEqual(kinds);
    },
  );

  test('fragments that double at each level cost no more than if each were used once', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const doubling = Array.from(
      { length: 40 },
      (_, level) =>
        `fragment F${level} on WhatsAppNumber { ...F${level + 1} ... { ...F${level + 1} } }`,
    );
    const query = `{ number(id: "${id}", refresh: true) { ...F0 } } ${doubling.join(' ')}
      fragment F40 on WhatsAppNumber { health { sendable } }`;

    const { kinds } = await countCalls(() => tenant.graphql(query));

    expect(kinds).toEqual(phone);
  });

  test('two aliases of one number share the values that either of them reads', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const { body } = await tenant.graphql<Record<string, unknown>>(
      `query ($id: ID!) {
        a: number(id: $id, refresh: true) { health { freshness { source } } }
        b: number(id: $id, refresh: true) { meta { waba { name freshness { source } } } }
      }`,
      { variables: { id } },
    );
    expect(body).toEqual({
      data: {
        a: { health: { freshness: { source: 'LIVE' } } },
        b: { meta: { waba: { name: 'Lucky Shrub', freshness: { source: 'LIVE' } } } },
      },
    });
  });

  test('a missing number does not prevent others from being read', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const reply = await tenant.graphql<Record<string, unknown>>(
      `query ($id: ID!) {
        a: number(id: "wa_nobody", refresh: true) { id }
        b: number(id: $id, refresh: true) { id health { freshness { source } } }
      }`,
      { variables: { id } },
    );
    expect(toCodes(reply)).toEqual(['NUMBER_NOT_FOUND']);
    expect(reply.body.errors?.[0]?.path).toEqual(['a']);
    expect(reply.body.data).toEqual({
      a: null,
      b: { id, health: { freshness: { source: 'LIVE' } } },
    });
  });

  test('a value that Meta introduced later is UNRECOGNIZED, and unchanged in the raw field', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({
      phone: { quality_rating: 'TURQUOISE', status: 'HIBERNATING', throughput: { level: 'WARP' } },
    });
    const { body } = await tenant.graphql(
      `query ($id: ID!) { number(id: $id, refresh: true) {
        health { qualityRating qualityRatingRaw metaStatus metaStatusRaw }
        meta { phone { status statusRaw throughputLevel throughputLevelRaw nameStatus nameStatusRaw } }
      } }`,
      { variables: { id } },
    );
    expect(body).toEqual({
      data: {
        number: {
          health: {
            qualityRating: 'UNRECOGNIZED',
            qualityRatingRaw: 'TURQUOISE',
            metaStatus: 'UNRECOGNIZED',
            metaStatusRaw: 'HIBERNATING',
          },
          meta: {
            phone: {
              status: 'UNRECOGNIZED',
              statusRaw: 'HIBERNATING',
              throughputLevel: 'UNRECOGNIZED',
              throughputLevelRaw: 'WARP',
              nameStatus: 'APPROVED',
              nameStatusRaw: 'APPROVED',
            },
          },
        },
      },
    });
  });

  test('a block that could not be read has nulls and the reason, next to one that could be read', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ wabaId: '990000000081' });
    const { body } = await tenant.graphql(
      `query ($id: ID!) { number(id: $id, refresh: true) { meta {
        phone { verifiedName lastOnboardedAt freshness { source error { code } } }
        profile { about }
        waba { name freshness { observedAt ageSeconds stale source error { code metaCode transient } } }
      } } }`,
      { variables: { id } },
    );
    expect(body).toEqual({
      data: {
        number: {
          meta: {
            phone: {
              verifiedName: 'Lucky Shrub',
              lastOnboardedAt: '2026-07-01T08:30:00.000Z',
              freshness: { source: 'LIVE', error: null },
            },
            profile: { about: 'Hello' },
            waba: {
              name: null,
              freshness: {
                observedAt: null,
                ageSeconds: null,
                stale: true,
                source: 'SNAPSHOT',
                error: { code: 'META_ACCESS_DENIED', metaCode: 368, transient: false },
              },
            },
          },
        },
      },
    });
  });

  test('a caller who disconnects ends the live read, and no defect is logged', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const hold = gateway.simulator.hold(phoneNumberId);
    const caller = new AbortController();
    gateway.clearLogLines();

    const pending = tenant.graphql(
      'query ($id: ID!) { number(id: $id, refresh: true) { health { sendable } } }',
      {
        variables: { id },
        signal: caller.signal,
      },
    );
    await hold.arrived;
    caller.abort();
    const reply = await pending;

    expect(toCodes(reply)).toEqual(['UNAVAILABLE']);
    expect(gateway.simulator.calls.at(-1)?.status).toBe(0);
    expect(gateway.logLines.join('')).not.toContain('request failed');
    hold.release();
  });
});

describe('a request', () => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    gateway = await openTestGateway();
    tenant = await gateway.addTenant();
    await tenant.addNumber();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const accepts = ['application/json', 'application/graphql-response+json', 'text/plain'] as const;

  test.each(accepts)(
    'with a key that is missing, malformed, unknown, expired or revoked gets the same 401 for %s',
    async (accept) => {
      const expired = await tenant.addKey({ expiresAt: new Date(Date.now() - 1_000) });
      const revoked = await tenant.addKey();
      await gateway.access.revokeKey(revoked.id);
      const keys = ['', 'ps_short', createKey(), expired.key, revoked.key];
      const replies = await Promise.all(
        keys.map((key) =>
          gateway.graphql('{ numbers { id } }', { key, headers: { accept, ...requestId } }),
        ),
      );
      const [first, ...others] = replies.map(toComparable);
      expect(first?.status).toBe(401);
      expect(JSON.parse(first?.text ?? '')).toEqual({
        errors: [
          {
            message: expect.stringContaining('x-api-key'),
            extensions: { code: 'UNAUTHENTICATED', retryable: false, requestId: 'the-same' },
          },
        ],
      });
      for (const other of others) expect(other).toEqual(first);
    },
  );

  test('is answered for its key alone, and to be revalidated each time', async () => {
    const { headers } = await tenant.graphql('{ numbers { id } }');
    expect(headers.get('cache-control')).toBe('private, no-cache');
    expect(headers.get('vary')).toBe('accept, x-api-key, authorization, accept-encoding');
  });

  test.each([
    ['application/json', 'application/json'],
    ['*/*', 'application/json'],
    ['application/*', 'application/json'],
    ['text/plain', 'application/json'],
    ['application/graphql-response+json', 'application/graphql-response+json'],
    ['application/graphql-response+json, application/json', 'application/graphql-response+json'],
    [
      'application/graphql-response+json, application/json;q=0.9',
      'application/graphql-response+json',
    ],
    ['application/json;q=0.5, application/graphql-response+json;q=0.4', 'application/json'],
    ['application/graphql-response+json;q=0, */*', 'application/json'],
  ])('that accepts %s is answered as %s', async (accept, expected) => {
    const { headers } = await tenant.graphql('{ numbers { id } }', { headers: { accept } });
    expect(headers.get('content-type')).toBe(`${expected}; charset=utf-8`);
  });

  test.each(['PUT', 'PATCH', 'DELETE', 'OPTIONS'])(
    'with the method %s executes nothing',
    async (method) => {
      const path = `/graphql?query=${encodeURIComponent('{ numbers { id } }')}`;
      const reply = await tenant.rest<GraphQLBody<unknown>>(path, { method });
      expect([reply.status, reply.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
      expect(reply.text).toContain('"code":"METHOD_NOT_ALLOWED"');
      expect(reply.text).toContain('Send the operation with POST, or a query with GET.');
    },
  );

  test.each([
    ['application/json; charset=utf-16', {}, 'Send the operation in UTF-8'],
    ['application/json; q=1; Charset="utf-16"', {}, 'Send the operation in UTF-8'],
    ['application/json; charset=utf-8; charset=utf-16', {}, 'Send the operation in UTF-8'],
    ['application/json; charset=', {}, 'Send the operation in UTF-8'],
    ['application/json', { 'content-encoding': 'gzip' }, 'Send the operation uncompressed'],
    ['application/json', { 'content-encoding': 'identity, br' }, 'Send the operation uncompressed'],
  ])(
    'with content-type %s and %o is refused with what to send',
    async (contentType, headers, message) => {
      const reply = await tenant.graphql('{ __typename }', {
        headers: { 'content-type': contentType, ...headers },
      });
      expect([reply.status, ...toCodes(reply)]).toEqual([400, 'INVALID_REQUEST']);
      expect(reply.body.errors?.[0]?.message).toContain(message);
    },
  );

  test.each([
    '',
    'text/plain',
    'application/graphql',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
  ])('with a body of type "%s" is refused', async (contentType) => {
    const reply = await tenant.graphql('{ numbers { id } }', {
      headers: { 'content-type': contentType },
    });
    expect([reply.status, ...toCodes(reply)]).toEqual([400, 'INVALID_REQUEST']);
  });

  test.each([
    '',
    '{"query": "{ canary',
    'canary',
    '"canary"',
    'null',
    '[{"query":"{ canary }"}]',
    '{"canary":"{ numbers { id } }"}',
    '{"query":["canary"]}',
    '{"query":"{ numbers { id } }","variables":"canary"}',
    '{"query":"{ numbers { id } }","variables":["canary"]}',
    '{"query":"{ numbers { id } }","operationName":{"canary":1}}',
    '{"query":"{ numbers { id } }","extensions":"canary"}',
  ])('with the body %j is refused without repeating it', async (body) => {
    const reply = await tenant.graphql('', { body });
    expect([reply.status, ...toCodes(reply)]).toEqual([400, 'INVALID_REQUEST']);
    expect(reply.text).not.toContain('canary');
  });

  test('may have unknown members', async () => {
    const body = JSON.stringify({ query: '{ __typename }', canary: 1, operationName: '' });
    expect((await tenant.graphql('', { body })).body).toEqual({ data: { __typename: 'Query' } });
  });

  test.each([
    ['ID!', { secret: 'canary' }],
    ['ID!', ['canary']],
    ['ID!', null],
    ['ID!', undefined],
    ['ID', { canary: null }],
  ])(
    'with a variable of type %s that is %j is refused with its name, not its value',
    async (type, id) => {
      const query = `query ($id: ${type}${type.endsWith('!') ? '' : ' = "x"'}) { number(id: $id) { id } }`;
      const reply = await tenant.graphql(query, { variables: { id } });
      expect(toCodes(reply)).toEqual(['INVALID_REQUEST']);
      expect(reply.body.errors?.[0]?.message).toBe(`Variable $id needs a value of type ${type}.`);
      expect(reply.text).not.toContain('canary');
    },
  );

  test('with too many wrong variables is not refused for its operationName', async () => {
    const names = Array.from({ length: 30 }, (_, at) => at);
    const declared = names.map((at) => `$i${at}: ID!, $r${at}: Boolean!`).join(' ');
    const fields = names.map((at) => `a${at}: number(id: $i${at}, refresh: $r${at}) { id }`);
    const reply = await tenant.graphql(`query (${declared}) { ${fields.join(' ')} }`);
    const messages = reply.body.errors?.map(({ message }) => message) ?? [];
    expect(messages[0]).toBe('Variable $i0 needs a value of type ID!.');
    expect(messages.at(-1)).toBe('More variables have wrong values.');
    expect(reply.text).not.toContain('operationName');
  });

  test('with a null that the document does not allow is INVALID_REQUEST, not a defect', async () => {
    gateway.clearLogLines();
    const query = 'query ($id: ID = "x") { number(id: $id) { id } }';
    const reply = await tenant.graphql(query, { variables: { id: null } });
    expect(toCodes(reply)).toEqual(['INVALID_REQUEST']);
    expect(gateway.logLines.join('')).not.toContain('request failed');
  });

  test('with an invalid document is refused with the location, without suggestions in production', async () => {
    const reply = await tenant.graphql('{ nmbers { id } }');
    expect(reply.status).toBe(200);
    expect(reply.body).toEqual({
      errors: [
        {
          message: 'Cannot query field "nmbers" on type "Query".',
          locations: [{ line: 1, column: 3 }],
          extensions: {
            code: 'INVALID_REQUEST',
            retryable: false,
            requestId: reply.headers.get('x-request-id'),
          },
        },
      ],
    });
  });

  test.each([
    '{',
    '{ nope }',
    'query A { __typename } query B { __typename }',
    'subscription { x }',
  ])('with the document %j gets 400 in the media type of GraphQL', async (query) => {
    const headers = { accept: 'application/graphql-response+json' };
    const reply = await tenant.graphql(query, { headers });
    expect(reply.status).toBe(400);
    expect(new Set(toCodes(reply))).toEqual(new Set(['INVALID_REQUEST']));
    expect(reply.body).not.toHaveProperty('data');
  });

  test('with an unknown operationName is refused without repeating it', async () => {
    const reply = await tenant.graphql('query A { __typename }', { operationName: 'canary' });
    expect(toCodes(reply)).toEqual(['INVALID_REQUEST']);
    expect(reply.text).not.toContain('canary');
  });

  test('with a long invalid value gets a short message', async () => {
    const query = `{ number(id: "x", refresh: "${'a'.repeat(50_000)}") { id } }`;
    const { text } = await tenant.graphql(query);
    expect(text).toContain('INVALID_REQUEST');
    expect(text.length).toBeLessThan(1_000);
  });

  test('with a document of more than 2,000 tokens is refused', async () => {
    const reply = await tenant.graphql(`{ ${'a '.repeat(40_000)}`);
    expect([reply.status, ...toCodes(reply)]).toEqual([400, 'QUERY_TOO_COMPLEX']);
  });

  test('may be the introspection of GraphiQL and code generators, with a key', async () => {
    const query = getIntrospectionQuery({
      inputValueDeprecation: true,
      specifiedByUrl: true,
      oneOf: true,
    });
    const { body } = await tenant.graphql(query);
    expect(body).toMatchObject({ data: { __schema: { queryType: { name: 'Query' } } } });
    expect((await gateway.graphql(query)).status).toBe(401);
  });

  test('with nested introspection is refused', async () => {
    const circle =
      '{ __type(name: "Query") { fields { type { fields { type { fields { type { fields { name } } } } } } } } }';
    expect(toCodes(await tenant.graphql(circle))).toEqual(['QUERY_TOO_COMPLEX']);
  });

  test('in the demo gets a suggestion for a misspelled field', async () => {
    await using demo = await openTestGateway({ environment: { DATABASE_URL: '' } });
    const { key } = await demo.addTenant();
    const { body } = await demo.graphql('{ nmbers { id } }', { key });
    expect(body.errors?.[0]?.message).toContain('Did you mean "numbers"');
  });

  test('is logged with its tenant and its key', async () => {
    gateway.clearLogLines();
    await tenant.graphql('{ numbers { id } }');
    expect(gateway.logLines.join('')).toContain(
      `"tenantId":"${tenant.id}","keyId":"${tenant.keyId}"`,
    );
  });
});

describe('the response cache', () => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    gateway = await openTestGateway({ environment: { ANSWER_CACHE_MB: '32' } });
    tenant = await gateway.addTenant();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test.each([
    ['Application/JSON', {}],
    ['application/json;charset=UTF-8', {}],
    ['application/json; charset="utf-8"', {}],
    ['application/json; q=1; CharSet="UTF8"', {}],
    ['application/json', { 'content-encoding': 'identity' }],
  ])('serves content-type %s with %o', async (contentType, headers) => {
    const { id } = await tenant.addNumber();
    const query = `query ($id: ID!) { number(id: $id) { id } }`;
    const send = () =>
      tenant.graphql(query, {
        variables: { id },
        headers: { 'content-type': contentType, ...headers },
      });
    // Nothing is cached while the change feed is not current.
    await gateway.database.changes.catchUp();
    expect((await send()).body).toEqual({ data: { number: { id } } });
    gateway.clearStatements();
    await gateway.database.changes.catchUp();
    expect((await send()).body).toEqual({ data: { number: { id } } });
    expect(gateway.statements.filter((sql) => sql.includes('whatsapp_number'))).toEqual([]);
  });

  test.each([
    ['an operation named like a field that changes', 'query ageSeconds { numbers { id } }', true],
    ['an argument that reads nothing live', '{ number(id: "$", refresh: false) { id } }', true],
    ['an age', '{ numbers { health { freshness { ageSeconds } } } }', false],
    ['an age with an alias', '{ numbers { health { freshness { id: ageSeconds } } } }', false],
    [
      'an age that is skipped',
      '{ numbers { id health { freshness { ageSeconds @skip(if: true) stale } } } }',
      true,
    ],
    [
      'an age in a fragment',
      '{ number(id: "$") { ...F } } fragment F on WhatsAppNumber { meta { waba { freshness { ageSeconds } } } }',
      false,
    ],
    ['a live read', '{ number(id: "$", refresh: true) { name } }', false],
    ['an error', '{ numbers { id } number(id: "x") { id } }', false],
  ])('knows from what was executed whether to serve %s', async (_, document, isCached) => {
    const { id } = await tenant.addNumber();
    const send = () => tenant.graphql(document.replace('$', id));
    await gateway.database.changes.catchUp();
    await send();
    gateway.clearStatements();
    await gateway.database.changes.catchUp();
    await send();
    const reads = gateway.statements.filter((sql) => sql.includes('whatsapp_number'));
    expect(reads.length === 0).toBe(isCached);
  });
});

describe('a failure', () => {
  test('that is a defect is INTERNAL with a request id, and in full only in the log', async () => {
    await using gateway = await openTestGateway();
    const tenant = await gateway.addTenant();
    await gateway.database.query('alter table whatsapp_number rename column name to canary');
    gateway.clearLogLines();

    const reply = await tenant.graphql(
      '{ a: number(id: "x") { name } b: number(id: "y") { name } }',
    );

    const requestIdOfReply = reply.headers.get('x-request-id') ?? '';
    expect(reply.status).toBe(200);
    expect(reply.body.data).toEqual({ a: null, b: null });
    expect(reply.body.errors?.map(({ message, extensions }) => ({ message, extensions }))).toEqual(
      Array.from({ length: 2 }, () => ({
        message: 'Internal error; report it with the request id.',
        extensions: { code: 'INTERNAL', retryable: false, requestId: requestIdOfReply },
      })),
    );
    const lines = gateway.logLines.filter((line) => line.includes('request failed'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(requestIdOfReply);
    expect(lines[0]).toContain('does not exist');
    expect(reply.text).not.toMatch(/whatsapp_number|canary|stack| at /);
  });

  test('of the database is a 503 with Retry-After', async () => {
    const environment = {
      // Nothing listens on this port.
      DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
      ENCRYPTION_KEYS: `k1:${'A'.repeat(43)}=`,
      API_KEY_PEPPER: 'x'.repeat(32),
      LOG_LEVEL: 'silent',
    };
    await using gateway = await createGateway(parseConfig(readEnvironment(environment)));
    const headers = { 'content-type': 'application/json', 'x-api-key': createKey() };
    const body = JSON.stringify({ query: '{ numbers { id } }' });

    const response = await gateway.fetch(
      new Request('http://gateway.test/graphql', { method: 'POST', headers, body }),
    );

    expect(response.status).toBe(503);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await response.json()).toMatchObject({
      errors: [{ extensions: { code: 'UNAVAILABLE' } }],
    });
  });
});
