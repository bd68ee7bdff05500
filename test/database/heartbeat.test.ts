// The proof that the change feed is alive, in a process that is late: what lies unread in a socket is no silence, and no
// lateness makes silence last longer than it may.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  type ChannelListener,
  createChangeFeed,
  type OpenChannel,
} from '../../src/database/change-feed.ts';
import { createHeartbeat } from '../../src/database/heartbeat.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

function beatUntilDeadline() {
  const heartbeat = createHeartbeat(() => performance.now());
  const sent: string[] = [];
  const beaten = heartbeat.beat(async (message) => void sent.push(message));
  vi.advanceTimersByTime(2_000);
  return { heartbeat, sent, beaten };
}

describe('a beat that was not read by its deadline', () => {
  test('is heard if it is there when sockets are read next', async () => {
    const { heartbeat, sent, beaten } = beatUntilDeadline();
    heartbeat.take(sent[0] ?? '');
    expect(await beaten).toBe(2_000);
    // It proves nothing about now.
    expect(heartbeat.isCurrent()).toBe(false);
  });

  test('is given up if it is not', async () => {
    const { beaten } = beatUntilDeadline();
    await expect(beaten).rejects.toThrow('not heard');
  });
});

/** A feed whose messages are heard one turn of the event loop after they were sent, at the end of the turn. */
function openLateFeed(turnMs: number) {
  let unread: string[] = [];
  let isCut = false;
  let hear: ChannelListener['heard'] | undefined;
  const feed = createChangeFeed(async ({ heard }) => {
    hear = heard;
    return {
      send: async (message) => void (isCut || unread.push(message)),
      [Symbol.asyncDispose]: async () => undefined,
    };
  });
  return {
    feed,
    cut() {
      isCut = true;
    },
    /** Timers, then all that the process has to do, then what had come before the turn began. */
    async turn() {
      const arrived = unread;
      unread = [];
      await vi.advanceTimersByTimeAsync(turnMs);
      for (const message of arrived) hear?.(message);
      // Whoever has waited for the beat goes on.
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

describe('a process whose event loop is late', () => {
  test.each([10, 50, 99, 100, 150, 199, 200, 249, 250])(
    'by %i ms a turn hears enough to rely on its memory all the time',
    async (turnMs) => {
      const { feed, turn } = openLateFeed(turnMs);
      feed.subscribe(() => undefined);
      // oxlint-disable no-await-in-loop -- one turn after the other
      for (let turns = 0; turns < 10; turns += 1) await turn();
      for (let turns = 0; turns < 100; turns += 1) {
        await turn();
        expect(feed.isCurrent()).toBe(true);
      }
      // oxlint-enable no-await-in-loop
    },
  );

  test.each([10, 50, 250, 700])(
    'by %i ms a turn relies on nothing a second after the feed has gone silent',
    async (turnMs) => {
      const { feed, turn, cut } = openLateFeed(turnMs);
      feed.subscribe(() => undefined);
      // oxlint-disable no-await-in-loop -- one turn after the other
      for (let turns = 0; turns < 10; turns += 1) await turn();
      cut();
      const cutAt = performance.now();
      while (performance.now() <= cutAt + 750) await turn();
      // oxlint-enable no-await-in-loop
      expect(feed.isCurrent()).toBe(false);
    },
  );
});

/** A feed of a database that refuses every connection, up to a number that only a loop without pause comes to. */
function openFailingFeed() {
  const open = vi.fn<OpenChannel>(async () => {
    if (open.mock.calls.length > 100) await new Promise(() => undefined);
    throw new Error('down');
  });
  const feed = createChangeFeed(open);
  feed.subscribe(() => undefined);
  return { open, feed };
}

describe('a database that is down', () => {
  test('is tried no sooner and no more often because somebody waits for it', async () => {
    const { open, feed } = openFailingFeed();
    const before = feed.catchUp();
    await vi.advanceTimersByTimeAsync(0);
    const during = feed.catchUp();
    await vi.advanceTimersByTimeAsync(99);
    expect(open).toHaveBeenCalledTimes(1);
    // After pauses of at least 100, 200, 400 and 800 ms, and at most twice that.
    await vi.advanceTimersByTimeAsync(1_901);
    expect(open.mock.calls.length).toBeGreaterThanOrEqual(4);
    expect(open.mock.calls.length).toBeLessThanOrEqual(5);
    await feed[Symbol.asyncDispose]();
    await Promise.all([before, during]);
  });

  test('is waited for no longer when the feed is closed', async () => {
    const { open, feed } = openFailingFeed();
    await vi.advanceTimersByTimeAsync(0);
    await feed[Symbol.asyncDispose]();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(open).toHaveBeenCalledTimes(1);
  });
});
