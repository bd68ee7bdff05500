// What a process remembers of those who try keys, and that it is not more than it has room for.

import { describe, expect, test } from 'vitest';
import { createAttempts } from '../src/access/attempts.ts';
import type { Counters } from '../src/access/counters.ts';

const fingerprintOf = (index: number) => `fingerprint ${index}`;
const toSource = (index: number) => `10.0.${index >> 8}.${index & 255}`;

/** Each time is the first one. */
const add = async () => ({ total: 1, endsAt: Date.now() + 60_000 });
const counters: Counters = () => ({ add, addHere: add });

const open = (failuresPerMinute: number) =>
  createAttempts({ failuresPerMinute, counters, clock: () => 0 });

describe('what a process remembers', () => {
  test('are the 10,000 keys that were used last', () => {
    const attempts = open(0);
    for (let index = 0; index < 10_000; index += 1)
      attempts.recordVerified(fingerprintOf(index), true);
    attempts.recordVerified(fingerprintOf(0), false);
    expect(attempts.isUseDue(fingerprintOf(1))).toBe(false);
    attempts.recordVerified(fingerprintOf(10_000), true);
    const due = [0, 1, 2, 10_000].filter((index) => attempts.isUseDue(fingerprintOf(index)));
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
