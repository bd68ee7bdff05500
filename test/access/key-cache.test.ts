// The key cache: it returns a key only while the database is known to accept it.

import { describe, expect, test } from 'vitest';
import { createKeyCache, disabledKeyCache, type FoundKey } from '../../src/access/key.ts';
import { createLocalFeed } from '../database/local-feed.ts';

const keyOf = (tenantId: string, expiresInMs: number | null = null): FoundKey => ({
  tenantId,
  id: `key_${tenantId}`,
  numberId: null,
  scopes: ['read'],
  expiresInMs,
});

async function openCache(maxKeys = 100) {
  const feed = createLocalFeed();
  const time = { ms: 0 };
  const cache = createKeyCache({ changes: feed, clock: () => time.ms, maxKeys });
  await feed.catchUp();
  return {
    ...cache,
    feed,
    time,
    put: (fingerprint: string, found: FoundKey | undefined) =>
      cache.readThrough(fingerprint, async () => found),
    has: (fingerprint: string) => cache.find(fingerprint) !== undefined,
    [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose](),
  };
}

describe('a key is cached', () => {
  test('once it was read, without its expiry', async () => {
    await using cache = await openCache();
    expect(cache.has('one')).toBe(false);
    const known = { tenantId: 'a', id: 'key_a', numberId: null, scopes: ['read'] };
    expect(await cache.put('one', keyOf('a'))).toEqual(known);
    expect(cache.find('one')).toEqual(known);
    expect(cache.has('another')).toBe(false);
  });

  test('when keys of its tenant changed before the read', async () => {
    await using cache = await openCache();
    cache.feed.tell({ tenantId: 'b', keys: true });
    cache.feed.tell({ tenantId: 'a', keys: true });
    await cache.put('one', keyOf('a'));
    expect(cache.has('one')).toBe(true);
  });

  test('while only numbers, or keys of other tenants, change', async () => {
    await using cache = await openCache();
    await cache.put('one', keyOf('a'));
    cache.feed.tell({ tenantId: 'a', keys: false });
    cache.feed.tell({ tenantId: null, keys: false });
    cache.feed.tell({ tenantId: 'b', keys: true });
    expect(cache.has('one')).toBe(true);
  });

  test('until it expires, counted from the start of the read', async () => {
    await using cache = await openCache();
    await cache.readThrough('one', async () => {
      cache.time.ms += 300;
      return keyOf('a', 1_000);
    });
    cache.time.ms = 999;
    expect(cache.has('one')).toBe(true);
    cache.time.ms = 1_000;
    expect(cache.has('one')).toBe(false);
  });

  test('on the monotonic clock of the process by default', async () => {
    await using feed = createLocalFeed();
    const cache = createKeyCache({ changes: feed });
    await feed.catchUp();
    await cache.readThrough('one', async () => keyOf('a'));
    await cache.readThrough('expired', async () => keyOf('a', 0));
    expect(cache.find('one')).toBeDefined();
    expect(cache.find('expired')).toBeUndefined();
  });

  test('as long as it is in use, however many others are cached', async () => {
    await using cache = await openCache(2);
    await cache.put('in use', keyOf('a'));
    for (const name of ['one', 'two', 'three']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await cache.put(name, keyOf(name));
      expect(cache.has('in use')).toBe(true);
    }
    expect(['one', 'two', 'three'].filter(cache.has)).toEqual(['three']);
  });
});

describe('a key is not cached', () => {
  test.each<[string, string | null]>([
    ['keys of its tenant', 'a'],
    ['keys of any tenant', null],
  ])('after %s changed', async (_, tenantId) => {
    await using cache = await openCache();
    await cache.put('one', keyOf('a'));
    await cache.put('two', keyOf('a'));
    cache.feed.tell({ tenantId, keys: true });
    expect([cache.has('one'), cache.has('two')]).toEqual([false, false]);
  });

  test.each<[string, string | null, boolean]>([
    ['keys of its tenant', 'a', false],
    ['keys of any tenant', null, false],
    ['keys of another tenant', 'b', true],
  ])('when %s changed during the read', async (_, tenantId, isCached) => {
    await using cache = await openCache();
    await cache.readThrough('one', async () => {
      cache.feed.tell({ tenantId, keys: true });
      return keyOf('a');
    });
    expect(cache.has('one')).toBe(isCached);
  });

  test('when its tenant changed during the read and the feed was silent in between', async () => {
    await using cache = await openCache();
    await cache.readThrough('one', async () => {
      cache.feed.clock.ms += 751;
      cache.feed.tell({ tenantId: 'a', keys: true });
      await cache.feed.catchUp();
      return keyOf('a');
    });
    expect(cache.has('one')).toBe(false);
  });

  test('while the feed is not current', async () => {
    await using cache = await openCache();
    await cache.put('one', keyOf('a'));
    cache.feed.clock.ms += 751;
    expect(cache.has('one')).toBe(false);
    await cache.feed.catchUp();
    expect(cache.has('one')).toBe(true);
  });

  test('when the feed is not current at the end of the read', async () => {
    await using cache = await openCache();
    await cache.readThrough('one', async () => {
      cache.feed.clock.ms += 751;
      return keyOf('a');
    });
    await cache.feed.catchUp();
    expect(cache.has('one')).toBe(false);
  });

  test('after the database refused it', async () => {
    await using cache = await openCache();
    await cache.put('one', keyOf('a'));
    expect(await cache.put('one', undefined)).toBeUndefined();
    expect(cache.has('one')).toBe(false);
  });

  test('when the read failed', async () => {
    await using cache = await openCache();
    const failing = cache.readThrough('one', () => Promise.reject(new RangeError('down')));
    await expect(failing).rejects.toBeInstanceOf(RangeError);
    expect(cache.has('one')).toBe(false);
  });

  test('by a disabled cache', async () => {
    const read = await disabledKeyCache.readThrough('one', async () => keyOf('a'));
    expect(read).toEqual(keyOf('a'));
    expect(disabledKeyCache.find('one')).toBeUndefined();
  });
});
