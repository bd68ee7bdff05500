// The suite, but for the tests whose subject is something else than what is mutated: they would find some of the mutants
// too, and take many times as long.

import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import suite from '../vitest.config.ts';

/** The quick ones first, since a mutant is done with when the first test has failed. */
const subjects = [
  'key',
  'source',
  'attempts',
  'verified',
  'allowance',
  'cost',
  'documents',
  'secrets',
  'shared-read',
  'snapshot-guard',
  'tenancy-filters',
  'key-ring',
  'access',
  'tenancy',
  'reading',
  'counters',
  'access-throttle',
  'limits',
];

const toPlace = ({ moduleId }: TestSpecification) =>
  subjects.indexOf(basename(moduleId, '.test.ts'));

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
