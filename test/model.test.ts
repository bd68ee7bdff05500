// That keys, readings, faults, crashes and time, in any order and in two processes, leave what a model of them says.
// test/faults/model.faults.ts tries many more.

import { describe, expect, test } from 'vitest';
import { databases } from './harness.ts';
import { runModel } from './model/run.ts';

const seed = Number(process.env['MODEL_SEED'] ?? 1 + (Date.now() % 1_000_000));

describe.each(databases)('on %s', (kind) => {
  test('whatever is done, keys, numbers, ages, failures and the audit are those of the model', async () => {
    const steps = await runModel({ kind, seed, runs: 6, commandsOfRun: 80, timeLimitMs: 50_000 });
    console.log(`model: MODEL_SEED=${seed}, ${steps} commands on ${kind}`);
    // How long six histories are is a matter of chance.
    expect(steps).toBeGreaterThan(20);
  }, 70_000);
});
