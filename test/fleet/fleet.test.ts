// Tests of the fleet over GraphQL.

import { describe, expect, test } from 'vitest';
import { databases } from '../harness.ts';
import { compareWithBruteForce } from './brute-force.ts';

describe.each(databases)('on %s', (kind) => {
  test.each([true, false])(
    'random filters and orders give what a computation over all numbers gives; with a session engine: %s',
    async (hasEngine) => {
      const options = { kind, hasEngine, fleets: 25, queriesOfFleet: 8 };
      expect(await compareWithBruteForce(options)).toBe(200);
    },
    60_000,
  );
});
