// The proof that the change feed hears everything, when the event loop is late: a heartbeat that waits in a socket
// counts as heard, and no lateness makes a proof valid for longer.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  createChangeFeed,
  type ListenToNotifications,
  type NotificationListener,
} from '../../src/database/change-feed.ts';
import { createHeartbeat } from '../../src/database/heartbeat.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

function sendUntilDeadline() {
  const heartbeat = createHeartbeat(() => performance.now());
  const sent: string[] = [];
  const heard = Promise.withResolvers<void>();
  const running = heartbeat.run(async (message) => void sent.push(message), heard.resolve);
  running.catch(() => undefined);
  vi.advanceTimersByTime(2_000);
  return { heartbeat, sent, heard: heard.promise, running };
}

describe('a heartbeat that was not read by its deadline', () => {
  test('is heard if it is in the socket when sockets are read next, and proves nothing', async () => {
    const { heartbeat, sent, heard } = sendUntilDeadline();
    heartbeat.hear(sent[0] ?? '');
    await heard;
    expect(heartbeat.isCurrent()).toBe(false);
  });

  test('ends the session if it is not', async () => {
    const { running } = sendUntilDeadline();
    await expect(running).rejects.toThrow('No heartbeat was heard');
  });
});

/** A feed that hears each heartbeat at the end of the turn of the event loop after the one that sent it. */
function openLateFeed(turnMs: number) {
  let inSocket: string[] = [];
  let isCut = false;
  let listener: NotificationListener | undefined;
  const feed = createChangeFeed(async (given) => {
    listener = given;
    return {
      sendHeartbeat: async (message) => void (isCut || inSocket.push(message)),
      [Symbol.asyncDispose]: async () => undefined,
    };
  });
  feed.open();
  return {
    isCurrent: () => feed.versionOf('a', 'numbers') !== null,
    cut() {
      isCut = true;
    },
    /** Runs timers, then everything that the process has to do, then reads what had come before the turn. */
    async turn() {
      const arrived = inSocket;
      inSocket = [];
      await vi.advanceTimersByTimeAsync(turnMs);
      for (const message of arrived) listener?.onHeartbeat(message);
      // Lets those go on that wait for the heartbeat.
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

describe('a feed in use in a process whose event loop is late', () => {
  test.each([10, 50, 99, 100, 150, 199, 200, 249, 250])(
    'by %i ms a turn is current all the time',
    async (turnMs) => {
      const { isCurrent, turn } = openLateFeed(turnMs);
      // oxlint-disable no-await-in-loop -- one turn after the other
      for (let turns = 0; turns < 10; turns += 1) {
        await turn();
        isCurrent();
      }
      for (let turns = 0; turns < 100; turns += 1) {
        await turn();
        expect(isCurrent()).toBe(true);
      }
      // oxlint-enable no-await-in-loop
    },
  );

  test.each([10, 50, 250, 700])(
    'by %i ms a turn is not current 750 ms after the last heartbeat it could hear was sent',
    async (turnMs) => {
      const { isCurrent, turn, cut } = openLateFeed(turnMs);
      // oxlint-disable no-await-in-loop -- one turn after the other
      for (let turns = 0; turns < 10; turns += 1) {
        await turn();
        isCurrent();
      }
      cut();
      const cutAt = performance.now();
      while (performance.now() <= cutAt + 750) await turn();
      // oxlint-enable no-await-in-loop
      expect(isCurrent()).toBe(false);
    },
  );
});

async function openIdleFeed() {
  let sent = 0;
  const feed = createChangeFeed(async ({ onHeartbeat }) => ({
    async sendHeartbeat(message) {
      sent += 1;
      onHeartbeat(message);
    },
    [Symbol.asyncDispose]: async () => undefined,
  }));
  feed.open();
  await vi.advanceTimersByTimeAsync(10_000);
  return {
    feed,
    async countHeartbeats(ms: number) {
      const before = sent;
      await vi.advanceTimersByTimeAsync(ms);
      return sent - before;
    },
  };
}

test('waiting for the next heartbeat does not end with one that was sent before', async () => {
  const heartbeat = createHeartbeat(() => performance.now());
  const sent: string[] = [];
  const send = async (message: string) => void sent.push(message);
  heartbeat.run(send, () => undefined).catch(() => undefined);
  const ended: string[] = [];
  const waiting = heartbeat.untilNext().then(() => ended.push('wait'));
  for (const number of [1, 2]) {
    expect(ended).toEqual([]);
    heartbeat.hear(`heartbeat ${number}`);
    // oxlint-disable-next-line no-await-in-loop -- one heartbeat after the other
    await vi.advanceTimersByTimeAsync(0);
  }
  await waiting;
  expect(sent.slice(0, 2)).toEqual(['heartbeat 1', 'heartbeat 2']);
});

describe('heartbeats', () => {
  test('are sent twice a second while nobody uses the feed, which stays current', async () => {
    const { feed, countHeartbeats } = await openIdleFeed();
    expect(await countHeartbeats(10_000)).toBe(20);
    for (let ms = 0; ms < 1_000; ms += 10) {
      // oxlint-disable-next-line no-await-in-loop -- one moment after the other
      await vi.advanceTimersByTimeAsync(10);
      expect(feed.isCurrent()).toBe(true);
    }
  });

  test('are sent at once when somebody uses the feed, and ten times a second for two seconds', async () => {
    const { feed, countHeartbeats } = await openIdleFeed();
    await countHeartbeats(250);
    expect(feed.versionOf('a', 'numbers')).not.toBeNull();
    expect(await countHeartbeats(0)).toBe(1);
    expect(await countHeartbeats(2_000)).toBe(20);
    await countHeartbeats(500);
    expect(await countHeartbeats(10_000)).toBe(20);
  });
});

/** A feed of a database that refuses every connection. After 100 attempts, as in a loop without a pause, it hangs. */
function openFailingFeed() {
  const listen = vi.fn<ListenToNotifications>(async () => {
    if (listen.mock.calls.length > 100) await new Promise(() => undefined);
    throw new Error('down');
  });
  const feed = createChangeFeed(listen);
  feed.open();
  return { listen, feed };
}

describe('a database that is down', () => {
  test('gets no earlier and no more attempts to connect because somebody waits for it', async () => {
    const { listen, feed } = openFailingFeed();
    const before = feed.catchUp();
    await vi.advanceTimersByTimeAsync(0);
    const during = feed.catchUp();
    feed.versionOf('a', 'numbers');
    await vi.advanceTimersByTimeAsync(99);
    expect(listen).toHaveBeenCalledTimes(1);
    // After pauses of at least 100, 200, 400 and 800 ms, and at most twice that.
    await vi.advanceTimersByTimeAsync(1_901);
    expect(listen.mock.calls.length).toBeGreaterThanOrEqual(4);
    expect(listen.mock.calls.length).toBeLessThanOrEqual(5);
    await feed[Symbol.asyncDispose]();
    await Promise.all([before, during]);
  });

  test('is waited for no longer when the feed is closed', async () => {
    const { listen, feed } = openFailingFeed();
    await vi.advanceTimersByTimeAsync(0);
    await feed[Symbol.asyncDispose]();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(listen).toHaveBeenCalledTimes(1);
  });
});
