// How soon the answers of two gateway processes follow what another writer commits in PostgreSQL, also while the
// connections that bring the news are cut or fall silent, and whether a process shows what it has written itself at once.

import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';
import { createSimulator, type Simulator } from '../../../src/simulator/simulator.ts';
import { withoutAnnouncers } from '../announcers.ts';
import { startGateway } from '../contestants.ts';
import { type BenchDatabase, withOwner } from '../databases.ts';
import { cutListeners, prepareChange, prepareRevocation } from '../feed-changes.ts';
import { type Asker, follow, type Followed, openAsker, staleAfterMs } from '../follow.ts';
import { type GraphFleet, openGraphFleet, toPhone } from '../graph-fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { openRelay, type Relay } from '../relay.ts';
import { toGraphQLQuestion } from '../shapes.ts';
import { toPercentile, toRounded } from '../statistics.ts';
import {
  atMost,
  type Cell,
  type Findings,
  type Measurement,
  type Section,
  type Workbench,
} from './section.ts';

const names = {
  changes: 'feed, stale answers more than 1 s after a change',
  revoked: 'feed, good answers more than 1 s after the revocation of a key',
  own: 'feed, old answers of a process right after its own write',
  cut: 'feed cut again and again, stale answers more than 1 s after a change',
  silent: 'feed silent, stale answers more than 1 s after a change',
};

const processes = 2;
/** Between two cuts, in turn: some come before the connection is back, some long after. */
const cutPausesMs = [100, 700, 1_500, 300];

export const feed: Section = {
  toGoals: () => Object.values(names).map((name) => atMost(0, name)),
  measure: measureFeed,
};

interface Stage {
  readonly database: BenchDatabase;
  /** For the changes; nothing else is asked over it. */
  readonly writer: Client;
  /** One for each process. */
  readonly askers: readonly Asker[];
  readonly relay: Relay;
  readonly quick: boolean;
}

/** Changes that were followed under some condition. */
interface Part {
  readonly title: string;
  readonly name: string;
  /** Of each process and each change. */
  readonly followed: readonly Followed[];
  /** Why they prove nothing. */
  readonly flaw?: string | undefined;
}

async function measureFeed({ openFleet, quick, tell }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const simulator = made.use(createSimulator());
  const { url: graphUrl } = await simulator.listen();
  const relay = made.use(await openRelay(database.url));
  // Each revoked key that is asked with counts as a wrong one.
  const environment = { META_GRAPH_URL: graphUrl, KEY_FAILURES_PER_MINUTE: '0' };
  const gateways = await inTurn(toRange(processes), async () =>
    made.use(await startGateway({ url: relay.url }, environment)),
  );
  const askers = gateways.map(({ url }) => made.use(openAsker(url)));
  const fleet = made.use(await openGraphFleet(database, simulator, graphUrl));
  return await withOwner(database, async (writer) => {
    const stage = { database, writer, askers, relay, quick };
    tell('feed: changes by another writer');
    const parts = [await followChanges(stage), await followRevocations(stage)];
    tell('feed: cut, and silent');
    parts.push(await followWhileCut(stage), await followInSilence(stage));
    tell('feed: own writes');
    const own = await countOldOwnAnswers(stage, fleet, simulator);
    return toFindings(parts, own, await countUntold(stage));
  });
}

/**
 * The proof that stale answers would be seen: those of one change that nobody is told of. There are none where answers
 * do not come from memory in the first place.
 */
async function countUntold({ writer, askers }: Stage): Promise<number> {
  const followed = await withoutAnnouncers(writer, async () =>
    follow(askers, await prepareChange(writer, 'Untold', 0), staleAfterMs + 500),
  );
  return Math.min(...followed.map(({ stale }) => stale));
}

async function followChanges({ writer, askers, quick }: Stage): Promise<Part> {
  const followed = await inTurn(toRange(quick ? 200 : 1_000), async (index) =>
    follow(askers, await prepareChange(writer, 'Change', index)),
  );
  return { title: 'changes', name: names.changes, followed: followed.flat() };
}

async function followRevocations({ writer, askers, quick }: Stage): Promise<Part> {
  const followed = await inTurn(toRange(quick ? 10 : 48), async (index) =>
    follow(askers, await prepareRevocation(writer, index)),
  );
  return { title: 'revoked keys', name: names.revoked, followed: followed.flat() };
}

async function followWhileCut({ database, writer, askers, quick }: Stage): Promise<Part> {
  const endsAt = performance.now() + (quick ? 3_000 : 20_000);
  let cuts = 0;
  const cut = async (cutter: Client): Promise<void> => {
    for (let turn = 0; performance.now() < endsAt; turn += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one cut after the other
      cuts += await cutListeners(cutter);
      // oxlint-disable-next-line no-await-in-loop -- see above
      await delay(cutPausesMs[turn % cutPausesMs.length]);
    }
  };
  const followed: Followed[] = [];
  const followMeanwhile = async (): Promise<void> => {
    for (let index = 0; performance.now() < endsAt; index += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one change after the other
      followed.push(...(await follow(askers, await prepareChange(writer, 'Cut', index))));
    }
  };
  await Promise.all([withOwner(database, cut), followMeanwhile()]);
  return {
    title: `changes, connections cut ${cuts} times`,
    name: names.cut,
    followed,
    flaw: cuts === 0 ? 'no connection was listening' : undefined,
  };
}

const changesInSilence = 3;

async function followInSilence({ writer, askers, relay, quick }: Stage): Promise<Part> {
  const silences = quick ? 1 : 8;
  let silenced = 0;
  const followed = await inTurn(toRange(silences), async (silence) => {
    // Long enough for a feed that was lost to be back.
    await delay(2_000);
    silenced += relay.silence();
    const inSilence = await inTurn(toRange(changesInSilence), async (index) =>
      follow(askers, await prepareChange(writer, 'Silent', silence * changesInSilence + index)),
    );
    relay.cut();
    return inSilence.flat();
  });
  return {
    title: `changes, connections silent ${silenced} times`,
    name: names.silent,
    followed: followed.flat(),
    flaw: silenced < silences * processes ? 'not every process was listening' : undefined,
  };
}

interface OwnWrites {
  readonly writes: number;
  /** Answers without what the same process had just stored. */
  readonly old: number;
}

/** A live reading is what a gateway writes. */
async function countOldOwnAnswers(
  { askers, quick }: Stage,
  fleet: GraphFleet,
  simulator: Simulator,
): Promise<OwnWrites> {
  const [asker] = askers;
  if (asker === undefined) throw new Error('No gateway was started.');
  const { key, ids, phoneNumberIds, wabaIds } = await fleet.addTenant({ numbers: 1, wabas: 1 });
  const [id, phoneNumberId = '', wabaId = ''] = [ids[0], phoneNumberIds[0], wabaIds[0]];
  const ask = async (refresh: boolean, expected: string): Promise<boolean> => {
    const query = `{ number(id: "${id}", refresh: ${refresh}) { meta { phone { verifiedName } } } }`;
    const { status, text } = await asker.ask(toGraphQLQuestion(query, { 'x-api-key': key }));
    if (status !== 200) throw new Error(`The gateway answered ${status}: ${text}`);
    return text.includes(`"${expected}"`);
  };
  const writes = quick ? 20 : 100;
  const found = await inTurn(toRange(writes), async (index) => {
    const name = `Own ${index}`;
    simulator.setPhone(toPhone(phoneNumberId, wabaId, name));
    // So that the answer from before can lie in the memory.
    await inTurn([1, 2], () => ask(false, name));
    if (!(await ask(true, name))) throw new Error('A live reading did not bring what Graph says.');
    return await ask(false, name);
  });
  return { writes, old: found.filter((isNew) => !isNew).length };
}

function toFindings(parts: readonly Part[], own: OwnWrites, untold: number): Findings {
  const blind = untold === 0 ? 'answers did not come from memory, so none could be stale' : null;
  const toMeasurement = (name: string, value: number, flaw = blind): Measurement => ({
    name,
    value,
    ...(flaw !== null && { flaw }),
  });
  return {
    measurements: [
      ...parts.map(({ name, followed, flaw }) =>
        toMeasurement(name, sumOf(followed, toStale), flaw ?? blind),
      ),
      toMeasurement(names.own, own.old),
    ],
    tables: [
      {
        title: `From the commit to the first answer with it, ${processes} processes`,
        columns: ['what', 'followed', 'p50 ms', 'p99 ms', 'worst ms', 'stale after 1 s', 'never'],
        rows: [
          ...parts.map(toRow),
          ['own writes, the next answer', own.writes, '', '', '', own.old, ''],
        ],
      },
    ],
    notes: [
      'The time runs from when COMMIT is sent to the end of the answer, so it is rather too long than too short.',
      `Of a change that no trigger told of, each process gave ${untold} stale answers or more within half a second: they are seen where there are any.`,
    ],
  };
}

function toRow({ title, followed }: Part): readonly Cell[] {
  const delays = followed.flatMap(({ delayMs }) => delayMs ?? []);
  return [
    title,
    followed.length,
    ...[0.5, 0.99, 1].map((share) => toRounded(toPercentile(delays, share))),
    sumOf(followed, toStale),
    followed.length - delays.length,
  ];
}

const toStale = ({ stale }: Followed): number => stale;

function sumOf(followed: readonly Followed[], toCount: (of: Followed) => number): number {
  return followed.reduce((sum, one) => sum + toCount(one), 0);
}
