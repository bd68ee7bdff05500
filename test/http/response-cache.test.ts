// That an answer is given again only while it is certain to be what would be read.

import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  type CachedResponse,
  createResponseCache,
  type CacheEntry,
  disabledResponseCache,
  type CacheKey,
  getOrCompute,
} from '../../src/http/response-cache.ts';
import { createRequestContext } from '../../src/http/request-context.ts';
import { createLocalFeed } from '../database/local-feed.ts';

const question: CacheKey = { tenantId: 'a', numberId: null, request: 'GET /v1/numbers' };
const toAnswer = (text: string): CachedResponse => ({
  headers: {},
  body: Buffer.from(text),
  points: 1,
  operation: 'list',
});
const toKept = (text: string): CacheEntry => ({ answer: toAnswer(text), until: null });
const start = Date.UTC(2026, 0, 1);

async function openAnswers({ maxBytes = 1_000_000 } = {}) {
  const made = new AsyncDisposableStack();
  const changes = made.use(createLocalFeed());
  const time = { ms: start };
  const sources: string[] = [];
  const answers = made.use(
    createResponseCache({
      changes,
      maxBytes,
      now: () => new Date(time.ms),
      onRecall: (source) => sources.push(source),
    }),
  );
  await changes.catchUp();
  const find = (asked: Partial<CacheKey> = {}) =>
    answers.recall({ ...question, ...asked }).answer?.body.toString();
  const keep = (body: string, asked: Partial<CacheKey> = {}, until: Date | null = null) =>
    answers.recall({ ...question, ...asked }).keep({ answer: toAnswer(body), until });
  return {
    answers,
    changes,
    time,
    sources,
    find,
    keep,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

describe('an answer', () => {
  test('is given again to the same question, as it was', async () => {
    await using it = await openAnswers();
    const answer = { ...toAnswer('{"id":1}'), headers: { etag: '"x"' }, points: 4 };
    it.answers.recall(question).keep({ answer, until: null });
    expect(it.answers.recall({ ...question }).answer).toEqual(answer);
  });

  test.each<[string, Partial<CacheKey>]>([
    ['another tenant', { tenantId: 'b' }],
    ['a key bound to a number', { numberId: 'wa_1' }],
    ['another request', { request: 'GET /v1/numbers/wa_1' }],
    ['a key whose number reads like a request', { numberId: '\0GET /v1/numbers', request: '' }],
  ])('is not given to %s', async (_, other) => {
    await using it = await openAnswers();
    it.keep('mine');
    expect(it.find(other)).toBeUndefined();
    it.keep('theirs', other);
    expect([it.find(), it.find(other)]).toEqual(['mine', 'theirs']);
  });

  test('takes the place of the one before', async () => {
    await using it = await openAnswers();
    const [first, second] = [it.answers.recall(question), it.answers.recall(question)];
    first.keep(toKept('one'));
    second.keep(toKept('two'));
    expect(it.find()).toBe('two');
  });
});

describe('is read again', () => {
  test('when something of the tenant has changed, and of no other one', async () => {
    await using it = await openAnswers();
    it.keep('mine');
    it.keep('theirs', { tenantId: 'b' });
    it.changes.tell({ tenantId: 'a', keys: false });
    expect(it.find()).toBeUndefined();
    expect(it.find({ tenantId: 'b' })).toBe('theirs');
  });

  test('when anything may have changed', async () => {
    await using it = await openAnswers();
    it.keep('mine');
    it.keep('theirs', { tenantId: 'b' });
    it.changes.tell({ tenantId: null, keys: false });
    expect([it.find(), it.find({ tenantId: 'b' })]).toEqual([undefined, undefined]);
  });

  test('while the feed is silent; what was kept is good again once it speaks', async () => {
    await using it = await openAnswers();
    it.keep('mine');
    it.changes.clock.ms += 751;
    expect(it.find()).toBeUndefined();
    await it.changes.catchUp();
    expect(it.find()).toBe('mine');
  });

  test('from the moment on at which it would be another one by itself', async () => {
    await using it = await openAnswers();
    it.keep('mine', {}, new Date(start + 1_000));
    it.time.ms = start + 999;
    expect(it.find()).toBe('mine');
    it.time.ms = start + 1_000;
    expect(it.find()).toBeUndefined();
  });
});

describe('is not kept', () => {
  test('when something of the tenant has changed since the question', async () => {
    await using it = await openAnswers();
    const reading = it.answers.recall(question);
    it.changes.tell({ tenantId: 'a', keys: false });
    reading.keep(toKept('old'));
    expect(it.find()).toBeUndefined();
    const another = it.answers.recall(question);
    it.changes.tell({ tenantId: null, keys: true });
    another.keep(toKept('old'));
    expect(it.find()).toBeUndefined();
  });

  test('when another question of the tenant was answered after that change', async () => {
    await using it = await openAnswers();
    const reading = it.answers.recall(question);
    it.changes.tell({ tenantId: 'a', keys: false });
    it.keep('new');
    reading.keep(toKept('old'));
    expect(it.find()).toBe('new');
  });

  test('when it was asked while the feed was silent', async () => {
    await using it = await openAnswers();
    it.changes.clock.ms += 751;
    const reading = it.answers.recall(question);
    await it.changes.catchUp();
    reading.keep(toKept('old'));
    expect(it.find()).toBeUndefined();
  });

  test('by a gateway that keeps nothing', () => {
    disabledResponseCache.recall(question).keep(toKept('mine'));
    expect(disabledResponseCache.recall(question).answer).toBeNull();
  });
});

describe('an answer that is being read', () => {
  afterEach(() => void vi.useRealTimers());

  const shared: CacheKey = { ...question, isShared: () => true };
  const good = { response: { status: 200, headers: {}, body: 'read' }, isCacheable: true };

  /** Each question is read by what `releases` then lets go, in their order. */
  function openReader(answers: Awaited<ReturnType<typeof openAnswers>>['answers']) {
    const releases: ((reading: typeof good) => void)[] = [];
    const charged: number[] = [];
    const read = () => new Promise<typeof good>((resolve) => void releases.push(resolve));
    const spend = (points: number) => charged.push(points) > 0;
    const ask = async (asked: CacheKey = shared, validUntil: Date | null = null) => {
      const admission = { spend, charge: async () => undefined, spent: 3 };
      const context = { ...createRequestContext(new Headers()), validUntil };
      return (await getOrCompute(answers, asked, { admission, context }, read)).body?.toString();
    };
    return { ask, releases, charged };
  }

  test('is read once for all who ask the same meanwhile, and each of them pays', async () => {
    await using it = await openAnswers();
    const { ask, releases, charged } = openReader(it.answers);
    const asked = [ask(), ask(), ask()];
    expect(releases).toHaveLength(1);
    releases[0]!(good);
    expect(await Promise.all(asked)).toEqual(['read', 'read', 'read']);
    expect(charged).toEqual([2, 2]);
  });

  test('is not waited for by another key’s scope, or by whom it might not suit', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const asked = [
      ask(),
      ask({ ...shared, numberId: 'n' }),
      ask({ ...shared, isShared: () => false }),
    ];
    expect(releases).toHaveLength(3);
    for (const release of releases) release(good);
    await Promise.all(asked);
  });

  test('is not waited for by who asks after a change', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const first = ask();
    it.changes.tell({ tenantId: 'a', keys: false });
    const second = ask();
    expect(releases).toHaveLength(2);
    releases[1]!({ ...good, response: { ...good.response, body: 'new' } });
    expect(await second).toBe('new');
    releases[0]!(good);
    expect(await first).toBe('read');
  });

  test('is given to nobody else from the moment on at which it would be another one', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const until = new Date(start + 1_000);
    const early = [ask(shared, until), ask()];
    it.time.ms = start + 999;
    releases[0]!(good);
    expect(await Promise.all(early)).toEqual(['read', 'read']);
    const another = { ...shared, request: 'another' };
    const late = [ask(another, until), ask(another)];
    it.time.ms = start + 1_000;
    releases[1]!(good);
    expect(await late[0]).toBe('read');
    await expect.poll(() => releases).toHaveLength(3);
    releases[2]!({ ...good, response: { ...good.response, body: 'new' } });
    expect(await late[1]).toBe('new');
  });

  test('is counted as read by who read it, and as shared by whom it was given to', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const asked = [ask(), ask(), ask()];
    expect(it.sources).toEqual(['read']);
    releases[0]!(good);
    await Promise.all(asked);
    await ask();
    expect(it.sources).toEqual(['read', 'shared', 'shared', 'memory']);
  });

  test('is counted as read by who waited in vain, and while the feed is silent', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const asked = [ask(), ask()];
    releases[0]!({ ...good, isCacheable: false });
    await expect.poll(() => releases).toHaveLength(2);
    expect(it.sources).toEqual(['read', 'read']);
    it.changes.clock.ms += 751;
    asked.push(ask());
    expect(it.sources).toEqual(['read', 'read', 'read']);
    for (const release of releases) release(good);
    await Promise.all(asked);
    expect(it.sources).toHaveLength(3);
  });

  test('is waited for a second, and then read by each for himself', async () => {
    await using it = await openAnswers();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { ask, releases, charged } = openReader(it.answers);
    const asked = [ask(), ask()];
    await vi.advanceTimersByTimeAsync(999);
    expect(releases).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(releases).toHaveLength(2);
    releases[1]!({ ...good, response: { ...good.response, body: 'own' } });
    expect(await asked[1]).toBe('own');
    releases[0]!(good);
    expect(await asked[0]).toBe('read');
    expect(charged).toEqual([]);
  });

  test('leaves no timer to those who waited for it', async () => {
    await using it = await openAnswers();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { ask, releases } = openReader(it.answers);
    const asked = [ask(), ask(), ask()];
    expect(vi.getTimerCount()).toBe(2);
    releases[0]!(good);
    await Promise.all(asked);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is read by each for himself if it is nothing to be kept', async () => {
    await using it = await openAnswers();
    const { ask, releases } = openReader(it.answers);
    const asked = [ask(), ask()];
    releases[0]!({ response: { status: 404, headers: {}, body: 'none' }, isCacheable: true });
    expect(await asked[0]).toBe('none');
    await expect.poll(() => releases).toHaveLength(2);
    releases[1]!(good);
    expect(await asked[1]).toBe('read');
  });
});

describe('memory', () => {
  test('holds of an answer no more than its bytes', async () => {
    const { answers } = await openAnswers();
    const admission = { spend: () => true, charge: async () => undefined, spent: 1 };
    const context = createRequestContext(new Headers());
    const response = { status: 200, headers: {}, body: 'läng' };
    const read = async () => ({ response, isCacheable: true });
    await getOrCompute(answers, question, { admission, context }, read);
    const { body } = answers.recall(question).answer!;
    expect(body.toString()).toBe('läng');
    expect(body.buffer.byteLength).toBe(body.length);
  });

  const large = 'x'.repeat(4_000);

  test('is bounded, and what was not used for the longest time goes first', async () => {
    await using it = await openAnswers({ maxBytes: 40_000 });
    const tenants = Array.from({ length: 10 }, (_, index) => `t${index}`);
    for (const tenantId of tenants) {
      it.keep(large, { tenantId });
      it.find({ tenantId: 't0' });
    }
    const left = tenants.filter((tenantId) => it.find({ tenantId }) !== undefined);
    expect(left).toEqual(['t0', 't4', 't5', 't6', 't7', 't8', 't9']);
  });

  test('is half a tenant’s at most, who loses what it did not use for the longest time', async () => {
    await using it = await openAnswers({ maxBytes: 40_000 });
    it.keep(large, { tenantId: 'quiet' });
    const requests = Array.from({ length: 20 }, (_, index) => `r${index}`);
    for (const request of requests) {
      it.keep(large, { request });
      it.find({ request: 'r0' });
    }
    const left = requests.filter((request) => it.find({ request }) !== undefined);
    expect(left).toEqual(['r0', 'r18', 'r19']);
    expect(it.find({ tenantId: 'quiet' })).toBe(large);
  });

  test('holds nothing that would take more than half of it', async () => {
    await using it = await openAnswers({ maxBytes: 40_000 });
    it.keep('small', { request: 'another' });
    it.keep('x'.repeat(20_000));
    expect(it.find()).toBeUndefined();
    expect(it.find({ request: 'another' })).toBe('small');
  });

  test('is not filled by tenants who only ask', async () => {
    await using it = await openAnswers({ maxBytes: 40_000 });
    it.keep('mine');
    for (let index = 0; index < 200; index++) it.find({ tenantId: `t${index}` });
    expect(it.find()).toBeUndefined();
    it.keep('mine');
    for (let index = 0; index < 50; index++) it.find({ tenantId: `t${index}` });
    expect(it.find()).toBe('mine');
  });
});
