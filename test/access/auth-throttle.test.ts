// The throttle of failed authentication attempts: which clients it refuses, and what it keeps.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAuthThrottle } from '../../src/access/auth-throttle.ts';
import type { Counters } from '../../src/access/counters.ts';

const fingerprint = (index: number) => `fingerprint ${index}`;
const address = '192.0.2.1';
const addressOf = (index: number) => `10.0.0.${index}`;

/** Counters that record their calls. Every window ends in half a minute. */
function createRecordingCounters() {
  const calls: string[] = [];
  const totals = new Map<string, number>();
  const counters: Counters = (kind, windowSeconds) => {
    const createAdd = (scope: string) => async (name: string, count: number) => {
      calls.push(`${kind} ${windowSeconds} ${scope} ${name}`);
      const total = (totals.get(name) ?? 0) + count;
      totals.set(name, total);
      return { total, endsAt: Date.now() + 29_500 };
    };
    return { add: createAdd('shared'), addLocally: createAdd('local') };
  };
  return { calls, counters };
}

function open(maxFailuresPerMinute: number, maxEntries = 100) {
  const { calls, counters } = createRecordingCounters();
  const time = { ms: 0 };
  const clock = () => time.ms;
  const throttle = createAuthThrottle({ maxFailuresPerMinute, counters, clock, maxEntries });
  return { ...throttle, calls, time };
}

async function fail({ recordFailure }: ReturnType<typeof open>, times: number, from = address) {
  for (let time = 0; time < times; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await recordFailure(from, fingerprint(time));
  }
}

describe('a network', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-22T12:00:00Z') });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('is throttled from its last allowed failure to the end of the window', async () => {
    const throttle = open(3);
    await fail(throttle, 2);
    expect(() => throttle.assertAllowed(address, fingerprint(9))).not.toThrow();
    await fail(throttle, 1);
    for (const key of [fingerprint(9), null]) {
      expect(() => throttle.assertAllowed(address, key)).toThrow(
        expect.objectContaining({
          code: 'RATE_LIMITED',
          message: 'Too many invalid API keys were sent from this address; retry in 30 seconds.',
          retryAfterSeconds: 30,
        }),
      );
    }
    expect(() => throttle.assertAllowed('192.0.2.2', null)).not.toThrow();
    vi.setSystemTime(Date.now() + 29_500);
    expect(() => throttle.assertAllowed(address, fingerprint(9))).not.toThrow();
  });

  test('shares its count with all processes for well-formed keys, and not for malformed ones', async () => {
    const throttle = open(3);
    await throttle.recordFailure('2001:db8::1', fingerprint(1));
    await throttle.recordFailure('2001:db8::2', null);
    expect(throttle.calls).toEqual([
      'failures 60 shared 2001:db8:0:0::/64',
      'failures 60 local 2001:db8:0:0::/64',
    ]);
  });

  test.each([
    ['its address is unknown', 1, 'unknown'],
    ['the throttle is disabled', 0, address],
  ])('is neither throttled nor counted when %s', async (_, maxFailuresPerMinute, from) => {
    const throttle = open(maxFailuresPerMinute);
    await fail(throttle, 3, from);
    expect(() => throttle.assertAllowed(from, null)).not.toThrow();
    expect(throttle.calls).toEqual([]);
  });

  test('may use a key that was verified here while it is throttled, until that key fails', async () => {
    const throttle = open(1);
    throttle.recordVerified(fingerprint(1), true);
    await throttle.recordFailure(address, fingerprint(2));
    expect(() => throttle.assertAllowed(address, fingerprint(1))).not.toThrow();
    await throttle.recordFailure(address, fingerprint(1));
    expect(() => throttle.assertAllowed(address, fingerprint(1))).toThrow('Too many');
  });

  test('is throttled again with its next failure after it was evicted', async () => {
    const throttle = open(1, 2);
    for (const index of [1, 2, 3]) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await throttle.recordFailure(addressOf(index), null);
    }
    expect(() => throttle.assertAllowed(addressOf(1), null)).not.toThrow();
    expect(() => throttle.assertAllowed(addressOf(2), null)).toThrow('Too many');
    await throttle.recordFailure(addressOf(1), null);
    expect(() => throttle.assertAllowed(addressOf(1), null)).toThrow('Too many');
  });
});

describe('the use of a key', () => {
  test('is due once a minute', () => {
    const { isUseDue, recordVerified, time } = open(0);
    expect(isUseDue(fingerprint(1))).toBe(true);
    time.ms = 1_000;
    recordVerified(fingerprint(1), true);
    time.ms = 60_999;
    expect(isUseDue(fingerprint(1))).toBe(false);
    recordVerified(fingerprint(1), false);
    time.ms = 61_000;
    expect(isUseDue(fingerprint(1))).toBe(true);
    recordVerified(fingerprint(1), true);
    expect(isUseDue(fingerprint(1))).toBe(false);
  });

  test('is measured on the monotonic clock of the process by default', () => {
    const { counters } = createRecordingCounters();
    const { isUseDue, recordVerified } = createAuthThrottle({ maxFailuresPerMinute: 0, counters });
    recordVerified(fingerprint(1), false);
    expect(isUseDue(fingerprint(1))).toBe(false);
  });

  test('stays known for a key in use, however many other keys are verified', () => {
    const throttle = open(0, 2);
    throttle.recordVerified(fingerprint(0), true);
    for (const index of [1, 2, 3]) {
      throttle.recordVerified(fingerprint(index), true);
      expect(throttle.isUseDue(fingerprint(0))).toBe(false);
    }
    expect([1, 2, 3].filter((index) => throttle.isUseDue(fingerprint(index)))).toEqual([1, 2]);
  });
});
