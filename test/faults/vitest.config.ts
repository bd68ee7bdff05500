import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  // As Node resolves them. Vite would load a second copy of graphql beside the one that Pothos and Yoga load.
  ssr: { resolve: { conditions: ['module-sync', 'node'] } },
  test: {
    include: ['test/faults/*.faults.ts'],
    globalSetup: ['test/setup.ts'],
    pool: 'forks',
    // A figure that another run has disturbed says nothing.
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
