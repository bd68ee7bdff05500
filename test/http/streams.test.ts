// The streams of a process: how many there may be, what they count as, and when they end.

import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { text as readText } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createChangeFeed } from '../../src/database/change-feed.ts';
import { listen } from '../../src/http/server.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  type TestDatabase,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';
import { openTicksGateway, type TicksGateway, type TicksOptions } from './ticks.ts';

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

function openStage(options: TicksOptions = {}, of: TestGateway = gateway): TicksGateway {
  const ticks = openTicksGateway(of, options);
  onTestFinished(() => ticks[Symbol.asyncDispose]());
  return ticks;
}

/** Why the streams ended that are in the log, in the order of their ends. */
function listEnds({ logLines }: TestGateway = gateway): readonly unknown[] {
  const lines = logLines.map((line) => JSON.parse(line) as { readonly streamEnd?: string });
  return lines.flatMap(({ streamEnd }) => streamEnd ?? []);
}

describe('the number of open streams', () => {
  test.each([
    ['key', { key: 2 }, '2 streams of this API key are open'],
    ['tenant', { tenant: 2 }, '2 streams of this tenant are open'],
    ['process', { process: 2 }, '2 streams of the process are open'],
  ] as const)('is limited by %s, and an end makes room', async (of, limits, message) => {
    const ticks = openStage({ limits });
    const { key: otherKey } = await tenant.addKey();
    const stranger = await gateway.addTenant();
    const first = await ticks.fetch('/ticks', tenant.key);
    const secondKey = of === 'key' ? tenant.key : otherKey;
    expect((await ticks.fetch('/ticks', secondKey)).status).toBe(200);
    const refused = await ticks.fetch('/ticks', tenant.key);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
    expect(await refused.json()).toMatchObject({
      code: 'TOO_MANY_STREAMS',
      message: expect.stringContaining(message),
    });
    expect(ticks.streams.count).toBe(2);
    // Others are not affected by the limit of one.
    expect((await ticks.fetch('/poll?now', stranger.key)).status).toBe(
      of === 'process' ? 429 : 200,
    );
    await first.body!.cancel();
    expect((await ticks.fetch('/ticks', tenant.key)).status).toBe(200);
  });

  test('is in the metrics, as are the refusals', async () => {
    const ticks = openStage({ limits: { key: 2 } });
    for (let count = 0; count < 3; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await ticks.fetch('/ticks', tenant.key);
    }
    const { text } = await gateway.gateway.metrics!.render();
    expect(text).toContain('gateway_streams_open 2');
    expect(text).toMatch(/gateway_requests_limited_total\{reason="streams"\} [1-9]/);
  });

  test('does not count a stream that was refused before it began', async () => {
    const ticks = openStage({ limits: { key: 1 } });
    for (let count = 0; count < 3; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await ticks.fetch('/ticks?refused', tenant.key)).status).toBe(410);
    }
    expect([ticks.streams.count, ticks.load.inFlight]).toEqual([0, 0]);
  });
});

test('streams and long polls take neither a slot nor a place among the requests of the tenant', async () => {
  // One request in flight, of the process and of the tenant.
  const ticks = openStage({ maxRequests: 1 });
  await ticks.fetch('/ticks', tenant.key);
  await ticks.fetch('/ticks', tenant.key);
  const polling = ticks.fetch('/poll', tenant.key);
  await vi.waitUntil(() => ticks.sources.length === 3);
  expect([ticks.streams.count, ticks.load.inFlight]).toEqual([3, 0]);
  for (let count = 0; count < 3; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect((await ticks.fetch('/now', tenant.key)).status).toBe(200);
  }
  ticks.sources[2]!.send('something');
  expect(await (await polling).text()).toBe('something');
  expect([ticks.streams.count, ticks.load.inFlight]).toEqual([2, 0]);
});

test('a long poll is logged once, with why it ended, and not among the durations of requests', async () => {
  const ticks = openStage();
  gateway.clearLogLines();
  const before = await readRequestCount();
  const polling = ticks.fetch('/poll', tenant.key);
  await vi.waitUntil(() => ticks.sources[0]);
  expect(gateway.logLines).toEqual([]);
  ticks.sources[0]!.send('something');
  await polling;
  await vi.waitUntil(() => listEnds().length > 0);
  expect(listEnds()).toEqual(['completed']);
  expect(await readRequestCount()).toBe(before);
  const caller = new AbortController();
  const abandoned = ticks.fetch('/poll', tenant.key, { signal: caller.signal });
  await vi.waitUntil(() => ticks.sources[1]);
  caller.abort();
  await abandoned.catch(() => undefined);
  expect([ticks.streams.count, listEnds()]).toEqual([0, ['completed', 'client disconnected']]);
});

async function readRequestCount(): Promise<number> {
  const { text } = await gateway.gateway.metrics!.render();
  const counts = text.match(/(?<=gateway_request_duration_seconds_count\{.*\} )\d+/g) ?? [];
  return counts.reduce((sum, count) => sum + Number(count), 0);
}

/** Opens a stream, and resolves to a function that waits for its end and returns how long it took. */
async function openStream(ticks: TicksGateway, key: string) {
  const response = await ticks.fetch('/ticks', key);
  expect(response.status).toBe(200);
  return async () => {
    const startedAt = performance.now();
    expect(await response.text()).toBe('');
    return performance.now() - startedAt;
  };
}

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;
  let own: TestGateway;
  let owner: TestTenant;
  beforeAll(async () => {
    database = await openTestDatabase(kind);
    own = await openTestGateway({ database });
    owner = await own.addTenant();
  });
  afterAll(async () => {
    await own[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  test('a revoked key ends its streams within a second, and no other stream', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const { id, key } = await owner.addKey();
    const ends = [await openStream(ticks, key), await openStream(ticks, key)];
    await openStream(ticks, owner.key);
    // By another process.
    await using other = await openTestGateway({ database });
    own.clearLogLines();
    await other.access.revokeKey(id);
    for (const waitForEnd of ends) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await waitForEnd()).toBeLessThan(1_000);
    }
    await vi.waitUntil(() => listEnds(own).length === 2);
    expect(listEnds(own)).toEqual(['key invalid', 'key invalid']);
    expect(ticks.streams.count).toBe(1);
    expect((await ticks.fetch('/ticks', key)).status).toBe(401);
  });

  test('a key that is revoked while its stream begins ends it', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const { id, key } = await owner.addKey();
    const opening = openStream(ticks, key);
    await own.access.revokeKey(id);
    expect(await (await opening)()).toBeLessThan(1_000);
  });

  test('a key ends its streams when it expires', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const expiresAt = new Date(Date.now() + 2_000);
    const { key } = await owner.addKey({ expiresAt });
    // No change is announced while the stream is open.
    await database.changes.catchUp();
    const waitForEnd = await openStream(ticks, key);
    await waitForEnd();
    const lateMs = Date.now() - expiresAt.getTime();
    expect(lateMs).toBeGreaterThan(-50);
    expect(lateMs).toBeLessThan(1_000);
  });

  test('a key that expires in 60 days ends its streams then, although no timer is that long', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const { key } = await owner.addKey({ expiresAt: new Date(Date.now() + 60 * 86_400_000) });
    // No change is announced while the stream is open.
    await database.changes.catchUp();
    const timers = vi.spyOn(globalThis, 'setTimeout');
    onTestFinished(() => timers.mockRestore());
    const listLongTimers = () => timers.mock.calls.filter(([, ms = 0]) => ms > 86_400_000);
    const waitForEnd = await openStream(ticks, key);
    // The longest delay of a timer is 24.8 days.
    const delays = [2 ** 31 - 1, 2 ** 31 - 1, 60 * 86_400_000 - 2 * (2 ** 31 - 1)];
    for (const [index, delayMs] of delays.entries()) {
      // oxlint-disable-next-line no-await-in-loop -- one timer after the other
      await vi.waitUntil(() => listLongTimers().length === index + 1, 10_000);
      const [onTime, ms = 0] = listLongTimers()[index]!;
      expect(delayMs - ms).toBeLessThan(10_000);
      expect(ms - delayMs).toBeLessThanOrEqual(0);
      expect(ticks.streams.count).toBe(1);
      onTime();
    }
    await waitForEnd();
    expect(listEnds(own).at(-1)).toBe('key invalid');
  });

  test('a rotated key ends its streams at the end of the overlap', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const { id, key } = await owner.addKey();
    const waitForEnd = await openStream(ticks, key);
    await own.access.rotateKey(id, 800);
    const tookMs = await waitForEnd();
    expect(tookMs).toBeGreaterThan(500);
    expect(tookMs).toBeLessThan(1_800);
  });

  test('a removed tenant has no stream any more', async () => {
    const ticks = openStage({ pollMs: 60_000 }, own);
    const removed = await own.addTenant();
    const waitForEnd = await openStream(ticks, removed.key);
    await own.access.removeTenant(removed.id);
    expect(await waitForEnd()).toBeLessThan(1_000);
  });

  test('while the change feed is down, a revoked key ends its streams at the next poll', async () => {
    await using changes = createChangeFeed(async () => {
      throw new Error('The change feed is down.');
    });
    const ticks = openStage({ pollMs: 200 }, { ...own, database: { ...database, changes } });
    const { id, key } = await owner.addKey();
    const waitForEnd = await openStream(ticks, key);
    await owner.rest('/v1/numbers');
    await own.access.revokeKey(id);
    expect(await waitForEnd()).toBeLessThan(1_000);
  });
});

test('streams that are opened and closed while keys are verified cause no further verification', async () => {
  const { database } = gateway;
  const held = Promise.withResolvers<void>();
  let verifications = 0;
  const withTenant: TestDatabase['withTenant'] = async (...work) => {
    verifications += 1;
    await held.promise;
    return await database.withTenant(...work);
  };
  const ticks = openStage({ pollMs: 100 }, { ...gateway, database: { ...database, withTenant } });
  for (let count = 0; count < 20; count += 1) {
    // oxlint-disable no-await-in-loop -- one after the other
    const response = await ticks.fetch('/ticks', tenant.key);
    await response.body!.cancel();
    // oxlint-enable no-await-in-loop
  }
  expect(verifications).toBe(1);
  held.resolve();
});

describe('a process that stops', () => {
  test('ends 1,000 streams within 5 s', async () => {
    const limits = { key: 1_000, tenant: 1_000, process: 1_000 };
    const ticks = openStage({ limits, maxRequests: 2_000 });
    const server = await listen(ticks.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
    const { port } = new URL(server.url);
    const sockets = Array.from({ length: 1_000 }, () => {
      const socket = connect({ host: '127.0.0.1', port: Number(port) });
      socket.write(`GET /ticks HTTP/1.1\r\nx-api-key: ${tenant.key}\r\n\r\n`);
      return socket;
    });
    const texts = Promise.all(sockets.map((socket) => readText(socket)));
    await vi.waitUntil(() => ticks.streams.count === 1_000, 20_000);
    const startedAt = performance.now();
    const drained = server.drain();
    const received = await texts;
    const tookMs = performance.now() - startedAt;
    console.info(`1,000 streams drained in ${Math.round(tookMs)} ms`);
    expect(tookMs).toBeLessThan(5_000);
    expect(received.filter((text) => text.includes('data: last\n\n')).length).toBe(1_000);
    await drained;
    expect(ticks.sources.every(({ ended }) => ended > 0)).toBe(true);
  }, 40_000);

  test('ends streams when it becomes unready, before it stops accepting', async () => {
    const ticks = openStage();
    const server = await listen(ticks.gateway, { host: '127.0.0.1', port: 0, noticeMs: 1_000 });
    const response = await fetch(`${server.url}/ticks`, { headers: { 'x-api-key': tenant.key } });
    const drained = server.drain();
    expect(await response.text()).toBe('data: last\n\n');
    expect(await (await fetch(`${server.url}/readyz`)).text()).toBe('draining\n');
    await drained;
  });

  test('refuses new streams, answers long polls, and ends a source that does not end', async () => {
    const ticks = openStage();
    gateway.clearLogLines();
    await ticks.fetch('/stuck', tenant.key);
    const polling = ticks.fetch('/poll', tenant.key);
    await vi.waitUntil(() => ticks.sources.length === 2);
    const drained = ticks.streams.drain(200);
    expect(await (await polling).text()).toBe('nothing');
    const refused = await ticks.fetch('/ticks', tenant.key);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(ticks.streams.count).toBe(1);
    await drained;
    expect(ticks.streams.count).toBe(0);
    await vi.waitUntil(() => listEnds().includes('draining'));
  });
});

test('a tenant without points gets the rest of a stream later, and its requests are refused meanwhile', async () => {
  // A stream costs 1 point when it begins, and a tenth for each chunk.
  const ticks = openStage({ rateLimit: { points: 3, seconds: 1 }, maxRequests: 10 });
  const response = await ticks.fetch('/ticks', tenant.key);
  const [source] = ticks.sources;
  for (let count = 0; count < 30; count += 1) source!.send(`data: ${count}\n\n`);
  const reading = response.text();
  await vi.waitUntil(() => source!.asked >= 21);
  await delay(50);
  expect(source!.asked).toBe(21);
  expect((await ticks.fetch('/now', tenant.key)).status).toBe(429);
  await vi.waitUntil(() => source!.asked === 31, 3_000);
  source!.finish();
  const events = Array.from({ length: 30 }, (_, count) => `data: ${count}\n\n`);
  expect(await reading).toBe(events.join(''));
});
