import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  // Resolve packages as Node does. Otherwise Vite loads a second copy of graphql beside that of Pothos and Yoga.
  ssr: { resolve: { conditions: ['module-sync', 'node'] } },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**', '**/node_modules/**'],
    globalSetup: ['test/setup.ts'],
    pool: 'forks',
    // Test files of one worker share its modules: importing them again for each file takes a fifth of the time.
    isolate: false,
    // More than there are cores: a test file waits about half of the time.
    maxWorkers: availableParallelism() + 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
    tags: [
      { name: 'page', description: 'Opens a page in Chromium. Run by `npm run test:pages`.' },
      {
        name: 'mutant',
        description: 'Must fail with a changed source file. Run by `npm run test:mutants`.',
      },
      { name: 'source', description: 'Reads a source file in order to change it.' },
      {
        name: 'clock',
        description: 'May fail on a slow machine.',
      },
    ],
  },
});
