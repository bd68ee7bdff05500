#!/usr/bin/env node
// The process: arguments, signals and the exit code. Everything that needs a recent Node is imported after the version check.

import { flushCompileCache } from 'node:module';
import type { Terminal } from './admin/commands.ts';

const minNodeVersion = 24;

if (Number.parseInt(process.versions.node, 10) < minNodeVersion) {
  process.stderr.write(
    `This program needs Node ${minNodeVersion} or newer; this is ${process.version}. Start it with npm, which brings its own Node: npm ci && npm start\n`,
  );
  process.exitCode = 1;
} else {
  await main();
}

async function main(): Promise<void> {
  await import('./operations/compile-cache.js');
  const [{ run }, { redact }] = await Promise.all([
    import('./admin/commands.ts'),
    import('./telemetry.ts'),
  ]);
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (thrown: unknown) => {
      const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      process.stderr.write(redact(`INTERNAL: ${text}\n`));
      // The state of the rest of the process is unknown, so it does not continue.
      process.exit(1);
    });
  }
  // The reader of our output may have ended, as in `… | head`.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  const { stdin, stdout, stderr } = process;
  const terminal: Terminal = { stdin, stdout, stderr, signal: listenForSignals() };
  process.exitCode = await run(process.argv.slice(2), terminal, {
    async listen(gateway, options) {
      const { listen } = await import('./http/server.ts');
      const server = await listen(gateway, options);
      // Node writes the cache when the process exits, which a killed process never does.
      flushCompileCache();
      return server;
    },
  });
}

/** Aborted by the first signal; the second one ends the process at once. */
function listenForSignals(): AbortSignal {
  const stopping = new AbortController();
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      if (stopping.signal.aborted) process.exit(code);
      stopping.abort(new Error(`Stopped by ${name}.`));
    });
  }
  return stopping.signal;
}
