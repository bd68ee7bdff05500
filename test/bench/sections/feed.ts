// Measures how long the responses of two gateway processes take to show a commit of another writer, also while the listening
// connections are cut or silent, and checks that a process shows its own writes at once.

import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';
import { createTestSimulator, type TestSimulator } from '../../simulator/simulator.ts';
import { withoutNotifyTriggers } from '../triggers.ts';
import { startGateway } from '../contestants.ts';
import { type BenchDatabase, withOwner } from '../databases.ts';
import { cutListeners, prepareChange, prepareRevocation } from '../feed-changes.ts';
import {
  followChange,
  type Followed,
  openPoller,
  type Poller,
  staleAfterMs,
} from '../follow-change.ts';
import { type GraphFleet, openGraphFleet, toPhone } from '../graph-fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { openRelay, type Relay } from '../relay.ts';
import { toGraphQLRequest } from '../shapes.ts';
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
  changes: 'feed, stale responses more than 1 s after a change',
  revoked: 'feed, 200 responses more than 1 s after the revocation of a key',
  own: 'feed, old responses of a process right after its own write',
  cut: 'feed cut again and again, stale responses more than 1 s after a change',
  silent: 'feed silent, stale responses more than 1 s after a change',
};

const processes = 2;
/** Between two cuts, in rotation: some come before the connection is back, some long after. */
const cutPausesMs = [100, 700, 1_500, 300];

export const feed: Section = {
  toGoals: () => Object.values(names).map((name) => atMost(0, name)),
  measure: measureFeed,
};

interface Stage {
  readonly database: BenchDatabase;
  /** Used for the changes only. */
  readonly writer: Client;
  /** One for each process. */
  readonly pollers: readonly Poller[];
  readonly relay: Relay;
  readonly quick: boolean;
}

/** Changes followed under one condition. */
interface Part {
  readonly title: string;
  readonly name: string;
  /** For each process and each change. */
  readonly followed: readonly Followed[];
  /** Why the figures prove nothing. */
  readonly flaw?: string | undefined;
}

async function measureFeed({ openFleet, quick, log }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const simulator = made.use(createTestSimulator());
  const { url: graphUrl } = await simulator.listen();
  const relay = made.use(await openRelay(database.url));
  // Polling with revoked keys would exceed the limit of wrong keys.
  const environment = { META_GRAPH_URL: graphUrl, KEY_FAILURES_PER_MINUTE: '0' };
  const gateways = await inTurn(toRange(processes), async () =>
    made.use(await startGateway({ url: relay.url }, environment)),
  );
  const pollers = gateways.map(({ url }) => made.use(openPoller(url)));
  const fleet = made.use(await openGraphFleet(database, simulator, graphUrl));
  return await withOwner(database, async (writer) => {
    const stage = { database, writer, pollers, relay, quick };
    log('feed: changes by another writer');
    const parts = [await followChanges(stage), await followRevocations(stage)];
    log('feed: cut, and silent');
    parts.push(await followWhileCut(stage), await followInSilence(stage));
    log('feed: own writes');
    const own = await countOldResponses(stage, fleet, simulator);
    return toFindings(parts, own, await countStaleWithoutTriggers(stage));
  });
}

/**
 * Stale responses after one change without a notification: the proof that stale responses are noticed. There are none if
 * responses do not come from the cache.
 */
async function countStaleWithoutTriggers({ writer, pollers }: Stage): Promise<number> {
  const followed = await withoutNotifyTriggers(writer, async () =>
    followChange(pollers, await prepareChange(writer, 'Unnotified', 0), staleAfterMs + 500),
  );
  return Math.min(...followed.map(({ stale }) => stale));
}

async function followChanges({ writer, pollers, quick }: Stage): Promise<Part> {
  const followed = await inTurn(toRange(quick ? 200 : 1_000), async (index) =>
    followChange(pollers, await prepareChange(writer, 'Change', index)),
  );
  return { title: 'changes', name: names.changes, followed: followed.flat() };
}

async function followRevocations({ writer, pollers, quick }: Stage): Promise<Part> {
  const followed = await inTurn(toRange(quick ? 10 : 48), async (index) =>
    followChange(pollers, await prepareRevocation(writer, index)),
  );
  return { title: 'revoked keys', name: names.revoked, followed: followed.flat() };
}

async function followWhileCut({ database, writer, pollers, quick }: Stage): Promise<Part> {
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
      followed.push(...(await followChange(pollers, await prepareChange(writer, 'Cut', index))));
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

async function followInSilence({ writer, pollers, relay, quick }: Stage): Promise<Part> {
  const silences = quick ? 1 : 8;
  let silenced = 0;
  const followed = await inTurn(toRange(silences), async (silence) => {
    // Long enough for a lost feed to recover.
    await delay(2_000);
    silenced += relay.silence();
    const inSilence = await inTurn(toRange(changesInSilence), async (index) =>
      followChange(
        pollers,
        await prepareChange(writer, 'Silent', silence * changesInSilence + index),
      ),
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
  /** Responses without the value that the same process had just stored. */
  readonly old: number;
}

/** Makes the gateway write by live reads. */
async function countOldResponses(
  { pollers, quick }: Stage,
  fleet: GraphFleet,
  simulator: TestSimulator,
): Promise<OwnWrites> {
  const [poller] = pollers;
  if (poller === undefined) throw new Error('No gateway was started.');
  const { key, ids, phoneNumberIds, wabaIds } = await fleet.addTenant({ numbers: 1, wabas: 1 });
  const [id, phoneNumberId = '', wabaId = ''] = [ids[0], phoneNumberIds[0], wabaIds[0]];
  const read = async (refresh: boolean, expected: string): Promise<boolean> => {
    const query = `{ number(id: "${id}", refresh: ${refresh}) { meta { phone { verifiedName } } } }`;
    const { status, text } = await poller.send(toGraphQLRequest(query, { 'x-api-key': key }));
    if (status !== 200) throw new Error(`The gateway answered ${status}: ${text}`);
    return text.includes(`"${expected}"`);
  };
  const writes = quick ? 20 : 100;
  const found = await inTurn(toRange(writes), async (index) => {
    const name = `Own ${index}`;
    simulator.setPhone(toPhone(phoneNumberId, wabaId, name));
    // Puts the old response into the cache.
    await inTurn([1, 2], () => read(false, name));
    if (!(await read(true, name)))
      throw new Error('A live read did not return the value of Graph.');
    return await read(false, name);
  });
  return { writes, old: found.filter((isNew) => !isNew).length };
}

function toFindings(
  parts: readonly Part[],
  own: OwnWrites,
  staleWithoutTriggers: number,
): Findings {
  const blind =
    staleWithoutTriggers === 0
      ? 'responses did not come from the cache, so none could be stale'
      : null;
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
        title: `From the commit to the first response with it, ${processes} processes`,
        columns: ['what', 'followed', 'p50 ms', 'p99 ms', 'worst ms', 'stale after 1 s', 'never'],
        rows: [
          ...parts.map(toRow),
          ['own writes, the next response', own.writes, '', '', '', own.old, ''],
        ],
      },
    ],
    notes: [
      'The time runs from sending COMMIT to the end of the response, so it is rather too long than too short.',
      `After a change without a notification each process gave at least ${staleWithoutTriggers} stale responses within half a second, so stale responses are noticed.`,
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
