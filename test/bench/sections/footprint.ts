// What the process itself costs: the time from its start to its readiness, and its memory under load.

import { setTimeout as delay } from 'node:timers/promises';
import { startWriter } from '../changes.ts';
import { startGateway } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { shapes, toQuestion } from '../shapes.ts';
import { toMedian, toRounded, toSpread } from '../statistics.ts';
import { type Findings, type Section, toBar } from './section.ts';

const asked = toRange(999).map((index) => index + 1);

export const measureFootprint: Section = async ({ openFleet, quick, tell }) => {
  const database = await openFleet();
  tell('start to ready');
  const starts = await inTurn(toRange(quick ? 2 : 7), () => toReadyMs(database));
  const memory = await measureMemory(database, quick ? 6 : 300, tell);
  const start = toSpread(starts);
  const spread = [toRounded(start.lowest / 1_000), toRounded(start.highest / 1_000)] as const;
  const minutes = quick ? '6 seconds' : '5 minutes';
  return {
    bars: [
      toBar('footprint, seconds from start to ready', start.median / 1_000, '<=', 1, spread),
      toBar(
        `footprint, MB of memory after ${minutes} of load`,
        memory.at(-1) ?? Number.NaN,
        '<=',
        200,
      ),
      toBar('footprint, memory of the last third against the second', toGrowth(memory), '<=', 1.1),
    ],
    tables: [
      {
        title: 'Memory in the course of the load, MB',
        columns: memory.map((_, index) => String(index + 1)),
        rows: [memory.map(toRounded)],
      },
    ],
    notes: quick ? ['Memory was measured after 6 seconds instead of 5 minutes.'] : [],
  } satisfies Findings;
};

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

/** MB at the end of each of some equal parts of the load, which is of all shapes while the data changes. */
async function measureMemory(
  database: BenchDatabase,
  seconds: number,
  tell: (text: string) => void,
): Promise<readonly number[]> {
  const parts = seconds < 60 ? 6 : 12;
  tell(`memory: ${seconds} seconds of load`);
  await using made = new AsyncDisposableStack();
  const gateway = made.use(await startGateway(database));
  const writer = made.use(await startWriter(database, asked));
  await writer.setPace(2);
  const questions = asked.flatMap((place) => shapes.map((shape) => toQuestion(shape, place)));
  return await inTurn(toRange(parts), async () => {
    const part = Math.max(1, Math.round(seconds / parts));
    await putUnderLoad({ url: gateway.url, questions, connections: 32, seconds: part });
    return gateway.toMemoryMb();
  });
}

function toGrowth(memory: readonly number[]): number {
  const third = Math.floor(memory.length / 3);
  return toMedian(memory.slice(-third)) / toMedian(memory.slice(third, -third));
}
