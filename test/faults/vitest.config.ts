import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  // Resolved as in Node. Otherwise Vite would load a second copy of graphql beside that of Pothos and Yoga.
  ssr: { resolve: { conditions: ['module-sync', 'node'] } },
  test: {
    include: ['test/faults/*.faults.ts'],
    globalSetup: ['test/setup.ts'],
    pool: 'forks',
    // Parallel runs would disturb each other's figures.
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
