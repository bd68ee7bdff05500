// The limits of reads in the background over simulated hours.

import { expect, test } from 'vitest';
import { createTestClock } from '../clock.ts';
import { openTestGateway } from '../harness.ts';

const minute = 60_000;

test('the background makes at most half of the calls of a rolling hour, however fast it is to read', async () => {
  using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
  await using gateway = await openTestGateway({
    ...clock,
    database: 'PGlite',
    syncPollMs: 45_000,
    simulator: { now: clock.now },
    environment: { SYNC: 'on', SYNC_SWEEP_SECONDS: '20', SYNC_HEALTH_SECONDS: '20' },
  });
  const tenant = await gateway.addTenant();
  // Meta allows 200 calls an hour for an account without a registered number.
  const phone = { platform_type: 'NOT_APPLICABLE', status: 'PENDING' };
  const { wabaId } = await tenant.addNumber({ phone });
  await tenant.addNumber({ phone, wabaId, waba: { id: wabaId } });
  const times: number[] = [];
  const calls = gateway.simulator.calls;
  gateway.gateway.sync.start();
  for (let seen = 0, steps = 0; steps < 240; steps += 1) {
    // oxlint-disable-next-line no-await-in-loop -- step by step
    await clock.advance(45_000);
    for (; seen < calls.length; seen += 1) times.push(clock.now().getTime());
  }
  const inHourBefore = times.map(
    (time) => times.filter((other) => other <= time && other > time - 60 * minute).length,
  );
  expect(Math.max(...inHourBefore)).toBeLessThanOrEqual(100);
  expect(Math.max(...inHourBefore)).toBeGreaterThan(70);
});
