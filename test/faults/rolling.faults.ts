// Gateways are replaced one after the other under load without a failed request.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBalancer } from './balancer.ts';
import { report } from './figures.ts';
import { startRate, toTally } from './load.ts';
import { openStage, type Stage } from './stage.ts';

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({ numbers: [3] });
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

const perSecond = Number(process.env['RATE'] ?? 300);

test(`replacing three gateways at ${perSecond} requests a second fails none of them`, async () => {
  await using balancer = await openBalancer();
  const tenant = stage.tenants[0]!;
  const first = await Promise.all([1, 2, 3].map(() => stage.startGateway()));
  for (const gateway of first) balancer.targets.add(gateway);
  await delay(500);
  const paths = ['/v1/numbers', `/v1/numbers/${tenant.numbers[0]!.id}`];
  const startLoad = () =>
    startRate(perSecond, (index) => ({
      url: `${balancer.url}${paths[index % 2]}`,
      key: tenant.key,
    }));
  // Printed for comparison: what the machine does without a restart.
  const loadWithoutRestart = startLoad();
  await delay(5_000);
  const withoutRestart = await loadWithoutRestart.stop();
  const load = startLoad();
  await delay(1_000);
  const codes: (number | string)[] = [];
  for (const old of first) {
    // oxlint-disable no-await-in-loop -- one after the other
    const replacement = await stage.startGateway();
    balancer.targets.add(replacement);
    await delay(300);
    codes.push(await old.end('SIGTERM'));
    balancer.targets.delete(old);
    // oxlint-enable no-await-in-loop
  }
  await delay(500);
  const responses = await load.stop();
  const failed = responses.filter(({ status }) => status !== 200);
  expect(
    report(
      `rolling SIGTERM over three processes at ${perSecond} requests a second: 0 failures, exit code 0`,
      `${failed.length} failed of ${responses.length} (${toTally(responses)}), exit codes ${codes.join(', ')}; without a restart: ${toTally(withoutRestart)}`,
      failed.length === 0 && responses.length > perSecond * 3 && codes.every((code) => code === 0),
    ),
  ).toBe(true);
});
