// A gateway under load while its database restarts, is down, or loses connections.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report } from './figures.ts';
import { type LoadResponse, startCallers, toTally } from './load.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

let stage: Stage;
let gateway: StagedGateway;

beforeAll(async () => {
  stage = await openStage({ numbers: [5] });
  gateway = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

const isAllowed = ({ status, body }: LoadResponse) =>
  status === 200 || (status === 503 && /"code":"UNAVAILABLE"/.test(body));

/** Puts reads and refreshes under load. `fault` resolves to the time at which the database was back. */
async function meetsBarDuring(bar: string, fault: () => Promise<number>): Promise<boolean> {
  const [tenant] = stage.tenants;
  const [number] = tenant!.numbers;
  const paths = ['/v1/numbers', `/v1/numbers/${number!.id}`, `/v1/numbers/${number!.id}?refresh=1`];
  const next = (index: number) => ({
    url: `${gateway.url}${paths[index % paths.length]}`,
    key: tenant!.key,
  });
  const load = startCallers(20, next);
  await delay(1_000);
  const backAt = await fault();
  await delay(2_500);
  const responses = await load.stop();
  const wrong = responses.filter((response) => !isAllowed(response));
  const firstSuccess = responses
    .filter(({ status, sentAt, durationMs }) => status === 200 && sentAt + durationMs > backAt)
    .map(({ sentAt, durationMs }) => sentAt + durationMs - backAt)
    .reduce((min, ms) => Math.min(min, ms), Infinity);
  const slowest = responses.reduce((max, { durationMs }) => Math.max(max, durationMs), 0);
  for (const { status, body, problem } of wrong.slice(0, 3)) {
    process.stdout.write(`       other response: ${status} ${problem ?? body.slice(0, 200)}\n`);
  }
  expect(responses.length).toBeGreaterThan(100);
  return report(
    bar,
    `${wrong.length} other responses of ${responses.length} (${toTally(responses)}), first success after ${Math.round(firstSuccess)} ms, slowest ${Math.round(slowest)} ms, alive: ${gateway.isAlive()}`,
    wrong.length === 0 && firstSuccess <= 2_000 && gateway.isAlive(),
  );
}

const condition = 'only 200 or 503 UNAVAILABLE, first success within 2,000 ms, process alive';

test.each(['fast', 'immediate'] as const)('survives a %s restart of PostgreSQL', async (how) => {
  expect(
    await meetsBarDuring(`PostgreSQL restarted ${how}: ${condition}`, async () => {
      await stage.postgres.stop(how);
      await stage.postgres.start();
      return performance.now();
    }),
  ).toBe(true);
});

test('survives PostgreSQL being down for five seconds', async () => {
  expect(
    await meetsBarDuring(`PostgreSQL stopped for 5 s: ${condition}`, async () => {
      await stage.postgres.stop('fast');
      await delay(5_000);
      await stage.postgres.start();
      return performance.now();
    }),
  ).toBe(true);
});

test('survives its connections being terminated every 200 ms', async () => {
  expect(
    await meetsBarDuring(`connections terminated every 200 ms for 5 s: ${condition}`, async () => {
      for (let round = 0; round < 25; round++) {
        // oxlint-disable no-await-in-loop -- one round after the other
        await stage.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'gateway'`,
        );
        await delay(200);
        // oxlint-enable no-await-in-loop
      }
      return performance.now();
    }),
  ).toBe(true);
});

test('an immediate restart loses no acknowledged read', async () => {
  const [tenant] = stage.tenants;
  const [number] = tenant!.numbers;
  const url = `${gateway.url}/v1/numbers/${number!.id}?refresh=1`;
  const load = startCallers(1, () => ({ url, key: tenant!.key }));
  await delay(1_000);
  await stage.postgres.stop('immediate');
  const responses = await load.stop();
  await stage.postgres.start();
  const acknowledged = responses
    .filter(({ status }) => status === 200)
    .map(({ body }) =>
      Date.parse((JSON.parse(body) as { meta: { fetchedAt: string } }).meta.fetchedAt),
    )
    .reduce((latest, at) => Math.max(latest, at), 0);
  const rows = await stage.query<{ observed_at: Date }>(
    `select min(observed_at) as observed_at from number_snapshot where number_id = $1`,
    [number!.id],
  );
  const stored = rows[0]?.observed_at.getTime() ?? 0;
  expect(
    report(
      'immediate restart: the last acknowledged live read is still stored',
      `${stored >= acknowledged ? 0 : 1} lost of ${responses.length}`,
      acknowledged > 0 && stored >= acknowledged,
    ),
  ).toBe(true);
});
