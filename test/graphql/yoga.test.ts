// The two ways through the GraphQL door: the short one, which plain requests take, and that of Yoga, which everything
// else takes. Nobody can tell from an answer which way a request went.

import { serverAudits } from 'graphql-http';
import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { toFetchResponse, fromFetchRequest } from '../../src/http/message.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { createChance, createHostileRequest } from '../http/hostile-requests.ts';

let gateway: TestGateway;
let tenant: TestTenant;
/** Of a number that Meta knows. */
let id: string;

beforeAll(async () => {
  // What is left of an allowance differs from one request to the next.
  gateway = await openTestGateway({ environment: { RATE_LIMIT: 'off' } });
  tenant = await gateway.addTenant();
  ({ id } = await tenant.addNumber());
  await tenant.addNumber({ provider: 'PILOT_STATUS' });
});

afterAll(() => gateway[Symbol.asyncDispose]());

interface Asked {
  readonly body: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Two ways to write the same media type; the quoted one is unusual enough for Yoga. */
const plainType = 'application/json';
const oddType = 'application/json; charset="utf-8"';

/** `onCopy` is called when somebody wants all headers, as Yoga does for its Request. */
async function ask(
  { body, headers: given }: Asked,
  type: string,
  onCopy = (): void => undefined,
): Promise<Answer> {
  const headers = new Headers({
    'x-api-key': tenant.key,
    ...given,
    'x-request-id': 'the-same',
    'content-type': type,
  });
  const sent = new Request('http://gateway.test/graphql', { method: 'POST', headers, body });
  const answer = await gateway.gateway.handle({
    ...fromFetchRequest(sent),
    headers: {
      get: (name) => headers.get(name),
      [Symbol.iterator]() {
        onCopy();
        return headers.entries();
      },
    },
  });
  const response = toFetchResponse(answer);
  const { status } = response;
  return { status, headers: Object.fromEntries(response.headers), text: await response.text() };
}

/** The short way first, then Yoga's. */
async function askBothWays(asked: Asked): Promise<readonly [short: Answer, long: Answer]> {
  return [await ask(asked, plainType), await ask(asked, oddType)];
}

const repeat = (count: number, text: string) => Array.from({ length: count }, () => text).join(' ');

const selection = `id name number provider state isFullyConnected createdAt apiKeys { name }
  health { qualityRating sendability { verdict reasons { effect text } } } meta { waba { name } }`;

/** Title, what is sent, and the status on both ways. */
const requests: readonly (readonly [title: string, body: unknown, status: number])[] = [
  ['a list', { query: `{ numbers { ${selection} } }` }, 200],
  [
    'two operations',
    { query: 'query A { a: __typename } query B { b: __typename }', operationName: 'B' },
    200,
  ],
  ['two operations and no name', { query: 'query A { __typename } query B { __typename }' }, 200],
  ['a name that names nothing', { query: 'query A { __typename }', operationName: 'canary' }, 200],
  ['a name that is empty', { query: 'query A { __typename }', operationName: '' }, 200],
  ['introspection', { query: getIntrospectionQuery() }, 200],
  [
    'fragments',
    {
      query:
        '{ ...F } fragment F on Query { numbers { ...N } } fragment N on WhatsAppNumber { id }',
    },
    200,
  ],
  ['a missing number', { query: '{ number(id: "x") { id } numbers { id } }' }, 200],
  [
    'several missing numbers',
    { query: '{ a: number(id: "x") { id } b: number(id: "x") { name } }' },
    200,
  ],
  ['no document', { query: '{' }, 200],
  ['an empty document', { query: ' ' }, 200],
  ['unknown fields', { query: `{ ${'nope '.repeat(20)} numbers { nope } }` }, 200],
  ['fragments in circles', { query: '{ ...F } fragment F on Query { ...F }' }, 200],
  ['a mutation', { query: 'mutation { x }' }, 200],
  ['a subscription', { query: 'subscription { x }' }, 200],
  ['a type system', { query: 'type A { b: Int }' }, 200],
  ['a document with too many aliases', { query: `{ ${repeat(31, 'a: __typename')} }` }, 400],
  ['a document with too many tokens', { query: `{ ${'a '.repeat(2_000)} }` }, 400],
  [
    'an operation that costs too much',
    {
      query: `{ ${Array.from({ length: 30 }, (_, at) => `n${at}: number(id: "${at}", refresh: true) { id health { qualityRating } meta { waba { name } profile { about } } }`).join(' ')} }`,
    },
    200,
  ],
  [
    'a variable',
    { query: 'query ($id: ID!) { number(id: $id) { id } }', variables: { id: 'x' } },
    200,
  ],
  [
    'a variable of the wrong type',
    { query: 'query ($id: ID!) { number(id: $id) { id } }', variables: { id: ['canary'] } },
    200,
  ],
  [
    'no variables where one is needed',
    { query: 'query ($id: ID!) { number(id: $id) { id } }' },
    200,
  ],
  [
    'a null where none is allowed',
    { query: 'query ($id: ID = "x") { number(id: $id) { id } }', variables: { id: null } },
    200,
  ],
  ['variables that are no object', { query: '{ __typename }', variables: [1] }, 400],
  ['extensions that are no object', { query: '{ __typename }', extensions: 'x' }, 400],
  ['a name that is no text', { query: '{ __typename }', operationName: 1 }, 400],
  ['a query that is no text', { query: 1 }, 400],
  ['no query', { variables: {} }, 400],
  ['unknown members', { query: '{ __typename }', canary: 1 }, 200],
  ['an array', [{ query: '{ __typename }' }], 400],
  ['null', null, 400],
];

const accepts = [
  {},
  { accept: '*/*' },
  { accept: 'application/json' },
  { accept: 'application/graphql-response+json' },
  { accept: 'application/graphql-response+json;q=0.9, application/json;q=0.8' },
  { accept: 'image/png' },
  { accept: 'text/event-stream' },
  { accept: 'multipart/mixed' },
  { 'x-include-cost': '1' },
] as const;

test.each([
  [plainType, {}, 0],
  ['Application/JSON', {}, 0],
  ['application/json;charset=UTF-8', {}, 0],
  [oddType, {}, 1],
  ['application/json; CharSet="UTF-8"', {}, 1],
  ['application/json; q=1', {}, 1],
  [plainType, { 'content-encoding': 'identity' }, 1],
])('%s with %o makes %i Requests of fetch', async (type, headers, copies) => {
  const onCopy = vi.fn<() => void>();
  const { text } = await ask({ body: '{"query":"{ __typename }"}', headers }, type, onCopy);
  expect(text).toBe('{"data":{"__typename":"Query"}}');
  expect(onCopy).toHaveBeenCalledTimes(copies);
});

test.each([
  ['application/json; charset=utf-16', {}, 'Send the operation in UTF-8'],
  ['application/json; charset=latin1', {}, 'Send the operation in UTF-8'],
  ['application/json; q=1; Charset="utf-16"', {}, 'Send the operation in UTF-8'],
  ['application/json; charset=utf-8; charset=utf-16', {}, 'Send the operation in UTF-8'],
  ['application/json; charset=', {}, 'Send the operation in UTF-8'],
  [plainType, { 'content-encoding': 'gzip' }, 'Send the operation uncompressed'],
  [plainType, { 'content-encoding': 'identity, br' }, 'Send the operation uncompressed'],
])('%s with %o is refused, and told what to do', async (type, headers, message) => {
  const { status, text } = await ask({ body: '{"query":"{ __typename }"}', headers }, type);
  expect([status, JSON.parse(text)]).toMatchObject([
    400,
    {
      errors: [
        { message: expect.stringContaining(message), extensions: { code: 'INVALID_REQUEST' } },
      ],
    },
  ]);
});

test.each(requests)('%s is answered alike', async (_, sent, status) => {
  const body = JSON.stringify(sent);
  for (const headers of accepts) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const [short, long] = await askBothWays({ body, headers });
    expect(long).toEqual(short);
  }
  expect((await ask({ body }, plainType)).status).toBe(status);
});

test.each(['', '{', '{"query":', 'null', '"canary"', '\ufeff{"query":"{ __typename }"}'])(
  'the body %j is answered alike',
  async (body) => {
    const [short, long] = await askBothWays({ body });
    expect(long).toEqual(short);
  },
);

test('a live reading is answered alike', async () => {
  const query = `{ number(id: "${id}", refresh: true) { ${selection} } }`;
  const headers = { 'x-include-cost': '1' };
  const [short, long] = await askBothWays({ body: JSON.stringify({ query }), headers });
  expect(long).toEqual(short);
  expect(long.text).toMatch(/Lucky Shrub.*"upstreamCalls":2/);
});

test('a wrong key is answered alike', async () => {
  const body = JSON.stringify({ query: '{ __typename }' });
  const [short, long] = await askBothWays({ body, headers: { 'x-api-key': 'ps_wrong' } });
  expect(long).toEqual(short);
  expect(long.status).toBe(401);
});

test('the audit of GraphQL over HTTP finds the same answers', async () => {
  let compared = 0;
  const different: string[] = [];
  const audits = serverAudits({
    url: 'http://gateway.test/graphql',
    fetchFn: async (url: string, init: RequestInit = {}) => {
      const headers = new Headers(init.headers);
      headers.set('x-api-key', tenant.key);
      const { body } = init;
      const isJson = headers.get('content-type')?.startsWith(plainType) === true;
      if (isJson && typeof body === 'string') {
        compared += 1;
        const [short, long] = await askBothWays({ body, headers: Object.fromEntries(headers) });
        if (JSON.stringify(long) !== JSON.stringify(short)) different.push(body);
      }
      return await gateway.fetch(new Request(url, { ...init, headers }));
    },
  });
  await Promise.all(audits.map((audit) => audit.fn()));
  expect(different).toEqual([]);
  expect(compared).toBeGreaterThan(40);
});

test('what nobody means well with is answered alike', async () => {
  const chance = createChance(4_711);
  const known = { key: tenant.key, ownIds: [id], foreignIds: ['wa_foreign'] };
  let compared = 0;
  while (compared < 300) {
    const { method, path, headers, body } = createHostileRequest(chance, known);
    if (method !== 'POST' || path !== '/graphql' || body === null) continue;
    compared += 1;
    const { 'content-encoding': _, host: __, ...rest } = headers;
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const [short, long] = await askBothWays({ body: new Uint8Array(body), headers: rest });
    expect(long).toEqual(short);
  }
}, 60_000);

test('a defect at the root, which leaves no data at all, is answered alike', async () => {
  await using broken = await openTestGateway({ environment: { RATE_LIMIT: 'off' } });
  const { key } = await broken.addTenant();
  await broken.database.query('alter table whatsapp_number rename to gone');
  const answers = [plainType, oddType].map(async (contentType) => {
    const headers = { 'content-type': contentType, 'x-request-id': 'the-same' };
    const { status, text } = await broken.graphql('{ numbers { id } __typename }', {
      key,
      headers,
    });
    return [status, text];
  });
  const [short, long] = await Promise.all(answers);
  expect(long).toEqual(short);
  expect(short).toEqual([200, expect.stringMatching(/"code":"INTERNAL".*"data":null/)]);
});

test('a tenant that has spent its points is refused alike', async () => {
  const environment = { RATE_LIMIT: '10/60' };
  await using poor = await openTestGateway({ database: gateway.database, environment });
  const answers = [plainType, oddType].map(async (contentType) => {
    const { key } = await poor.addTenant();
    const headers = { 'content-type': contentType, 'x-request-id': 'the-same' };
    const { status, text } = await poor.graphql('{ numbers { id } }', { key, headers });
    return [status, text];
  });
  const [short, long] = await Promise.all(answers);
  expect(long).toEqual(short);
  expect(short).toEqual([429, expect.stringContaining('RATE_LIMITED')]);
});

test('Yoga that could not be loaded is loaded for the next request', async () => {
  await using another = await openTestGateway();
  const { key } = await another.addTenant();
  const askOdd = async () => {
    const headers = { 'content-type': oddType };
    const { body } = await another.graphql('{ __typename }', { key, headers });
    return body;
  };
  vi.doMock('graphql-yoga', () => {
    throw new Error('There are too many open files.');
  });
  const failed = await askOdd();
  vi.doUnmock('graphql-yoga');
  expect(failed).toMatchObject({ errors: [{ extensions: { code: 'INTERNAL' } }] });
  expect(await askOdd()).toEqual({ data: { __typename: 'Query' } });
});
