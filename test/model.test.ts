// Compares the gateway with a model of it: any sequence of changes of keys, refreshes, faults, crashes and time, in two
// processes, must give the responses of the model. test/faults/model.faults.ts runs many more sequences.

import { describe, expect, test } from 'vitest';
import { databases } from './harness.ts';
import { runModel } from './model/run.ts';

const seed = Number(process.env['MODEL_SEED'] ?? 1 + (Date.now() % 1_000_000));

describe.each(databases)('on %s', (kind) => {
  test('keys, numbers, ages, failures and the audit log match the model after any sequence of commands', async () => {
    const steps = await runModel({ kind, seed, runs: 3, commandsOfRun: 80, timeLimitMs: 50_000 });
    console.log(`model: MODEL_SEED=${seed}, ${steps} commands on ${kind}`);
    // The length of the three sequences is random.
    expect(steps).toBeGreaterThan(10);
  }, 70_000);
});
