// Measures a page of a fleet with its total and facets, for tenants of 500, 5,000 and 50,000 numbers among 1,000,000, against
// counting the tenant's numbers in an index, while numbers of all tenants are read. The cache is off.

import { Client } from 'pg';
import type { Statement } from '../../../src/database/statement.ts';
import { normalizeFilter } from '../../../src/fleet/filter.ts';
import { toFleetStatement } from '../../../src/fleet/fleet-queries.ts';
import { defaultOrder } from '../../../src/fleet/order.ts';
import type { Counted } from '../../../src/fleet/read-shape.ts';
import { insertFleet } from '../../fleet/large-fleet.ts';
import { startGateway, uncachedName } from '../contestants.ts';
import { type BenchDatabase, openBenchServer, pepper, withOwner } from '../databases.ts';
import { toTenantId, toTenantKey } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { seedTenantKeys } from '../seed.ts';
import { type BenchRequest, toGraphQLRequest } from '../shapes.ts';
import { startProcess, type StartedProcess } from '../started-process.ts';
import { toMedian, toRatios, toRounded } from '../statistics.ts';
import { atMost, type Findings, type Section, toMeasurement, type Workbench } from './section.ts';

/** By the places of the tenants. */
const sizes = { 1: 500, 2: 5_000, 3: 50_000 } as const;
type Place = keyof typeof sizes;
const places = Object.keys(sizes).map(Number) as readonly Place[];
const neighbourSize = 512;
const countNeighbours = (quick: boolean): number => (quick ? 40 : 1_845);
/** Numbers of all tenants that are read each second. */
const readsPerSecond = 1_000;

const facets = `facets { verdict { value count } replyVerdict { value count } qualityRating { value count }
  metaStatus { value count } state { value count } provider { value count }
  messagingLimitTier { value count } stale failing restricted`;
const nodes = 'nodes { id name number state provider }';
const documents = {
  page: `{ fleet(first: 50) { ${nodes} pageInfo { endCursor } } }`,
  'page, total, facets': `{ fleet(first: 50) { totalCount ${facets} } ${nodes} } }`,
  'page, total, facets, accounts': `{ fleet(first: 50) { totalCount ${facets}
    waba { id name count } portfolio { id name count messagingLimitTier } } ${nodes} } }`,
  'page, total': `{ fleet(first: 50) { totalCount ${nodes} } }`,
  'page, search, total': `{ fleet(first: 50, filter: {search: "shop 4999"}) { totalCount ${nodes} } }`,
} as const;

const facetsName = (size: number): string =>
  `fleet, p50 of page, total and facets against count(*) in an index: ${size.toLocaleString('en')} numbers`;
const accountsName = (size: number): string =>
  `fleet, the same with accounts and portfolios: ${size.toLocaleString('en')} numbers`;
const pageName = 'fleet, p50 of a page: 50,000 numbers against 500';

export const fleet: Section = {
  toGoals: () => [
    atMost(10, facetsName(5_000)),
    atMost(10, facetsName(50_000)),
    atMost(15, accountsName(5_000)),
    atMost(15, accountsName(50_000)),
    atMost(1.3, pageName),
  ],
  measure: measureFleet,
};

/** How long one execution takes, in milliseconds, by the name of what is executed. */
type Times = Map<string, number[]>;

async function measureFleet(workbench: Workbench): Promise<Findings> {
  const { quick, log } = workbench;
  await using made = new AsyncDisposableStack();
  const server = made.use(await openBenchServer(['autovacuum=on', 'autovacuum_naptime=5s']));
  const database = await server.createDatabase();
  const neighbours = countNeighbours(quick);
  log(`fleet: seeding ${toTotal(neighbours).toLocaleString('en')} numbers`);
  await seedFleets(database, neighbours);
  const gateway = made.use(await startGateway(database, {}, uncachedName));
  const postgraphile = made.use(await startPostgraphile(database));
  const counting = made.use(await openCounting(database));
  made.use(startReading(database, neighbours));
  const times: Times = new Map();
  const rounds = quick ? 3 : 9;
  await inTurn(toRange(rounds), async (round) => {
    log(`fleet: round ${round + 1} of ${rounds}`);
    await inTurn(places, (place) =>
      measureTenant({ gateway, postgraphile, counting }, place, times),
    );
  });
  return toFindings(times, neighbours);
}

function toTotal(neighbours: number): number {
  return Object.values(sizes).reduce((sum, size) => sum + size, neighbours * neighbourSize);
}

async function seedFleets(database: BenchDatabase, neighbours: number): Promise<void> {
  await withOwner(database, async (owner) => {
    const query = async (text: string, values: readonly unknown[] = []) =>
      (await owner.query(text, [...values])).rows as never;
    const tenants = [
      ...places.map((place) => [place, sizes[place]] as const),
      ...toRange(neighbours).map((at) => [100 + at, neighbourSize] as const),
    ];
    await inTurn(tenants, async ([place, numbers]) => {
      const tenantId = toTenantId(place);
      await owner.query('insert into tenant (id, name) values ($1, $1)', [tenantId]);
      await insertFleet({ query }, { tenantId, numbers });
    });
    await seedTenantKeys(owner, places);
    await owner.query('vacuum (analyze)');
  });
}

interface Subjects {
  readonly gateway: StartedProcess;
  readonly postgraphile: StartedProcess;
  readonly counting: Counting;
}

async function measureTenant(subjects: Subjects, place: Place, times: Times): Promise<void> {
  const { gateway, postgraphile, counting } = subjects;
  const tenantId = toTenantId(place);
  const note = (name: string, ms: number) => {
    const key = `${sizes[place]} ${name}`;
    times.set(key, [...(times.get(key) ?? []), ms]);
  };
  const statements = {
    count: toStatement('count', countText, tenantId),
    aggregates: toStatement('aggregates', aggregatesText, tenantId),
    ...Object.fromEntries(
      shapes.map((shape) => [`${shape}, SQL`, toFleetSql(tenantId, selections[shape])]),
    ),
  };
  await inTurn(Object.entries(statements), async ([name, statement]) => {
    note(name, await counting.measure(tenantId, statement));
  });
  await inTurn(Object.entries(documents), async ([name, document]) => {
    note(name, await measureRequest(gateway, toGraphQLRequest(document, toHeaders(place))));
  });
  note('PostGraphile', await measureRequest(postgraphile, toPeerRequest(place)));
}

async function measureRequest({ url }: StartedProcess, request: BenchRequest): Promise<number> {
  const { p50Ms } = await putUnderLoad({ url, requests: [request], connections: 1, seconds: 1 });
  return p50Ms;
}

function toHeaders(place: Place): Readonly<Record<string, string>> {
  return { 'x-api-key': toTenantKey(place) };
}

/** What the statement of each document counts. */
const selections = {
  page: { facets: false, wabas: null, portfolios: null },
  'page, total, facets': { facets: true, wabas: null, portfolios: null },
  'page, total, facets, accounts': { facets: true, wabas: 20, portfolios: 20 },
} as const;
type Shape = keyof typeof selections;
const shapes = Object.keys(selections) as readonly Shape[];

/** The statement that the gateway sends. */
function toFleetSql(tenantId: string, counted: Counted): Statement {
  return toFleetStatement({
    tenantId,
    filter: normalizeFilter({}),
    order: defaultOrder,
    asOf: new Date(),
    now: new Date(),
    page: {
      limit: 51,
      isBackward: false,
      keys: null,
      projection: { details: true, apiKeys: false, health: 'nothing', meta: null },
    },
    counted,
    connectionsAreRead: true,
  });
}

function toStatement(name: string, text: string, tenantId: string): Statement {
  return { name, sql: text, parameters: [tenantId] };
}

/** The values of the seeded facets, for those who count each of them by itself. */
const facetValues: Readonly<Record<string, readonly string[]>> = {
  quality_rating: ['GREEN', 'YELLOW', 'RED', 'UNKNOWN', 'NA'],
  meta_status: ['CONNECTED', 'FLAGGED', 'RESTRICTED', 'BANNED', 'PENDING', 'DISCONNECTED'],
  state: ['OPEN', 'CONNECTING', 'CLOSE'],
  provider: ['META', 'PILOT_STATUS'],
  messaging_limit_tier: ['TIER_250', 'TIER_2K', 'TIER_10K', 'TIER_100K', 'TIER_UNLIMITED'],
  verdict: ['YES', 'NO'],
  reply_verdict: ['YES', 'NO'],
};
const counts = Object.entries(facetValues).flatMap(([column, values]) =>
  values.map((value) => ({ column, value })),
);

const countText = 'select count(*) from number_status where tenant_id = $1';

/** As Hasura compiles a page with an `_aggregate` for each value of each facet: a sub-select with its own condition each. */
const aggregatesText = `
  select (select json_agg(p) from (select number_id, name_key, state, provider from number_status
      where tenant_id = $1 order by rank, observed_at, number_id limit 50) p),
    (select count(*) from number_status where tenant_id = $1),
    ${counts
      .map(({ column, value }) => {
        const where = `where tenant_id = $1 and ${column} = '${value}'`;
        return `(select json_build_object('count', count(*)) from (select 1 from number_status ${where}) c)`;
      })
      .join(',\n    ')}`;

async function startPostgraphile({ ownerUrl }: BenchDatabase): Promise<StartedProcess> {
  return await startProcess({
    name: 'PostGraphile 5',
    path: 'peers/postgraphile-fleet.ts',
    environment: { DATABASE_URL: ownerUrl, API_KEY_PEPPER: pepper },
  });
}

function toCamelCase(column: string): string {
  return column.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The same question to PostGraphile, which counts each value by itself. */
function toPeerRequest(place: Place): BenchRequest {
  const aliases = counts.map(
    ({ column, value }) =>
      `${column}_${value}: allNumberStatuses(condition: {${toCamelCase(column)}: "${value}"}) { totalCount }`,
  );
  const query = `{ page: allNumberStatuses(first: 50, orderBy: [RANK_ASC, OBSERVED_AT_ASC, NUMBER_ID_ASC]) {
    totalCount nodes { numberId nameKey state provider } } ${aliases.join(' ')} }`;
  return toGraphQLRequest(query, toHeaders(place));
}

interface Counting extends AsyncDisposable {
  /** The median time of the statement for this tenant, under row-level security. */
  measure(tenantId: string, statement: Statement): Promise<number>;
}

async function openCounting({ url }: BenchDatabase): Promise<Counting> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return {
    async measure(tenantId, { name, sql, parameters }) {
      await client.query('begin read only');
      await client.query(
        `select set_config('app.tenant_id', $1, true), set_config('role', 'gateway_tenant', true),
           set_config('plan_cache_mode', 'force_generic_plan', true)`,
        [tenantId],
      );
      const taken = await inTurn(toRange(21), async () => {
        const startedAt = performance.now();
        await client.query({ name, text: sql, values: [...parameters] });
        return performance.now() - startedAt;
      });
      await client.query('commit');
      return toMedian(taken);
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** Numbers of all tenants are read: each read renews the time of its evidence. */
function startReading({ ownerUrl }: BenchDatabase, neighbours: number): AsyncDisposable {
  const client = new Client({ connectionString: ownerUrl });
  const stopped = new AbortController();
  const tenants = [...places, ...toRange(neighbours).map((at) => 100 + at)].map(toTenantId);
  const read = async (): Promise<void> => {
    await client.connect();
    for (let at = 0; !stopped.signal.aborted; at += 1) {
      const startedAt = performance.now();
      // oxlint-disable-next-line no-await-in-loop -- one batch after the other
      await client.query(
        `update number_status set observed_at = clock_timestamp() where (tenant_id, number_id) in (
           select tenant_id, number_id from number_status where tenant_id = $1
           order by observed_at, number_id limit 100)`,
        [tenants[at % tenants.length]],
      );
      const pauseMs = 100_000 / readsPerSecond - (performance.now() - startedAt);
      // oxlint-disable-next-line no-await-in-loop -- as many as are read each second
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, pauseMs)));
    }
    await client.end();
  };
  const reading = read();
  return {
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await reading;
    },
  };
}

function toFindings(times: Times, neighbours: number): Findings {
  const of = (size: number, name: string) => times.get(`${size} ${name}`) ?? [];
  const ratios = (size: number, shape: Shape) =>
    toRatios(of(size, `${shape}, SQL`), of(size, 'count'));
  const columns = [
    'count',
    ...shapes.map((shape) => `${shape}, SQL`),
    'aggregates',
    ...Object.keys(documents),
    'PostGraphile',
  ];
  return {
    measurements: [
      ...[5_000, 50_000].flatMap((size) => [
        toMeasurement(facetsName(size), ratios(size, 'page, total, facets')),
        toMeasurement(accountsName(size), ratios(size, 'page, total, facets, accounts')),
      ]),
      toMeasurement(pageName, toRatios(of(50_000, 'page, SQL'), of(500, 'page, SQL'))),
    ],
    tables: [
      {
        title: `A fleet among ${toTotal(neighbours).toLocaleString('en')} numbers, p50 in ms`,
        columns: ['numbers', ...columns],
        rows: Object.values(sizes).map((size: number) =>
          [size].concat(columns.map((name) => toRounded(toMedian(of(size, name))))),
        ),
      },
    ],
    notes: [
      '`count`, `aggregates` and the columns with SQL are round trips of one prepared statement under row-level security; the bars compare these. `aggregates` is a page with a count for each value of each facet, as Hasura compiles its `_aggregate`; PostGraphile answers the same question with connections. The other figures are of whole requests with the key checked in PostgreSQL.',
      `${readsPerSecond.toLocaleString('en')} numbers a second of all tenants were read beside, each of which rewrites its row.`,
    ],
  };
}
