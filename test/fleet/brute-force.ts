// Compares what `fleet` returns for random fleets and queries with a computation over the list of all numbers.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import { writeOutdatedOfTenant } from '../../src/numbers/status-upkeep.ts';
import {
  openTestDatabase,
  openTestGateway,
  type DatabaseKind,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';
import * as random from './random-fleets.ts';

const document = `query ($filter: FleetFilter, $orderBy: FleetOrder, $first: Int, $after: String, $last: Int, $before: String) {
  fleet(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount asOf
    edges { cursor node { ${random.shownFields} } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    facets {
      verdict { value count } replyVerdict { value count } qualityRating { value count } metaStatus { value count }
      state { value count } provider { value count } messagingLimitTier { value count }
      stale failing restricted waba { id name count } portfolio { id count messagingLimitTier }
      label { value count }
    }
  }
}`;

interface Page {
  readonly totalCount: number;
  readonly asOf: string;
  readonly edges: readonly { readonly cursor: string; readonly node: random.ShownNumber }[];
  readonly pageInfo: Readonly<Record<'hasNextPage' | 'hasPreviousPage', boolean>> &
    Readonly<Record<'startCursor' | 'endCursor', string | null>>;
  readonly facets: Readonly<Record<string, unknown>>;
}

const facetOfMember = {
  verdicts: 'verdict',
  replyVerdicts: 'replyVerdict',
  qualityRatings: 'qualityRating',
  metaStatuses: 'metaStatus',
  states: 'state',
  providers: 'provider',
  messagingLimitTiers: 'messagingLimitTier',
  labels: 'label',
} as const;

export interface BruteForceOptions {
  readonly kind: DatabaseKind;
  readonly fleets: number;
  readonly queriesOfFleet: number;
  /** Whether a session engine is configured. */
  readonly hasEngine: boolean;
  readonly seed?: number;
}

/** Rejects with the first difference. Returns how many queries were compared. */
export async function compareWithBruteForce(options: BruteForceOptions): Promise<number> {
  const { kind, fleets, queriesOfFleet, hasEngine, seed } = options;
  await using database = await openTestDatabase(kind);
  await using gateway = await openTestGateway({
    database,
    now: () => random.now,
    environment: {
      RATE_LIMIT: 'off',
      ...(!hasEngine && { SESSION_ENGINE_URL: '', SESSION_ENGINE_KEY: '' }),
    },
  });
  let compared = 0;
  const property = fc.asyncProperty(
    random.fleet,
    fc.array(random.query, { minLength: queriesOfFleet, maxLength: queriesOfFleet }),
    async (fleet, queries) => {
      const tenant = await gateway.addTenant();
      await random.storeFleet(database, tenant.id, fleet);
      await writeOutdatedOfTenant(database, tenant.id);
      const all = await readFacts(gateway, tenant, fleet, hasEngine);
      for (const query of queries) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await compareQuery(tenant, all, query);
        compared += 1;
      }
    },
  );
  await fc.assert(property, {
    numRuns: fleets,
    endOnFailure: true,
    ...(seed !== undefined && { seed }),
  });
  return compared;
}

async function readFacts(
  { database }: TestGateway,
  tenant: TestTenant,
  { numbers, ...ofAccounts }: random.RandomFleet,
  hasEngine: boolean,
): Promise<readonly random.Facts[]> {
  const { body } = await tenant.graphql<{ numbers: readonly random.ShownNumber[] }>(
    `{ numbers { ${random.shownFields} } }`,
  );
  const rows = await database.query<{ id: string; at: Date }>(
    'select number_id as id, verdict_changed_at as at from number_status where tenant_id = $1',
    [tenant.id],
  );
  const changedAt = new Map(rows.map(({ id, at }) => [id, at.toISOString()]));
  return body.data!.numbers.map((shown) =>
    random.toFacts(
      shown,
      numbers[Number(shown.id.slice(-2))]!,
      ofAccounts,
      changedAt.get(shown.id) ?? 'no status',
      hasEngine,
    ),
  );
}

async function compareQuery(
  tenant: TestTenant,
  all: readonly random.Facts[],
  { filter: given, orderBy, size }: random.RandomQuery,
): Promise<void> {
  const filter = random.withIds(given, tenant.id);
  const expected = random.sort(
    all.filter((it) => random.matches(it, filter)),
    orderBy,
  );
  const nodes = expected.map(({ shown }) => shown);
  const forward = await walk(tenant, { filter, orderBy, first: size });
  expect(forward.flatMap(({ edges }) => edges.map(({ node }) => node))).toEqual(nodes);
  const backward = await walk(tenant, { filter, orderBy, last: size });
  expect(backward.toReversed().flatMap(({ edges }) => edges.map(({ node }) => node))).toEqual(
    nodes,
  );
  for (const page of [...forward, ...backward]) {
    expect(page.totalCount).toBe(nodes.length);
    expect(page.asOf).toBe(random.now.toISOString());
    expect({
      ...page.facets,
      waba: toCounts(page, 'waba'),
      portfolio: toCounts(page, 'portfolio'),
    }).toEqual(toFacets(all, filter));
    for (const { id, messagingLimitTier } of page.facets['portfolio'] as readonly Limit[]) {
      expect(listLimits(all, id)).toContain(messagingLimitTier);
    }
  }
}

interface Limit {
  readonly id: string;
  readonly messagingLimitTier: string | null;
}

/** Those of the numbers of a portfolio that were read last, whatever the filter; null when no limit is known. */
function listLimits(all: readonly random.Facts[], portfolioId: string): readonly (string | null)[] {
  const known = all
    .filter(({ values }) => values['portfolioIds'] === portfolioId)
    .map(({ values, keys }) => ({
      limit: values['messagingLimitTiers'],
      at: keys['OBSERVED_AT']![0]!,
    }))
    .filter(({ limit, at }) => limit !== null && at !== '');
  const last = known
    .map(({ at }) => at)
    .toSorted()
    .at(-1);
  const limits = known
    .filter(({ at }) => at === last)
    .map(({ limit }) => (limit ?? null) as string | null);
  return limits.length === 0 ? [null] : limits;
}

type Window = Readonly<Record<'filter' | 'orderBy', unknown>> & {
  readonly first?: number;
  readonly last?: number;
};

/** All pages, in the order of the walk. */
async function walk(tenant: TestTenant, window: Window): Promise<readonly Page[]> {
  const pages: Page[] = [];
  let variables: Record<string, unknown> = { ...window };
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- a page has the cursor of the next one
    const { body, text } = await tenant.graphql<{ fleet: Page }>(document, {
      variables,
    });
    if (!body.data) throw new Error(text);
    const page = body.data.fleet;
    const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo;
    const isForward = window.first !== undefined;
    expect([startCursor, endCursor]).toEqual([
      page.edges[0]?.cursor ?? null,
      page.edges.at(-1)?.cursor ?? null,
    ]);
    expect(isForward ? hasPreviousPage : hasNextPage).toBe(pages.length > 0);
    pages.push(page);
    if (!(isForward ? hasNextPage : hasPreviousPage)) return pages;
    variables = { ...window, ...(isForward ? { after: endCursor } : { before: startCursor }) };
  }
}

function toFacets(all: readonly random.Facts[], filter: random.Filter) {
  const matching = (ignored: string) => all.filter((it) => random.matches(it, filter, ignored));
  const words = Object.entries(facetOfMember).map(([member, facet]) => [
    facet,
    random.countBy(matching(member), member),
  ]);
  const flags = (['stale', 'failing', 'restricted'] as const).map((flag) => [
    flag,
    matching(flag).filter((it) => it.flags[flag]).length,
  ]);
  const accounts = (member: string) =>
    random.countBy(matching(member), member).map(({ value: id, count }) => ({ id, count }));
  return {
    ...Object.fromEntries([...words, ...flags]),
    waba: accounts('wabaIds'),
    portfolio: accounts('portfolioIds'),
  };
}

function toCounts({ facets }: Page, facet: 'waba' | 'portfolio') {
  const counts = facets[facet] as readonly { readonly id: string; readonly count: number }[];
  return counts.map(({ id, count }) => ({ id, count }));
}
