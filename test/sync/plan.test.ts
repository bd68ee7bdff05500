// The arithmetic of sync: when reads are due, and how many calls they take.

import { describe, expect, test } from 'vitest';
import type { SyncSettings } from '../../src/config.ts';
import { findAffordable, findNextDue, planAccount } from '../../src/sync/plan.ts';

const settings: SyncSettings = {
  isOn: true,
  seconds: { SWEEP: 300, HEALTH: 900, PROFILE: 86_400, ACCOUNT: 21_600, ENGINE: 60 },
  budgetShare: 0.5,
};
const account = { numbers: 100, pages: 1, quota: 5_000, readsHealth: true, isRisky: false };

describe('the plan of an account', () => {
  test('of 100 numbers takes at most 13 lists, 10 profiles and one read of the account in an hour', () => {
    const { callsPerHour, budget, seconds } = planAccount(settings, account);
    // The hour ends with the minute in which it began, so a thirteenth list may be part of it.
    expect(callsPerHour).toBe(13 + 10 + 1);
    // A share of 2,500, of which 5 % are kept for what cannot be planned.
    expect(budget).toBe(2_375);
    expect(seconds).toMatchObject({ SWEEP: 300, HEALTH: 900, ACCOUNT: 21_600 });
  });

  test('that is risky is read five times as often', () => {
    const { seconds } = planAccount(settings, { ...account, isRisky: true });
    expect(seconds).toMatchObject({ SWEEP: 60, HEALTH: 180, ACCOUNT: 21_600 });
  });

  test('whose health Meta gives for single numbers alone takes a call for each of them', () => {
    const { callsPerHour, mainKind } = planAccount(settings, { ...account, readsHealth: false });
    // Twenty at a time, every three minutes.
    expect(callsPerHour).toBe(13 + 20 * 21 + 10 + 1);
    expect(mainKind).toBe('HEALTH');
  });

  test('whose health Meta gives for single numbers reads parts of equal size, so that none is older than the cadence', () => {
    const plan = planAccount(settings, { ...account, numbers: 30, readsHealth: false });
    expect(plan.seconds.HEALTH).toBe(450);
    expect(plan.singleReads).toBe(15);
  });

  test('that takes more calls than there are becomes slower as a whole', () => {
    const size = { ...account, pages: 10, numbers: 1_000, quota: 200 };
    const { callsPerHour, budget, seconds, mainKind } = planAccount(settings, size);
    expect(budget).toBe(95);
    expect(callsPerHour).toBe(10 * 13 + 10 * 5 + 1);
    expect(mainKind).toBe('SWEEP');
    expect(seconds.SWEEP).toBeGreaterThan(600);
    expect(seconds.SWEEP).toBeLessThan(620);
    expect(seconds.PROFILE / 864).toBeCloseTo(seconds.SWEEP / 300, 5);
  });

  test.each([
    ['a cadence that is just attainable', { SWEEP: 45, HEALTH: 900 }, {}, true],
    ['a cadence that is just not attainable', { SWEEP: 43, HEALTH: 860 }, {}, false],
    ['a risky account', { SWEEP: 300, HEALTH: 900 }, { isRisky: true }, true],
    ['the health of single numbers', { SWEEP: 300, HEALTH: 900 }, { readsHealth: false }, false],
    ['1,000 numbers', { SWEEP: 300, HEALTH: 900 }, { numbers: 1_000, pages: 10 }, false],
    ['a list with the health each time', { SWEEP: 300, HEALTH: 50 }, {}, true],
    ['lists with and without the health', { SWEEP: 70, HEALTH: 125 }, {}, true],
  ] as const)('never takes more than runs may make: %s', (_, cadence, more, isAttainable) => {
    const size = { ...account, quota: 200, ...more };
    const changed = { ...settings, seconds: { ...settings.seconds, ...cadence } };
    const plan = planAccount(changed, size);
    expect(plan.callsPerHour <= 95).toBe(isAttainable);
    const counts = countMinutes(plan, size);
    const hours = counts
      .slice(61)
      .map((_count, minute) =>
        counts.slice(minute, minute + 61).reduce((total, count) => total + count),
      );
    expect(Math.max(...hours)).toBeLessThanOrEqual(95);
  });
});

/** The calls of each minute of two days. */
function countMinutes(
  { seconds, singleReads }: ReturnType<typeof planAccount>,
  size: Parameters<typeof planAccount>[1],
): readonly number[] {
  const start = new Date('2026-11-29T12:00:00Z');
  const minutes = Array<number>(2 * 24 * 60).fill(0);
  const timesOf = (kind: Parameters<typeof findNextDue>[2]) => {
    const times = new Set<number>();
    for (let at = findNextDue(start, 't 1', kind, seconds); ;) {
      const minute = Math.floor((at.getTime() - start.getTime()) / 60_000);
      if (minute >= minutes.length) return times;
      // Within a second they are due together.
      times.add(Math.round(at.getTime() / 1_000) * 1_000);
      at = findNextDue(at, 't 1', kind, seconds);
    }
  };
  const add = (times: Iterable<number>, calls: number) => {
    for (const time of times) minutes[Math.floor((time - start.getTime()) / 60_000)]! += calls;
  };
  if (size.readsHealth) {
    // One list is both.
    add(new Set([...timesOf('SWEEP'), ...timesOf('HEALTH')]), size.pages);
  } else {
    add(timesOf('SWEEP'), size.pages);
    add(timesOf('HEALTH'), singleReads);
  }
  add(timesOf('PROFILE'), 10);
  add(timesOf('ACCOUNT'), 1);
  return minutes;
}

describe('the next time', () => {
  const { seconds } = planAccount(settings, account);
  const at = new Date('2026-11-29T12:00:00Z');
  const list = (subject: string, kind: 'SWEEP' | 'HEALTH', count: number) => {
    const times: number[] = [];
    for (let time = at; times.length < count;) {
      time = findNextDue(time, subject, kind, seconds);
      times.push(time.getTime());
    }
    return times;
  };

  test('follows the last one by an interval, wherever one begins', () => {
    const times = list('t 1', 'SWEEP', 5);
    expect(times[0]! - at.getTime()).toBeLessThanOrEqual(300_000);
    expect(times.slice(1).map((time, index) => time - times[index]!)).toEqual(
      Array(4).fill(300_000),
    );
    const late = new Date(times[0]! + 123_456);
    expect(findNextDue(late, 't 1', 'SWEEP', seconds).getTime()).toBe(times[1]);
  });

  test('of the health is one of those of the lists', () => {
    expect(list('t 1', 'SWEEP', 12)).toEqual(expect.arrayContaining(list('t 1', 'HEALTH', 4)));
  });

  test('of many accounts is spread over the interval', () => {
    const minutes = Array.from({ length: 1_000 }, (_, index) =>
      Math.floor((list(`t ${index}`, 'SWEEP', 1)[0]! - at.getTime()) / 60_000),
    );
    const counts = [0, 1, 2, 3, 4].map((minute) => minutes.filter((it) => it === minute).length);
    for (const count of counts) expect(count).toBeGreaterThan(140);
  });
});

test('calls are affordable once those of an hour ago no longer count, with the minute that they were made in', () => {
  const at = new Date('2026-11-29T12:00:00Z');
  const made = [
    { minute: new Date('2026-11-29T11:10:00Z'), calls: 30 },
    { minute: new Date('2026-11-29T11:30:00Z'), calls: 60 },
  ];
  expect(findAffordable(at, made, 10, 100)).toEqual(at);
  expect(findAffordable(at, made, 11, 100)).toEqual(new Date('2026-11-29T12:11:00Z'));
  expect(findAffordable(at, made, 50, 100)).toEqual(new Date('2026-11-29T12:31:00Z'));
});
