// Tests of GET /v1/changes as a stream of events: what is sent, where it begins, what it costs, and how it ends.

import { spawn } from 'node:child_process';
import { text as readText } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { createHistory } from '../../src/history/history.ts';
import { type EndedStream, EventStream, type OpenStream } from '../../src/http/event-stream.ts';
import { fromFetchRequest } from '../../src/http/message.ts';
import { createMeter } from '../../src/http/request-context.ts';
import { listen } from '../../src/http/server.ts';
import { streamChanges } from '../../src/rest/change-stream.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';
import { type EventReader, readEvents } from './event-reader.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

const accept = 'text/event-stream';

/** A tenant of its own with a number, and the cursor after its changes so far. */
async function openFeed(of = gateway) {
  const tenant = await of.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Shop' });
  const { body } = await tenant.rest<{ readonly cursor: string }>('/v1/changes');
  const request = (query: string, headers: Readonly<Record<string, string>> = {}) =>
    new Request(`http://gateway.test/v1/changes${query}`, {
      headers: { accept, 'x-api-key': tenant.key, ...headers },
    });
  const open = async (query = '', headers = {}): Promise<EventReader & { response: Response }> => {
    const response = await of.fetch(request(query, headers));
    const events = readEvents(response);
    onTestFinished(() => events[Symbol.asyncDispose]());
    return { ...events, response };
  };
  return { tenant, id, cursor: body.cursor, request, open };
}

/** The id of a heartbeat. */
const idOf = (chunk: unknown) => /id: (.*)\nevent: heartbeat\n/.exec(String(chunk))?.[1];

/** Makes one change. */
async function rename(id: string, name: string): Promise<void> {
  await gateway.database.query('update whatsapp_number set name = $1 where id = $2', [name, id]);
}

const namesOf = (events: readonly { readonly data: Readonly<Record<string, unknown>> }[]) =>
  events.map(({ data }) => data['newValue']);

test('a stream begins with the time until a client connects again, then come the changes as in a page', async () => {
  const { tenant, id, cursor, open } = await openFeed();
  await rename(id, 'a');
  const { response, next, take } = await open(`?after=${cursor}`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  expect(response.headers.get('cache-control')).toBe('no-store, no-transform');
  expect(response.headers.get('x-accel-buffering')).toBe('no');
  expect(response.headers.get('etag')).toBeNull();
  expect(response.headers.get('vary')).toContain('accept');
  expect(await next()).toEqual({ retry: '2000' });
  const page = await tenant.rest<{ readonly changes: readonly { readonly cursor: string }[] }>(
    `/v1/changes?after=${cursor}`,
  );
  const [change] = page.body.changes;
  expect(await next()).toEqual({
    id: change!.cursor,
    event: 'change',
    data: JSON.stringify(change),
  });
  await rename(id, 'b');
  expect(namesOf(await take('change', 1))).toEqual(['b']);
});

test('a stream without a cursor begins with a heartbeat, whose cursor misses nothing', async () => {
  const { id, open } = await openFeed();
  const { next, take } = await open();
  expect(await next()).toEqual({ retry: '2000' });
  const [heartbeat] = await take('heartbeat', 1);
  expect(heartbeat).toEqual({
    id: expect.stringMatching(/^c1\./),
    data: { cursor: heartbeat!.id, time: expect.stringMatching(/Z$/) },
  });
  await rename(id, 'a');
  expect(namesOf(await take('change', 1))).toEqual(['a']);
  const again = await open('', { 'last-event-id': heartbeat!.id });
  expect(namesOf(await again.take('change', 1))).toEqual(['a']);
});

test('the id of the last event takes precedence over the cursor in the URL', async () => {
  const { id, cursor, open } = await openFeed();
  await rename(id, 'a');
  await rename(id, 'b');
  const first = await open(`?after=${cursor}`);
  const [change] = await first.take('change', 1);
  const again = await open(`?after=${cursor}`, { 'last-event-id': change!.id });
  expect(namesOf(await again.take('change', 1))).toEqual(['b']);
  const unset = await open(`?after=${cursor}`, { 'last-event-id': '' });
  expect(namesOf(await unset.take('change', 2))).toEqual(['a', 'b']);
});

test('a filter leaves changes out', async () => {
  const { tenant, id, cursor, open } = await openFeed();
  const other = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Other' });
  const { take } = await open(`?after=${cursor}&number=${other.id}&kind=ADDED,FIELD`);
  await rename(id, 'a');
  await rename(other.id, 'b');
  expect(namesOf(await take('change', 2))).toEqual([expect.stringContaining('Other'), 'b']);
});

test.each([
  ['c1.x.1', 400, 'INVALID_CURSOR'],
  [`c1.${'0'.repeat(32)}.1`, 410, 'CURSOR_UNKNOWN'],
])('the cursor %s is refused before the stream begins', async (cursor, status, code) => {
  const { tenant } = await openFeed();
  for (const headers of [{ accept }, { accept, 'last-event-id': cursor }]) {
    const query = 'last-event-id' in headers ? '' : `?after=${cursor}`;
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await tenant.rest(`/v1/changes${query}`, { headers });
    expect(reply).toMatchObject({ status, body: { code } });
    expect(reply.headers.get('content-type')).toBe('application/json; charset=utf-8');
  }
  expect(gateway.gateway.streams.count).toBe(0);
});

test.each([
  ['text/event-stream', true],
  ['text/event-stream, */*;q=0.1', true],
  ['text/event-stream, application/json', true],
  ['application/json, text/event-stream', false],
  ['text/event-stream;q=0.5, application/json', false],
  ['*/*', false],
  ['text/html', false],
])('a client that accepts %s gets a stream: %s', async (header, isStream) => {
  const { request } = await openFeed();
  const response = await gateway.fetch(request('', { accept: header }));
  expect(response.headers.get('content-type')?.startsWith('text/event-stream')).toBe(isStream);
  await response.body?.cancel();
});

test('HEAD has the headers of a stream and opens none', async () => {
  const { tenant } = await openFeed();
  const reply = await tenant.rest('/v1/changes', { method: 'HEAD', headers: { accept } });
  expect(reply).toMatchObject({ status: 200, text: '' });
  expect(reply.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  expect(gateway.gateway.streams.count).toBe(0);
});

test('a page of another origin may send the id of the last event', async () => {
  await using shared = await openTestGateway({
    database: gateway.database,
    environment: { CORS_ORIGINS: 'https://app.test' },
  });
  const { open } = await openFeed(shared);
  const origin = 'https://app.test';
  const preflight = await shared.rest('/v1/changes', {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'GET' },
  });
  expect(preflight.headers.get('access-control-allow-headers')).toContain('last-event-id');
  const { response } = await open('', { origin });
  expect(response.headers.get('access-control-allow-origin')).toBe(origin);
});

test('streams at the same place send the same bytes', async () => {
  const { id, request } = await openFeed();
  const bodies = await Promise.all(
    ['', '', '?kind=FIELD'].map(async (query) => {
      const { body } = await gateway.gateway.handle(fromFetchRequest(request(query)));
      if (!(body instanceof EventStream)) throw new Error('There is no stream.');
      onTestFinished(() => body.end('completed'));
      await body.next();
      return body;
    }),
  );
  const chunks = bodies.map((body) => body.next());
  await rename(id, 'a');
  const [one, two, filtered] = await Promise.all(chunks);
  expect(String(one)).toContain('"newValue":"a"');
  expect(two).toBe(one);
  expect(filtered).toEqual(one);
  expect(filtered).not.toBe(one);
});

test('a stream costs as a page of the default size when it begins', async () => {
  await using priced = await openTestGateway({
    database: gateway.database,
    environment: { RATE_LIMIT: '100/3600' },
  });
  const { open, tenant } = await openFeed(priced);
  const { headers } = await tenant.rest('/v1/numbers/none');
  const before = Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);
  const { response } = await open();
  expect(response.headers.get('ratelimit')).toContain(`r=${before - 12};`);
});

test('a heartbeat has the newest cursor, also when the filter leaves out every change', async () => {
  const { tenant, id } = await openFeed();
  const { database } = gateway;
  const history = createHistory({ database, now: () => new Date(), heartbeatMs: 50 });
  const access = {
    tenantId: tenant.id,
    keyId: tenant.keyId,
    numberId: null,
    scopes: [],
    receivedAt: 0,
    meter: createMeter(),
  };
  const open: OpenStream = {
    signal: AbortSignal.any([]),
    draining: AbortSignal.any([]),
    charge: async () => undefined,
    ended: Promise.withResolvers<EndedStream>().promise,
    end: () => undefined,
  };
  const body = await streamChanges(
    history,
    {
      access,
      id: '',
      query: {},
      body: {},
      headers: {},
      signal: open.signal,
      openStream: () => open,
      chargeMore: async () => undefined,
      lastEventId: null,
    },
    { after: null, filter: { kinds: ['REMOVED'] } },
  );
  const first = idOf(await body.next());
  await rename(id, 'a');
  const { body: newest } = await tenant.rest<{ readonly cursor: string }>('/v1/changes');
  expect(newest.cursor).not.toBe(first);
  await vi.waitUntil(async () => idOf(await body.next()) === newest.cursor);
});

test('a process that stops tells each client when to connect again, and ends the stream', async () => {
  await using stopping = await openTestGateway({ database: gateway.database });
  const { open } = await openFeed(stopping);
  const { next } = await open();
  await next();
  await next();
  const drained = stopping.gateway.streams.drain();
  const last = await next();
  expect(Object.keys(last ?? {})).toEqual(['retry']);
  expect(Number(last?.retry)).toBeGreaterThanOrEqual(1_000);
  expect(Number(last?.retry)).toBeLessThanOrEqual(5_000);
  expect(await next()).toBeNull();
  await drained;
});

test('curl reads a stream from a socket, as each event is sent', async () => {
  const { tenant, id } = await openFeed();
  const server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  onTestFinished(() => server.drain());
  const options = ['-sN', '-m', '20', '-H', `accept: ${accept}`, '-H', '@-'];
  const curl = spawn('curl', [...options, `${server.url}/v1/changes`]);
  onTestFinished(() => void curl.kill());
  // Not in the arguments, which every process can read.
  curl.stdin.end(`x-api-key: ${tenant.key}\n`);
  let seen = '';
  curl.stdout.on('data', (chunk: Buffer) => {
    seen += String(chunk);
  });
  const errors = readText(curl.stderr);
  await vi.waitUntil(() => seen.includes('event: heartbeat\n'), 10_000);
  expect(seen).toMatch(/^retry: 2000\n\nid: c1\.\S+\nevent: heartbeat\ndata: \{.*\}\n\n$/);
  await rename(id, 'a');
  await vi.waitUntil(() => seen.includes('"newValue":"a"'), 10_000);
  await server.drain();
  expect(await errors).toBe('');
  expect(seen).toMatch(/\n\nretry: [1-5]\d{3}\n\n$/);
});

test.each(['text/*', '*/*', 'text/event-stream;q=0.1, application/json'])(
  'a client that accepts %s gets a page',
  async (accepted) => {
    const { request } = await openFeed();
    const response = await gateway.fetch(request('', { accept: accepted }));
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
  },
);
