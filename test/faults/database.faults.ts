// What a gateway answers while its database restarts, is away, or loses connections.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report } from './figures.ts';
import { type Answer, startCallers, toTally } from './load.ts';
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

const isRight = ({ status, body }: Answer) =>
  status === 200 || (status === 503 && /"code":"UNAVAILABLE"/.test(body));

/** Load on reads and refreshes; `fault` answers when the database was back. */
async function runUnderLoad(bar: string, fault: () => Promise<number>): Promise<boolean> {
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
  const answers = await load.stop();
  const wrong = answers.filter((answer) => !isRight(answer));
  const firstGood = answers
    .filter(({ status, sentAt, durationMs }) => status === 200 && sentAt + durationMs > backAt)
    .map(({ sentAt, durationMs }) => sentAt + durationMs - backAt)
    .reduce((least, ms) => Math.min(least, ms), Infinity);
  const slowest = answers.reduce((most, { durationMs }) => Math.max(most, durationMs), 0);
  for (const { status, body, problem } of wrong.slice(0, 3)) {
    process.stdout.write(`       wrong: ${status} ${problem ?? body.slice(0, 200)}\n`);
  }
  expect(answers.length).toBeGreaterThan(100);
  return report(
    bar,
    `${wrong.length} wrong of ${answers.length} (${toTally(answers)}), first success after ${Math.round(firstGood)} ms, slowest ${Math.round(slowest)} ms, alive: ${gateway.isAlive()}`,
    wrong.length === 0 && firstGood <= 2_000 && gateway.isAlive(),
  );
}

const promised = 'only 200 or 503 UNAVAILABLE, first success within 2,000 ms, process alive';

test.each(['fast', 'immediate'] as const)('restarted %s', async (how) => {
  expect(
    await runUnderLoad(`PostgreSQL restarted ${how}: ${promised}`, async () => {
      await stage.postgres.stop(how);
      await stage.postgres.start();
      return performance.now();
    }),
  ).toBe(true);
});

test('stopped for five seconds', async () => {
  expect(
    await runUnderLoad(`PostgreSQL stopped for 5 s: ${promised}`, async () => {
      await stage.postgres.stop('fast');
      await delay(5_000);
      await stage.postgres.start();
      return performance.now();
    }),
  ).toBe(true);
});

test('connections killed every 200 ms', async () => {
  expect(
    await runUnderLoad(`connections killed every 200 ms for 5 s: ${promised}`, async () => {
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

test('nothing that was acknowledged is lost in an immediate restart', async () => {
  const [tenant] = stage.tenants;
  const [number] = tenant!.numbers;
  const url = `${gateway.url}/v1/numbers/${number!.id}?refresh=1`;
  const load = startCallers(1, () => ({ url, key: tenant!.key }));
  await delay(1_000);
  await stage.postgres.stop('immediate');
  const answers = await load.stop();
  await stage.postgres.start();
  const acknowledged = answers
    .filter(({ status }) => status === 200)
    .map(({ body }) =>
      Date.parse((JSON.parse(body) as { meta: { fetchedAt: string } }).meta.fetchedAt),
    )
    .reduce((latest, at) => Math.max(latest, at), 0);
  const rows = await stage.query<{ observed_at: Date }>(
    `select min(observed_at) as observed_at from number_snapshot where number_id = $1`,
    [number!.id],
  );
  const kept = rows[0]?.observed_at.getTime() ?? 0;
  expect(
    report(
      'immediate restart: the last acknowledged reading is still there',
      `${kept >= acknowledged ? 0 : 1} lost of ${answers.length}`,
      acknowledged > 0 && kept >= acknowledged,
    ),
  ).toBe(true);
});
