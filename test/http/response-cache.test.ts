// That a response is served from memory only while it is certain to be what would be computed.

import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  type CacheKey,
  type ComputedResponse,
  createResponseCache,
  disabledResponseCache,
  type ResponseCache,
} from '../../src/http/response-cache.ts';
import { createRequestContext } from '../../src/http/request-context.ts';
import { createLocalFeed } from '../database/local-feed.ts';

const key: CacheKey = { tenantId: 'a', numberId: null, request: 'GET /v1/numbers' };
const start = Date.UTC(2026, 0, 1);

const toResponse = (body: string, headers = {}): ComputedResponse => ({
  response: { status: 200, headers, body },
  isCacheable: true,
});

interface Request {
  readonly key?: Partial<CacheKey>;
  readonly validUntil?: Date | null;
  readonly isLive?: boolean;
}

async function openCache({ maxBytes = 1_000_000 } = {}) {
  const changes = createLocalFeed();
  changes.open();
  const time = { ms: start };
  const sources: string[] = [];
  const charged: number[] = [];
  const cache = createResponseCache({
    changes,
    maxBytes,
    now: () => new Date(time.ms),
    onLookup: (source) => sources.push(source),
  });
  await changes.catchUp();
  const respond = async (
    compute: () => Promise<ComputedResponse>,
    { key: changed, validUntil = null, isLive = false }: Request = {},
    from: ResponseCache = cache,
  ) => {
    const admission = {
      spend: (points: number) => charged.push(points) > 0,
      charge: async () => undefined,
      spent: 3,
    };
    const context = createRequestContext(new Headers());
    Object.assign(context.meter, { validUntil, isLive });
    context.operation = 'list';
    return await from.getOrCompute({ ...key, ...changed }, { admission, context }, compute);
  };
  /** The body that is cached; undefined when it would have to be computed. */
  const find = async (changed: Partial<CacheKey> = {}) => {
    const none = { response: { status: 404, headers: {}, body: null }, isCacheable: false };
    const { body } = await respond(async () => none, { key: changed });
    return body?.toString();
  };
  const store = (body: string, changed: Partial<CacheKey> = {}, validUntil: Date | null = null) =>
    respond(async () => toResponse(body), { key: changed, validUntil });
  /** Each computation ends when its entry of `finish` is called. */
  const finish: ((computed: ComputedResponse) => void)[] = [];
  const compute = () => new Promise<ComputedResponse>((resolve) => void finish.push(resolve));
  const ask = async (request: Request = {}) => (await respond(compute, request)).body?.toString();
  return {
    ask,
    changes,
    charged,
    find,
    finish,
    respond,
    sources,
    store,
    time,
    [Symbol.asyncDispose]: () => changes[Symbol.asyncDispose](),
  };
}

describe('a cached response', () => {
  test('is served again as it was, and charged like a computed one', async () => {
    await using it = await openCache();
    await it.respond(async () => toResponse('{"id":1}', { etag: '"x"' }));
    const again = await it.respond(() => expect.unreachable());
    expect(again).toEqual({
      status: 200,
      headers: { etag: '"x"' },
      body: Buffer.from('{"id":1}'),
    });
    expect(it.charged).toEqual([2]);
  });

  test.each<[string, Partial<CacheKey>]>([
    ['another tenant', { tenantId: 'b' }],
    ['a key bound to a number', { numberId: 'wa_1' }],
    ['another request', { request: 'GET /v1/numbers/wa_1' }],
    ['a key whose number reads like a request', { numberId: '\0GET /v1/numbers', request: '' }],
  ])('is not served to %s', async (_, other) => {
    await using it = await openCache();
    await it.store('mine');
    expect(await it.find(other)).toBeUndefined();
    await it.store('theirs', other);
    expect([await it.find(), await it.find(other)]).toEqual(['mine', 'theirs']);
  });

  test('is replaced by one that was computed later', async () => {
    await using it = await openCache();
    const both = [it.ask(), it.ask()];
    it.finish[0]!(toResponse('one'));
    await both[0];
    it.finish[1]!(toResponse('two'));
    await both[1];
    expect(await it.find()).toBe('two');
  });
});

describe('a response is computed again', () => {
  test('when data of the tenant has changed, and not when that of another one has', async () => {
    await using it = await openCache();
    await it.store('mine');
    await it.store('theirs', { tenantId: 'b' });
    it.changes.tell({ tenantId: 'a', keys: false });
    expect(await it.find()).toBeUndefined();
    expect(await it.find({ tenantId: 'b' })).toBe('theirs');
  });

  test('when the data of any tenant may have changed', async () => {
    await using it = await openCache();
    await it.store('mine');
    await it.store('theirs', { tenantId: 'b' });
    it.changes.tell({ tenantId: null, keys: false });
    expect([await it.find(), await it.find({ tenantId: 'b' })]).toEqual([undefined, undefined]);
  });

  test('while the change feed is not current, and served from memory once it is again', async () => {
    await using it = await openCache();
    await it.store('mine');
    it.changes.clock.ms += 751;
    expect(await it.find()).toBeUndefined();
    await it.changes.catchUp();
    expect(await it.find()).toBe('mine');
  });

  test('from the moment on at which it would differ by itself', async () => {
    await using it = await openCache();
    await it.store('mine', {}, new Date(start + 1_000));
    it.time.ms = start + 999;
    expect(await it.find()).toBe('mine');
    it.time.ms = start + 1_000;
    expect(await it.find()).toBeUndefined();
  });
});

describe('a response is not stored', () => {
  test('when data of the tenant has changed since the request', async () => {
    await using it = await openCache();
    for (const change of [
      { tenantId: 'a', keys: false } as const,
      { tenantId: null, keys: true },
    ]) {
      const asked = it.ask();
      it.changes.tell(change);
      it.finish.pop()!(toResponse('old'));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await asked).toBe('old');
      // oxlint-disable-next-line no-await-in-loop -- see above
      expect(await it.find()).toBeUndefined();
    }
  });

  test('over one that was computed after that change', async () => {
    await using it = await openCache();
    const slow = it.ask();
    it.changes.tell({ tenantId: 'a', keys: false });
    await it.store('new');
    it.finish[0]!(toResponse('old'));
    expect(await slow).toBe('old');
    expect(await it.find()).toBe('new');
  });

  test('when the change feed was not current at the time of the request', async () => {
    await using it = await openCache();
    it.changes.clock.ms += 751;
    const asked = it.ask();
    await it.changes.catchUp();
    it.finish[0]!(toResponse('old'));
    await asked;
    expect(await it.find()).toBeUndefined();
  });

  test.each<[string, ComputedResponse, Request]>([
    [
      'it is an error',
      { response: { status: 404, headers: {}, body: 'x' }, isCacheable: true },
      {},
    ],
    ['the endpoint forbids it', { ...toResponse('x'), isCacheable: false }, {}],
    ['it contains a live read', toResponse('x'), { isLive: true }],
    ['it differs at once by itself', toResponse('x'), { validUntil: new Date(start) }],
  ])('when %s', async (_, computed, request) => {
    await using it = await openCache();
    await it.respond(async () => computed, request);
    expect(await it.find()).toBeUndefined();
  });

  test('by the disabled cache', async () => {
    await using it = await openCache();
    for (const body of ['one', 'two']) {
      const computed = async () => toResponse(body);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await it.respond(computed, {}, disabledResponseCache)).body).toBe(body);
    }
  });
});

async function openExpired() {
  const it = await openCache();
  await it.store('expired');
  await it.store('expired', { request: 'another' });
  it.changes.tell({ tenantId: 'a', keys: false });
  it.sources.length = 0;
  return it;
}

describe('a cached response that has expired', () => {
  afterEach(() => void vi.useRealTimers());

  test('is recomputed once for concurrent requests, and each of them is charged', async () => {
    await using it = await openExpired();
    const asked = [it.ask(), it.ask(), it.ask()];
    expect(it.finish).toHaveLength(1);
    it.finish[0]!(toResponse('new'));
    expect(await Promise.all(asked)).toEqual(['new', 'new', 'new']);
    expect(it.charged).toEqual([2, 2]);
    expect(it.sources).toEqual(['read', 'shared', 'shared']);
    expect(await it.ask()).toBe('new');
    expect(it.sources).toEqual(['read', 'shared', 'shared', 'memory']);
  });

  test('is recomputed for another scope of key by itself', async () => {
    await using it = await openExpired();
    const asked = [it.ask(), it.ask({ key: { numberId: 'n' } })];
    expect(it.finish).toHaveLength(2);
    for (const finish of it.finish) finish(toResponse('new'));
    await Promise.all(asked);
  });

  test('is recomputed again for a request that arrives after a further change', async () => {
    await using it = await openExpired();
    const first = it.ask();
    it.changes.tell({ tenantId: 'a', keys: false });
    const second = it.ask();
    expect(it.finish).toHaveLength(2);
    it.finish[1]!(toResponse('newer'));
    expect(await second).toBe('newer');
    it.finish[0]!(toResponse('new'));
    expect(await first).toBe('new');
  });

  test('is not shared from the moment on at which the new one would differ by itself', async () => {
    await using it = await openExpired();
    const validUntil = new Date(start + 1_000);
    const early = [it.ask({ validUntil }), it.ask()];
    it.time.ms = start + 999;
    it.finish[0]!(toResponse('new'));
    expect(await Promise.all(early)).toEqual(['new', 'new']);
    const another = { request: 'another' };
    const late = [it.ask({ key: another, validUntil }), it.ask({ key: another })];
    it.time.ms = start + 1_000;
    it.finish[1]!(toResponse('new'));
    expect(await late[0]).toBe('new');
    await expect.poll(() => it.finish).toHaveLength(3);
    it.finish[2]!(toResponse('newer'));
    expect(await late[1]).toBe('newer');
  });

  test('is computed by each waiting request when the shared result may not be stored', async () => {
    await using it = await openExpired();
    const asked = [it.ask(), it.ask()];
    it.finish[0]!({ ...toResponse('none'), isCacheable: false });
    expect(await asked[0]).toBe('none');
    await expect.poll(() => it.finish).toHaveLength(2);
    it.finish[1]!(toResponse('own'));
    expect(await asked[1]).toBe('own');
    expect(it.sources).toEqual(['read', 'read']);
  });

  test('is waited for at most one second', async () => {
    await using it = await openExpired();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const asked = [it.ask(), it.ask()];
    await vi.advanceTimersByTimeAsync(999);
    expect(it.finish).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(it.finish).toHaveLength(2);
    it.finish[1]!(toResponse('own'));
    expect(await asked[1]).toBe('own');
    it.finish[0]!(toResponse('new'));
    expect(await asked[0]).toBe('new');
    expect(it.charged).toEqual([]);
  });

  test('leaves no timer behind', async () => {
    await using it = await openExpired();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const asked = [it.ask(), it.ask(), it.ask()];
    expect(vi.getTimerCount()).toBe(2);
    it.finish[0]!(toResponse('new'));
    await Promise.all(asked);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test('a response that was never cached is computed by each request, since it may not be cacheable', async () => {
  await using it = await openCache();
  const asked = [it.ask(), it.ask()];
  expect(it.finish).toHaveLength(2);
  for (const finish of it.finish) finish(toResponse('new'));
  expect(await Promise.all(asked)).toEqual(['new', 'new']);
});

describe('memory', () => {
  test('holds no more of a response than its bytes', async () => {
    await using it = await openCache();
    const { body } = await it.respond(async () => toResponse('läng'));
    if (!Buffer.isBuffer(body)) throw new Error('The body is not encoded.');
    expect(body.toString()).toBe('läng');
    expect(body.buffer.byteLength).toBe(body.length);
  });

  const large = 'x'.repeat(4_000);

  test('is bounded, and the least recently used response is evicted first', async () => {
    await using it = await openCache({ maxBytes: 40_000 });
    const tenants = Array.from({ length: 10 }, (_, index) => `t${index}`);
    for (const tenantId of tenants) {
      // oxlint-disable-next-line no-await-in-loop -- the order counts
      await it.store(large, { tenantId });
      // oxlint-disable-next-line no-await-in-loop -- see above
      await it.find({ tenantId: 't0' });
    }
    const found = await Promise.all(tenants.map((tenantId) => it.find({ tenantId })));
    expect(tenants.filter((_, index) => found[index] !== undefined)).toEqual([
      't0',
      't4',
      't5',
      't6',
      't7',
      't8',
      't9',
    ]);
  });

  test('is taken by one tenant up to a half, and others keep theirs', async () => {
    await using it = await openCache({ maxBytes: 40_000 });
    await it.store(large, { tenantId: 'quiet' });
    const requests = Array.from({ length: 20 }, (_, index) => `r${index}`);
    for (const request of requests) {
      // oxlint-disable-next-line no-await-in-loop -- the order counts
      await it.store(large, { request });
      // oxlint-disable-next-line no-await-in-loop -- see above
      await it.find({ request: 'r0' });
    }
    const found = await Promise.all(requests.map((request) => it.find({ request })));
    const left = requests.filter((_, index) => found[index] !== undefined);
    expect(left).toContain('r0');
    expect(left).toContain('r19');
    expect(left.length).toBeLessThanOrEqual(3);
    expect(await it.find({ tenantId: 'quiet' })).toBe(large);
  });

  test('holds no response that would take more than a half', async () => {
    await using it = await openCache({ maxBytes: 40_000 });
    await it.store('small', { request: 'another' });
    await it.store('x'.repeat(20_000));
    expect(await it.find()).toBeUndefined();
    expect(await it.find({ request: 'another' })).toBe('small');
  });
});
