// How late a change at Meta is at the subscriber when Meta announces it by webhook, one read included.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { flag, unflag } from '../../src/simulator/changes.ts';
import { createWebhookSender } from '../../src/simulator/webhooks.ts';
import { report, toMs, toPercentile } from './figures.ts';
import { openStage, type Stage, stagedAppSecret, type StagedTenant } from './stage.ts';
import { subscribeToQuality } from './quality-subscriber.ts';

const accounts = Number(process.env['ACCOUNTS'] ?? 20);
const numbersOfAccount = 50;
const rounds = Number(process.env['ROUNDS'] ?? 16);
/** What Meta takes to answer a read, as public reports have it. */
const readMs = 200;
/** Between two changes of an account: events of the same two seconds are read together. */
const pauseMs = 3_000;

let stage: Stage;
beforeAll(async () => {
  const numbers = Array.from({ length: accounts }, () => numbersOfAccount);
  stage = await openStage({ numbers });
}, 300_000);
afterAll(() => stage?.[Symbol.asyncDispose]());

/** What is read for the first time is not a change. */
async function readOnce(origin: string, { key, numbers }: StagedTenant): Promise<void> {
  for (const { id } of numbers.slice(0, Math.ceil(rounds / 2))) {
    const headers = { 'x-api-key': key };
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { status } = await fetch(`${origin}/v1/numbers/${id}?refresh=1`, { headers });
    expect(status).toBe(200);
  }
}

/** Flags a number of the account, or ends that, again and again. Resolves to the delays in milliseconds; Infinity for none. */
async function changeAgainAndAgain(origin: string, tenant: StagedTenant): Promise<number[]> {
  await using sender = createWebhookSender({
    url: `${origin}${tenant.webhookPath}`,
    appSecret: stagedAppSecret,
    fetch,
  });
  using subscriber = await subscribeToQuality(origin, tenant);
  const delays: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const { id, phoneNumberId } = tenant.numbers[Math.floor(round / 2) % numbersOfAccount]!;
    const isFlagged = round % 2 === 0;
    const arrived = subscriber.until(id, isFlagged ? 'RED' : 'GREEN');
    const changedAt = performance.now();
    const change = isFlagged ? flag(phoneNumberId) : unflag(phoneNumberId);
    // oxlint-disable no-await-in-loop -- one after the other
    await sender.send(stage.simulator.change(change));
    const at = await Promise.race([arrived, delay(10_000, Infinity)]);
    delays.push(at - changedAt);
    await delay(pauseMs);
    // oxlint-enable no-await-in-loop
  }
  return delays;
}

test(`a change that Meta announces, in ${accounts} accounts of ${numbersOfAccount} numbers`, async () => {
  const gateway = await stage.startGateway();
  await Promise.all(stage.tenants.map((tenant) => readOnce(gateway.url, tenant)));
  stage.simulator.setFault('*', { kind: 'latency', ms: readMs });
  const all = await Promise.all(
    stage.tenants.map(async (tenant, index) => {
      await delay((index * pauseMs) / accounts);
      return await changeAgainAndAgain(gateway.url, tenant);
    }),
  );
  const delays = all.flat();
  const lost = delays.filter((ms) => ms === Infinity).length;
  const [p50, p99, longest] = [0.5, 0.99, 1].map((share) => toPercentile(delays, share));
  expect(
    report(
      `a change at Meta to the subscriber, by webhook, one read of ${readMs} ms included: p99 at most 1 s`,
      `p50 ${toMs(p50)}, p99 ${toMs(p99)}, longest ${toMs(longest)}; ${delays.length - lost} of ${accounts * rounds} changes`,
      p99! <= 1_000 && lost === 0,
    ),
  ).toBe(true);
});
