// Runs thousands of commands of the model test for each of three seeds, on both databases.

import { expect, test } from 'vitest';
import { databases } from '../harness.ts';
import { runModel } from '../model/run.ts';
import { report } from './figures.ts';

const seeds = (process.env['MODEL_SEED'] ?? '1,2,3').split(',').map(Number);
const runs = Number(process.env['MODEL_RUNS'] ?? 40);

test.each(seeds.flatMap((seed) => databases.map((kind) => ({ seed, kind }))))(
  'seed $seed on $kind: the gateway behaves as the model after every command',
  async ({ seed, kind }) => {
    const steps = await runModel({ kind, seed, runs, commandsOfRun: 100, timeLimitMs: 600_000 });
    const figure = `0 differences in ${steps} commands on ${kind}, MODEL_SEED=${seed}`;
    expect(report('0 differences from the model', figure, steps > 10 * runs)).toBe(true);
  },
);
