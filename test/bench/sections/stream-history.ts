// Measures what history costs: the storing of readings that change nothing, and commits that change something. One database
// records history and one does not; both are measured in turn.

import { Client } from 'pg';
import { type Database, openDatabase } from '../../../src/database/database.ts';
import { recordReadings } from '../../../src/numbers/store.ts';
import { type BenchDatabase, withOwner } from '../databases.ts';
import { largeTenant, toNumberId, toTenantId } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { seed } from '../seed.ts';
import { type Spread, toMedian, toRatios, toRounded } from '../statistics.ts';
import { disableHistory } from '../triggers.ts';
import { type Findings, toMeasurement, type Workbench } from './section.ts';

/** Of numbers whose blocks are stored at once. */
export const readingCounts = [1, 25];
export const toReadingsName = (count: number): string =>
  `stream, storing ${count === 1 ? 'a reading that changes' : `${count} readings that change`} nothing, with history against without`;

const tenants = 8;

/** The same with history and without it. */
interface Pair<Value> {
  readonly recorded: Value;
  readonly plain: Value;
}

const sides = ['recorded', 'plain'] as const;

async function createPair({ server }: Workbench): Promise<Pair<BenchDatabase>> {
  const [recorded, plain] = [await server.createDatabase(), await server.createDatabase()];
  const what = { tenants, keyed: [], large: true };
  await seed(recorded, what);
  await seed(plain, what);
  await withOwner(plain, disableHistory);
  return { recorded, plain };
}

/** The figures of each round; which of the two is measured first changes from round to round. */
async function measureInTurn(
  rounds: number,
  measure: (side: keyof Pair<unknown>, round: number) => Promise<number>,
): Promise<Pair<readonly number[]>> {
  const figures: Record<keyof Pair<unknown>, number[]> = { recorded: [], plain: [] };
  await inTurn(toRange(rounds), (round) =>
    inTurn(round % 2 === 0 ? sides : sides.toReversed(), async (side) => {
      figures[side].push(await measure(side, round));
    }),
  );
  return figures;
}

interface Compared extends Pair<readonly number[]> {
  readonly ratios: Spread;
}

function compare({ recorded, plain }: Pair<readonly number[]>): Compared {
  return { recorded, plain, ratios: toRatios(recorded, plain) };
}

const toCells = ({ recorded, plain, ratios }: Compared): number[] =>
  [toMedian(recorded), toMedian(plain), ratios.median].map(toRounded);

export async function measureReadings(workbench: Workbench): Promise<Findings> {
  const { quick, log } = workbench;
  log('stream: readings that change nothing');
  const pair = await createPair(workbench);
  await using made = new AsyncDisposableStack();
  const open = async ({ url }: BenchDatabase) =>
    made.use(await openDatabase({ kind: 'postgres', url }));
  const databases = { recorded: await open(pair.recorded), plain: await open(pair.plain) };
  const compared = await inTurn(readingCounts, async (count) => {
    const readings = await withOwner(pair.recorded, (owner) => selectReadings(owner, count));
    const times = quick ? 100 : 400 / Math.sqrt(count);
    return compare(await measureAlternately(databases, readings, { rounds: quick ? 3 : 9, times }));
  });
  return {
    measurements: compared.map(({ ratios }, index) =>
      toMeasurement(toReadingsName(readingCounts[index]!), ratios),
    ),
    tables: [
      {
        title: 'Storing readings of the health of numbers that change nothing, p50 in ms',
        columns: ['numbers', 'with history', 'without', 'ratio'],
        rows: compared.map((it, index) => [readingCounts[index]!].concat(toCells(it))),
      },
    ],
    notes: [
      'A reading is stored in one transaction, as after a read from Meta; the read itself is left out.',
    ],
  };
}

type Readings = Parameters<typeof recordReadings>[1]['readings'];

/** What is stored of the first numbers of the large tenant. */
async function selectReadings(owner: Client, count: number): Promise<Readings> {
  const { rows } = await owner.query(
    `select s.number_id as id, 'phone' as block, n.phone_number_id as address, s.data, null as failure, null as state,
       json_build_object('verdict', s.data_verdict, 'replyVerdict', s.data_reply_verdict) as verdicts
     from number_snapshot s join whatsapp_number n on n.tenant_id = s.tenant_id and n.id = s.number_id
     where s.tenant_id = $1 and s.block = 'phone' order by s.number_id limit $2`,
    [toTenantId(largeTenant), count],
  );
  return rows as Readings;
}

/** The medians of the rounds, in milliseconds. Each time both store the same, one after the other. */
async function measureAlternately(
  databases: Pair<Database>,
  readings: Readings,
  { rounds, times }: { readonly rounds: number; readonly times: number },
): Promise<Pair<readonly number[]>> {
  const store = async (side: keyof Pair<unknown>): Promise<number> => {
    const request = { tenantId: toTenantId(largeTenant), holder: 'bench', leased: [] };
    const startedAt = performance.now();
    await recordReadings(databases[side], { ...request, observedAt: new Date(), readings });
    return performance.now() - startedAt;
  };
  const medians: Record<keyof Pair<unknown>, number[]> = { recorded: [], plain: [] };
  // The first round is not counted: statements are prepared, and what the seed left out is written.
  await inTurn(toRange(rounds + 1), async (round) => {
    const taken = await inTurn(toRange(Math.round(times)), async (time) => {
      const order = time % 2 === 0 ? sides : sides.toReversed();
      const ms = await inTurn(order, store);
      return time % 2 === 0 ? ms : ms.toReversed();
    });
    if (round === 0) return;
    sides.forEach((side, at) => medians[side].push(toMedian(taken.map((ms) => ms[at]!))));
  });
  return medians;
}

export async function measureCommits(workbench: Workbench): Promise<Findings> {
  const { quick, log } = workbench;
  log('stream: commits with and without history');
  const pair = await createPair(workbench);
  const cases = [
    { tenants: 1, writers: 1 },
    { tenants: 1, writers: 8 },
    { tenants: 8, writers: 8 },
  ];
  const rows = await inTurn(cases, async (it) => {
    const figures = await measureInTurn(quick ? 2 : 5, (side) =>
      write(pair[side], { ...it, seconds: quick ? 1 : 2 }),
    );
    return [it.tenants, it.writers, ...toCells(compare(figures))];
  });
  return {
    measurements: [],
    tables: [
      {
        title: 'Commits a second, each of one changed name',
        columns: ['tenants', 'writers', 'with history', 'without', 'ratio'],
        rows,
      },
    ],
    notes: ['Commits do not wait for the disk, so that only the work is compared. Both notify.'],
  };
}

interface Writing {
  readonly tenants: number;
  readonly writers: number;
  readonly seconds: number;
}

/** Commits a second. Each writer changes numbers of its own. */
async function write({ ownerUrl }: BenchDatabase, writing: Writing): Promise<number> {
  const { tenants: count, writers, seconds } = writing;
  const clients = toRange(writers).map(() => new Client({ connectionString: ownerUrl }));
  await Promise.all(clients.map((client) => client.connect()));
  try {
    const startedAt = performance.now();
    const endsAt = startedAt + seconds * 1_000;
    const commits = await Promise.all(
      clients.map((client, index) => {
        const place = count === 1 ? largeTenant : 1 + (index % count);
        return writeUntil(client, endsAt, (turn) =>
          // 25 numbers of a tenant, or of each writer in the large one.
          toNumberId(place, 1 + (turn % 25) + (count === 1 ? index * 25 : 0)),
        );
      }),
    );
    const total = commits.reduce((sum, value) => sum + value, 0);
    return (total * 1_000) / (performance.now() - startedAt);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

async function writeUntil(
  client: Client,
  endsAt: number,
  toId: (turn: number) => string,
): Promise<number> {
  let commits = 0;
  for (; performance.now() < endsAt; commits += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one commit after the other
    await client.query({
      name: 'rename',
      text: `update whatsapp_number set name = 'Renamed ' || $2::text where id = $1`,
      // Of another run too, the name is another one.
      values: [toId(commits), `${endsAt} ${commits}`],
    });
  }
  return commits;
}
