// Measures response times under half of the maximum load. Requests are sent at fixed times, whether or not earlier ones are
// answered, and are timed from when they were due.

import { startWriter } from '../changes.ts';
import { type GatewayName, gatewayName, startGateway, uncachedName } from '../contestants.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { sendAtPace } from '../pace.ts';
import { toRequest } from '../shapes.ts';
import { toPercentile, toRounded } from '../statistics.ts';
import {
  atMost,
  type Findings,
  type Measurement,
  type Section,
  type Table,
  type Workbench,
} from './section.ts';

const goalName = 'latency, p99 against p50 under half of the maximum load';
const tenants = toRange(999).map((index) => index + 1);
const requests = tenants.map((place) => toRequest('list', place));

export const latency: Section = { toGoals: () => [atMost(5, goalName)], measure: measureLatency };

/** Cached responses and responses from PostgreSQL are two distributions: a mixture has the p99 of the slower one. */
interface Situation {
  readonly title: string;
  readonly gateway: GatewayName;
}

const fromPostgres: Situation = { title: 'all from PostgreSQL', gateway: uncachedName };
const fromBoth: Situation = { title: 'some from the cache, as shipped', gateway: gatewayName };
/** Per second of every tenant, spread evenly over the second. */
const changes = 2;
const parts = 50;

async function measureLatency({ openFleet, quick, log }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const writer = made.use(await startWriter(database, tenants, parts));
  await writer.setPace(changes);
  const found = await inTurn(
    quick ? [fromPostgres] : [fromPostgres, fromBoth],
    async (situation) => {
      log(`latency under half load: ${situation.title}`);
      await using gateway = await startGateway(database, {}, situation.gateway);
      return { situation, ...(await measureHalf(gateway.url, quick)) };
    },
  );
  return {
    measurements: found
      .filter(({ situation }) => situation === fromPostgres)
      .map(({ ratio, refused, answered }) => toRatioMeasurement(ratio, refused, answered)),
    tables: [toTable(found)],
    notes: [
      'The bar is about p99 against p50 where every response comes from PostgreSQL.',
      ...(quick ? ['Latency as shipped was left out.'] : []),
    ],
  };
}

interface Half {
  readonly maximum: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly ratio: number;
  readonly answered: number;
  readonly refused: number;
}

async function measureHalf(url: string, quick: boolean): Promise<Half> {
  const full = { url, requests, connections: 32 };
  await putUnderLoad({ ...full, seconds: quick ? 1 : 3 });
  const { requestsPerSecond: maximum } = await putUnderLoad({ ...full, seconds: quick ? 1 : 5 });
  const seconds = quick ? 2 : 20;
  const { durations, refused } = await sendAtPace({
    url,
    requests,
    perSecond: maximum / 2,
    seconds,
  });
  if (durations.length === 0) throw new Error('No request was answered under half load.');
  const [p50Ms, p99Ms] = [toPercentile(durations, 0.5), toPercentile(durations, 0.99)];
  return { maximum, p50Ms, p99Ms, ratio: p99Ms / p50Ms, answered: durations.length, refused };
}

// Refusals are fast, so they would improve the figure.
function toRatioMeasurement(ratio: number, refused: number, answered: number): Measurement {
  const isSteady = refused <= answered / 100;
  return {
    name: goalName,
    value: ratio,
    ...(!isSteady && {
      flaw: `${refused} requests were refused or not answered in time, and ${answered} answered`,
    }),
  };
}

function toTable(found: readonly (Half & { readonly situation: Situation })[]): Table {
  return {
    title: `List under half load, ${changes} changes of each tenant a second`,
    columns: [
      'responses',
      'maximum req/s',
      'sent req/s',
      'p50 ms',
      'p99 ms',
      'ratio',
      'refused or late',
    ],
    rows: found.map(({ situation, maximum, p50Ms, p99Ms, ratio, refused }) => [
      situation.title,
      ...[maximum, maximum / 2, p50Ms, p99Ms, ratio].map(toRounded),
      refused,
    ]),
  };
}
