// The tests whose subject is mutated. The other tests of the suite would find some mutants too, but take many times as long.

import { sep } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import suite from '../vitest.config.ts';

/** The fast ones first, because a mutant is done when the first test fails. */
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

const toPosition = ({ moduleId }: TestSpecification) =>
  subjects.findIndex((subject) =>
    moduleId.replaceAll(sep, '/').endsWith(`/test/${subject}.test.ts`),
  );

class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => toPosition(a) - toPosition(b));
  }
}

export default defineConfig({
  ...suite,
  test: {
    ...suite.test,
    // A module that keeps what it computed while it was loaded would hide a mutant.
    isolate: true,
    // A timeout on a busy machine must not count as a detected mutant.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    include: subjects.map((subject) => `test/${subject}.test.ts`),
    sequence: { sequencer: InOrder },
    tags: [
      // They read source text, which Stryker rewrites.
      { name: 'source', skip: true },
      { name: 'mutant', skip: true },
      { name: 'page', skip: true },
      // They depend on timing, and would fail without a mutant on a busy machine.
      { name: 'clock', skip: true },
    ],
  },
});
