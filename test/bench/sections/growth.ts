// Measures what a larger fleet and a larger tenant cost: the list of 25 numbers among few and among many, and the time for
// each number of a large tenant. Requests are sent one at a time, with the cache off.

import { startWriter, type Writer } from '../changes.ts';
import { startGateway, uncachedName } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { largeTenant, largeTenantSize, tenantSize } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { measureInRounds } from '../rounds.ts';
import { seed } from '../seed.ts';
import { toRequest } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { toMedian, toRatios, toRounded } from '../statistics.ts';
import { measureConcurrency } from './growth-concurrency.ts';
import { measureWrites } from './growth-writes.ts';
import {
  atMost,
  attempt,
  combine,
  type Findings,
  type Section,
  type Table,
  toMeasurement,
  type Workbench,
} from './section.ts';

const limit = 1.2;
const maxTenants = 40;
const fewNumbers = maxTenants * tenantSize;
/** Seeding 1,000,000 takes minutes. */
const toManyNumbers = (quick: boolean): number => (quick ? 35_000 : 1_000_000);

const toNeighboursName = (quick: boolean): string =>
  `growth, p50 of the list: ${toTitle(toManyNumbers(quick))} against ${toTitle(fewNumbers)}`;
const largeName = 'growth, time for each number: 10,000 of a tenant against 25';

export const growth: Section = {
  toGoals: (quick) => [atMost(limit, toNeighboursName(quick)), atMost(limit, largeName)],
  measure: measureGrowth,
};

async function measureGrowth(workbench: Workbench): Promise<Findings> {
  const parts = {
    'growth of the fleet': measureNeighbours,
    'growth of a tenant': measureLargeTenant,
    'growth of tenants and processes': measureConcurrency,
    'the cost of the change feed': measureWrites,
  };
  return combine(
    await inTurn(Object.entries(parts), ([name, measure]) =>
      attempt(name, workbench, () => measure(workbench)),
    ),
  );
}

interface Subject {
  readonly name: string;
  readonly gateway: StartedProcess;
  readonly places: readonly number[];
}

async function measureNeighbours(workbench: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const { quick, log } = workbench;
  const counts = [...(quick ? [] : [tenantSize, 35_000]), fewNumbers, toManyNumbers(quick)];
  const subjects = await inTurn(counts, (numbers) => openNeighbours(workbench, numbers, made));
  log('growth: neighbours');
  const samples = await measureInRounds(subjects, quick ? 2 : 7, async (subject) => {
    await subject.writer.setPace(10);
    const sample = await loadSequentially(subject, quick ? 1 : 3);
    await subject.writer.setPace(0);
    return sample;
  });
  const p50 = (numbers: number) =>
    samples.get(toTitle(numbers))?.map((sample) => sample.p50Ms) ?? [];
  const ratios = toRatios(p50(toManyNumbers(quick)), p50(fewNumbers));
  return {
    measurements: [toMeasurement(toNeighboursName(quick), ratios)],
    tables: [toTable('Growth of the fleet', samples, () => tenantSize)],
    notes: quick
      ? ['Measured among 35,000 numbers instead of 1,000,000, which are seeded without --quick.']
      : [],
  };
}

/** A database of this many numbers, and a gateway that serves up to 40 of its tenants. */
async function openNeighbours(
  { server, log, openFleet }: Workbench,
  numbers: number,
  made: AsyncDisposableStack,
): Promise<Subject & { readonly writer: Writer }> {
  const open = async (database: BenchDatabase, places: readonly number[]) => {
    const writer = made.use(await startWriter(database, places));
    const gateway = made.use(await startGateway(database, {}, uncachedName));
    return { name: toTitle(numbers), gateway, places, writer };
  };
  const tenants = numbers / tenantSize;
  const used = Math.min(tenants, maxTenants);
  const places = toRange(used).map((index) => (index + 1) * Math.floor(tenants / used));
  if (numbers === 35_000) {
    return await open(
      await openFleet(),
      toRange(used).map((index) => index + 1),
    );
  }
  log(`growth: seeding ${numbers.toLocaleString('en')} numbers`);
  const database = await server.createDatabase();
  await seed(database, { tenants, keyed: places, large: false });
  return await open(database, places);
}

function toTitle(numbers: number): string {
  return `25 among ${numbers.toLocaleString('en')}`;
}

async function measureLargeTenant({ openFleet, quick, log }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  log('growth: a large tenant');
  const database = await openFleet();
  const places = { '25 numbers': 1, '10,000 numbers': largeTenant };
  const writer = made.use(await startWriter(database, Object.values(places)));
  const gateway = made.use(await startGateway(database, {}, uncachedName));
  await writer.setPace(20);
  const subjects = Object.entries(places).map(([name, place]) => ({
    name,
    gateway,
    places: [place],
  }));
  const samples = await measureInRounds(subjects, quick ? 1 : 5, async (subject) => {
    // A list of 10,000 is slow, and slower at first.
    const seconds = toSize(subject.name) === tenantSize ? 1 : 4;
    return await loadSequentially(subject, quick ? seconds : 2 * seconds);
  });
  const each = (name: string) =>
    samples.get(name)?.map((sample) => sample.p50Ms / toSize(name)) ?? [];
  const ratios = toRatios(each('10,000 numbers'), each('25 numbers'));
  return {
    measurements: [toMeasurement(largeName, ratios)],
    tables: [toTable('Growth of a tenant', samples, toSize)],
    notes: [],
  };
}

function toSize(name: string): number {
  return name === '25 numbers' ? tenantSize : largeTenantSize;
}

async function loadSequentially({ gateway, places }: Subject, seconds: number): Promise<Sample> {
  const requests = places.map((place) => toRequest('list', place));
  return await putUnderLoad({ url: gateway.url, requests, connections: 1, seconds });
}

function toTable(
  title: string,
  samples: ReadonlyMap<string, readonly Sample[]>,
  sizeOf: (name: string) => number,
): Table {
  const rows = [...samples].map(([name, ofSubject]) => {
    const [p50, p99] = [
      ofSubject.map((sample) => sample.p50Ms),
      ofSubject.map((sample) => sample.p99Ms),
    ].map(toMedian);
    const each = ((p50 ?? Number.NaN) * 1_000) / sizeOf(name);
    return [name, toRounded(p50 ?? Number.NaN), toRounded(p99 ?? Number.NaN), toRounded(each)];
  });
  return { title, columns: ['list of', 'p50 ms', 'p99 ms', 'µs for each number'], rows };
}
