// That folding the feed gives what is stored, after random readings and commits in any order, and that the last verdict in
// the history is that of the rules. `npm run test:faults -- feed` runs 10,000.

import { expect, test } from 'vitest';
import { openTestDatabase, openTestPostgresUrl } from '../harness.ts';
import { runRandomReadings } from './random-readings.ts';

const seed = Number(process.env['FOLD_SEED'] ?? Math.floor(Math.random() * 1_000_000));
const steps = Number(process.env['FOLD_STEPS'] ?? 200);

test(`the feed folds to what two gateways have stored (FOLD_SEED=${seed})`, async () => {
  await using of = await openTestPostgresUrl();
  await using one = await openTestDatabase('PostgreSQL', { of });
  await using other = await openTestDatabase('PostgreSQL', { of });
  const result = await runRandomReadings({ databases: [one, other], seed, steps });
  expect(result).toMatchObject({ problems: [], steps });
  expect(result.changes).toBeGreaterThan(steps);
});

test(`the feed folds to what is stored on PGlite (FOLD_SEED=${seed})`, async () => {
  await using database = await openTestDatabase('PGlite');
  const result = await runRandomReadings({ databases: [database], seed, steps: 50 });
  expect(result).toMatchObject({ problems: [], steps: 50 });
});
