// Opens a PostgreSQL server for tests. How it is started and stopped is the keeper's.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { KeeperMessage } from './setup-postgres-keeper.ts';

export interface PostgresServer extends AsyncDisposable {
  /** With all rights on the server, on its first database. */
  readonly url: string;
  /** For temporary files; it goes with the server, however the test run ends. */
  readonly directory: string;
}

/**
 * An empty server of its own on a free port of this machine, `settings` (`name=value`) over those of the tests. Throws
 * when there can be none.
 */
export async function openPostgresServer(
  settings: readonly string[] = [],
): Promise<PostgresServer> {
  // Detached, so that an interrupt from the keyboard reaches the keeper only through us.
  const keeper = fork(new URL('setup-postgres-keeper.ts', import.meta.url), settings, {
    detached: true,
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exit = once(keeper, 'exit');
  const [answer] = await Promise.race([once(keeper, 'message'), exit]);
  // The first word of the keeper, or its exit code when it could not even say one.
  const said = answer as KeeperMessage | number | null;
  if (said === null || typeof said === 'number' || 'problem' in said) {
    const why = said !== null && typeof said === 'object' ? said.problem : `exit code ${said}`;
    throw new Error(
      `The tests need PostgreSQL and could not start one; set TEST_DATABASE_URL to use another. ${why}`,
    );
  }
  return {
    url: said.url,
    directory: said.directory,
    async [Symbol.asyncDispose]() {
      if (keeper.connected) keeper.disconnect();
      await exit;
    },
  };
}
