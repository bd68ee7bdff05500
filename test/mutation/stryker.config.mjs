// Mutation tests of authentication, limits, tenancy and the order of stored reads: `npm run test:mutation`, or one file with
// `npm run test:mutation -- --mutate src/secrets.ts`. https://stryker-mutator.io/docs/stryker-js/configuration

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  mutate: [
    'src/access/*.ts',
    'src/secrets.ts',
    'src/graphql/limits.ts',
    'src/graphql/cost.ts',
    'src/database/tenant-transaction.ts',
    'src/database/statement.ts',
    'src/numbers/store.ts',
  ],
  testRunner: 'vitest',
  // The vitest configuration selects the tests; Stryker finds by coverage which of them concern a file.
  vitest: { configFile: 'test/mutation/vitest.config.ts', pool: 'forks', related: false },
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // Detects a mutant that hangs. As long as the timeouts in the configuration of the tests.
  timeoutMS: 90_000,
  thresholds: { high: 95, low: 90, break: 90 },
  reporters: ['clear-text', 'progress'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  incremental: true,
  incrementalFile: 'node_modules/.cache/stryker/incremental.json',
  tempDirName: '.stryker-tmp',
  // Types are not checked in this run, and TypeScript 7 has no API with which Stryker could rewrite its settings.
  disableTypeChecks: false,
  ignorePatterns: ['.ci', 'test/bench', 'test/faults', 'test/model', 'tsconfig.json'],
};
