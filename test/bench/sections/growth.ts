// What a larger neighbourhood and a larger tenant cost: the list of 25 numbers among few and among many, and the time
// for each number of a large tenant. One question at a time, so that nothing waits in a queue.

import { startWriter } from '../changes.ts';
import { startGateway } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { largeTenant, largeTenantSize, tenantSize } from '../fleet.ts';
import { toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { measureInRounds } from '../rounds.ts';
import { seed } from '../seed.ts';
import { toQuestion } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { toMedian, toRatios, toRounded } from '../statistics.ts';
import {
  type Bar,
  type Findings,
  type Section,
  type Table,
  toBar,
  type Workbench,
} from './section.ts';

const askedTenants = 40;
const millionTenants = 40_000;
const limit = 1.2;

export const measureGrowth: Section = async (workbench) => {
  const parts = [await measureNeighbours(workbench), await measureLargeTenant(workbench)];
  return {
    bars: parts.map(({ bar }) => bar),
    tables: parts.map(({ table }) => table),
    notes: workbench.quick
      ? ['Among 35,000 numbers instead of 1,000,000: the large database is seeded without --quick.']
      : [],
  } satisfies Findings;
};

interface Part {
  readonly bar: Bar;
  readonly table: Table;
}

interface Subject {
  readonly name: string;
  readonly gateway: StartedProcess;
  readonly places: readonly number[];
}

async function measureNeighbours(workbench: Workbench): Promise<Part> {
  await using made = new AsyncDisposableStack();
  const { quick, server, tell, openFleet } = workbench;
  const open = async (name: string, database: BenchDatabase, places: readonly number[]) => {
    const writer = made.use(await startWriter(database, places));
    const gateway = made.use(await startGateway(database));
    return { name, gateway, places, writer };
  };
  const near = toRange(askedTenants).map((index) => index + 1);
  const few = await server.createDatabase();
  await seed(few, { tenants: askedTenants, keyed: near, large: false });
  const subjects = [await open('25 among 1,000', few, near)];
  if (quick) {
    subjects.push(await open('25 among 35,000', await openFleet(), near));
  } else {
    tell('growth: seeding 1,000,000 numbers');
    const far = near.map((index) => index * (millionTenants / askedTenants));
    const many = await server.createDatabase();
    await seed(many, { tenants: millionTenants, keyed: far, large: false });
    subjects.push(await open('25 among 1,000,000', many, far));
  }
  tell('growth: neighbours');
  const [small, large] = subjects.map(({ name }) => name);
  const samples = await measureInRounds(subjects, quick ? 3 : 7, async (subject) => {
    await subject.writer.setPace(10);
    const sample = await askOneByOne(subject, quick ? 1 : 3);
    await subject.writer.setPace(0);
    return sample;
  });
  const p50 = (name = '') => samples.get(name)?.map((sample) => sample.p50Ms) ?? [];
  const { median, lowest, highest } = toRatios(p50(large), p50(small));
  const spread = [toRounded(lowest), toRounded(highest)] as const;
  return {
    bar: toBar(`growth, p50 of the list: ${large} against ${small}`, median, '<=', limit, spread),
    table: toTable('Growth of the neighbourhood', samples, () => tenantSize),
  };
}

async function measureLargeTenant({ openFleet, quick, tell }: Workbench): Promise<Part> {
  await using made = new AsyncDisposableStack();
  tell('growth: a large tenant');
  const database = await openFleet();
  const places = { '25 numbers': 1, '10,000 numbers': largeTenant };
  const writer = made.use(await startWriter(database, Object.values(places)));
  const gateway = made.use(await startGateway(database));
  await writer.setPace(20);
  const subjects = Object.entries(places).map(([name, place]) => ({
    name,
    gateway,
    places: [place],
  }));
  const samples = await measureInRounds(subjects, quick ? 1 : 5, async (subject) => {
    // Ten thousand take a while, and the first time longer.
    const seconds = toSize(subject.name) === tenantSize ? 1 : 4;
    return await askOneByOne(subject, quick ? seconds : 2 * seconds);
  });
  const each = (name: string) =>
    samples.get(name)?.map((sample) => sample.p50Ms / toSize(name)) ?? [];
  const { median, lowest, highest } = toRatios(each('10,000 numbers'), each('25 numbers'));
  const spread = [toRounded(lowest), toRounded(highest)] as const;
  const name = 'growth, time for each number: 10,000 of a tenant against 25';
  return {
    bar: toBar(name, median, '<=', limit, spread),
    table: toTable('Growth of a tenant', samples, toSize),
  };
}

function toSize(name: string): number {
  return name === '25 numbers' ? tenantSize : largeTenantSize;
}

async function askOneByOne({ gateway, places }: Subject, seconds: number): Promise<Sample> {
  const questions = places.map((place) => toQuestion('list', place));
  return await putUnderLoad({ url: gateway.url, questions, connections: 1, seconds });
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
