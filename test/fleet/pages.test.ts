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
      { k: ['6', '-infinity', 'wa_\0'] },
      { k: ['6', '-infinity', '\ud800'] },
      { k: ['6', '-infinity', 7] },
      { k: 'x' },
      { a: 'x' },
      { a: 5 },
      { a: '2036-01-01T00:00:00.000Z' },
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
});
