// A gateway under overload: clients that are slow on purpose, a tenant that exceeds its limits, more requests than it can
// answer, and more connections than one turn of the event loop serves.

import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { report, toPercentile } from './figures.ts';
import { flood, type FloodFigures, hasWrk } from './flood.ts';
import { type LoadResponse, startCallers, startRate, toTally } from './load.ts';
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

const listOf = (tenant: number, { url } = gateway) => ({
  url: `${url}/v1/numbers`,
  key: stage.tenants[tenant]!.key,
});
const toSuccesses = (responses: readonly LoadResponse[]) =>
  responses.filter(({ status }) => status === 200);

async function measure(callers: number, tenant = 0): Promise<readonly LoadResponse[]> {
  const load = startCallers(callers, () => listOf(tenant));
  await delay(measureMs);
  return await load.stop();
}

/** Opens sockets that send `beginning` and then a byte per second. Resolves to how long each stayed open, and its response. */
async function sendSlowly(
  count: number,
  beginning: string,
  byte: string,
): Promise<readonly { readonly ms: number; readonly response: string }[]> {
  const { hostname, port } = new URL(gateway.url);
  const one = async () => {
    const openedAt = performance.now();
    const { promise, resolve } = Promise.withResolvers<{ ms: number; response: string }>();
    const chunks: Buffer[] = [];
    const socket: Socket = connect(Number(port), hostname, () => socket.write(beginning));
    const drip = setInterval(() => socket.writable && socket.write(byte), 1_000);
    // Longer than any timeout of the gateway.
    const forgotten = setTimeout(() => socket.destroy(), 30_000);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      clearInterval(drip);
      clearTimeout(forgotten);
      resolve({ ms: performance.now() - openedAt, response: Buffer.concat(chunks).toString() });
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
] as const)(
  'closes three hundred connections with slow %s, and other tenants notice nothing',
  async (what, limitMs, beginning, byte) => {
    const slow = sendSlowly(300, beginning(), byte);
    const others = await measure(4, 1);
    const ended = await slow;
    const longest = ended.reduce((max, { ms }) => Math.max(max, ms), 0);
    const unexpected = ended.filter(
      ({ response }) => response !== '' && !/^HTTP\/1\.1 4\d\d /.test(response),
    );
    const failed = others.length - toSuccesses(others).length;
    expect(
      report(
        `300 slow ${what}: all closed within ${limitMs} ms, with 4xx or no response, and no request of other tenants fails`,
        `longest ${Math.round(longest)} ms, ${unexpected.length} other responses, ${failed} of ${others.length} requests of other tenants failed, alive: ${gateway.isAlive()}`,
        longest <= limitMs && unexpected.length === 0 && failed === 0 && gateway.isAlive(),
      ),
    ).toBe(true);
  },
);

test('limits a noisy tenant without slowing down a quiet one', async () => {
  // With the default rate limit.
  await using limited = await stage.startGateway({ RATE_LIMIT: '' });
  const quiet = () => startRate(10, () => listOf(1, limited));
  const alone = quiet();
  await delay(measureMs);
  const p95Alone = toPercentile(
    (await alone.stop()).map(({ durationMs }) => durationMs),
    0.95,
  );
  const noise = startCallers(500, () => listOf(0, limited));
  const beside = quiet();
  await delay(measureMs);
  const responses = await beside.stop();
  const noisy = await noise.stop();
  const p95Beside = toPercentile(
    responses.map(({ durationMs }) => durationMs),
    0.95,
  );
  const failed = responses.length - toSuccesses(responses).length;
  const refusals = noisy.filter(({ status }) => status === 429).length;
  expect(
    report(
      'a tenant with 500 callers beside one with 10 requests a second: the noisy one gets 429, the quiet one has 0 failures and p95 of at most 500 ms',
      `${failed} of ${responses.length} failed, p95 ${Math.round(p95Alone)} ms alone, ${Math.round(p95Beside)} ms beside the noisy one; noisy: ${toTally(noisy)}`,
      failed === 0 && p95Beside <= 500 && refusals > 0,
    ),
  ).toBe(true);
});

const floodLists = (url: string, connections: number) =>
  flood({
    url: `${url}/v1/numbers`,
    keys: stage.tenants.map(({ key: ofTenant }) => ofTenant),
    connections,
    warmUpMs: 2_000,
    measureMs,
  });
const toSuccessRate = ({ perSecond }: FloodFigures) => perSecond[200] ?? 0;
const toRates = ({ perSecond }: FloodFigures) =>
  Object.entries(perSecond)
    .map(([status, rate]) => `${status}: ${Math.round(rate)}`)
    .join(', ');

/** Connections that use the gateway's whole capacity. */
const saturatingConnections = 64;

interface Overload {
  readonly what: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly connections: number;
  /** There are more connections than requests that may be open at once. */
  readonly isRefused: boolean;
}

const overloads: readonly Overload[] = [
  {
    what: 'cached responses',
    environment: {},
    connections: 5 * saturatingConnections,
    // A cached response does not outlast a turn of the event loop.
    isRefused: false,
  },
  {
    what: 'responses from PostgreSQL',
    environment: { ANSWER_CACHE_MB: '0' },
    connections: 3_000,
    isRefused: true,
  },
];

describe.skipIf(!hasWrk('overload'))('under more requests than it can answer', () => {
  test.each(overloads)(
    'still delivers 80 % of its capacity of $what',
    async ({ what, environment, connections, isRefused }) => {
      await using loaded = await stage.startGateway(environment);
      // Measured before and after, so that other load on the machine is not mistaken for a collapse.
      const before = toSuccessRate(await floodLists(loaded.url, saturatingConnections));
      const figures = await floodLists(loaded.url, connections);
      const after = toSuccessRate(await floodLists(loaded.url, saturatingConnections));
      const capacity = (before + after) / 2;
      const share = toSuccessRate(figures) / capacity;
      const others = Object.keys(figures.perSecond).filter(
        (status) => !['200', '429', '503'].includes(status),
      );
      const refused = figures.perSecond[503] ?? 0;
      expect(
        report(
          `${connections} connections without a pause, where ${saturatingConnections} use the whole capacity of ${what}: throughput stays at 80 % of it, ${isRefused ? 'and some requests get 503' : 'and refusals are 429 or 503'}`,
          `${Math.round(share * 100)} % of ${Math.round(capacity)} a second (${Math.round(before)} before, ${Math.round(after)} after); responses a second ${toRates(figures)}; ${figures.broken} broken, p95 ${figures.p95Ms} ms, alive: ${loaded.isAlive()}`,
          share >= 0.8 &&
            others.length === 0 &&
            (refused > 0 || !isRefused) &&
            figures.broken === 0 &&
            loaded.isAlive(),
        ),
      ).toBe(true);
    },
  );

  // libuv would read busy sockets again and again before timers and other sockets have their turn.
  test('answers three thousand busy connections from the cache', async () => {
    await using loaded = await stage.startGateway();
    const capacity = toSuccessRate(await floodLists(loaded.url, saturatingConnections));
    const figures = await floodLists(loaded.url, 3_000);
    expect(
      report(
        '3,000 connections without a pause: all are answered from the cache, with p95 of at most 500 ms',
        `responses a second ${toRates(figures)}, where ${saturatingConnections} connections get ${Math.round(capacity)}; ${figures.broken} broken, p95 ${figures.p95Ms} ms, alive: ${loaded.isAlive()}`,
        Object.keys(figures.perSecond).join() === '200' &&
          figures.broken === 0 &&
          figures.p95Ms <= 500 &&
          loaded.isAlive(),
      ),
    ).toBe(true);
  });
});
