import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  // As Node resolves them. Vite would load a second copy of graphql beside the one that Pothos and Yoga load.
  ssr: { resolve: { conditions: ['module-sync', 'node'] } },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**', '**/node_modules/**'],
    globalSetup: ['test/setup.ts'],
    pool: 'forks',
    // Two at least: a test file waits for its databases about as long as it computes.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 20_000,
    retry: 0,
    tags: [
      { name: 'source', description: 'Takes a source as it is written, to change it.' },
      {
        name: 'clock',
        description: 'Fails by itself where the machine is too slow.',
      },
    ],
  },
});
