import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  plugins: [compileRelayTags()],
  test: {
    include: ['test/clients/*.clients.ts'],
    globalSetup: ['test/clients/setup.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 120_000,
    retry: 0,
  },
});

/** What babel-plugin-relay does in the build of a frontend. */
function compileRelayTags(): Plugin {
  return {
    name: 'relay',
    enforce: 'pre',
    async transform(code, id) {
      if (!id.includes('/generated/relay/') || !code.includes('graphql`')) return null;
      // Installed by setup.ts, after this file was loaded.
      const { transformAsync } = await import('@babel/core');
      const result = await transformAsync(code, {
        filename: id,
        configFile: false,
        parserOpts: { plugins: ['typescript'] },
        plugins: [
          [fileURLToPath(import.meta.resolve('babel-plugin-relay')), { eagerEsModules: true }],
        ],
      });
      return result?.code ?? null;
    },
  };
}
