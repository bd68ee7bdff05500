// That nothing grows: memory, sockets and timers of a gateway that works for minutes. SOAK_MINUTES is 10 unless told.

import { readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report } from './figures.ts';
import { type Ask, startRate, toTally } from './load.ts';
import { type Observed, openStage, type Stage, type StagedGateway } from './stage.ts';

const minutes = Number(process.env['SOAK_MINUTES'] ?? 10);

let stage: Stage;
let gateway: StagedGateway;

beforeAll(async () => {
  // In ten minutes the readings would use up what an account may ask in an hour, and Meta's refusals would be failures.
  stage = await openStage({ numbers: [20, 20], hourlyCalls: 1_000_000 });
  gateway = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

const megabyte = 1_048_576;

async function lookAt(it: StagedGateway): Promise<Observed & { readonly files: number }> {
  const observed = await it.observe();
  // Where the system does not tell them, they are counted among the resources.
  const files = await readdir(`/proc/${it.process.pid}/fd`).catch(() => []);
  return { ...observed, files: files.length };
}

function next(index: number): Ask {
  const tenant = stage.tenants[index % 2]!;
  const { id } = tenant.numbers[index % tenant.numbers.length]!;
  const paths = [
    '/v1/numbers',
    `/v1/numbers/${id}`,
    `/v1/numbers/${id}?refresh=1`,
    `/v1/numbers/${id}/status`,
  ];
  return { url: `${gateway.url}${paths[index % paths.length]}`, key: tenant.key };
}

test(`${minutes} minutes of reads and refreshes`, { timeout: (minutes + 2) * 60_000 }, async () => {
  const load = startRate(60, next, 200);
  const looks: Awaited<ReturnType<typeof lookAt>>[] = [];
  const count = 12;
  for (let look = 0; look < count; look++) {
    // oxlint-disable no-await-in-loop -- one after the other
    await delay((minutes * 60_000) / count);
    looks.push(await lookAt(gateway));
    // oxlint-enable no-await-in-loop
  }
  const answers = await load.stop();
  const failed = answers.filter(({ status }) => status !== 200);
  // The first quarter warms up.
  const settled = looks.slice(count / 4);
  const growth = (of: (look: (typeof looks)[number]) => number) => {
    const half = settled.length / 2;
    const least = (part: typeof looks) => Math.min(...part.map(of));
    return least(settled.slice(Math.ceil(half))) - least(settled.slice(0, Math.floor(half)));
  };
  const heap = growth(({ heapUsed }) => heapUsed) / megabyte;
  const rss = growth((look) => look.rss) / megabyte;
  const files = growth((look) => look.files);
  const timers = growth(({ resources }) => resources['Timeout'] ?? 0);
  expect(
    report(
      `${minutes} min of soak: heap grows by at most 5 MB, resident memory by at most 10, sockets and timers by at most 5, 0 failures`,
      `heap ${heap.toFixed(1)} MB, rss ${rss.toFixed(1)} MB, sockets and files ${files}, timers ${timers}, ${failed.length} failed of ${answers.length} (${toTally(answers)})`,
      heap <= 5 && rss <= 10 && files <= 5 && timers <= 5 && failed.length === 0,
    ),
  ).toBe(true);
});
