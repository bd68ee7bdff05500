// Tests of the pages of a fleet: cursors, limits, prices, what is cached, and how much is sent and asked.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  databases,
  type DatabaseKind,
  openTestDatabase,
  openTestGateway,
  type TestDatabase,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';
import { addLargeFleet } from './large-fleet.ts';
import { walkWhileWriting } from './walks.ts';

describe.each(databases)('on %s', (kind) => {
  test('a walk sees each number that does not change exactly once, while a tenth of them change', async () => {
    expect(await walkWhileWriting(kind, 20)).toEqual([]);
  }, 60_000);
});

interface Page {
  readonly totalCount: number;
  readonly asOf: string;
  readonly nodes: readonly { readonly id: string }[];
  readonly pageInfo: { readonly startCursor: string | null; readonly endCursor: string | null };
}

interface Stage extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly gateway: TestGateway;
  readonly tenant: TestTenant;
}

async function openStage(
  kind: DatabaseKind,
  numbers: number,
  options: Parameters<typeof openTestGateway>[0] = {},
): Promise<Stage> {
  const made = new AsyncDisposableStack();
  const database = made.use(await openTestDatabase(kind));
  const gateway = made.use(await openTestGateway({ ...options, database }));
  const tenant = await gateway.addTenant();
  await addLargeFleet(database, { tenantId: tenant.id, numbers });
  return { database, gateway, tenant, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

async function get(tenant: TestTenant, window: string) {
  return await tenant.graphql<{ fleet: Page }>(`{ fleet(${window}) {
    totalCount asOf nodes { id } pageInfo { startCursor endCursor } } }`);
}

describe('a cursor', () => {
  let stage: Stage;
  let now = new Date('2026-11-29T12:00:00.000Z');
  beforeAll(async () => {
    stage = await openStage('PGlite', 30, { now: () => now });
  });

  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });

  test('has the time of its first page, which all pages share', async () => {
    const { tenant } = stage;
    const first = (await get(tenant, 'first: 10')).body.data!.fleet;
    now = new Date(now.getTime() + 60_000);
    const second = (await get(tenant, `first: 10, after: "${first.pageInfo.endCursor}"`)).body.data!
      .fleet;
    expect(second.asOf).toBe(first.asOf);
    const back = (await get(tenant, `last: 10, before: "${second.pageInfo.startCursor}"`)).body
      .data!.fleet;
    expect(back.nodes).toEqual(first.nodes);
  });

  test('of an empty page is null', async () => {
    const { body } = await get(stage.tenant, 'first: 10, filter: {search: "no such number"}');
    expect(body.data!.fleet).toMatchObject({
      totalCount: 0,
      nodes: [],
      pageInfo: { startCursor: null, endCursor: null },
    });
  });

  test('is refused an hour after its first page', async () => {
    const { endCursor } = (await get(stage.tenant, 'first: 1')).body.data!.fleet.pageInfo;
    const { next } = (await stage.tenant.rest<{ next: string }>('/v1/fleet?limit=1')).body;
    now = new Date(now.getTime() + 3_600_000);
    expect((await get(stage.tenant, `first: 1, after: "${endCursor}"`)).status).toBe(200);
    now = new Date(now.getTime() + 1);
    const { body } = await get(stage.tenant, `first: 1, after: "${endCursor}"`);
    expect(body.errors).toMatchObject([
      {
        message:
          'The first page of this walk is more than an hour old; start again without a cursor.',
        extensions: { code: 'CURSOR_EXPIRED' },
      },
    ]);
    const refused = await stage.tenant.rest(`/v1/fleet?limit=1&cursor=${next}`);
    expect([refused.status, refused.body['code']]).toEqual([410, 'CURSOR_EXPIRED']);
  });

  test.each([
    ['another filter', 'filter: {stale: true}'],
    ['another order', 'orderBy: {field: NAME, direction: ASC}'],
    ['another direction', 'orderBy: {field: ATTENTION, direction: ASC}'],
  ])('is refused with %s', async (_, other) => {
    const { endCursor } = (await get(stage.tenant, 'first: 1')).body.data!.fleet.pageInfo;
    const { body } = await get(stage.tenant, `first: 1, after: "${endCursor}", ${other}`);
    expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_CURSOR' } }]);
  });

  test('is accepted with the same filter in other words', async () => {
    const { endCursor } = (
      await get(stage.tenant, 'first: 1, filter: {verdicts: [YES, NO, UNKNOWN], search: "SHOP"}')
    ).body.data!.fleet.pageInfo;
    const again = 'filter: {search: " shop", verdicts: [UNKNOWN, NO, YES, NO]}';
    const { body } = await get(stage.tenant, `first: 1, after: "${endCursor}", ${again}`);
    expect(body.data!.fleet.nodes).toHaveLength(1);
  });

  test.each([
    '',
    'x',
    '!',
    'bnVsbA',
    'W10',
    Buffer.from('{"v":1}').toString('base64url'),
    ...[
      { v: 2 },
      { k: [] },
      { k: ['6', 'now()', 'wa_1'] },
      { k: ['99', '-infinity', 'wa_1'] },
      { k: ['6', '2026-13-01T00:00:00.000Z', 'wa_1'] },
      { k: ['6', '2026-02-31T00:00:00.000Z', 'wa_1'] },
      { k: ['6', '0000-01-01T00:00:00.000Z', 'wa_1'] },
      { k: ['6', '-infinity', 'wa_\0'] },
      { k: ['6', '-infinity', '\ud800'] },
      { k: ['6', '-infinity', 7] },
      { k: 'x' },
      { a: 'x' },
      { a: 5 },
      { a: '2036-01-01T00:00:00.000Z' },
      { a: '0000-01-01T00:00:00.000Z' },
      { f: null },
    ].map((change) => change),
  ])('that is malformed is refused: %j', async (given) => {
    const { endCursor } = (await get(stage.tenant, 'first: 1')).body.data!.fleet.pageInfo;
    const content = JSON.parse(Buffer.from(endCursor!, 'base64url').toString());
    const cursor =
      typeof given === 'string'
        ? given
        : Buffer.from(JSON.stringify({ ...content, ...given })).toString('base64url');
    const { body } = await get(stage.tenant, `first: 1, after: "${cursor}"`);
    expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_CURSOR' } }]);
  });

  test('of another tenant shows own numbers only', async () => {
    const other = await stage.gateway.addTenant();
    await other.addNumber();
    const { endCursor } = (await get(stage.tenant, 'first: 1')).body.data!.fleet.pageInfo;
    const { body } = await get(other, `first: 50, after: "${endCursor}"`);
    const own = (await get(other, 'first: 50')).body.data!.fleet.nodes;
    expect(own).toHaveLength(1);
    for (const node of body.data!.fleet.nodes) expect(own).toContainEqual(node);
  });

  test.each([
    ['0000-01-01T00:00:00Z', 30],
    ['0001-01-01T00:30:00Z', 30],
    ['9999-12-31T23:59:59-12:00', 0],
  ])('and any time of ISO 8601: %s', async (time, count) => {
    const { body } = await get(stage.tenant, `first: 1, filter: {changedSince: "${time}"}`);
    expect(body.data?.fleet.totalCount).toBe(count);
  });

  test.each([
    ['first: 201', 'A page has from 0 to 200 numbers.'],
    ['first: -1', 'A page has from 0 to 200 numbers.'],
    ['last: 201', 'A page has from 0 to 200 numbers.'],
    ['first: 1, last: 1', 'Send first or last, not both.'],
    ['first: 1, after: "x", before: "x"', 'Send after or before, not both.'],
    ['first: 1, before: "x"', 'Send after with first, and before with last.'],
    ['last: 1, after: "x"', 'Send after with first, and before with last.'],
    [`filter: {search: "${'x'.repeat(101)}"}`, 'search has 101 characters, and the limit is 100.'],
    [
      `filter: {ids: [${Array.from({ length: 1_001 }, (_, at) => `"${at}"`).join(', ')}]}`,
      'ids has 1001 values, and the limit is 1000.',
    ],
  ])('and limits: %.40s is an error, not a guess', async (window, message) => {
    const { body } = await get(stage.tenant, window);
    expect(body.errors).toMatchObject([{ message, extensions: { code: 'INVALID_REQUEST' } }]);
  });

  test.each([
    'waba(first: -1)',
    'portfolio(first: 101)',
    'waba(first: 1) { id } more: waba(first: -1)',
  ])('and limits: the facet %s is an error, not a guess', async (facet) => {
    const { body } = await stage.tenant.graphql(`{ fleet { facets { ${facet} { id } } } }`);
    const message = 'A facet has from 0 to 100 accounts, portfolios or labels.';
    expect(body.errors).toMatchObject([{ message, extensions: { code: 'INVALID_REQUEST' } }]);
  });
});

describe('an operation', () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await openStage('PostgreSQL', 10_000);
  }, 60_000);

  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });

  const facets = `facets { verdict { value count } qualityRating { value count } stale
    waba { id name count } portfolio(first: 3) { id messagingLimitTier } }`;
  const everything = `id instanceName number name provider state isFullyConnected apiKeys { name }
    health { sendable sendability { verdict replyVerdict reasons { text } } freshness { observedAt } }
    meta { fetchedAt phone { verifiedName } profile { about } waba { name } } portfolio { id name }`;

  test.each([
    ['{ fleet { totalCount } }', 11],
    ['{ fleet(first: 10) { nodes { id } } }', 11],
    ['{ fleet { pageInfo { endCursor } } }', 31],
    [`{ fleet(first: 50) { totalCount ${facets} nodes { ${everything} } } }`, 36],
    [
      `{ fleet(last: 200, filter: {search: "shop", not: {verdicts: [YES], ids: ["x"]}}) {
       totalCount ${facets} edges { cursor node { ${everything} } } asOf } }`,
      111,
    ],
    ['{ fleet { asOf } }', 6],
    ['{ one: fleet(first: 0) { nodes { id } } other: fleet { totalCount } }', 16],
  ])(
    'takes one statement for each fleet besides key and tenant, and has its price: %.60s',
    async (query, price) => {
      const { tenant, gateway } = stage;
      await tenant.graphql('{ __typename }');
      gateway.clearStatements();
      const { body } = await tenant.graphql(query, { headers: { 'x-include-cost': '1' } });
      expect(body.errors).toBeUndefined();
      const statements = gateway.statements.filter(
        (it) => !/set_config|use_scoped_key|find_scoped_key/.test(it),
      );
      expect(statements).toHaveLength(query.split('fleet').length - 1);
      expect(body.extensions).toMatchObject({ cost: { requested: price, actual: price } });
    },
  );

  test('of a dashboard for 10,000 numbers is less than 15 kB compressed', async () => {
    const { key } = stage.tenant;
    const query = `{ fleet(first: 50) { totalCount ${facets} pageInfo { endCursor }
      nodes { id number name provider state health { qualityRating metaStatus messagingLimitTier
        sendability { verdict replyVerdict reasons { text solution } } freshness { observedAt } } } } }`;
    const response = await stage.gateway.fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': key, 'accept-encoding': 'gzip' },
      body: JSON.stringify({ query }),
    });
    expect(response.headers.get('content-encoding')).toBe('gzip');
    expect((await response.arrayBuffer()).byteLength).toBeLessThan(15_000);
  });
});

test('a page is served from memory until the next evidence expires, and shows a change at once', async () => {
  let now = new Date();
  await using stage = await openStage('PostgreSQL', 0, { now: () => now });
  const { tenant, database, gateway } = stage;
  const { id } = await tenant.addNumber();
  await tenant.graphql(`{ number(id: "${id}", refresh: true) { id } }`);
  const [status] = await database.query<{ at: Date }>(
    'select observed_at as at from number_status',
  );
  const observedAt = status!.at;
  const read = async () => {
    const query = '{ fleet { asOf facets { verdict { value count } } } }';
    const { body } = await tenant.graphql<{ fleet: Page & { facets: unknown } }>(query);
    return body.data!.fleet;
  };
  const first = await read();
  expect(first.facets).toEqual({ verdict: [{ value: 'YES', count: 1 }] });
  await database.changes.catchUp();
  const kept = await read();
  now = new Date(observedAt.getTime() + 599_000);
  expect((await read()).asOf).toBe(kept.asOf);
  now = new Date(observedAt.getTime() + 3_600_500);
  const fresh = await read();
  expect(fresh.facets).toEqual({ verdict: [{ value: 'YES', count: 1 }] });
  now = new Date(observedAt.getTime() + 3_601_000);
  expect((await read()).facets).toEqual({ verdict: [{ value: 'UNKNOWN', count: 1 }] });
  await database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [id]);
  expect((await read()).facets).toEqual({ verdict: [{ value: 'NO', count: 1 }] });
  expect(gateway.statements.length).toBeGreaterThan(0);
});
