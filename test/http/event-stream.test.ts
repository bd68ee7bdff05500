// How an event stream is written: nothing is queued, a client that reads nothing is disconnected, and every end frees its source.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { formatEvent, maxRestMs, yieldUntil } from '../../src/http/event-stream.ts';
import { type HttpOptions, type HttpServer, listen } from '../../src/http/server.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { createTestSource, openTicksGateway, type TestSource, type TicksGateway } from './ticks.ts';

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Stage {
  readonly ticks: TicksGateway;
  readonly server: HttpServer;
  /** Sends the request line and headers, and nothing else. */
  open(
    path?: string,
    key?: string,
  ): Promise<{ readonly socket: Socket; readonly source: TestSource }>;
}

async function openStage(options: Partial<HttpOptions> = {}): Promise<Stage> {
  const ticks = openTicksGateway(gateway);
  onTestFinished(() => ticks[Symbol.asyncDispose]());
  const local = { host: '127.0.0.1', port: 0, noticeMs: 0, ...options };
  const server = await listen(ticks.gateway, local);
  onTestFinished(() => server.drain());
  return {
    ticks,
    server,
    async open(path = '/ticks', key = tenant.key) {
      const socket = connect({ host: '127.0.0.1', port: Number(new URL(server.url).port) });
      onTestFinished(() => void socket.destroy());
      const opened = ticks.sources.length;
      socket.write(`GET ${path} HTTP/1.1\r\nx-api-key: ${key}\r\nx-request-id: r\r\n\r\n`);
      const source = await vi.waitUntil(() => ticks.sources[opened]);
      return { socket, source };
    },
  };
}

/** Why the last stream ended, by the log. */
function readEnd(): unknown {
  const line = gateway.logLines.findLast((text) => text.includes('"streamEnd"')) ?? '{}';
  return (JSON.parse(line) as { readonly streamEnd?: string }).streamEnd;
}

test('a stream sends its head before its first event, each event at once, and ends with its source', async () => {
  const { open, ticks } = await openStage();
  const { socket, source } = await open();
  const head = String(await once(socket, 'data'));
  expect(head.split('\r\n')).toEqual(
    expect.arrayContaining([
      'HTTP/1.1 200 OK',
      'content-type: text/event-stream; charset=utf-8',
      'cache-control: no-store, no-transform',
      'x-accel-buffering: no',
      'Connection: close',
    ]),
  );
  expect(head).not.toMatch(/etag|content-encoding/i);
  source.send(formatEvent({ data: '1' }));
  expect(String(await once(socket, 'data'))).toContain('data: 1\n\n');
  source.send(Buffer.from(formatEvent({ data: '2' })));
  expect(String(await once(socket, 'data'))).toContain('data: 2\n\n');
  expect(ticks.streams.count).toBe(1);
  source.finish();
  await once(socket, 'close');
  expect([ticks.streams.count, readEnd()]).toEqual([0, 'completed']);
});

test('a client that disconnects ends the source at once, even while it waits for an event', async () => {
  const { open, ticks } = await openStage();
  const { socket, source } = await open();
  await once(socket, 'data');
  expect(source.ended).toBe(0);
  socket.destroy();
  await vi.waitUntil(() => source.ended > 0);
  expect([ticks.streams.count, ticks.load.inFlight]).toEqual([0, 0]);
  await vi.waitUntil(() => readEnd() === 'client disconnected');
});

test('a client that disconnects before the source exists ends it', async () => {
  const { ticks } = await openStage();
  const signal = AbortSignal.abort();
  await ticks.fetch('/ticks', tenant.key, { signal }).catch(() => undefined);
  await vi.waitUntil(() => ticks.sources[0]?.ended);
  expect(ticks.streams.count).toBe(0);
});

test('a source that fails ends the stream, and its error is logged', async () => {
  const { open } = await openStage();
  const { socket, source } = await open();
  await once(socket, 'data');
  gateway.clearLogLines();
  source.fail(new Error('Broken source.'));
  await once(socket, 'close');
  expect(readEnd()).toBe('failed');
  const failed = gateway.logLines.filter((line) => line.includes('"request failed"'));
  expect(failed.map((line) => JSON.parse(line))).toMatchObject([
    { requestId: 'r', code: 'INTERNAL', cause: expect.stringContaining('Broken source.') },
  ]);
});

test('nothing is read for a client that reads nothing, and it is disconnected', async () => {
  const { open, ticks } = await openStage({ streams: { maxStallMs: 500 } });
  const slow = await open();
  slow.socket.pause();
  const other = await open();
  await once(other.socket, 'data');
  const chunk = Buffer.alloc(64 * 1_024, ' ');
  // Every chunk is there to be read.
  for (let count = 0; count < 1_000; count += 1) slow.source.send(chunk);
  await vi.waitUntil(() => slow.source.asked > 1);
  let asked = 0;
  await vi.waitUntil(() => {
    const isStill = asked === slow.source.asked;
    asked = slow.source.asked;
    return isStill;
  });
  // What fits into the buffers of the kernel.
  expect(asked * chunk.length).toBeLessThan(10_000_000);
  await vi.waitUntil(() => readEnd() === 'slow reader', 5_000);
  expect(slow.source.ended).toBeGreaterThan(0);
  expect(slow.source.asked).toBe(asked);
  expect(ticks.streams.count).toBe(1);
  // Another client is undisturbed.
  other.source.send('data: 1\n\n');
  expect(String(await once(other.socket, 'data'))).toContain('data: 1\n\n');
  const { text } = await gateway.gateway.metrics!.render();
  expect(text).toContain('gateway_streams_ended_total{reason="slow reader"} 1');
  expect(text).toContain('gateway_streams_open 1');
});

test('a client that reads nothing is disconnected when its key is revoked', async () => {
  const { open, ticks } = await openStage({ streams: { maxStallMs: 60_000 } });
  const revoked = await tenant.addKey();
  const { socket, source } = await open('/ticks', revoked.key);
  socket.pause();
  for (let count = 0; count < 1_000; count += 1) source.send(Buffer.alloc(64 * 1_024, ' '));
  await vi.waitUntil(() => source.asked > 1);
  await gateway.access.revokeKey(revoked.id);
  await vi.waitUntil(() => readEnd() === 'key invalid');
  expect(ticks.streams.count).toBe(0);
  // What the kernel has remains to be read; the end of the response is not sent any more.
  await delay(maxRestMs + 100);
  let received = '';
  socket.on('data', (bytes: Buffer) => (received += String(bytes)));
  socket.on('error', () => undefined);
  const closed = Promise.withResolvers<void>();
  socket.once('close', () => closed.resolve());
  socket.resume();
  await closed.promise;
  expect(received).not.toMatch(/\r\n0\r\n\r\n$/);
}, 10_000);

test('the timeouts of requests do not end a stream', async () => {
  const timeouts = { headersMs: 100, requestMs: 150, checkMs: 20 };
  const { open } = await openStage({ timeouts });
  const { socket, source } = await open();
  await once(socket, 'data');
  await delay(400);
  source.send('data: 1\n\n');
  expect(String(await once(socket, 'data'))).toContain('data: 1\n\n');
});

test('a client that reads again gets every event', async () => {
  const { open } = await openStage({ streams: { maxStallMs: 10_000 } });
  const { socket, source } = await open();
  socket.pause();
  const events = Array.from({ length: 200 }, (_, at) =>
    formatEvent({ id: String(at), data: 'x'.repeat(64 * 1_024) }),
  );
  for (const event of events) source.send(event);
  await vi.waitUntil(() => source.asked > 1);
  const reading = readText(socket);
  await vi.waitUntil(() => source.asked === events.length + 1, 10_000);
  source.finish();
  const ids = (await reading).match(/id: \d+\n/g) ?? [];
  expect(ids).toEqual(events.map((_, at) => `id: ${at}\n`));
});

test('the body of a Response is the same stream, and cancelling it ends the source', async () => {
  const { ticks } = await openStage();
  const response = await ticks.fetch('/ticks', tenant.key);
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  const [source] = ticks.sources;
  // Nothing is read ahead.
  expect(source!.asked).toBe(0);
  source!.send('data: 1\n\n');
  const reader = response.body!.getReader();
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('data: 1\n\n');
  const pending = reader.read();
  await reader.cancel();
  expect((await pending).done).toBe(true);
  expect(source!.ended).toBeGreaterThan(0);
  expect(ticks.streams.count).toBe(0);
});

test('HEAD has the headers of a stream, and opens none', async () => {
  const { ticks } = await openStage();
  const response = await ticks.fetch('/ticks', tenant.key, { method: 'HEAD' });
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    'text/event-stream; charset=utf-8',
  ]);
  expect(await response.text()).toBe('');
  expect(ticks.streams.count).toBe(0);
  expect(ticks.sources[0]!.ended).toBeGreaterThan(0);
});

test('a stream is neither conditional nor compressed', async () => {
  const { ticks } = await openStage();
  const headers = { 'if-none-match': '*', 'accept-encoding': 'br, gzip' };
  const response = await ticks.fetch('/ticks', tenant.key, { headers });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-encoding')).toBeNull();
  await response.body!.cancel();
  const unchanged = await ticks.fetch('/now', tenant.key, { headers });
  expect(unchanged.status).toBe(304);
});

test('yieldUntil ends while a value is awaited, once, and passes on values and errors before', async () => {
  const source = createTestSource();
  const ending = new AbortController();
  const values = yieldUntil(source, ending.signal);
  source.send('1');
  expect(await values.next()).toEqual({ done: false, value: '1' });
  const next = values.next();
  ending.abort();
  expect(await next).toEqual({ done: true, value: undefined });
  await values.return?.();
  expect([source.ended, await values.next()]).toEqual([1, { done: true, value: undefined }]);
  const failing = createTestSource();
  const failed = yieldUntil(failing, new AbortController().signal).next();
  failing.fail(new Error('Broken.'));
  await expect(failed).rejects.toThrow('Broken.');
});
