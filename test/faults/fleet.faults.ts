// Compares thousands of random fleets and filters with a computation over all numbers, and walks over pages beside a writer.

import { expect, test } from 'vitest';
import { databases } from '../harness.ts';
import { compareWithBruteForce } from '../fleet/brute-force.ts';
import { walkWhileWriting } from '../fleet/walks.ts';
import { report } from './figures.ts';

const fleets = Number(process.env['FLEET_RUNS'] ?? 10_000);
const walks = Number(process.env['FLEET_WALKS'] ?? 1_000);

test.each(databases.flatMap((kind) => [true, false].map((hasEngine) => ({ kind, hasEngine }))))(
  'random fleets on $kind, with a session engine: $hasEngine',
  async ({ kind, hasEngine }) => {
    const options = { kind, hasEngine, fleets: Math.ceil(fleets / 4), queriesOfFleet: 1 };
    const compared = await compareWithBruteForce(options);
    const figure = `${compared} random fleets and filters on ${kind} equal a computation over all numbers`;
    expect(report('fleet = brute force', figure, compared === options.fleets)).toBe(true);
  },
  3_600_000,
);

test('walks over all pages beside a writer', async () => {
  const complaints = await walkWhileWriting('PostgreSQL', walks);
  const figure = `${walks - complaints.length} of ${walks} walks saw each unchanged number exactly once`;
  expect(complaints).toEqual([]);
  expect(report('walks over a fleet', figure, complaints.length === 0)).toBe(true);
}, 3_600_000);
