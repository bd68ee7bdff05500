// How late a change at Meta is at the subscriber when Meta announces nothing and a sweep finds it.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { changePhone } from '../../src/simulator/changes.ts';
import { report, toMs, toPercentile } from './figures.ts';
import { subscribeToQuality } from './quality-subscriber.ts';
import { openStage, type Stage, type StagedTenant } from './stage.ts';

const accounts = Number(process.env['ACCOUNTS'] ?? 60);
const numbersOfAccount = 20;
const sweepSeconds = 10;
/** A risky account is read five times as often. */
const riskySweepSeconds = sweepSeconds / 5;
/** What Meta takes to answer a read, as public reports have it. */
const readMs = 200;
/** From the time at which a read is due to the subscriber: as much as by webhook. */
const maxLateMs = 1_000;

let stage: Stage;
beforeAll(async () => {
  const numbers = Array.from({ length: accounts }, () => numbersOfAccount);
  stage = await openStage({ numbers });
}, 300_000);
afterAll(() => stage?.[Symbol.asyncDispose]());

/** Resolves to the delays of a first change, and of one while the account is risky. Infinity for one that did not arrive. */
async function changeTwice(origin: string, tenant: StagedTenant): Promise<readonly number[]> {
  using subscriber = await subscribeToQuality(origin, tenant);
  const [first, second] = tenant.numbers;
  const delays: number[] = [];
  for (const { id, phoneNumberId } of [first!, second!]) {
    const arrived = subscriber.until(id, 'YELLOW');
    const changedAt = performance.now();
    stage.simulator.change(changePhone(phoneNumberId, { quality_rating: 'YELLOW' }));
    // oxlint-disable no-await-in-loop -- one after the other
    const at = await Promise.race([arrived, delay(3_000 * sweepSeconds, Infinity)]);
    delays.push(at - changedAt);
    // At another place of the interval each time.
    await delay(1_000 + Math.random() * 1_000 * riskySweepSeconds);
    // oxlint-enable no-await-in-loop
  }
  return delays;
}

test(`a change that Meta does not announce, in ${accounts} accounts of ${numbersOfAccount} numbers`, async () => {
  const gateway = await stage.startGateway({
    SYNC: 'on',
    SYNC_SWEEP_SECONDS: String(sweepSeconds),
    SYNC_HEALTH_SECONDS: '60',
  });
  stage.simulator.setFault('*', { kind: 'latency', ms: readMs });
  const isNeverRead = `kind = 'SWEEP' and last_ok_at is null`;
  // oxlint-disable no-await-in-loop -- again and again
  while ((await stage.query(`select from sync_plan where ${isNeverRead}`)).length > 0)
    await delay(200);
  // oxlint-enable no-await-in-loop
  await delay(1_000 * sweepSeconds);
  const delays = await Promise.all(
    stage.tenants.map(async (tenant, index) => {
      await delay((index / accounts) * 2_000 * sweepSeconds);
      return await changeTwice(gateway.url, tenant);
    }),
  );
  const results = [sweepSeconds, riskySweepSeconds].map((seconds, place) => {
    const ofPlace = delays.map((pair) => pair[place]!);
    const [p50, p99, longest] = [0.5, 0.99, 1].map((share) => toPercentile(ofPlace, share));
    const arrived = ofPlace.filter((ms) => ms !== Infinity).length;
    return report(
      `a change at Meta to the subscriber, by a sweep every ${seconds} s: one interval, and ${maxLateMs} ms with reads of ${readMs} ms`,
      `p50 ${toMs(p50)}, p99 ${toMs(p99)}, longest ${toMs(longest)}; ${arrived} of ${accounts} changes`,
      longest! <= 1_000 * seconds + maxLateMs,
    );
  });
  expect(results).not.toContain(false);
});
