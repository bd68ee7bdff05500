// Measures the time from start to ready, and the memory under load.

import { setTimeout as delay } from 'node:timers/promises';
import { startWriter } from '../changes.ts';
import { startGateway } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { shapes, toRequest } from '../shapes.ts';
import { readMemoryParts, type MemoryParts } from '../heap.ts';
import { toMedian, toRounded, toSpread } from '../statistics.ts';
import {
  atMost,
  type Findings,
  type Section,
  type Table,
  toMeasurement,
  type Workbench,
} from './section.ts';

const tenants = toRange(999).map((index) => index + 1);

const startName = 'footprint, seconds from start to ready';
const growthName = 'footprint, memory of the last third against the second';
const toSeconds = (quick: boolean): number => (quick ? 3 : 300);
const toMemoryName = (quick: boolean): string =>
  `footprint, MB of memory after ${quick ? '3 seconds' : '5 minutes'} of load`;

export const footprint: Section = {
  toGoals: (quick) => [
    atMost(1, startName),
    atMost(200, toMemoryName(quick)),
    atMost(1.1, growthName),
  ],
  measure: measureFootprint,
};

async function measureFootprint({ openFleet, quick, log }: Workbench): Promise<Findings> {
  const database = await openFleet();
  log('start to ready');
  const starts = await inTurn(
    toRange(quick ? 2 : 7),
    async () => (await measureReadyMs(database)) / 1_000,
  );
  const { course, parts } = await measureMemory(database, toSeconds(quick), log);
  return {
    measurements: [
      toMeasurement(startName, toSpread(starts)),
      { name: toMemoryName(quick), value: course.at(-1) ?? Number.NaN },
      { name: growthName, value: toGrowth(course) },
    ],
    tables: [
      {
        title: 'Memory during the load, MB',
        columns: course.map((_, index) => String(index + 1)),
        rows: [course.map(toRounded)],
      },
      toPartsTable(parts),
    ],
    notes: quick ? ['Memory was measured after 3 seconds instead of 5 minutes.'] : [],
  };
}

/** From the start of the process to the first 200 of /readyz. */
async function measureReadyMs(database: BenchDatabase): Promise<number> {
  await using gateway = await startGateway(database);
  const announcedAt = performance.now();
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- polls
    const response = await fetch(`${gateway.url}/readyz`);
    if (response.status === 200) return gateway.startMs + performance.now() - announcedAt;
    if (performance.now() - announcedAt > 10_000) throw new Error('The gateway is not ready.');
    // oxlint-disable-next-line no-await-in-loop -- see above
    await delay(5);
  }
}

interface Memory {
  /** MB at the end of each part of the load; the parts are equally long. */
  readonly course: readonly number[];
  /** At the end. */
  readonly parts: MemoryParts;
}

/** Under requests of all shapes, while the data changes. */
async function measureMemory(
  database: BenchDatabase,
  seconds: number,
  log: (text: string) => void,
): Promise<Memory> {
  const parts = seconds < 60 ? 3 : 12;
  log(`memory: ${seconds} seconds of load`);
  await using made = new AsyncDisposableStack();
  const gateway = made.use(await startGateway(database));
  const writer = made.use(await startWriter(database, tenants));
  await writer.setPace(2);
  const requests = tenants.flatMap((place) => shapes.map((shape) => toRequest(shape, place)));
  const course = await inTurn(toRange(parts), async () => {
    const part = Math.max(1, Math.round(seconds / parts));
    await putUnderLoad({ url: gateway.url, requests, connections: 32, seconds: part });
    return gateway.readMemoryMb();
  });
  return { course, parts: await readMemoryParts(await gateway.openInspector()) };
}

function toPartsTable({ resident, young, old, live, external }: MemoryParts): Table {
  return {
    title: 'Memory after the load by kind, MB',
    columns: [
      'resident',
      'young generation',
      'old generation',
      'of both, still in use',
      'buffers',
      'program, stacks and the rest',
    ],
    rows: [
      [resident, young, old, live, external, resident - young - old - external].map(toRounded),
    ],
  };
}

function toGrowth(memory: readonly number[]): number {
  const third = Math.floor(memory.length / 3);
  return toMedian(memory.slice(-third)) / toMedian(memory.slice(third, -third));
}
