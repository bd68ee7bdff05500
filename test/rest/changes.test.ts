// Tests of GET /v1/changes in JSON: pages, filters, refusals, prices and long polls.

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { renewEpoch } from '../../src/history/store.ts';
import { openTestGateway, type Reply, type TestGateway } from '../harness.ts';

interface Change {
  readonly cursor: string;
  readonly newValue: string | null;
  readonly [member: string]: unknown;
}

interface Page {
  readonly changes: readonly Change[];
  readonly cursor: string;
  readonly time: string;
  readonly caughtUp: boolean;
}

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** A tenant of its own with a number, and the cursor after its changes so far. */
async function openFeed(of = gateway) {
  const tenant = await of.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Shop' });
  const get = (query = '', options = {}): Promise<Reply<Page>> =>
    tenant.rest<Page>(`/v1/changes${query}`, options);
  const { body } = await get();
  return { tenant, id, get, cursor: body.cursor, start: body };
}

/** Makes one change. */
async function rename(id: string, name: string): Promise<void> {
  await gateway.database.query('update whatsapp_number set name = $1 where id = $2', [name, id]);
}

const valuesOf = ({ body }: Reply<Page>) => body.changes.map(({ newValue }) => newValue);
const codeOf = ({ body }: Reply<unknown>) => (body as { readonly code?: string }).code;

describe('a page of changes', () => {
  test('without a cursor is empty, and its cursor leads to what changes afterwards', async () => {
    const { id, get, start } = await openFeed();
    expect(start).toEqual({
      changes: [],
      cursor: expect.stringMatching(/^c1\.[0-9a-f]{32}\.\d+$/),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      caughtUp: true,
    });
    await rename(id, 'Store');
    const { status, headers, body } = await get(`?after=${start.cursor}`);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(headers.get('vary')).toBe('x-api-key, authorization, accept, accept-encoding');
    expect(headers.get('cache-control')).toBe('private, no-cache');
    expect(body).toEqual({
      changes: [
        {
          cursor: body.cursor,
          numberId: id,
          wabaId: null,
          kind: 'FIELD',
          field: 'NAME',
          previousValue: 'Shop',
          newValue: 'Store',
          source: 'EXTERNAL',
          actor: null,
          observation: expect.stringMatching(/^[0-9a-f-]{36}$/),
          occurredAt: expect.stringMatching(/Z$/),
          recordedAt: expect.stringMatching(/Z$/),
        },
      ],
      cursor: expect.not.stringMatching(start.cursor),
      time: expect.stringMatching(/Z$/),
      caughtUp: true,
    });
    expect((await get(`?after=${body.cursor}`)).body).toMatchObject({
      changes: [],
      caughtUp: true,
    });
  });

  test('has at most `limit` changes, and says whether there are more', async () => {
    const { id, get, cursor } = await openFeed();
    for (const name of ['a', 'b', 'c']) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await rename(id, name);
    }
    const first = await get(`?after=${cursor}&limit=2`);
    expect(valuesOf(first)).toEqual(['a', 'b']);
    expect(first.body.caughtUp).toBe(false);
    expect(first.body.cursor).toBe(first.body.changes[1]?.cursor);
    const last = await get(`?after=${first.body.cursor}&limit=2`);
    expect([valuesOf(last), last.body.caughtUp]).toEqual([['c'], true]);
    expect(valuesOf(await get(`?after=${first.body.changes[0]?.cursor}`))).toEqual(['b', 'c']);
  });

  test('has the changes of numbers, kinds and fields alone, each with several values', async () => {
    const { tenant, id, get, cursor } = await openFeed();
    const other = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Other' });
    await rename(id, 'a');
    await gateway.database.query("update whatsapp_number set state = 'CLOSE' where id = $1", [id]);
    const fieldsOf = async (query: string) =>
      (await get(`?after=${cursor}&${query}`)).body.changes.map(({ kind, field }) => kind ?? field);
    expect(await fieldsOf(`number=${other.id}&kind=ADDED`)).toEqual(['ADDED']);
    expect(await fieldsOf(`number=${other.id},${id}&kind=ADDED&kind=FIELD`)).toEqual([
      'ADDED',
      'FIELD',
      'FIELD',
    ]);
    expect(valuesOf(await get(`?after=${cursor}&field=NAME,STATE`))).toEqual(['a', 'CLOSE']);
    expect(valuesOf(await get(`?after=${cursor}&field=STATE&number=${other.id}`))).toEqual([]);
  });

  test('has all changes of the tenant for a key of one number, and none of another tenant', async () => {
    const { tenant, id, cursor } = await openFeed();
    const { key } = await tenant.addKey({ numberId: id });
    const other = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Sibling' });
    const foreign = await openFeed();
    await rename(foreign.id, 'Foreign');
    const reply = await gateway.rest<Page>(`/v1/changes?after=${cursor}`, { key });
    expect(new Set(reply.body.changes.map(({ numberId }) => numberId))).toEqual(
      new Set([other.id]),
    );
    const refused = await foreign.get(`?after=${cursor}`);
    expect([refused.status, codeOf(refused)]).toEqual([410, 'CURSOR_UNKNOWN']);
    expect(refused.text).not.toContain(other.id);
  });

  test.each([
    ['after=c1.x.1', 'INVALID_CURSOR'],
    ['after=', 'INVALID_CURSOR'],
    ['after=a&after=b', 'INVALID_REQUEST'],
    ['limit=0', 'INVALID_REQUEST'],
    ['limit=201', 'INVALID_REQUEST'],
    ['limit=ten', 'INVALID_REQUEST'],
    ['wait=31', 'INVALID_REQUEST'],
    ['wait=-1', 'INVALID_REQUEST'],
    ['wait=0.5', 'INVALID_REQUEST'],
    ['kind=COLOUR', 'INVALID_REQUEST'],
    ['field=COLOUR', 'INVALID_REQUEST'],
    ['since=2026-01-01', 'INVALID_REQUEST'],
    [`number=${'a,'.repeat(200)}b`, 'INVALID_REQUEST'],
  ])('is refused for %s, in both forms', async (query, code) => {
    const { get } = await openFeed();
    for (const accept of ['application/json', 'text/event-stream']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await get(`?${query}`, { headers: { accept } });
      expect([reply.status, codeOf(reply)]).toEqual([400, code]);
    }
  });

  test('is refused for too many ids with the name of the parameter', async () => {
    const { get } = await openFeed();
    const { text } = await get(`?number=${'a,'.repeat(200)}b`);
    expect(JSON.parse(text)).toMatchObject({
      error: 'Send the query parameter number with at most 200 values, or omit it.',
    });
  });

  test('is refused for a cursor of an earlier epoch, or one whose changes were deleted', async () => {
    const { tenant, id, get, cursor } = await openFeed();
    await rename(id, 'a');
    await gateway.database.query('update feed_position set first = last + 1 where tenant_id = $1', [
      tenant.id,
    ]);
    const expired = await get(`?after=${cursor}`);
    expect([expired.status, codeOf(expired)]).toEqual([410, 'CURSOR_EXPIRED']);
    await renewEpoch(gateway.database, tenant.id);
    const unknown = await get(`?after=${cursor}`);
    expect([unknown.status, codeOf(unknown)]).toEqual([410, 'CURSOR_UNKNOWN']);
  });

  test('is the same for HEAD, without its body, and 304 for any version', async () => {
    const { get, cursor } = await openFeed();
    const head = await get(`?after=${cursor}`, { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(80);
    const unchanged = await get(`?after=${cursor}`, { headers: { 'if-none-match': '*' } });
    expect([unchanged.status, unchanged.text]).toEqual([304, '']);
  });

  test('costs a point, one for the request, and one for ten changes that it may have', async () => {
    await using priced = await openTestGateway({
      database: gateway.database,
      environment: { RATE_LIMIT: '100/3600' },
    });
    const tenant = await priced.addTenant();
    const read = async (path: string) =>
      Number(/r=(\d+)/.exec((await tenant.rest(path)).headers.get('ratelimit') ?? '')?.[1]);
    const spend = async (query: string) => {
      // A missing number costs two points.
      const before = await read('/v1/numbers/none');
      return before - (await read(`/v1/changes${query}`));
    };
    expect(await spend('')).toBe(12);
    expect(await spend('?limit=10')).toBe(3);
    expect(await spend('?limit=1')).toBe(3);
    expect(await spend('?after=x&limit=10')).toBe(3);
  });
});

const wait = async () => void (await vi.waitUntil(() => gateway.gateway.streams.count === 1));

describe('a long poll', () => {
  test('is answered when there is a change, and at once when there was one', async () => {
    const { id, get, cursor } = await openFeed();
    const polled = get(`?after=${cursor}&wait=30`);
    await wait();
    await rename(id, 'a');
    const page = await polled;
    expect(valuesOf(page)).toEqual(['a']);
    expect(valuesOf(await get(`?after=${cursor}&wait=30`))).toEqual(['a']);
    expect(gateway.gateway.streams.count).toBe(0);
  });

  test('is answered without changes when its time is over', async () => {
    const { id, get, cursor } = await openFeed();
    const polled = get(`?after=${cursor}&wait=1&field=STATE`);
    await wait();
    await rename(id, 'a');
    const { status, body } = await polled;
    expect([status, body.changes, body.caughtUp]).toEqual([200, [], true]);
    // It covers the change that its filter has left out.
    expect(body.cursor).toBe((await get()).body.cursor);
  });

  test('ends when its client disconnects', async () => {
    const { get, cursor } = await openFeed();
    const abort = new AbortController();
    const polled = get(`?after=${cursor}&wait=30`, { signal: abort.signal });
    await wait();
    abort.abort();
    expect(codeOf(await polled)).toBe('UNAVAILABLE');
    expect(gateway.gateway.streams.count).toBe(0);
  });

  test('is refused when its key is revoked', async () => {
    const { tenant, cursor } = await openFeed();
    const { id, key } = await tenant.addKey();
    const polled = gateway.rest(`/v1/changes?after=${cursor}&wait=30`, { key });
    await wait();
    await gateway.access.revokeKey(id);
    const reply = await polled;
    expect([reply.status, codeOf(reply)]).toEqual([401, 'UNAUTHENTICATED']);
  });

  test('is sent to another process when this one stops', async () => {
    await using stopping = await openTestGateway({ database: gateway.database });
    const { get, cursor } = await openFeed(stopping);
    const polled = get(`?after=${cursor}&wait=30`);
    await vi.waitUntil(() => stopping.gateway.streams.count === 1);
    await stopping.gateway.streams.drain();
    const reply = await polled;
    expect([reply.status, codeOf(reply)]).toEqual([503, 'UNAVAILABLE']);
    expect(reply.headers.get('retry-after')).toBe('1');
  });

  test('counts as a stream, of which there is a maximum', async () => {
    await using narrow = await openTestGateway({
      database: gateway.database,
      environment: { KEY_MAX_STREAMS: '1', TENANT_MAX_REQUESTS: '1' },
    });
    const { id, get, cursor } = await openFeed(narrow);
    const polled = get(`?after=${cursor}&wait=30`);
    await vi.waitUntil(() => narrow.gateway.streams.count === 1);
    for (const accept of ['application/json', 'text/event-stream']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const refused = await get(`?after=${cursor}&wait=30`, { headers: { accept } });
      expect([refused.status, codeOf(refused)]).toEqual([429, 'TOO_MANY_STREAMS']);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    // It is none of the tenant's requests in flight.
    expect((await get(`?after=${cursor}`)).status).toBe(200);
    await rename(id, 'a');
    expect(valuesOf(await polled)).toEqual(['a']);
  });
});
