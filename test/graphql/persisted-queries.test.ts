// Tests automatic persisted queries: requests that send the hash of a document instead of the document.
// https://www.apollographql.com/docs/apollo-server/performance/apq

import { hash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  createPersistedQueries,
  type PersistedQueries,
} from '../../src/graphql/persisted-queries.ts';
import { schema } from '../../src/graphql/schema.ts';
import {
  type GraphQLBody,
  openTestGateway,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';
import { readMemory } from '../memory.ts';

type Json = Readonly<Record<string, unknown>>;

const toHash = (text: string) => hash('sha256', text, 'hex');
const toExtensions = (sha256Hash: unknown, version: unknown = 1) => ({
  persistedQuery: { version, sha256Hash },
});

type Send = (
  tenant: Pick<TestTenant, 'rest'>,
  params: Json,
  headers?: Readonly<Record<string, string>>,
) => ReturnType<typeof tenant.rest<GraphQLBody<Json>>>;

const post: Send = (tenant, params, headers) =>
  tenant.rest('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(params),
  });

const get: Send = (tenant, params, headers = {}) => {
  const entries = Object.entries(params).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return tenant.rest(`/graphql?${new URLSearchParams(entries)}`, { headers });
};

const codesOf = ({ errors = [] }: GraphQLBody<unknown>) =>
  errors.map(({ extensions }) => extensions?.['code']);

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway({ environment: { ANSWER_CACHE_MB: '32' } });
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** A document that no other test sends. */
let documents = 0;
const createDocument = () => `query ($id: ID!) { a${(documents += 1)}: number(id: $id) { id } }`;

describe.each([
  ['POST', post],
  ['GET', get],
] as const)('with %s', (_, send) => {
  test('a document is sent once, and then its hash', async () => {
    const query = createDocument();
    const { id } = await tenant.addNumber();
    const extensions = toExtensions(toHash(query));
    const variables = { id };

    const unknown = await send(tenant, { extensions, variables });
    expect([unknown.status, unknown.headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(unknown.body).toEqual({
      errors: [
        {
          message: 'PersistedQueryNotFound',
          extensions: expect.objectContaining({ code: 'PERSISTED_QUERY_NOT_FOUND' }),
        },
      ],
    });
    expect(unknown.headers.get('etag')).toBeNull();

    const registered = await send(tenant, { query, extensions, variables });
    const persisted = await send(tenant, { extensions, variables });
    expect(registered.body).toEqual({ data: { [`a${documents}`]: { id } } });
    expect([persisted.status, persisted.text]).toEqual([200, registered.text]);
  });

  test('an unknown hash is a 200 in both media types', async () => {
    const headers = { accept: 'application/graphql-response+json' };
    const reply = await send(tenant, { extensions: toExtensions(toHash('unknown')) }, headers);
    expect([reply.status, codesOf(reply.body)]).toEqual([200, ['PERSISTED_QUERY_NOT_FOUND']]);
  });

  test('a hash of another document is PERSISTED_QUERY_MISMATCH, and stores nothing', async () => {
    const query = createDocument();
    for (const wrong of [toHash('other'), toHash(query).toUpperCase(), '', 'x']) {
      const extensions = toExtensions(wrong);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(tenant, { query, extensions, variables: { id: 'x' } });
      expect([reply.status, codesOf(reply.body)]).toEqual([400, ['PERSISTED_QUERY_MISMATCH']]);
    }
    const { body } = await send(tenant, { extensions: toExtensions(toHash('other')) });
    expect(codesOf(body)).toEqual(['PERSISTED_QUERY_NOT_FOUND']);
  });

  test.each([
    [{ persistedQuery: 'x' }],
    [{ persistedQuery: ['x'] }],
    [toExtensions(toHash('{ __typename }'), 2)],
    [toExtensions(toHash('{ __typename }'), '1')],
    [toExtensions(7)],
    [{ persistedQuery: { version: 1 } }],
  ])('%j is INVALID_REQUEST', async (extensions) => {
    for (const params of [{ extensions }, { query: '{ __typename }', extensions }]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(tenant, params);
      expect([reply.status, codesOf(reply.body)]).toEqual([400, ['INVALID_REQUEST']]);
      expect(reply.body.errors?.[0]?.message).toContain('persistedQuery');
    }
  });

  test.each([
    ['is invalid', '{ nope }', 'INVALID_REQUEST'],
    ['has a syntax error', '{', 'INVALID_REQUEST'],
    ['is beyond a limit', `{ ${'a '.repeat(2_001)} }`, 'QUERY_TOO_COMPLEX'],
  ])('a document that %s is not stored', async (__, query, code) => {
    const extensions = toExtensions(toHash(query));
    expect(codesOf((await send(tenant, { query, extensions })).body)).toEqual([code]);
    expect(codesOf((await send(tenant, { extensions })).body)).toEqual([
      'PERSISTED_QUERY_NOT_FOUND',
    ]);
  });

  test('the key is verified before the hash is looked up', async () => {
    const query = '{ __typename }';
    await send(tenant, { query, extensions: toExtensions(toHash(query)) });
    const reply = await send(gateway, { extensions: toExtensions(toHash(query)) });
    expect([reply.status, codesOf(reply.body)]).toEqual([401, ['UNAUTHENTICATED']]);
  });

  test('a tenant does not find the documents of another one', async () => {
    const [query, other] = [createDocument(), await gateway.addTenant()];
    const extensions = toExtensions(toHash(query));
    const variables = { id: 'x' };
    await send(tenant, { query, extensions, variables });
    const reply = await send(other, { extensions, variables });
    expect(codesOf(reply.body)).toEqual(['PERSISTED_QUERY_NOT_FOUND']);
  });

  test('a hash shares cached responses with its document, sent in either way', async () => {
    const query = createDocument();
    const { id } = await tenant.addNumber();
    const variables = { id };
    const extensions = toExtensions(toHash(query));
    // The response is computed without the hash, and so is the only one that is not registered with it.
    await gateway.database.changes.catchUp();
    const { text } = await tenant.graphql(query, { variables });
    gateway.clearStatements();
    await send(tenant, { query, variables, extensions });
    const replies = [
      await send(tenant, { extensions, variables }),
      await post(tenant, { variables, extensions }),
      await get(tenant, { query, variables }),
    ];
    expect(replies.map((reply) => reply.text)).toEqual([text, text, text]);
    expect(gateway.statements).toEqual([]);
  });

  test('a document that reads live is never served from the cache', async () => {
    const { id } = await tenant.addNumber();
    const query = 'query ($id: ID!) { number(id: $id, refresh: true) { meta { waba { id } } } }';
    const extensions = toExtensions(toHash(query));
    const variables = { id };
    await send(tenant, { query, extensions, variables });
    gateway.simulator.clearCalls();
    const reply = await send(tenant, { extensions, variables });
    expect(reply.headers.get('cache-control')).toBe('no-store');
    expect(gateway.simulator.calls).toHaveLength(1);
  });
});

test('a mutation that is stored is refused with GET', async () => {
  const query = 'mutation { x }';
  const extensions = toExtensions(toHash(query));
  expect((await get(tenant, { query, extensions })).status).toBe(405);
});

test('an invalid document is validated once, with and without its hash', async () => {
  // Validating a document looks up the type of its query.
  const lookups = vi.spyOn(schema, 'getQueryType');
  onTestFinished(() => lookups.mockRestore());
  const countLookups = async (query: string, extensions: Json) => {
    lookups.mockClear();
    expect((await post(tenant, { query, ...extensions })).body.errors).toHaveLength(1);
    return lookups.mock.calls.length;
  };
  // The validation of the first document is preceded by that of the schema.
  await countLookups('{ nopeA }', {});
  const expected = await countLookups('{ nopeB }', {});
  expect(expected).toBeGreaterThan(0);
  const extensions = toExtensions(toHash('{ nopeC }'));
  expect(await countLookups('{ nopeC }', { extensions })).toBe(expected);
});

test('the member persistedQuery may be written with escapes', async () => {
  const extensions = JSON.stringify(toExtensions(toHash('escaped')));
  const body = `{"extensions":${extensions.replace('p', String.raw`\u0070`)}}`;
  const reply = await tenant.graphql('', { body });
  expect(codesOf(reply.body)).toEqual(['PERSISTED_QUERY_NOT_FOUND']);
});

test('PERSISTED_QUERIES=off answers that they are not supported', async () => {
  await using other = await openTestGateway({ environment: { PERSISTED_QUERIES: 'off' } });
  const otherTenant = await other.addTenant();
  const query = '{ __typename }';
  const extensions = toExtensions(toHash(query));
  for (const params of [{ extensions }, { query, extensions }]) {
    for (const send of [post, get]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { status, headers, body } = await send(otherTenant, params);
      expect([status, headers.get('cache-control')]).toEqual([200, 'no-store']);
      expect(body.errors?.map(({ message }) => message)).toEqual(['PersistedQueryNotSupported']);
      expect(codesOf(body)).toEqual(['PERSISTED_QUERY_NOT_SUPPORTED']);
    }
  }
  expect((await otherTenant.graphql(query)).body).toEqual({ data: { __typename: 'Query' } });
});

const toText = (at: number, length = 100) => `{ a${at} }`.padEnd(length);
const texts = Array.from({ length: 20 }, (_, at) => toText(at));
const has = (store: PersistedQueries, tenantId: string, text: string) =>
  store.find(tenantId, toHash(text)) !== undefined;

describe('the store', () => {
  test('keeps the documents of a tenant that were used last', () => {
    const store = createPersistedQueries({ maxTenantBytes: 3_000 });
    const [a = '', b = '', c = '', d = ''] = texts;
    for (const text of [a, b, c]) store.add('t', toHash(text), text);
    expect(store.find('t', toHash(a))).toBe(a);
    // The bound has no place for a fourth.
    store.add('t', toHash(d), d);
    expect([a, b, c, d].map((text) => has(store, 't', text))).toEqual([true, false, true, true]);
  });

  test('limits the bytes of a tenant, and stores no document that exceeds them alone', () => {
    const store = createPersistedQueries({ maxTenantBytes: 4_000 });
    const long = toText(0, 4_100);
    store.add('t', toHash(long), long);
    expect(has(store, 't', long)).toBe(false);
    for (const text of texts) store.add('t', toHash(text), text);
    const kept = texts.filter((text) => has(store, 't', text));
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.length).toBeLessThan(20);
    expect(kept.at(-1)).toBe(texts.at(-1));
  });

  test('evicts the documents of all tenants that were used least recently, and only as many as it must', () => {
    const store = createPersistedQueries({ maxBytes: 8_000, maxTenantBytes: 4_000 });
    const [text = ''] = texts;
    for (const tenantId of ['a', 'b']) store.add(tenantId, toHash(text), text);
    for (let at = 0; at < 100; at += 1) {
      const other = toText(at);
      store.add('greedy', toHash(other), other);
    }
    // One tenant evicts its own documents.
    expect([has(store, 'b', text), has(store, 'a', text)]).toEqual([true, true]);
    for (let at = 0; at < 100; at += 1) {
      const other = toText(at);
      store.add('second', toHash(other), other);
      store.find('a', toHash(text));
    }
    const greedy = [96, 97, 98, 99].filter((at) => has(store, 'greedy', toText(at)));
    expect([has(store, 'a', text), has(store, 'b', text), greedy]).toEqual([true, true, [98, 99]]);
  });

  test('counts a document once that is added again', () => {
    const store = createPersistedQueries({ maxTenantBytes: 2_000 });
    const [a = '', b = ''] = texts;
    for (const text of [a, b, b, b]) store.add('t', toHash(text), text);
    expect([has(store, 't', a), has(store, 't', b)]).toEqual([true, true]);
  });

  test.each([
    ['10,000 tenants have one short document each', 10_000, 1, 20, 10_000],
    ['60,000 tenants have one short document each', 60_000, 1, 20, 1_000],
    ['200 tenants have 1,000 short documents each', 200, 1_000, 20, 1_000],
    ['50 tenants have 400 documents of 2,000 characters each', 50, 400, 2_000, 1_000],
  ])(
    'takes no more memory than its bound when %s',
    (_, tenants, ofEach, length, minKept) => {
      const maxBytes = 32_000_000;
      const before = readMemory();
      const store = createPersistedQueries({ maxBytes });
      for (let at = 0; at < tenants * ofEach; at += 1) {
        const text = toText(at, length);
        store.add(toTenantId(at % tenants), toHash(text), text);
      }
      const taken = readMemory() - before;
      expect(taken).toBeLessThan(maxBytes);
      const last = Array.from({ length: minKept }, (__, index) => tenants * ofEach - 1 - index);
      expect(
        last.filter((at) => !has(store, toTenantId(at % tenants), toText(at, length))),
      ).toEqual([]);
    },
    30_000,
  );
});

/** In the form of the tenants' ids. */
const toTenantId = (at: number) => `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`;
