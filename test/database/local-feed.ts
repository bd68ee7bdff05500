// A change feed whose notifications stay in the process, for tests of the caches.

import { createChangeFeed, type OwnedChangeFeed } from '../../src/database/change-feed.ts';

export interface LocalFeed extends OwnedChangeFeed {
  /** The feed is not current when this has advanced by more than 750 ms, until the next heartbeat. */
  readonly clock: { ms: number };
}

/** The feed is current when `catchUp` has resolved after the feed was opened. */
export function createLocalFeed(): LocalFeed {
  const clock = { ms: 0 };
  const feed = createChangeFeed(
    async ({ onHeartbeat }) => ({
      sendHeartbeat: async (message) => onHeartbeat(message),
      [Symbol.asyncDispose]: async () => undefined,
    }),
    { clock: () => clock.ms },
  );
  return { ...feed, clock };
}
