// A few hundred hostile requests do no harm. test/faults/hostile.faults.ts sends ten thousand for each seed.

import { expect, test } from 'vitest';
import { runHostile } from './hostile-run.ts';

const seed = Number(process.env['HOSTILE_SEED'] ?? 1 + (Date.now() % 1_000_000));

test('a hostile request gets a documented error within 5 s, and no data of another tenant', async () => {
  const run = await runHostile(seed, 400);
  console.log(
    `hostile requests: HOSTILE_SEED=${seed}, ${run.requests} sent, slowest ${run.slowestMs} ms, ${JSON.stringify(run.statuses)}`,
  );
  expect(run.examples).toEqual([]);
}, 60_000);
