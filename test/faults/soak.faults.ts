// Memory, sockets and timers of a gateway do not grow under load. SOAK_MINUTES is 10 by default.

import { readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report } from './figures.ts';
import { type LoadRequest, startRate, toTally } from './load.ts';
import { type Observed, openStage, type Stage, type StagedGateway } from './stage.ts';

const minutes = Number(process.env['SOAK_MINUTES'] ?? 10);

let stage: Stage;
let gateway: StagedGateway;

beforeAll(async () => {
  // Ten minutes of live reads would exceed the hourly limit of an account, and refusals of Meta would count as failures.
  stage = await openStage({ numbers: [20, 20], hourlyCalls: 1_000_000 });
  gateway = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

const megabyte = 1_048_576;

async function takeSample(
  observedGateway: StagedGateway,
): Promise<Observed & { readonly files: number }> {
  const observed = await observedGateway.observe();
  // Without /proc there are none; sockets are then only counted among the resources.
  const files = await readdir(`/proc/${observedGateway.process.pid}/fd`).catch(() => []);
  return { ...observed, files: files.length };
}

function next(index: number): LoadRequest {
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

test(
  `${minutes} minutes of reads and refreshes leak nothing`,
  { timeout: (minutes + 2) * 60_000 },
  async () => {
    const load = startRate(60, next, 200);
    const samples: Awaited<ReturnType<typeof takeSample>>[] = [];
    const count = 12;
    for (let sample = 0; sample < count; sample++) {
      // oxlint-disable no-await-in-loop -- one after the other
      await delay((minutes * 60_000) / count);
      samples.push(await takeSample(gateway));
      // oxlint-enable no-await-in-loop
    }
    const responses = await load.stop();
    const failed = responses.filter(({ status }) => status !== 200);
    // The first quarter is the warm-up.
    const settled = samples.slice(count / 4);
    const growth = (of: (sample: (typeof samples)[number]) => number) => {
      const half = settled.length / 2;
      const lowest = (part: typeof samples) => Math.min(...part.map(of));
      return lowest(settled.slice(Math.ceil(half))) - lowest(settled.slice(0, Math.floor(half)));
    };
    const heap = growth(({ heapUsed }) => heapUsed) / megabyte;
    const rss = growth((sample) => sample.rss) / megabyte;
    const files = growth((sample) => sample.files);
    const timers = growth(({ resources }) => resources['Timeout'] ?? 0);
    expect(
      report(
        `${minutes} min of soak: heap grows by at most 5 MB, resident memory by at most 10, sockets and timers by at most 5, 0 failures`,
        `heap ${heap.toFixed(1)} MB, rss ${rss.toFixed(1)} MB, sockets and files ${files}, timers ${timers}, ${failed.length} failed of ${responses.length} (${toTally(responses)})`,
        heap <= 5 && rss <= 10 && files <= 5 && timers <= 5 && failed.length === 0,
      ),
    ).toBe(true);
  },
);
