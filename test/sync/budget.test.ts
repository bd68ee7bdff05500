// The limits of reads in the background: calls an hour, Meta's usage header, other processes.

import { describe, expect, test, vi } from 'vitest';
import { createTestClock } from '../clock.ts';
import { openTestGateway } from '../harness.ts';

const minute = 60_000;

describe('in simulated time', () => {
  test('calls whose answers come too late stay counted, because Meta may count them', async () => {
    using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
    await using gateway = await openTestGateway({
      ...clock,
      database: 'PGlite',
      syncPollMs: 30_000,
      simulator: { now: clock.now },
      environment: { SYNC: 'on' },
      deadlineMs: 50,
    });
    const tenant = await gateway.addTenant();
    const { wabaId } = await tenant.addNumber();
    await Promise.all(Array.from({ length: 19 }, () => tenant.addNumber({ wabaId })));
    gateway.simulator.setFault(wabaId, { kind: 'unknown-field', field: 'health_status' });
    gateway.simulator.setFault('*', { kind: 'latency', ms: 500 });
    gateway.gateway.sync.start();
    await clock.advance(1_000);
    const [counted] = await gateway.database.query<{ calls: number }>(
      'select sum(calls)::integer as calls from sync_call',
    );
    // The numbers one by one, beside the lists.
    expect(counted!.calls).toBeGreaterThanOrEqual(20);
  });

  test('while Meta says that more than three quarters are used, one call in five minutes finds out whether that holds', async () => {
    using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
    await using gateway = await openTestGateway({
      ...clock,
      database: 'PGlite',
      syncPollMs: 60_000,
      simulator: { now: clock.now },
      environment: { SYNC: 'on', SYNC_SWEEP_SECONDS: '60', SYNC_HEALTH_SECONDS: '60' },
    });
    const tenant = await gateway.addTenant();
    const { id, wabaId } = await tenant.addNumber();
    const { simulator } = gateway;
    simulator.setWaba({ id: wabaId, fields: { name: 'Shop' }, hourlyCalls: 40 });
    // Callers use most of it: each of these reads is two calls of the limited kind.
    for (let count = 0; count < 16; count += 1) {
      // oxlint-disable no-await-in-loop -- one read after the other
      await tenant.rest(`/v1/numbers/${id}?refresh=1`);
      await clock.advance(1_000);
      // oxlint-enable no-await-in-loop
    }
    expect(simulator.calls).toHaveLength(48);
    simulator.clearCalls();
    gateway.gateway.sync.start();
    await clock.advance(10 * minute);
    expect(simulator.calls.length).toBeLessThanOrEqual(3);
  });
});

test('an account that a dead process was reading is read by another one within two seconds', async () => {
  await using gateway = await openTestGateway({ environment: { SYNC: 'on' } });
  const tenant = await gateway.addTenant();
  const { wabaId } = await tenant.addNumber();
  await gateway.database.query(
    `insert into lease_holder (holder, alive_until) values ('killed', now() + interval '1500 milliseconds')`,
  );
  await gateway.database.query(
    `update sync_subject set lease_holder = 'killed', lease_until = now() + interval '5 minutes'`,
  );
  const startedAt = performance.now();
  gateway.gateway.sync.start();
  await vi.waitFor(
    () =>
      expect(gateway.simulator.calls.map(({ operations }) => operations[0])).toContain(
        `phone_numbers ${wabaId}`,
      ),
    { timeout: 10_000 },
  );
  expect(performance.now() - startedAt).toBeGreaterThan(1_300);
  expect(performance.now() - startedAt).toBeLessThan(3_500);
});

test('two processes read each account once in an interval, and leave none out', async () => {
  const environment = { SYNC: 'on', SYNC_SWEEP_SECONDS: '2', SYNC_HEALTH_SECONDS: '1800' };
  await using first = await openTestGateway({ environment });
  await using second = await openTestGateway({
    database: first.database,
    fetch: first.simulator.fetch,
    environment: { ...environment, ENCRYPTION_KEYS: first.environment['ENCRYPTION_KEYS']! },
  });
  const tenant = await first.addTenant();
  const numbers = await Promise.all(Array.from({ length: 5 }, () => tenant.addNumber()));
  first.gateway.sync.start();
  second.gateway.sync.start();
  // After the first read of everything.
  await vi.waitFor(
    async () => {
      const [row] = await first.database.query<{ left: number }>(
        `select count(*)::int as left from sync_plan where last_ok_at is null and kind <> 'REQUEST'`,
      );
      expect(row?.left).toBe(0);
    },
    { timeout: 20_000 },
  );
  const count = (wabaId: string) =>
    first.simulator.calls.filter(({ operations }) => operations[0] === `phone_numbers ${wabaId}`)
      .length;
  const before = numbers.map(({ wabaId }) => count(wabaId));
  const startedAt = performance.now();
  await vi.waitFor(
    () =>
      expect(numbers.every(({ wabaId }, index) => count(wabaId) > before[index]! + 1)).toBe(true),
    { timeout: 30_000 },
  );
  const slots = Math.ceil((performance.now() - startedAt) / 2_000) + 1;
  for (const [index, { wabaId }] of numbers.entries()) {
    expect(count(wabaId) - before[index]!).toBeLessThanOrEqual(slots);
  }
});
