// The command `sync plan`: what it says of the accounts of a tenant.

import { expect, test } from 'vitest';
import { openTestGateway } from '../harness.ts';

test('the plan of an account is known before anything is read, and says what is new there and when it is late', async () => {
  await using gateway = await openTestGateway({ database: 'PGlite', environment: { SYNC: 'on' } });
  const tenant = await gateway.addTenant();
  const { wabaId, id } = await tenant.addNumber();
  await tenant.addNumber({ wabaId });
  const { sync } = gateway.gateway;
  const [before] = (await sync.report(tenant.id)).accounts;
  expect(before).toMatchObject({
    wabaId,
    numbers: 2,
    cadenceSeconds: 300,
    plannedCallsPerHour: 13,
    budgetCallsPerHour: 100,
    attainable: true,
    lastSweepAt: null,
    state: 'ON_TIME',
  });
  await gateway.numbers.remove(id);
  await gateway.database.query(
    `update sync_plan set due_at = 'infinity' where kind in ('PROFILE', 'ACCOUNT')`,
  );
  sync.start();
  await expect
    .poll(async () => (await sync.report(tenant.id)).accounts[0], { timeout: 10_000 })
    .toMatchObject({
      numbers: 1,
      unknownNumbers: 1,
      budgetCallsPerHour: 2_500,
      state: 'ON_TIME',
      lastSweepAt: expect.any(Date),
      nextSweepAt: expect.any(Date),
    });
});
