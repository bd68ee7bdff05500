// Tests operations that are sent with GET. https://graphql.github.io/graphql-over-http/draft/#sec-GET

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSearch } from '../../src/graphql/params.ts';
import {
  type GraphQLBody,
  openTestGateway,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';
import { readMemory } from '../memory.ts';

type Parameters = Readonly<Record<string, string>>;

const toPath = (parameters: Parameters | string) =>
  `/graphql?${typeof parameters === 'string' ? parameters : new URLSearchParams(parameters)}`;

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway({ environment: { ANSWER_CACHE_MB: '32' } });
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

const send = (parameters: Parameters | string, headers: Parameters = {}, method = 'GET') =>
  tenant.rest<GraphQLBody<Record<string, unknown>>>(toPath(parameters), { headers, method });

const codesOf = (body: GraphQLBody<unknown>) =>
  body.errors?.map(({ extensions }) => extensions?.['code']);

const byId = 'query One($id: ID!) { number(id: $id) { id name } } query Two { __typename }';

describe('GET /graphql', () => {
  test('answers a query with variables, operationName and extensions', async () => {
    const { id } = await tenant.addNumber({ name: 'Reception & more' });
    const reply = await send({
      query: byId,
      variables: JSON.stringify({ id }),
      operationName: 'One',
      extensions: '{"anything":1}',
    });
    expect([reply.status, reply.body]).toEqual([
      200,
      { data: { number: { id, name: 'Reception & more' } } },
    ]);
    const { headers } = reply;
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(headers.get('cache-control')).toBe('private, no-cache');
    expect(headers.get('vary')).toContain('x-api-key');
    expect(headers.get('ratelimit')).toContain('points');
  });

  test('needs a key', async () => {
    const reply = await gateway.rest(toPath({ query: '{ __typename }' }));
    expect(reply.status).toBe(401);
  });

  test.each([
    ['__typename}', 'INVALID_REQUEST', 200, 400],
    ['{ nope }', 'INVALID_REQUEST', 200, 400],
    [`{ ${'a '.repeat(2_001)} }`, 'QUERY_TOO_COMPLEX', 400, 400],
    ['{ number(id: "wa_nobody") { id } }', 'NUMBER_NOT_FOUND', 200, 200],
  ])('answers the document %#, with an error, as POST does', async (query, code, ...statuses) => {
    const accepts = ['application/json', 'application/graphql-response+json'];
    const compare = async (accept: string) => {
      const headers = { accept, 'x-request-id': 'same' };
      const post = await tenant.graphql(query, { headers });
      const get = await send({ query }, headers);
      expect([get.status, get.text]).toEqual([post.status, post.text]);
      expect(codesOf(get.body)).toEqual([code]);
      return get.status;
    };
    expect(await Promise.all(accepts.map(compare))).toEqual(statuses);
  });

  test('costs what POST costs', async () => {
    const headers = { 'x-include-cost': '1' };
    const { body } = await send({ query: '{ number(id: "x") { id } }' }, headers);
    expect(body.extensions?.['cost']).toMatchObject({ requested: 2, actual: 2 });
  });

  test('shares cached responses with POST', async () => {
    const { id } = await tenant.addNumber();
    const variables = { id };
    const query = 'query ($id: ID!) { number(id: $id) { id state } }';
    await gateway.database.changes.catchUp();
    const { text } = await tenant.graphql(query, { variables });
    gateway.clearStatements();
    const reply = await send({ query, variables: JSON.stringify(variables) });
    expect([reply.text, gateway.statements]).toEqual([text, []]);
    expect(reply.headers.get('etag')).toMatch(/^"[\w-]{43}"$/);
    expect((await tenant.graphql(query, { variables })).headers.get('etag')).toBeNull();
  });

  test('of a response without errors has an ETag, and is a 304 while the response is the same', async () => {
    const { id } = await tenant.addNumber();
    const query = `{ number(id: "${id}") { state } }`;
    const first = await send({ query });
    const etag = first.headers.get('etag') ?? '';
    const revalidate = () => send({ query }, { 'if-none-match': etag });
    const same = await revalidate();
    expect([same.status, same.text, same.headers.get('etag')]).toEqual([304, '', etag]);
    await gateway.numbers.setState(id, 'CLOSE');
    await gateway.database.changes.catchUp();
    const changed = await revalidate();
    expect([changed.status, changed.body]).toEqual([200, { data: { number: { state: 'CLOSE' } } }]);
    expect(changed.headers.get('etag')).not.toBe(etag);
  });

  test('has an ETag of its own for each content coding', async () => {
    for (let count = 0; count < 10; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      await tenant.addNumber();
    }
    const query = '{ numbers { id name number createdAt } }';
    const [plain, zipped] = [
      await send({ query }),
      await send({ query }, { 'accept-encoding': 'gzip' }),
    ];
    expect(zipped.headers.get('content-encoding')).toBe('gzip');
    const etag = zipped.headers.get('etag') ?? '';
    expect(etag).not.toBe(plain.headers.get('etag'));
    const headers = { 'accept-encoding': 'gzip', 'if-none-match': etag };
    expect((await send({ query }, headers)).status).toBe(304);
  });

  test.each([
    ['an error', '{ numbers { id } number(id: "x") { id } }', 'private, no-cache'],
    ['a live read', '{ number(id: "$", refresh: true) { name } }', 'no-store'],
  ])('of a response with %s has no ETag', async (_, query, cacheControl) => {
    const { id } = await tenant.addNumber();
    const { headers, status } = await send({ query: query.replace('$', id) });
    expect([status, headers.get('etag'), headers.get('cache-control')]).toEqual([
      200,
      null,
      cacheControl,
    ]);
  });

  test('of a live read is no-store with POST too', async () => {
    const { id } = await tenant.addNumber();
    const { headers } = await tenant.graphql(`{ number(id: "${id}", refresh: true) { name } }`);
    expect(headers.get('cache-control')).toBe('no-store');
  });

  test.each([
    ['a mutation', 'mutation { x }', 405, 'POST'],
    ['the mutation of several operations', 'query A { __typename } mutation B { x }', 405, 'POST'],
    // Unless it accepts a stream of events: see events.test.ts.
    ['a subscription', 'subscription { x }', 400, null],
  ])('refuses %s, whether it is valid or not', async (_, query, status, allow) => {
    const parameters = { query, ...(query.includes('B') && { operationName: 'B' }) };
    for (const method of ['GET', 'HEAD']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(parameters, {}, method);
      expect([reply.status, reply.headers.get('allow')]).toEqual([status, allow]);
    }
    const ofQuery = await send({
      query: 'query A { __typename } mutation B { x }',
      operationName: 'A',
    });
    expect(ofQuery.status).toBe(200);
  });

  test.each([
    ['', '"query"'],
    ['query=', '"query"'],
    ['variables={}', '"query"'],
    ['query={__typename}&query={canary}', 'once'],
    ['query={__typename}&variables={}&variables={"canary":1}', 'once'],
    ['query={__typename}&variables=canary', '"variables"'],
    ['query={__typename}&variables={"canary"', '"variables"'],
    ['query={__typename}&variables=["canary"]', '"variables"'],
    ['query={__typename}&variables=%22canary%22', '"variables"'],
    ['query={__typename}&variables={},"query":"{canary}"', '"variables"'],
    ['query={__typename}&extensions=canary', '"extensions"'],
    ['query={__typename}&extensions=7', '"extensions"'],
  ])('with ?%s is INVALID_REQUEST, and repeats nothing of it', async (search, message) => {
    const reply = await send(search);
    expect([reply.status, codesOf(reply.body)]).toEqual([400, ['INVALID_REQUEST']]);
    expect(reply.body.errors?.[0]?.message).toContain(message);
    expect(reply.text).not.toContain('canary');
  });

  test('may have empty and unknown parameters, and null for an object', async () => {
    const search = 'query={__typename}&variables=&operationName=&extensions=null&other=1&other=2';
    expect((await send(search)).body).toEqual({ data: { __typename: 'Query' } });
  });

  test('decodes parameters as those of a form', async () => {
    const reply = await send(
      'query=query+A($b:Boolean!)%7B__typename+@skip(if:$b)%7D&variables=%7B%22b%22:true%7D',
    );
    expect(reply.body).toEqual({ data: {} });
  });

  test('has the headers of GET and no body for HEAD', async () => {
    const query = '{ __typename }';
    const [get, head] = [await send({ query }), await send({ query }, {}, 'HEAD')];
    expect([head.status, head.text]).toEqual([200, '']);
    const names = ['etag', 'content-length', 'content-type', 'cache-control'];
    const ofHead = names.map((name) => [name, head.headers.get(name)]);
    expect(ofHead).toEqual(names.map((name) => [name, get.headers.get(name)]));
  });

  test('is the page of GraphiQL for who prefers text/html, whatever its parameters', async () => {
    const accept = 'text/html,application/xhtml+xml,*/*;q=0.8';
    const reply = await send({ query: '{ __typename }' }, { accept });
    expect(reply.headers.get('content-type')).toBe('text/html; charset=utf-8');
  });

  test('answers without GraphiQL too', async () => {
    await using other = await openTestGateway({ environment: { GRAPHIQL: 'off' } });
    const { rest } = await other.addTenant();
    const headers = { accept: 'text/html' };
    const { body } = await rest(toPath({ query: '{ __typename }' }), { headers });
    expect(body).toEqual({ data: { __typename: 'Query' } });
  });

  test('writes nothing of its parameters into the log', async () => {
    gateway.clearLogLines();
    await send({ query: '{ canary: __typename }', variables: '{"canary":1}' });
    const log = gateway.logLines.join('');
    expect(log).toContain('"path":"/graphql"');
    expect(log).not.toContain('canary');
  });
});

test('a document that is kept does not keep its URL in memory', () => {
  const before = readMemory();
  const kept = Array.from({ length: 2_000 }, (_, at) => {
    const variables = encodeURIComponent(JSON.stringify({ x: 'x'.repeat(7_000) }));
    return parseSearch(`?query={alias${at}:__typename}&variables=${variables}`).query;
  });
  expect(readMemory() - before).toBeLessThan(2_000_000);
  expect(kept.at(-1)).toBe('{alias1999:__typename}');
});

const toLong = (length: number) => '/graphql?query={__typename}&x='.padEnd(length, 'x');

describe('a URL of more than 8,000 characters', () => {
  test('is refused in the form of the API, and one of 8,000 is not', async () => {
    expect((await tenant.rest(toLong(8_000))).status).toBe(200);
    const reply = await tenant.rest<GraphQLBody<unknown>>(toLong(8_001));
    expect([reply.status, codesOf(reply.body)]).toEqual([414, ['URI_TOO_LONG']]);
    expect(reply.body.errors?.[0]?.message).toContain('POST');
    const rest = await tenant.rest('/v1/numbers?'.padEnd(8_001, 'x'));
    expect([rest.status, rest.body]).toMatchObject([414, { code: 'URI_TOO_LONG' }]);
  });

  test('is refused so that a page of another origin can read why', async () => {
    const origin = 'https://app.example';
    await using other = await openTestGateway({ environment: { CORS_ORIGINS: origin } });
    const preflight = await other.rest(toLong(9_000), {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'GET' },
    });
    expect(preflight.status).toBe(204);
    const { status, headers } = await other.rest(toLong(9_000), { headers: { origin } });
    expect([status, headers.get('access-control-allow-origin')]).toEqual([414, origin]);
  });
});
