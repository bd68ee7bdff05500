// The suite, but for the tests whose subject is something else than what is mutated: they would find some of the mutants
// too, and take many times as long.

import { sep } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import suite from '../vitest.config.ts';

/** The quick ones first, since a mutant is done with when the first test has failed. */
const subjects = [
  'access/key',
  'access/client-address',
  'access/auth-throttle',
  'access/key-cache',
  'access/rate-limit',
  'graphql/cost',
  'graphql/documents',
  'secrets',
  'database/single-flight',
  'numbers/snapshot-guard',
  'database/tenancy-filters',
  'access/key-ring',
  'access/access',
  'database/tenancy',
  'database/pipelined-reads',
  'access/counters',
  'access/throttling',
  'graphql/limits',
];

const toPlace = ({ moduleId }: TestSpecification) =>
  subjects.findIndex((subject) =>
    moduleId.replaceAll(sep, '/').endsWith(`/test/${subject}.test.ts`),
  );

class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => toPlace(a) - toPlace(b));
  }
}

export default defineConfig({
  ...suite,
  test: {
    ...suite.test,
    // A test that waits for a busy machine must not be taken for one that found a mutant.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    include: subjects.map((subject) => `test/${subject}.test.ts`),
    sequence: { sequencer: InOrder },
    tags: [
      // In what Stryker makes of a source they do not find what they look for.
      { name: 'source', skip: true },
      // Nor would it be the mutant that they find on a machine that is busy with it.
      { name: 'clock', skip: true },
    ],
  },
});
