// What a process remembers of those who try keys: who has to wait, who need not, and that it is not more than it has room
// for.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAuthThrottle } from '../../src/access/auth-throttle.ts';
import type { Counters } from '../../src/access/counters.ts';

const printOf = (index: number) => `fingerprint ${index}`;
const clientAddress = '192.0.2.1';

const toSource = (index: number) => `10.0.${index >> 8}.${index & 255}`;

/** Counters that note how they were asked; every window ends in half a minute. */
function createCounters() {
  const asked: string[] = [];
  const totals = new Map<string, number>();
  const counters: Counters = (kind, windowSeconds) => {
    const toAdd = (where: string) => async (name: string, count: number) => {
      asked.push(`${kind} ${windowSeconds} ${where} ${name}`);
      const total = (totals.get(name) ?? 0) + count;
      totals.set(name, total);
      return { total, endsAt: Date.now() + 29_500 };
    };
    return { add: toAdd('shared'), addHere: toAdd('here') };
  };
  return { asked, counters };
}

function open(failuresPerMinute: number) {
  const { asked, counters } = createCounters();
  const time = { ms: 0 };
  const attempts = createAuthThrottle({ failuresPerMinute, counters, clock: () => time.ms });
  return { ...attempts, asked, time };
}

async function fail(
  { recordFailure }: ReturnType<typeof open>,
  times: number,
  from = clientAddress,
) {
  for (let time = 0; time < times; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await recordFailure(from, printOf(time));
  }
}

describe('a source', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-22T12:00:00Z') });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('has to wait from its last allowed failure to the end of the window', async () => {
    const attempts = open(3);
    await fail(attempts, 2);
    expect(() => attempts.assertAllowed(clientAddress, printOf(9))).not.toThrow();
    await fail(attempts, 1);
    for (const fingerprint of [printOf(9), null]) {
      expect(() => attempts.assertAllowed(clientAddress, fingerprint)).toThrow(
        expect.objectContaining({
          code: 'RATE_LIMITED',
          message: expect.stringContaining('wrong API keys'),
          retryAfterSeconds: 30,
        }),
      );
    }
    expect(() => attempts.assertAllowed('192.0.2.2', null)).not.toThrow();
    vi.setSystemTime(Date.now() + 29_500);
    expect(() => attempts.assertAllowed(clientAddress, printOf(9))).not.toThrow();
  });

  test('is counted by its network: where all see it for a key, here alone for what is none', async () => {
    const attempts = open(3);
    await attempts.recordFailure('2001:db8::1', printOf(1));
    await attempts.recordFailure('2001:db8::2', null);
    expect(attempts.asked).toEqual([
      'failures 60 shared 2001:db8:0:0::/64',
      'failures 60 here 2001:db8:0:0::/64',
    ]);
  });

  test.each([
    ['that is not known', 1, 'unknown'],
    ['whatever it does where there is no limit', 0, clientAddress],
  ])('never waits and is not counted: one %s', async (_, failuresPerMinute, from) => {
    const attempts = open(failuresPerMinute);
    await fail(attempts, 3, from);
    expect(() => attempts.assertAllowed(from, null)).not.toThrow();
    expect(attempts.asked).toEqual([]);
  });

  test('does not keep a key waiting that was verified here, until that one fails', async () => {
    const attempts = open(1);
    attempts.recordVerified(printOf(1), true);
    await attempts.recordFailure(clientAddress, printOf(2));
    expect(() => attempts.assertAllowed(clientAddress, printOf(1))).not.toThrow();
    await attempts.recordFailure(clientAddress, printOf(1));
    expect(() => attempts.assertAllowed(clientAddress, printOf(1))).toThrow('Too many');
  });
});

describe('the use of a key', () => {
  test('is to be noted once a minute', () => {
    const { isUseDue, recordVerified, time } = open(0);
    expect(isUseDue(printOf(1))).toBe(true);
    time.ms = 1_000;
    recordVerified(printOf(1), true);
    time.ms = 60_999;
    expect(isUseDue(printOf(1))).toBe(false);
    recordVerified(printOf(1), false);
    time.ms = 61_000;
    expect(isUseDue(printOf(1))).toBe(true);
    recordVerified(printOf(1), true);
    expect(isUseDue(printOf(1))).toBe(false);
  });

  test('is reckoned on the clock of the process, from when it was verified', () => {
    const { counters } = createCounters();
    const { isUseDue, recordVerified } = createAuthThrottle({ failuresPerMinute: 0, counters });
    recordVerified(printOf(1), false);
    expect(isUseDue(printOf(1))).toBe(false);
  });
});

describe('what is remembered', () => {
  test('are the 10,000 keys whose use was noted last', () => {
    const attempts = open(0);
    for (let index = 0; index < 10_000; index += 1) attempts.recordVerified(printOf(index), true);
    attempts.recordVerified(printOf(0), true);
    expect(attempts.isUseDue(printOf(1))).toBe(false);
    attempts.recordVerified(printOf(10_000), true);
    const due = [0, 1, 2, 10_000].filter((index) => attempts.isUseDue(printOf(index)));
    expect(due).toEqual([1]);
  });

  test('are the 10,000 sources that failed too often last', async () => {
    const attempts = open(1);
    for (let index = 0; index <= 10_000; index += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await attempts.recordFailure(toSource(index), null);
    }
    expect(() => attempts.assertAllowed(toSource(0), null)).not.toThrow();
    expect(() => attempts.assertAllowed(toSource(1), null)).toThrow('Too many');
  });
});
