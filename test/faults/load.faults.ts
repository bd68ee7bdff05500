// What a gateway does under more than it can take: clients that are slow on purpose, a tenant that asks too much, more
// requests than it can answer, and more connections than it can listen to at once.

import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { report, toPercentile } from './figures.ts';
import { flood, type FloodFigures, hasWrk } from './flood.ts';
import { type Answer, startCallers, startRate, toTally } from './load.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const measureMs = Number(process.env['MEASURE_SECONDS'] ?? 5) * 1_000;

let stage: Stage;
let gateway: StagedGateway;

beforeAll(async () => {
  stage = await openStage({ numbers: Array.from({ length: 20 }, () => 5) });
  gateway = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

const askOf = (tenant: number, { url } = gateway) => ({
  url: `${url}/v1/numbers`,
  key: stage.tenants[tenant]!.key,
});
const toGood = (answers: readonly Answer[]) => answers.filter(({ status }) => status === 200);

async function measure(callers: number, tenant = 0): Promise<readonly Answer[]> {
  const load = startCallers(callers, () => askOf(tenant));
  await delay(measureMs);
  return await load.stop();
}

/** Sockets that send a beginning and then a byte a second; answers for each how long it was let stay, and what it got. */
async function dawdle(
  count: number,
  beginning: string,
  byte: string,
): Promise<readonly { readonly ms: number; readonly answer: string }[]> {
  const { hostname, port } = new URL(gateway.url);
  const one = async () => {
    const openedAt = performance.now();
    const { promise, resolve } = Promise.withResolvers<{ ms: number; answer: string }>();
    const chunks: Buffer[] = [];
    const socket: Socket = connect(Number(port), hostname, () => socket.write(beginning));
    const drip = setInterval(() => socket.writable && socket.write(byte), 1_000);
    // Longer than any limit of the gateway: one that is still there was forgotten.
    const forgotten = setTimeout(() => socket.destroy(), 30_000);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      clearInterval(drip);
      clearTimeout(forgotten);
      resolve({ ms: performance.now() - openedAt, answer: Buffer.concat(chunks).toString() });
    });
    return await promise;
  };
  return await Promise.all(Array.from({ length: count }, one));
}

const key = () => stage.tenants[0]!.key;

test.each([
  [
    'headers',
    12_500,
    () => `GET /v1/numbers HTTP/1.1\r\nhost: gateway\r\nx-api-key: ${key()}\r\nx-slow: `,
    'a',
  ],
  [
    'bodies',
    17_500,
    () =>
      `POST /graphql HTTP/1.1\r\nhost: gateway\r\nx-api-key: ${key()}\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{`,
    ' ',
  ],
] as const)('three hundred slow %s', async (what, limitMs, beginning, byte) => {
  const slow = dawdle(300, beginning(), byte);
  const others = await measure(4, 1);
  const ended = await slow;
  const longest = ended.reduce((most, { ms }) => Math.max(most, ms), 0);
  const wrong = ended.filter(({ answer }) => answer !== '' && !/^HTTP\/1\.1 4\d\d /.test(answer));
  const failed = others.length - toGood(others).length;
  expect(
    report(
      `300 slow ${what}: all ended within ${limitMs} ms, with nothing or 4xx, and no other tenant fails`,
      `longest ${Math.round(longest)} ms, ${wrong.length} answered otherwise, ${failed} of ${others.length} others failed, alive: ${gateway.isAlive()}`,
      longest <= limitMs && wrong.length === 0 && failed === 0 && gateway.isAlive(),
    ),
  ).toBe(true);
});

test('a noisy tenant beside a quiet one', async () => {
  // With the limits that a tenant has by default.
  await using limited = await stage.startGateway({ RATE_LIMIT: '' });
  const quiet = () => startRate(10, () => askOf(1, limited));
  const alone = quiet();
  await delay(measureMs);
  const calm = toPercentile(
    (await alone.stop()).map(({ durationMs }) => durationMs),
    0.95,
  );
  const noise = startCallers(500, () => askOf(0, limited));
  const beside = quiet();
  await delay(measureMs);
  const answers = await beside.stop();
  const noisy = await noise.stop();
  const loud = toPercentile(
    answers.map(({ durationMs }) => durationMs),
    0.95,
  );
  const failed = answers.length - toGood(answers).length;
  const limits = noisy.filter(({ status }) => status === 429).length;
  expect(
    report(
      'a tenant with 500 callers beside one with 10 requests a second: the noisy one is told 429, the quiet one has 0 failures and p95 of at most 500 ms',
      `${failed} of ${answers.length} failed, p95 ${Math.round(calm)} ms alone, ${Math.round(loud)} ms beside; noisy: ${toTally(noisy)}`,
      failed === 0 && loud <= 500 && limits > 0,
    ),
  ).toBe(true);
});

const pour = (url: string, connections: number) =>
  flood({
    url: `${url}/v1/numbers`,
    keys: stage.tenants.map(({ key: ofTenant }) => ofTenant),
    connections,
    warmUpMs: 2_000,
    measureMs,
  });
const toGoodRate = ({ perSecond }: FloodFigures) => perSecond[200] ?? 0;
const toRates = ({ perSecond }: FloodFigures) =>
  Object.entries(perSecond)
    .map(([status, rate]) => `${status}: ${Math.round(rate)}`)
    .join(', ');

/** Connections that keep the gateway as busy as it can be. */
const enough = 64;

interface Overload {
  readonly what: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly connections: number;
  /** More ask than may be under way at once. */
  readonly isRefused: boolean;
}

const overloads: readonly Overload[] = [
  {
    what: 'answers from memory',
    environment: {},
    connections: 5 * enough,
    // None of them is under way for longer than a turn of the event loop.
    isRefused: false,
  },
  {
    what: 'answers that are read each time',
    environment: { ANSWER_CACHE_MB: '0' },
    connections: 3_000,
    isRefused: true,
  },
];

describe.skipIf(!hasWrk('five times the capacity'))('more than it can answer', () => {
  test.each(overloads)('$what', async ({ what, environment, connections, isRefused }) => {
    await using asked = await stage.startGateway(environment);
    // Before and after, so that a machine that is disturbed meanwhile is not taken for a gateway that breaks down.
    const before = toGoodRate(await pour(asked.url, enough));
    const figures = await pour(asked.url, connections);
    const after = toGoodRate(await pour(asked.url, enough));
    const capacity = (before + after) / 2;
    const part = toGoodRate(figures) / capacity;
    const others = Object.keys(figures.perSecond).filter(
      (status) => !['200', '429', '503'].includes(status),
    );
    const refused = figures.perSecond[503] ?? 0;
    expect(
      report(
        `${connections} connections, each asking again as soon as it is answered, where ${enough} use up the capacity of ${what}: they still get 80 % of it, and ${isRefused ? 'some are told 503' : 'whoever is refused is told 429 or 503'}`,
        `${Math.round(part * 100)} % of ${Math.round(capacity)} a second (${Math.round(before)} before, ${Math.round(after)} after); answered a second ${toRates(figures)}; ${figures.broken} broken, p95 ${figures.p95Ms} ms, alive: ${asked.isAlive()}`,
        part >= 0.8 &&
          others.length === 0 &&
          (refused > 0 || !isRefused) &&
          figures.broken === 0 &&
          asked.isAlive(),
      ),
    ).toBe(true);
  });

  // As many as may be heard at once are read again and again before anything else has its turn.
  test('more connections than the event loop hears of at once', async () => {
    await using asked = await stage.startGateway();
    const capacity = toGoodRate(await pour(asked.url, enough));
    const figures = await pour(asked.url, 3_000);
    expect(
      report(
        'three thousand connections, each asking again as soon as it is answered: all are answered from memory, with p95 of at most 500 ms',
        `a second ${toRates(figures)}, where ${enough} connections get ${Math.round(capacity)}; ${figures.broken} broken, p95 ${figures.p95Ms} ms, alive: ${asked.isAlive()}`,
        Object.keys(figures.perSecond).join() === '200' &&
          figures.broken === 0 &&
          figures.p95Ms <= 500 &&
          asked.isAlive(),
      ),
    ).toBe(true);
  });
});
