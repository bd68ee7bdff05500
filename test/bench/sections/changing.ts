// Data that changes between any two questions of a tenant, so that each answer has to be read from PostgreSQL: the
// gateway against its peers. Those are compared that authenticate alike: the gateway with its memory off against peers
// that look into PostgreSQL for each key, the gateway as shipped against one that keeps keys in its process.

import {
  assertAgreement,
  type GatewayName,
  gatewayName,
  type PeerName,
  peerNames,
  startGateway,
  startPeer,
  toDialect,
  uncachedName,
} from '../contestants.ts';
import { startWriter, toLagMs, type Writer } from '../changes.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { measureInRounds, sampleColumns, toRow, toThroughputs } from '../rounds.ts';
import { type GraphQLShape, graphqlShapes, toQuestion } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { type Spread, toRatios, toRounded } from '../statistics.ts';
import {
  atLeast,
  attempt,
  type Cell,
  combine,
  type Findings,
  type Measurement,
  type Section,
  type Table,
  toMeasurement,
  type Workbench,
} from './section.ts';

type Limits = Readonly<Record<GraphQLShape, number>>;

/** A bar: how many times as fast as the peer the gateway is to be, both authenticating in the same way. */
interface Pair {
  readonly gateway: GatewayName;
  readonly peer: PeerName;
  readonly limits: Limits;
}

const thrice: Limits = { list: 3, thin: 3, detail: 3 };
const slightly: Limits = { list: 1.25, thin: 1, detail: 1 };
const pairs: readonly Pair[] = [
  { gateway: uncachedName, peer: 'Mercurius + JIT', limits: slightly },
  { gateway: gatewayName, peer: 'Mercurius + JIT, key cached', limits: slightly },
  { gateway: uncachedName, peer: 'Apollo Server 5', limits: thrice },
  { gateway: uncachedName, peer: 'PostGraphile 5', limits: thrice },
];

const gateways: readonly GatewayName[] = [uncachedName, gatewayName];
const connections = 32;
/** One tenant stays out of the load: with it the bench proves that answers follow changes. */
const asked = toRange(999).map((index) => index + 1);
const watched = 1_000;

interface Race {
  readonly database: BenchDatabase;
  readonly contestants: readonly StartedProcess[];
  readonly writer: Writer;
  readonly quick: boolean;
}

export const changing: Section = {
  toGoals: () =>
    graphqlShapes.flatMap((shape) =>
      pairs.map(({ peer, limits }) => atLeast(limits[shape], toName(shape, peer))),
    ),
  measure: measureChanging,
};

async function measureChanging(workbench: Workbench): Promise<Findings> {
  const { openFleet, quick, tell } = workbench;
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const peers = peerNames.filter((name) => !quick || pairs.some(({ peer }) => peer === name));
  const contestants = [
    made.use(await startGateway(database)),
    made.use(await startGateway(database, {}, uncachedName)),
    ...(await inTurn(peers, async (name) => made.use(await startPeer(name, database)))),
  ];
  const agreed = await assertAgreement(contestants, [1, 2, 500]);
  tell(`changing data: ${contestants.length} contestants gave the same ${agreed} answers`);
  const writer = made.use(await startWriter(database, asked));
  const race = { database, contestants, writer, quick };
  const found: ShapeFindings[] = [];
  const ofShapes = await inTurn(graphqlShapes, (shape) =>
    attempt(`changing data, ${shape}`, workbench, async () => {
      tell(`changing data: ${shape}`);
      const ofShape = await measureShape(race, shape);
      found.push(ofShape);
      return ofShape.findings;
    }),
  );
  return combine([
    ...ofShapes,
    {
      measurements: [],
      tables: [toRatioTable(peers, found)],
      notes: [
        ...peerNames
          .filter((name) => !peers.includes(name))
          .map((name) => `${name} was left out: no bar is about it.`),
        'The gateway reads under row-level security, in transactions; the peers read past it, which is less work.',
        'p50 and p99 of these tables are those at full load, where they say how long the queue is.',
      ],
    },
  ]);
}

type Samples = ReadonlyMap<string, readonly Sample[]>;

interface ShapeFindings {
  readonly shape: GraphQLShape;
  readonly samples: Samples;
  readonly findings: Findings;
}

/** What became of a contestant's rounds beside their samples. */
interface Fate {
  /** The fewest of a round. Below 1 an answer may have been good for two questions. */
  readonly changesPerQuestion: number;
  readonly worstLagMs: number;
}

/** The rounds of all contestants at one pace of changes. */
interface Rounds {
  readonly samples: Samples;
  readonly fates: ReadonlyMap<string, Fate>;
}

async function measureRounds(race: Race, shape: GraphQLShape, pace: number): Promise<Rounds> {
  const fates = new Map<string, Fate>();
  const rounds = race.quick ? 1 : 5;
  const samples = await measureInRounds(race.contestants, rounds, async (contestant) => {
    const { sample, ...fate } = await measureRound(race, contestant, shape, pace);
    const sofar = fates.get(contestant.name) ?? fate;
    fates.set(contestant.name, {
      changesPerQuestion: Math.min(sofar.changesPerQuestion, fate.changesPerQuestion),
      worstLagMs: Math.max(sofar.worstLagMs, fate.worstLagMs),
    });
    return sample;
  });
  return { samples, fates };
}

const isSlow = ({ changesPerQuestion }: Fate): boolean => changesPerQuestion < 1;

/** Once more, with a pace after what was measured, when somebody was faster than the changes. */
async function measureProven(race: Race, shape: GraphQLShape): Promise<Rounds> {
  const rounds = await measureRounds(race, shape, await findPace(race, shape));
  if (![...rounds.fates.values()].some(isSlow)) return rounds;
  const fastest = Math.max(...[...rounds.samples.values()].flatMap(toThroughputs));
  return await measureRounds(race, shape, toPace(fastest, 2));
}

async function measureShape(race: Race, shape: GraphQLShape): Promise<ShapeFindings> {
  const { samples, fates } = await measureProven(race, shape);
  const rows = [...fates].map(([name, { changesPerQuestion, worstLagMs }]) =>
    toRow([name], samples.get(name) ?? [], [toRounded(changesPerQuestion), Math.round(worstLagMs)]),
  );
  const slow = [...fates].filter(([, fate]) => isSlow(fate));
  return {
    shape,
    samples,
    findings: {
      measurements: toMeasurements(shape, samples, new Set(slow.map(([name]) => name))),
      tables: [
        {
          title: `Changing data, ${shape}`,
          columns: ['contestant', ...sampleColumns, 'changes per question', 'worst lag ms'],
          rows,
        },
      ],
      notes: slow.map(([name]) => `${name} was faster than the changes: ${shape} is not proven.`),
    },
  };
}

async function measureRound(
  race: Race,
  contestant: StartedProcess,
  shape: GraphQLShape,
  pace: number,
): Promise<Fate & { readonly sample: Sample }> {
  const { database, writer, quick } = race;
  const before = await writer.setPace(pace);
  const seconds = quick ? 1 : 4;
  const [sample, worstLagMs] = await Promise.all([
    load(contestant, shape, seconds),
    toLagMs(database, contestant, watched),
  ]);
  const changes = (await writer.setPace(0)) - before;
  const questionsOfTenant = (sample.requestsPerSecond * seconds) / asked.length;
  return { sample, worstLagMs, changesPerQuestion: changes / questionsOfTenant };
}

// The fastest contestant decides how often the data changes, for all of them.
async function findPace(race: Race, shape: GraphQLShape): Promise<number> {
  const { writer, quick } = race;
  await writer.setPace(2);
  const fastest = await findFastest(race, shape);
  await writer.setPace(0);
  return toPace(fastest, quick ? 1.3 : 2);
}

/** Changes a second of each tenant, so that so many come to a question. */
function toPace(requestsPerSecond: number, perQuestion: number): number {
  return Math.ceil((perQuestion * requestsPerSecond) / asked.length) + 1;
}

/** Requests a second of the fastest contestant. Warms all of them up. */
async function findFastest({ contestants, quick }: Race, shape: GraphQLShape): Promise<number> {
  if (!quick) {
    const alone = await inTurn(contestants, (contestant) => load(contestant, shape, 3));
    return Math.max(...alone.map((sample) => sample.requestsPerSecond));
  }
  // Together they take less time, and each gets a share of the machine: alone it is faster, but seldom by so much as
  // there are contestants. One that fails here is measured all the same.
  const together = await Promise.allSettled(
    contestants.map((contestant) => load(contestant, shape, 2)),
  );
  const rates = together.flatMap((warm) =>
    warm.status === 'fulfilled' ? warm.value.requestsPerSecond : [],
  );
  return Math.max(0, ...rates) * contestants.length;
}

async function load(
  { name, url }: StartedProcess,
  shape: GraphQLShape,
  seconds: number,
): Promise<Sample> {
  const questions = asked.map((place) => toDialect(name, toQuestion(shape, place)));
  try {
    return await putUnderLoad({ url, questions, connections, seconds });
  } catch (error) {
    throw new Error(`${name} failed under load: ${(error as Error).message}`, { cause: error });
  }
}

function toMeasurements(
  shape: GraphQLShape,
  samples: Samples,
  unproven: ReadonlySet<string>,
): readonly Measurement[] {
  return pairs.map(({ gateway, peer }) => ({
    ...toMeasurement(toName(shape, peer), toRatio(samples, gateway, peer)),
    ...((unproven.has(gateway) || unproven.has(peer)) && {
      flaw: 'the data did not change often enough',
    }),
  }));
}

function toName(shape: GraphQLShape, peer: PeerName): string {
  return `changing data, ${shape}: against ${peer}`;
}

function toRatio(samples: Samples, gateway: GatewayName, peer: PeerName): Spread {
  return toRatios(toThroughputs(samples.get(gateway)), toThroughputs(samples.get(peer)));
}

/** Both ratios to each peer, also those that compare different ways to authenticate. */
function toRatioTable(peers: readonly PeerName[], found: readonly ShapeFindings[]): Table {
  const columns = found.flatMap(({ shape, samples }) =>
    gateways.map((gateway) => ({ shape, samples, gateway })),
  );
  return {
    title: `Changing data, times as fast as each; * is what the bar is about`,
    columns: [
      'peer',
      ...columns.map(
        ({ shape, gateway }) =>
          `${shape}, ${gateway === gatewayName ? 'as shipped' : 'memory off'}`,
      ),
    ],
    rows: peers.map((peer) => [
      peer,
      ...columns.map(({ samples, gateway }): Cell => {
        const ratio = toRounded(toRatio(samples, gateway, peer).median);
        const isBar = pairs.some((pair) => pair.gateway === gateway && pair.peer === peer);
        return isBar ? `${ratio} *` : ratio;
      }),
    ]),
  };
}
