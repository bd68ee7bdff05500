// That a few hundred requests of nobody's friend do no harm; test/faults/hostile.faults.ts sends ten thousand of each seed.

import { expect, test } from 'vitest';
import { runHostile } from './hostile-run.ts';

const seed = Number(process.env['HOSTILE_SEED'] ?? 1 + (Date.now() % 1_000_000));

test('hostile requests get an answer in the form of the contract, soon, and nothing of anybody else', async () => {
  const run = await runHostile(seed, 400);
  console.log(
    `hostile requests: HOSTILE_SEED=${seed}, ${run.requests} sent, slowest ${run.slowestMs} ms, ${JSON.stringify(run.statuses)}`,
  );
  expect(run.examples).toEqual([]);
}, 60_000);
