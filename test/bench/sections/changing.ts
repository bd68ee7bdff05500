// Data that changes between any two questions of a tenant, so that each answer has to be read from PostgreSQL: the
// gateway against its peers.

import {
  assertAgreement,
  gatewayName,
  type PeerName,
  peers,
  startGateway,
  startPeer,
  toDialect,
} from '../contestants.ts';
import { startWriter, toLagMs, type Writer } from '../changes.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { measureInRounds, sampleColumns, toRow, toThroughputs } from '../rounds.ts';
import { type GraphQLShape, graphqlShapes, toQuestion } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { toRatios, toRounded } from '../statistics.ts';
import { type Bar, type Section, type Table, toBar } from './section.ts';

/** By peer and shape: how many times as fast the gateway is to be. */
const limits: { readonly [Peer in PeerName]?: Readonly<Record<GraphQLShape, number>> } = {
  'Mercurius + JIT': { list: 1.25, thin: 1, detail: 1 },
  'Apollo Server 5': { list: 3, thin: 3, detail: 3 },
  'PostGraphile 5': { list: 3, thin: 3, detail: 3 },
};

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

export const measureChanging: Section = async ({ openFleet, quick, tell }) => {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const contestants = [
    made.use(await startGateway(database)),
    ...(await inTurn(listPeers(quick), async (name) => made.use(await startPeer(name, database)))),
  ];
  const agreed = await assertAgreement(contestants, [1, 2, 500]);
  tell(`changing data: ${contestants.length} contestants gave the same ${agreed} answers`);
  const writer = made.use(await startWriter(database, asked));
  const race = { database, contestants, writer, quick };
  const found = await inTurn(graphqlShapes, async (shape) => {
    tell(`changing data: ${shape}`);
    return await measureShape(race, shape);
  });
  const skipped = (Object.keys(peers) as PeerName[]).filter(
    (name) => !listPeers(quick).includes(name),
  );
  return {
    bars: found.flatMap(({ bars }) => bars),
    tables: found.map(({ table }) => table),
    notes: [
      ...skipped.map((name) => `${name} was left out.`),
      ...found.flatMap(({ notes }) => notes),
      'The gateway reads under row-level security, in transactions; the peers read past it, which is less work.',
      'p50 and p99 of these tables are those at full load, where they say how long the queue is.',
    ],
  };
};

// Without the time for all, those that no bar is about stay away.
function listPeers(quick: boolean): readonly PeerName[] {
  return (Object.keys(peers) as PeerName[]).filter((name) => !quick || limits[name] !== undefined);
}

interface ShapeFindings {
  readonly bars: readonly Bar[];
  readonly table: Table;
  readonly notes: readonly string[];
}

/** What became of a contestant's rounds beside their samples. */
interface Fate {
  /** The fewest of a round. Below 1 an answer may have been good for two questions. */
  readonly changesPerQuestion: number;
  readonly worstLagMs: number;
}

async function measureShape(race: Race, shape: GraphQLShape): Promise<ShapeFindings> {
  const { contestants, quick } = race;
  const pace = await findPace(race, shape);
  const fates = new Map<string, Fate>();
  const samples = await measureInRounds(contestants, quick ? 2 : 5, async (contestant) => {
    const { sample, ...fate } = await measureRound(race, contestant, shape, pace);
    const sofar = fates.get(contestant.name) ?? fate;
    fates.set(contestant.name, {
      changesPerQuestion: Math.min(sofar.changesPerQuestion, fate.changesPerQuestion),
      worstLagMs: Math.max(sofar.worstLagMs, fate.worstLagMs),
    });
    return sample;
  });
  const rows = [...fates].map(([name, { changesPerQuestion, worstLagMs }]) =>
    toRow([name], samples.get(name) ?? [], [toRounded(changesPerQuestion), Math.round(worstLagMs)]),
  );
  const slow = [...fates].filter(([, { changesPerQuestion }]) => changesPerQuestion < 1);
  return {
    bars: toBars(shape, samples),
    table: {
      title: `Changing data, ${shape}`,
      columns: ['contestant', ...sampleColumns, 'changes per question', 'worst lag ms'],
      rows,
    },
    notes: slow.map(([name]) => `${name} was faster than the changes: ${shape} is not proven.`),
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
async function findPace(
  { contestants, writer, quick }: Race,
  shape: GraphQLShape,
): Promise<number> {
  await writer.setPace(2);
  const warm = await inTurn(contestants, (contestant) => load(contestant, shape, quick ? 1 : 3));
  await writer.setPace(0);
  const fastest = Math.max(...warm.map((sample) => sample.requestsPerSecond));
  return Math.ceil((2 * fastest) / asked.length) + 1;
}

async function load(
  { name, url }: StartedProcess,
  shape: GraphQLShape,
  seconds: number,
): Promise<Sample> {
  const questions = asked.map((place) => toDialect(name, toQuestion(shape, place)));
  return await putUnderLoad({ url, questions, connections, seconds });
}

function toBars(
  shape: GraphQLShape,
  samples: ReadonlyMap<string, readonly Sample[]>,
): readonly Bar[] {
  return Object.entries(limits).flatMap(([peer, ofShape]) => {
    if (!samples.has(peer)) return [];
    const ours = toThroughputs(samples.get(gatewayName));
    const { median, lowest, highest } = toRatios(ours, toThroughputs(samples.get(peer)));
    const name = `changing data, ${shape}: against ${peer}`;
    return [toBar(name, median, '>=', ofShape[shape], [toRounded(lowest), toRounded(highest)])];
  });
}
