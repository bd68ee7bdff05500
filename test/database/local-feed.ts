// A change feed whose messages never leave the process, for tests of those who rely on one.

import { createChangeFeed, type OwnedChangeFeed } from '../../src/database/change-feed.ts';

export interface LocalFeed extends OwnedChangeFeed {
  /** No beat is heard from now on, until the clock says that what was proved is old. */
  readonly clock: { ms: number };
}

/** Current once `catchUp` has resolved after the first subscription. */
export function createLocalFeed(): LocalFeed {
  const clock = { ms: 0 };
  const feed = createChangeFeed(
    async ({ heard }) => ({
      send: async (message) => heard(message),
      [Symbol.asyncDispose]: async () => undefined,
    }),
    { clock: () => clock.ms },
  );
  return { ...feed, clock };
}
