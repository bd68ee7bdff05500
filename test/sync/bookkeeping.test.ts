// What sync keeps of its subjects: the calls that count, the plans of new numbers, and failures of the session engine.

import { describe, expect, test } from 'vitest';
import { checkSync } from '../../src/admin/sync-checks.ts';
import { createTestClock } from '../clock.ts';
import { openTestGateway } from '../harness.ts';
import { createRunBudget } from '../../src/sync/run-budget.ts';
import { deleteSubject, endRun } from '../../src/sync/store.ts';

const minute = 60_000;

describe('in simulated time', () => {
  test('calls that were not made are taken from the minute in which they were counted', async () => {
    using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
    await using gateway = await openTestGateway({ ...clock, database: 'PGlite' });
    const { database } = gateway;
    const tenant = await gateway.addTenant();
    const { wabaId } = await tenant.addNumber();
    const subject = { tenantId: tenant.id, subjectId: wabaId };
    const budget = createRunBudget(database, subject, { at: clock.now(), calls: [], budget: 100 });
    expect(await budget.reserve(90)).toBe(true);
    await clock.advance(minute);
    await database.query(`update sync_subject set lease_holder = 'mine'`);
    await endRun(database, subject, 'mine', {
      state: { quota: 200, pages: 1, readsHealth: true, missing: {} },
      unknownNumbers: null,
      hasChanged: false,
      pause: null,
      calls: budget.uncounted,
      toResults: () => [],
    });
    expect(await database.query('select calls from sync_call')).toEqual([{ calls: 0 }]);
  });

  test('a session engine that fails is late, and its failure is said', async () => {
    using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
    await using gateway = await openTestGateway({
      ...clock,
      database: 'PGlite',
      environment: { SYNC: 'on' },
      syncPollMs: 30_000,
      simulator: { now: clock.now },
    });
    const tenant = await gateway.addTenant();
    await tenant.addNumber({ provider: 'PILOT_STATUS' });
    const { sync } = gateway.gateway;
    gateway.simulator.setFault('*', { kind: 'html', status: 503 });
    sync.start();
    await clock.advance(5 * minute);
    expect((await sync.report(tenant.id)).engine).toMatchObject({
      state: 'LATE',
      lastReadAt: null,
      lastError: 'UNAVAILABLE',
    });
    const [check] = await checkSync(gateway.gateway);
    expect(check).toMatchObject({
      name: `session engine of ${tenant.id}`,
      detail: expect.stringContaining('LATE, never read, last error UNAVAILABLE'),
    });
    gateway.simulator.setFault('*', null);
    await clock.advance(2 * minute);
    expect((await sync.report(tenant.id)).engine).toMatchObject({
      state: 'ON_TIME',
      lastError: null,
    });
  });
});

test('an account that is deleted while it is read has no further calls, and its run ends without a failure', async () => {
  await using gateway = await openTestGateway();
  const { database } = gateway;
  const tenant = await gateway.addTenant();
  const { wabaId, id } = await tenant.addNumber();
  const subject = { tenantId: tenant.id, subjectId: wabaId };
  const budget = createRunBudget(database, subject, { at: new Date(), calls: [], budget: 100 });
  expect(await budget.reserve(1)).toBe(true);
  await gateway.numbers.remove(id);
  // By another process, once the lease of this one has ended.
  await database.query(`update sync_subject set lease_holder = 'another'`);
  await deleteSubject(database, subject, 'another');
  expect(await budget.reserve(1)).toBe(false);
  budget.onCalls(3);
  await endRun(database, subject, 'mine', {
    state: { quota: 200, pages: 1, readsHealth: true, missing: {} },
    unknownNumbers: null,
    hasChanged: true,
    pause: null,
    calls: budget.uncounted,
    toResults: () => [],
  });
  expect(await database.query('select from sync_subject')).toEqual([]);
});

test('a number that is added while the plan of its account is being deleted has a plan', async () => {
  await using gateway = await openTestGateway();
  const { database } = gateway;
  const tenant = await gateway.addTenant();
  const { wabaId, id } = await tenant.addNumber();
  const subject = { tenantId: tenant.id, subjectId: wabaId };
  const countPlans = async () => {
    const [row] = await database.query<{ plans: number }>(
      `select count(*)::int as plans from sync_plan where tenant_id = '${tenant.id}' and subject_id = '${wabaId}'`,
    );
    return row?.plans;
  };
  const planned = await countPlans();
  await gateway.numbers.remove(id);
  await database.query(`update sync_subject set lease_holder = 'mine'`);
  // The lease is another process's.
  await deleteSubject(database, subject, 'another');
  expect(await countPlans()).toBe(planned);
  const added = await tenant.addNumber({ wabaId });
  await deleteSubject(database, subject, 'mine');
  expect(await countPlans()).toBe(planned);
  await gateway.numbers.remove(added.id);
  await database.query(`update sync_subject set lease_holder = 'mine'`);
  await deleteSubject(database, subject, 'mine');
  expect(await countPlans()).toBe(0);
});
