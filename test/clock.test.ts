// Simulated time: what the test clock promises to tests of jobs.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestClock, type TestClock } from './clock.ts';
import { openTestGateway } from './harness.ts';

const start = new Date('2026-11-29T12:00:00Z');
const minute = 60_000;

describe('simulated time', () => {
  let clock: TestClock;
  beforeEach(() => void (clock = createTestClock(start)));
  afterEach(() => clock[Symbol.dispose]());

  test('stands still until it is advanced, for Date too', async () => {
    expect([clock.now(), new Date(), Date.now()]).toEqual([start, start, start.getTime()]);
    await clock.advance(1_500);
    expect(clock.now()).toEqual(new Date('2026-11-29T12:00:01.500Z'));
    expect(new Date()).toEqual(clock.now());
  });

  test('calls timers at their times, in their order, and those that they start', async () => {
    const calls: string[] = [];
    const call = (name: string, more?: () => void) => async () => {
      calls.push(`${name} ${clock.now().toISOString().slice(14, 19)}`);
      more?.();
    };
    clock.startTimer(2_000, call('second'));
    clock.startTimer(
      1_000,
      call('first', () => clock.startTimer(0, call('at once'))),
    );
    clock.startTimer(2_000, call('third'));
    clock.startTimer(2_001, call('later'));
    await clock.advance(2_000);
    expect(calls).toEqual(['first 00:01', 'at once 00:01', 'second 00:02', 'third 00:02']);
  });

  test('stands still while a timer works, and waits for its end', async () => {
    const times: Date[] = [];
    clock.startTimer(1_000, async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      times.push(clock.now());
    });
    await clock.advance(minute);
    expect(times).toEqual([new Date('2026-11-29T12:00:01Z')]);
  });

  test('does not call a timer that is disposed of, nor any after its own end', async () => {
    const calls: string[] = [];
    const cancelled = clock.startTimer(1_000, async () => void calls.push('cancelled'));
    cancelled[Symbol.dispose]();
    await clock.advance(minute);
    clock.startTimer(1_000, async () => void calls.push('after the end'));
    clock[Symbol.dispose]();
    expect(Date.now()).not.toBe(start.getTime() + minute);
    await clock.advance(0);
    expect(calls).toEqual([]);
  });
});

test('the jobs of a gateway run in simulated time: a verdict ends when its evidence expires, and not before', async () => {
  using clock = createTestClock(start);
  await using gateway = await openTestGateway({ ...clock, database: 'PGlite' });
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  const { body: first } = await tenant.rest<{ cursor: string }>('/v1/changes');
  const listVerdicts = async () => {
    const { body } = await tenant.rest<{ changes: Record<string, unknown>[] }>(
      `/v1/changes?field=VERDICT&after=${first.cursor}`,
    );
    return body.changes.map((change) => [
      change['newValue'],
      change['source'],
      change['occurredAt'],
    ]);
  };
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  const read = ['YES', 'READ', '2026-11-29T12:00:00.000Z'];
  await clock.advance(58 * minute);
  gateway.gateway.startJobs();
  await clock.advance(2 * minute);
  expect(await listVerdicts()).toEqual([read]);
  await clock.advance(5_000);
  const expired = ['UNKNOWN', 'CLOCK', '2026-11-29T13:00:01.000Z'];
  expect(await listVerdicts()).toEqual([read, expired]);
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  const again = ['YES', 'READ', '2026-11-29T13:00:05.000Z'];
  expect(await listVerdicts()).toEqual([read, expired, again]);
});
