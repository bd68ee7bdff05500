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
  test('of 100 numbers takes 12 lists, a third of them with the health, and 4 other calls an hour', () => {
    const { callsPerHour, budget, seconds } = planAccount(settings, account);
    expect(callsPerHour).toBeCloseTo(12 + 100 / 24 + 1 / 6, 5);
    expect(budget).toBe(2_500);
    expect(seconds).toMatchObject({ SWEEP: 300, HEALTH: 900, ACCOUNT: 21_600 });
  });

  test('that is risky is read five times as often', () => {
    const { seconds } = planAccount(settings, { ...account, isRisky: true });
    expect(seconds).toMatchObject({ SWEEP: 60, HEALTH: 180, ACCOUNT: 21_600 });
  });

  test('whose health Meta gives for single numbers alone takes a call for each of them', () => {
    const { callsPerHour } = planAccount(settings, { ...account, readsHealth: false });
    expect(callsPerHour).toBeCloseTo(12 + 400 + 100 / 24 + 1 / 6, 5);
  });

  test('whose health Meta gives for single numbers reads parts of equal size, so that none is older than the cadence', () => {
    const plan = planAccount(settings, { ...account, numbers: 30, readsHealth: false });
    expect(plan.seconds.HEALTH).toBe(450);
    expect(plan.singleReads).toBe(15);
  });

  test('that takes more calls than there are becomes slower as a whole', () => {
    const size = { ...account, pages: 10, numbers: 1_000, quota: 200 };
    const { callsPerHour, budget, seconds } = planAccount(settings, size);
    expect(budget).toBe(100);
    expect(callsPerHour).toBeCloseTo(120 + 1_000 / 24 + 1 / 6, 5);
    const stretched =
      (10 * 3_600) / seconds.SWEEP + 36_000 / seconds.PROFILE + 3_600 / seconds.ACCOUNT;
    expect(stretched).toBeCloseTo(100, 5);
  });
});

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
