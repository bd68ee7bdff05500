// What the process itself costs: the time from its start to its readiness, and its memory under load.

import { setTimeout as delay } from 'node:timers/promises';
import { startWriter } from '../changes.ts';
import { startGateway } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { shapes, toQuestion } from '../shapes.ts';
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

const asked = toRange(999).map((index) => index + 1);

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

async function measureFootprint({ openFleet, quick, tell }: Workbench): Promise<Findings> {
  const database = await openFleet();
  tell('start to ready');
  const starts = await inTurn(
    toRange(quick ? 2 : 7),
    async () => (await toReadyMs(database)) / 1_000,
  );
  const { course, parts } = await measureMemory(database, toSeconds(quick), tell);
  return {
    measurements: [
      toMeasurement(startName, toSpread(starts)),
      { name: toMemoryName(quick), value: course.at(-1) ?? Number.NaN },
      { name: growthName, value: toGrowth(course) },
    ],
    tables: [
      {
        title: 'Memory in the course of the load, MB',
        columns: course.map((_, index) => String(index + 1)),
        rows: [course.map(toRounded)],
      },
      toPartsTable(parts),
    ],
    notes: quick ? ['Memory was measured after 3 seconds instead of 5 minutes.'] : [],
  };
}

/** From the start of the process to the first good answer of /readyz. */
async function toReadyMs(database: BenchDatabase): Promise<number> {
  await using gateway = await startGateway(database);
  const announcedAt = performance.now();
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- asks until it is ready
    const response = await fetch(`${gateway.url}/readyz`);
    if (response.status === 200) return gateway.startMs + performance.now() - announcedAt;
    if (performance.now() - announcedAt > 10_000) throw new Error('The gateway is not ready.');
    // oxlint-disable-next-line no-await-in-loop -- see above
    await delay(5);
  }
}

interface Memory {
  /** MB at the end of each of some equal parts of the load. */
  readonly course: readonly number[];
  /** At the end. */
  readonly parts: MemoryParts;
}

/** Under questions of all shapes, while the data changes. */
async function measureMemory(
  database: BenchDatabase,
  seconds: number,
  tell: (text: string) => void,
): Promise<Memory> {
  const parts = seconds < 60 ? 3 : 12;
  tell(`memory: ${seconds} seconds of load`);
  await using made = new AsyncDisposableStack();
  const gateway = made.use(await startGateway(database));
  const writer = made.use(await startWriter(database, asked));
  await writer.setPace(2);
  const questions = asked.flatMap((place) => shapes.map((shape) => toQuestion(shape, place)));
  const course = await inTurn(toRange(parts), async () => {
    const part = Math.max(1, Math.round(seconds / parts));
    await putUnderLoad({ url: gateway.url, questions, connections: 32, seconds: part });
    return gateway.toMemoryMb();
  });
  return { course, parts: await readMemoryParts(await gateway.openInspector()) };
}

function toPartsTable({ resident, young, old, live, external }: MemoryParts): Table {
  return {
    title: 'Where the memory is after that, MB',
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
