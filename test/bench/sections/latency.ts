// How long single answers take while the gateway has half of the load that it can bear. Questions leave at fixed times,
// whether or not earlier ones are answered, and their time counts from when they should have left.

import { startWriter } from '../changes.ts';
import { startGateway } from '../contestants.ts';
import { toRange } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { askAtPace } from '../pace.ts';
import { toQuestion } from '../shapes.ts';
import { toPercentile, toRounded } from '../statistics.ts';
import { type Section, toBar } from './section.ts';

const limit = 5;
const asked = toRange(999).map((index) => index + 1);

export const measureLatency: Section = async ({ openFleet, quick, tell }) => {
  tell('latency under half load');
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const writer = made.use(await startWriter(database, asked));
  const { url } = made.use(await startGateway(database));
  await writer.setPace(2);
  const questions = asked.map((place) => toQuestion('list', place));
  const full = { url, questions, connections: 32 };
  await putUnderLoad({ ...full, seconds: quick ? 1 : 3 });
  const { requestsPerSecond } = await putUnderLoad({ ...full, seconds: quick ? 1 : 5 });
  const half = requestsPerSecond / 2;
  const seconds = quick ? 3 : 20;
  const { durations, refused } = await askAtPace({ url, questions, perSecond: half, seconds });
  if (durations.length === 0) throw new Error('The gateway refused all questions under half load.');
  const [p50, p99] = [toPercentile(durations, 0.5), toPercentile(durations, 0.99)];
  const figures = [requestsPerSecond, half, p50, p99].map(toRounded);
  const bar = toBar(
    'latency, p99 against p50 under half of the maximum load',
    p99 / p50,
    '<=',
    limit,
  );
  // Who refuses answers quickly.
  const isSteady = refused <= durations.length / 100;
  return {
    bars: [{ ...bar, holds: bar.holds && isSteady }],
    tables: [
      {
        title: 'List, changing data, under half load',
        columns: ['maximum req/s', 'asked req/s', 'p50 ms', 'p99 ms', 'refused'],
        rows: [[...figures, refused]],
      },
    ],
    notes: isSteady
      ? []
      : [`${refused} questions were refused under half load; p50 and p99 are those of the others.`],
  };
};
