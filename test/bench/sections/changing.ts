// Compares the gateway with its peers on data that changes between any two requests of a tenant, so that each response has to
// be read from PostgreSQL. A bar compares servers that authenticate alike: see README.md.

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
import { startWriter, measureLagMs, type Writer } from '../changes.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { measureInRounds, sampleColumns, toRow, toThroughputs } from '../rounds.ts';
import { type GraphQLShape, graphqlShapes, toRequest } from '../shapes.ts';
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

/** A bar: how many times as fast as the peer the gateway must be. Both authenticate in the same way. */
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
/** The tenants under load. One more is watched, to prove that responses follow changes. */
const loadedTenants = toRange(999).map((index) => index + 1);
const watchedTenant = 1_000;

interface ChangingRun {
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
  const { openFleet, quick, log } = workbench;
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const peers = peerNames.filter((name) => !quick || pairs.some(({ peer }) => peer === name));
  const contestants = [
    made.use(await startGateway(database)),
    made.use(await startGateway(database, {}, uncachedName)),
    ...(await inTurn(peers, async (name) => made.use(await startPeer(name, database)))),
  ];
  const agreed = await assertAgreement(contestants, [1, 2, 500]);
  log(`changing data: ${contestants.length} contestants gave the same ${agreed} responses`);
  const writer = made.use(await startWriter(database, loadedTenants));
  const run = { database, contestants, writer, quick };
  const found: ShapeFindings[] = [];
  const ofShapes = await inTurn(graphqlShapes, (shape) =>
    attempt(`changing data, ${shape}`, workbench, async () => {
      log(`changing data: ${shape}`);
      const ofShape = await measureShape(run, shape);
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
          .map((name) => `${name} was left out: it has no bar.`),
        'The gateway reads under row-level security, in transactions. The peers bypass it, which is less work.',
        'p50 and p99 of these tables are at full load, where they measure the length of the queue.',
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

/** Proof that the data changed often enough, and that responses followed. */
interface RoundChecks {
  /** The lowest of all rounds. Below 1 a response may have been valid for two requests. */
  readonly changesPerRequest: number;
  readonly worstLagMs: number;
}

/** The rounds of all contestants at one rate of changes. */
interface Rounds {
  readonly samples: Samples;
  readonly checks: ReadonlyMap<string, RoundChecks>;
}

async function measureRounds(run: ChangingRun, shape: GraphQLShape, pace: number): Promise<Rounds> {
  const checks = new Map<string, RoundChecks>();
  const rounds = run.quick ? 1 : 5;
  const samples = await measureInRounds(run.contestants, rounds, async (contestant) => {
    const { sample, ...check } = await measureRound(run, contestant, shape, pace);
    const soFar = checks.get(contestant.name) ?? check;
    checks.set(contestant.name, {
      changesPerRequest: Math.min(soFar.changesPerRequest, check.changesPerRequest),
      worstLagMs: Math.max(soFar.worstLagMs, check.worstLagMs),
    });
    return sample;
  });
  return { samples, checks };
}

const isSlow = ({ changesPerRequest }: RoundChecks): boolean => changesPerRequest < 1;

/** Repeats the rounds with more changes if a contestant was faster than the changes. */
async function measureProven(run: ChangingRun, shape: GraphQLShape): Promise<Rounds> {
  const rounds = await measureRounds(run, shape, await findPace(run, shape));
  if (![...rounds.checks.values()].some(isSlow)) return rounds;
  const fastest = Math.max(...[...rounds.samples.values()].flatMap(toThroughputs));
  return await measureRounds(run, shape, toPace(fastest, 2));
}

async function measureShape(run: ChangingRun, shape: GraphQLShape): Promise<ShapeFindings> {
  const { samples, checks } = await measureProven(run, shape);
  const rows = [...checks].map(([name, { changesPerRequest, worstLagMs }]) =>
    toRow([name], samples.get(name) ?? [], [toRounded(changesPerRequest), Math.round(worstLagMs)]),
  );
  const slow = [...checks].filter(([, check]) => isSlow(check));
  return {
    shape,
    samples,
    findings: {
      measurements: toMeasurements(shape, samples, new Set(slow.map(([name]) => name))),
      tables: [
        {
          title: `Changing data, ${shape}`,
          columns: ['contestant', ...sampleColumns, 'changes per request', 'worst lag ms'],
          rows,
        },
      ],
      notes: slow.map(
        ([name]) => `${name} was faster than the changes, so ${shape} proves nothing.`,
      ),
    },
  };
}

async function measureRound(
  run: ChangingRun,
  contestant: StartedProcess,
  shape: GraphQLShape,
  pace: number,
): Promise<RoundChecks & { readonly sample: Sample }> {
  const { database, writer, quick } = run;
  const before = await writer.setPace(pace);
  const seconds = quick ? 1 : 4;
  const [sample, worstLagMs] = await Promise.all([
    load(contestant, shape, seconds),
    measureLagMs(database, contestant, watchedTenant),
  ]);
  const changes = (await writer.setPace(0)) - before;
  const requestsOfTenant = (sample.requestsPerSecond * seconds) / loadedTenants.length;
  return { sample, worstLagMs, changesPerRequest: changes / requestsOfTenant };
}

// The fastest contestant decides how often the data changes for all of them.
async function findPace(run: ChangingRun, shape: GraphQLShape): Promise<number> {
  const { writer, quick } = run;
  await writer.setPace(2);
  const fastest = await findFastest(run, shape);
  await writer.setPace(0);
  return toPace(fastest, quick ? 1.3 : 2);
}

/** Changes per second of each tenant that give this many changes per request. */
function toPace(requestsPerSecond: number, perRequest: number): number {
  return Math.ceil((perRequest * requestsPerSecond) / loadedTenants.length) + 1;
}

/** Requests per second of the fastest contestant. Also warms up all of them. */
async function findFastest(
  { contestants, quick }: ChangingRun,
  shape: GraphQLShape,
): Promise<number> {
  if (!quick) {
    const alone = await inTurn(contestants, (contestant) => load(contestant, shape, 3));
    return Math.max(...alone.map((sample) => sample.requestsPerSecond));
  }
  // Together they take less time. Each gets a share of the CPU; alone it is faster, but rarely by the number of contestants.
  // One that fails here is measured anyway.
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
  const requests = loadedTenants.map((place) => toDialect(name, toRequest(shape, place)));
  try {
    return await putUnderLoad({ url, requests, connections, seconds });
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

/** Both ratios to each peer, including those that compare different ways to authenticate. */
function toRatioTable(peers: readonly PeerName[], found: readonly ShapeFindings[]): Table {
  const columns = found.flatMap(({ shape, samples }) =>
    gateways.map((gateway) => ({ shape, samples, gateway })),
  );
  return {
    title: 'Changing data, times as fast as each peer; * has a bar',
    columns: [
      'peer',
      ...columns.map(
        ({ shape, gateway }) => `${shape}, ${gateway === gatewayName ? 'as shipped' : 'cache off'}`,
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
