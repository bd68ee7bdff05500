// Mutation tests of what keeps strangers out, tenants apart and readings in order: `npm run test:mutation`, or a part of
// it with `npm run test:mutation -- --mutate src/secrets.ts`. https://stryker-mutator.io/docs/stryker-js/configuration

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  mutate: [
    'src/access/*.ts',
    'src/secrets.ts',
    'src/graphql/limits.ts',
    'src/graphql/cost.ts',
    'src/database/tenant-transaction.ts',
    'src/database/single-flight.ts',
    'src/database/statement.ts',
    'src/numbers/store.ts',
  ],
  testRunner: 'vitest',
  // Which tests there are is said by their configuration; that a test has to do with a file Stryker finds by its coverage.
  vitest: { configFile: 'test/mutation/vitest.config.ts', pool: 'forks', related: false },
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // A mutant that hangs is found by its time; see the configuration of the tests for why it is that long.
  timeoutMS: 90_000,
  thresholds: { high: 95, low: 90, break: 90 },
  reporters: ['clear-text', 'progress'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  incremental: true,
  incrementalFile: 'node_modules/.cache/stryker/incremental.json',
  tempDirName: '.stryker-tmp',
  // Types are not checked on the way, and TypeScript 7 has no functions for Stryker to rewrite its settings with.
  disableTypeChecks: false,
  ignorePatterns: ['.ci', 'test/bench', 'test/faults', 'test/model', 'tsconfig.json'],
};
