// Tests of GET /v1/fleet: filters, pages, the Link header, ETag and errors, and that it returns what GraphQL returns.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type Reply, type TestGateway, type TestTenant } from '../harness.ts';

interface Page {
  readonly data: readonly {
    readonly id: string;
    readonly name: string;
    readonly sendability?: object;
  }[];
  readonly total: number;
  readonly next: string | null;
  readonly facets?: Readonly<Record<string, unknown>>;
}

let gateway: TestGateway;
let tenant: TestTenant;

beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
  const phones = {
    Alpha: { quality_rating: 'RED' },
    Beta: { status: 'RESTRICTED' },
    Gamma: {},
    Delta: { quality_rating: 'YELLOW' },
  };
  for (const [name, phone] of Object.entries(phones)) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of creation
    const { id } = await tenant.addNumber({ name, phone });
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  }
  await tenant.addNumber({ name: 'Echo', provider: 'PILOT_STATUS', state: 'CLOSE' });
});

afterAll(() => gateway[Symbol.asyncDispose]());

async function getNames(query: string): Promise<readonly string[]> {
  const { body, text } = await tenant.rest<Page>(`/v1/fleet${query}`);
  if (body.data === undefined) throw new Error(text);
  return body.data.map(({ name }) => name);
}

test.each([
  ['', ['Echo', 'Beta', 'Alpha', 'Delta', 'Gamma']],
  ['?orderBy=NAME', ['Alpha', 'Beta', 'Delta', 'Echo', 'Gamma']],
  ['?orderBy=CREATED_AT', ['Echo', 'Delta', 'Gamma', 'Beta', 'Alpha']],
  ['?orderBy=CREATED_AT&direction=ASC', ['Alpha', 'Beta', 'Gamma', 'Delta', 'Echo']],
  ['?qualityRating=RED,YELLOW', ['Alpha', 'Delta']],
  ['?qualityRating=RED&qualityRating=YELLOW', ['Alpha', 'Delta']],
  ['?verdict=NO&replyVerdict=YES', ['Beta']],
  ['?restricted=true', ['Beta']],
  ['?not.restricted=true&not.provider=META', ['Echo', 'Alpha', 'Delta', 'Gamma']],
  ['?not.provider=META&orderBy=NAME', ['Echo']],
  ['?search=ALPH', ['Alpha']],
  ['?state=CLOSE&stale=true', ['Echo']],
  ['?changedSince=2036-01-01T00:00:00Z', []],
  // PostgreSQL parses neither year.
  ['?orderBy=NAME&changedSince=0000-01-01T00:00:00Z', ['Alpha', 'Beta', 'Delta', 'Echo', 'Gamma']],
  ['?changedSince=9999-12-31T23:59:59-14:00', []],
  ['?orderBy=NAME&not.changedSince=9999-12-31T23:59:59-14:00&search=alp', ['Alpha']],
  ['?id=unknown', []],
  ['?limit=0', []],
])('GET /v1/fleet%s returns %j', async (query, names) => {
  expect(await getNames(query)).toEqual(names);
});

test('each page links to the next one, with the filters and the order of the first', async () => {
  const pages: (readonly string[])[] = [];
  let path: string | null = '/v1/fleet?orderBy=NAME&provider=META&limit=3';
  while (path !== null) {
    // oxlint-disable-next-line no-await-in-loop -- a page links to the next one
    const { body, headers }: Reply<Page> = await tenant.rest<Page>(path);
    pages.push(body.data.map(({ name }) => name));
    expect(body.total).toBe(4);
    const link = headers.get('link');
    const next: string | null = /^<([^>]+)>; rel="next"$/.exec(link ?? '')?.[1] ?? null;
    expect(next === null ? null : new URLSearchParams(next).get('cursor')).toBe(body.next);
    path = next;
  }
  expect(pages).toEqual([['Alpha', 'Beta', 'Delta'], ['Gamma']]);
});

test('`include` adds members to each number, and facets to the page', async () => {
  const { body } = await tenant.rest<Page>('/v1/fleet?include=sendability,facets&limit=1');
  expect(Object.keys(body)).toEqual(['data', 'total', 'facets', 'next']);
  expect(body.data[0]?.sendability).toMatchObject({ verdict: 'UNKNOWN' });
  expect(body.facets).toMatchObject({
    provider: [
      { value: 'META', count: 4 },
      { value: 'PILOT_STATUS', count: 1 },
    ],
    qualityRating: [
      { value: 'GREEN', count: 2 },
      { value: 'RED', count: 1 },
      { value: 'YELLOW', count: 1 },
    ],
    restricted: 1,
    portfolio: [{ id: '506914307656634', count: 4, messagingLimitTier: 'TIER_2K' }],
  });
});

test('the limit of a portfolio is that of its numbers, whatever the filter', async () => {
  const other = await gateway.addTenant();
  const waba = { owner_business_info: { id: '77', name: 'Holding' } };
  const { id, wabaId } = await other.addNumber({ name: 'Read', waba });
  await other.addNumber({ name: 'Never read', wabaId });
  await other.rest(`/v1/numbers/${id}?refresh=1`);
  for (const filter of ['', '&search=never', '&not.search=never', '&stale=true']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { body } = await other.rest<Page>(`/v1/fleet?include=facets${filter}`);
    expect([filter, body.facets?.['portfolio']]).toEqual([
      filter,
      [{ id: '77', name: 'Holding', count: filter === '' ? 2 : 1, messagingLimitTier: 'TIER_2K' }],
    ]);
  }
});

test('an unchanged page is confirmed by its ETag, also of another order of parameters', async () => {
  const first = await tenant.rest('/v1/fleet?verdict=YES&limit=20');
  const again = await tenant.rest('/v1/fleet?limit=20&verdict=YES', {
    headers: { 'if-none-match': first.headers.get('etag') ?? '' },
  });
  expect([first.status, again.status]).toEqual([200, 304]);
});

test('GraphQL returns the same numbers, totals and facets', async () => {
  const { body } = await tenant.rest<Page>('/v1/fleet?include=facets&stale=false');
  const counts = '{ value count }';
  const reply = await tenant.graphql<{ fleet: Readonly<Record<string, unknown>> }>(`{
    fleet(filter: {stale: false}) {
      data: nodes { id instanceName number name provider apiKeys { name keyPrefix keyLast4 } state
        isFullyConnected createdAt updatedAt }
      total: totalCount
      facets {
        provider ${counts} state ${counts} verdict ${counts} replyVerdict ${counts} qualityRating ${counts}
        metaStatus ${counts} messagingLimitTier ${counts} stale failing restricted
        waba { id name count } portfolio { id name count messagingLimitTier } label ${counts}
      }
    }
  }`);
  expect({ ...reply.body.data?.fleet, next: null }).toEqual(body);
});

describe('a request that is wrong', () => {
  test.each([
    ['colour=RED', 'This route has no query parameter colour;'],
    ['verdict=MAYBE', 'Send the query parameter verdict as a list of YES and NO and UNKNOWN'],
    ['verdict=', 'Send the query parameter verdict as a list'],
    ['stale=1', 'Send the query parameter stale once, as stale=true or stale=false'],
    ['orderBy=COLOUR', 'Send the query parameter orderBy once'],
    ['limit=201', 'Send the query parameter limit once, as a number from 0 to 200'],
    ['limit=-1', 'Send the query parameter limit once, as a number from 0 to 200'],
    ['limit=1&limit=2', 'Send the query parameter limit once, or omit it.'],
    ['changedSince=yesterday', 'Send the query parameter changedSince once, as a time'],
    ['changedSince=2026-13-01T00:00:00Z', 'Send the query parameter changedSince once, as a time'],
    [`search=${'x'.repeat(101)}`, 'search has 101 characters, and the limit is 100.'],
    [`id=${Array.from({ length: 1_001 }, (_, at) => at).join()}`, 'ids has 1001 values'],
  ])('is refused: %.50s', async (query, message) => {
    const { status, body } = await tenant.rest<{ code: string; error: string }>(
      `/v1/fleet?${query}`,
    );
    expect([status, body.code]).toEqual([400, 'INVALID_REQUEST']);
    expect(body.error).toContain(message);
  });

  test('a cursor of another filter is refused', async () => {
    const { body } = await tenant.rest<Page>('/v1/fleet?limit=1');
    const other = await tenant.rest<{ code: string }>(`/v1/fleet?stale=true&cursor=${body.next}`);
    expect([other.status, other.body.code]).toEqual([400, 'INVALID_CURSOR']);
  });
});

async function readRemaining(path: string): Promise<number> {
  const { headers } = await tenant.rest(path);
  return Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);
}

test('a page costs 5 points, half a point for each number of its size, and 5 for the total', async () => {
  const before = await readRemaining('/v1/fleet?limit=0&search=a');
  const after = await readRemaining('/v1/fleet?limit=40&search=a');
  // And one for the request.
  expect(before - after).toBe(1 + 5 + 20 + 5);
});
