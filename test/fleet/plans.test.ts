// Tests that PostgreSQL reads a fleet of 50,000 numbers by indexes, under row-level security.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { normalizeFilter, type FleetFilter } from '../../src/fleet/filter.ts';
import { toFleetStatement } from '../../src/fleet/fleet-queries.ts';
import { type FleetOrderField, orderFields } from '../../src/fleet/order.ts';
import type { FleetRead } from '../../src/fleet/read-shape.ts';
import { openTestDatabase, type TestDatabase } from '../harness.ts';
import { addLargeFleet } from './large-fleet.ts';

const tenantId = 'large';
let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase('PostgreSQL');
  const tenants = [{ tenantId, numbers: 50_000 }];
  for (let at = 0; at < 20; at += 1) tenants.push({ tenantId: `small ${at}`, numbers: 100 });
  for (const it of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await database.query('insert into tenant (id, name) values ($1, $1)', [it.tenantId]);
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await addLargeFleet(database, it);
  }
  await database.query(`set role gateway_tenant`);
  await database.query(`select set_config('app.tenant_id', '${tenantId}', false)`);
}, 120_000);

afterAll(async () => {
  await database[Symbol.asyncDispose]();
});

const nothing = { facets: false, wabas: null, portfolios: null };

/** How the plan for all tenants reads number_status, and whether it sorts more than a page. */
async function explain(
  filter: FleetFilter,
  more: Partial<Pick<FleetRead, 'page' | 'counted'>> & { readonly order?: FleetOrderField } = {},
): Promise<readonly string[]> {
  return listScans(await readPlan(filter, more));
}

async function explainText(filter: FleetFilter): Promise<string> {
  return JSON.stringify(await readPlan(filter, {}));
}

async function readPlan(
  filter: FleetFilter,
  {
    order = 'ATTENTION',
    page = firstPage,
    counted = nothing,
  }: Partial<Pick<FleetRead, 'page' | 'counted'>> & { readonly order?: FleetOrderField },
): Promise<PlanNode> {
  const { sql } = toFleetStatement({
    tenantId,
    filter: normalizeFilter(filter),
    order: { field: order, direction: 'DESC' },
    asOf: new Date(),
    page,
    counted,
    connectionsAreRead: true,
    now: new Date(),
  });
  const rows = await database.query<{ 'QUERY PLAN': readonly [{ Plan: PlanNode }] }>(
    `explain (generic_plan, format json) ${sql}`,
  );
  return rows[0]!['QUERY PLAN'][0].Plan;
}

const firstPage = { limit: 51, isBackward: false, keys: null, projection: null };
const nextPage = { ...firstPage, keys: ['1', '2026-11-29T12:00:00.000Z', 'wa_1'] };

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly PlanNode[];
}

function listScans(node: PlanNode): readonly string[] {
  const { 'Node Type': type, Plans: below = [] } = node;
  const own =
    node['Relation Name'] === 'number_status' ? [`${type} ${node['Index Name'] ?? ''}`] : [];
  return [...own, ...below.flatMap(listScans)];
}

const next = 'Index Only Scan number_status_by_observation';

describe('a page of 50,000 numbers', () => {
  test.each([
    ['ATTENTION', 'Index Only Scan number_status_by_attention'],
    ['NAME', 'Index Only Scan number_status_by_name'],
    ['CREATED_AT', 'Index Only Scan number_status_by_creation'],
    ['VERDICT_CHANGED_AT', 'Index Only Scan number_status_by_verdict_change'],
    ['OBSERVED_AT', 'Index Only Scan number_status_by_observation'],
  ] as const)('by %s is read in the order of its index', async (order, scan) => {
    expect(orderFields).toContain(order);
    expect((await explain({}, { order })).toSorted()).toEqual([scan, next].toSorted());
  });

  test('after a cursor begins at its keys', async () => {
    const scan = 'Index Only Scan number_status_by_attention';
    expect((await explain({}, { page: nextPage })).toSorted()).toEqual([scan, next].toSorted());
  });

  test.each<readonly [FleetFilter]>([
    [{ verdicts: ['NO'] }],
    [{ qualityRatings: ['RED'], stale: false, failing: true, restricted: false }],
    [{ labels: ['team=a'], verdicts: ['NO'] }],
    [{ wabaIds: ['1'], portfolioIds: ['2'], not: { states: ['OPEN'], replyVerdicts: ['YES'] } }],
  ])('with the filter %j is found in the index of its order', async (filter) => {
    const scan = 'Index Only Scan number_status_by_attention';
    expect((await explain(filter)).toSorted()).toEqual([scan, next].toSorted());
  });
});

test('the numbers with a label are read once, and not one by one', async () => {
  expect(await explainText({ labels: ['team=a'] })).toContain('hashed SubPlan');
});

describe('totals and facets of 50,000 numbers', () => {
  const all = { facets: true, wabas: 20, portfolios: 20 };
  const counted = ['Index Only Scan number_status_by_words', next];

  test.each<readonly [string, FleetFilter, FleetRead['counted']]>([
    ['of all', {}, { ...all, wabas: null, portfolios: null }],
    ['with accounts and portfolios', {}, all],
    ['with a filter', { verdicts: ['NO'], qualityRatings: ['RED'], wabaIds: ['1'] }, all],
  ])('%s are counted in an index', async (_, filter, what) => {
    expect((await explain(filter, { page: null, counted: what })).toSorted()).toEqual(
      counted.toSorted(),
    );
  });

  const labels = { ...nothing, labels: 10 };

  test.each<readonly [string, FleetFilter]>([
    ['of all', {}],
    // Which the facet ignores.
    ['with a filter of labels', { labels: ['team=a'] }],
  ])('labels %s are counted without a look at statuses', async (_, filter) => {
    expect(await explain(filter, { page: null, counted: labels })).toEqual([next]);
  });

  test('labels with another filter are counted by it, and not by that of labels', async () => {
    const filter = { verdicts: ['NO'], labels: ['team=a'] } as const;
    const plan = await readPlan(filter, { page: null, counted: labels });
    // One condition for the combinations of all numbers, and none for those with labels.
    expect(JSON.stringify(plan).match(/"Subplan Name":"SubPlan/g)).toHaveLength(1);
  });

  test('limits of portfolios are read in an index beside a search, which looks at each row', async () => {
    const scans = await explain({ search: 'shop' }, { page: null, counted: all });
    expect(scans.toSorted()).toEqual(['Bitmap Heap Scan ', ...counted].toSorted());
  });
});
