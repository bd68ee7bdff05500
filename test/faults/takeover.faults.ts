// A refresh of a number that another process was reading when it was killed.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { report, toPercentile } from './figures.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const kills = Number(process.env['TAKEOVERS'] ?? 20);
const maxMs = 4_000;

let stage: Stage;
let survivor: StagedGateway;

beforeAll(async () => {
  stage = await openStage({ numbers: [1] });
  survivor = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

interface Refreshed {
  readonly data: {
    readonly number: {
      readonly health: { readonly freshness: { readonly source: string } };
    } | null;
  } | null;
}

/** Resolves to where the number's health came from. */
async function refresh({ url }: StagedGateway): Promise<string | undefined> {
  const { key, numbers } = stage.tenants[0]!;
  const query = `{ number(id: "${numbers[0]!.id}", refresh: true) { health { freshness { source } } } }`;
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  const { data } = (await response.json()) as Refreshed;
  return data?.number?.health.freshness.source;
}

test(`${kills} times kill -9 of the process that reads a number`, async () => {
  const { phoneNumberId } = stage.tenants[0]!.numbers[0]!;
  const sources: (string | undefined)[] = [];
  const durations: number[] = [];
  for (let round = 0; round < kills; round++) {
    // oxlint-disable no-await-in-loop -- one kill after the other
    const victim = await stage.startGateway();
    const { arrived, release } = stage.simulator.hold(phoneNumberId);
    const lost = refresh(victim).catch(() => undefined);
    await arrived;
    await victim.end('SIGKILL');
    release();
    await lost;
    const startedAt = performance.now();
    sources.push(await refresh(survivor));
    durations.push(performance.now() - startedAt);
    // oxlint-enable no-await-in-loop
  }
  const live = sources.filter((source) => source === 'LIVE').length;
  const longest = toPercentile(durations, 1);
  expect(
    report(
      `${kills} times kill -9 of the process that reads a number: a refresh in another process is LIVE within ${maxMs / 1_000} s`,
      `${live} LIVE, at most ${Math.round(longest)} ms, median ${Math.round(toPercentile(durations, 0.5))} ms`,
      live === kills && longest <= maxMs,
    ),
  ).toBe(true);
});
