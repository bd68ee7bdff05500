// How long single answers take while the gateway has half of the load that it can bear. Questions leave at fixed times,
// whether or not earlier ones are answered, and their time counts from when they should have left.

import { startWriter } from '../changes.ts';
import { type GatewayName, gatewayName, startGateway, uncachedName } from '../contestants.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { askAtPace } from '../pace.ts';
import { toQuestion } from '../shapes.ts';
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
const asked = toRange(999).map((index) => index + 1);
const questions = asked.map((place) => toQuestion('list', place));

export const latency: Section = { toGoals: () => [atMost(5, goalName)], measure: measureLatency };

/** Where answers come from decides how long they take; a mixture of both has two humps, and its p99 is the higher. */
interface Situation {
  readonly title: string;
  readonly gateway: GatewayName;
}

const fromPostgres: Situation = { title: 'all from PostgreSQL', gateway: uncachedName };
const fromBoth: Situation = { title: 'some from memory, as shipped', gateway: gatewayName };
/** Of every tenant, a second, spread evenly over it. */
const changes = 2;
const parts = 50;

async function measureLatency({ openFleet, quick, tell }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const writer = made.use(await startWriter(database, asked, parts));
  await writer.setPace(changes);
  const found = await inTurn(
    quick ? [fromPostgres] : [fromPostgres, fromBoth],
    async (situation) => {
      tell(`latency under half load: ${situation.title}`);
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
      'p99 against p50 is judged where every answer comes from PostgreSQL.',
      ...(quick ? ['Latency with the memory on was left out.'] : []),
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
  const full = { url, questions, connections: 32 };
  await putUnderLoad({ ...full, seconds: quick ? 1 : 3 });
  const { requestsPerSecond: maximum } = await putUnderLoad({ ...full, seconds: quick ? 1 : 5 });
  const seconds = quick ? 2 : 20;
  const { durations, refused } = await askAtPace({
    url,
    questions,
    perSecond: maximum / 2,
    seconds,
  });
  if (durations.length === 0) throw new Error('No question was answered under half load.');
  const [p50Ms, p99Ms] = [toPercentile(durations, 0.5), toPercentile(durations, 0.99)];
  return { maximum, p50Ms, p99Ms, ratio: p99Ms / p50Ms, answered: durations.length, refused };
}

// Who refuses answers quickly.
function toRatioMeasurement(ratio: number, refused: number, answered: number): Measurement {
  const isSteady = refused <= answered / 100;
  return {
    name: goalName,
    value: ratio,
    ...(!isSteady && {
      flaw: `${refused} questions were refused or not answered in time, and ${answered} answered`,
    }),
  };
}

function toTable(found: readonly (Half & { readonly situation: Situation })[]): Table {
  return {
    title: `List under half load, ${changes} changes of each tenant a second`,
    columns: [
      'answers',
      'maximum req/s',
      'asked req/s',
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
