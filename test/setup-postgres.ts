// Opens a PostgreSQL server for tests, run by a supervising process, see setup-postgres-supervisor.ts.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import type { SupervisorMessage } from './setup-postgres-supervisor.ts';

export interface PostgresServer extends AsyncDisposable {
  /** As the superuser, to the first database. */
  readonly url: string;
  /** For temporary files. It is removed with the server, however the test run ends. */
  readonly directory: string;
}

/**
 * Starts an empty server on a free port. `settings` (`name=value`) override those of the tests. `parent` is the folder for
 * its directory, by default that for temporary files. Rejects with the cause.
 */
export async function openPostgresServer(
  settings: readonly string[] = [],
  parent = tmpdir(),
): Promise<PostgresServer> {
  // Detached, so that Ctrl+C does not reach it before the tests have ended.
  const supervisor = fork(new URL('setup-postgres-supervisor.ts', import.meta.url), settings, {
    detached: true,
    execArgv: [],
    env: { ...process.env, TMPDIR: parent },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exit = once(supervisor, 'exit');
  const [first] = await Promise.race([once(supervisor, 'message'), exit]);
  // Its message, or its exit code if it ended without one.
  const message = first as SupervisorMessage | number | null;
  if (message === null || typeof message === 'number' || 'problem' in message) {
    const cause =
      message !== null && typeof message === 'object' ? message.problem : `exit code ${message}`;
    throw new Error(
      `The tests could not start PostgreSQL; set TEST_DATABASE_URL to use another server. ${cause}`,
    );
  }
  return {
    url: message.url,
    directory: message.directory,
    async [Symbol.asyncDispose]() {
      if (supervisor.connected) supervisor.disconnect();
      await exit;
    },
  };
}
