// That a key is let in without a question to the database only while it is certain what the answer would be.

import { describe, expect, test } from 'vitest';
import type { FoundKey } from '../../src/access/store.ts';
import { createKeyCache, disabledKeyCache } from '../../src/access/key-cache.ts';
import { createLocalFeed } from '../database/local-feed.ts';

const toKey = (tenantId: string, expiresInMs: number | null = null): FoundKey => ({
  tenantId,
  id: `key_${tenantId}`,
  numberId: null,
  expiresInMs,
});

async function openKeys(maxKeys = 100) {
  const made = new AsyncDisposableStack();
  const changes = made.use(createLocalFeed());
  const time = { ms: 0 };
  const keys = made.use(createKeyCache({ changes, clock: () => time.ms, maxKeys }));
  await changes.catchUp();
  return {
    keys,
    changes,
    time,
    verify: (text: string, found: FoundKey | undefined) => keys.verify(text, async () => found),
    isKnown: (text: string) => keys.find(text) !== undefined,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

describe('a key is remembered', () => {
  test('once it was verified, as the database knows it', async () => {
    await using it = await openKeys();
    expect(it.isKnown('one')).toBe(false);
    const known = { tenantId: 'a', id: 'key_a', numberId: null };
    expect(await it.verify('one', toKey('a'))).toEqual(known);
    expect(it.keys.find('one')).toEqual(known);
    expect(it.isKnown('another')).toBe(false);
  });

  test('whatever else of its tenant changes', async () => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    it.changes.tell({ tenantId: 'a', keys: false });
    it.changes.tell({ tenantId: null, keys: false });
    it.changes.tell({ tenantId: 'b', keys: true });
    expect(it.isKnown('one')).toBe(true);
  });

  test('without an end, on the clock of the process', async () => {
    await using changes = createLocalFeed();
    using keys = createKeyCache({ changes });
    await changes.catchUp();
    await keys.verify('one', async () => toKey('a'));
    await keys.verify('over', async () => toKey('a', 0));
    expect(keys.find('one')).toBeDefined();
    expect(keys.find('over')).toBeUndefined();
  });

  test('up to its end, counted from before the question', async () => {
    await using it = await openKeys();
    await it.keys.verify('one', async () => {
      it.time.ms += 300;
      return toKey('a', 1_000);
    });
    it.time.ms = 999;
    expect(it.isKnown('one')).toBe(true);
    it.time.ms = 1_000;
    expect(it.isKnown('one')).toBe(false);
  });
});

describe('the database is asked again', () => {
  test('for the other keys of a tenant, too, after one of them was refused', async () => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    await it.verify('two', toKey('a'));
    await it.verify('one', undefined);
    it.changes.tell({ tenantId: 'a', keys: true });
    expect(it.isKnown('two')).toBe(false);
  });

  test('by one that is closed', async () => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    it.keys[Symbol.dispose]();
    expect(it.isKnown('one')).toBe(false);
  });

  test.each<[string, string | null]>([
    ['keys of the tenant', 'a'],
    ['keys of anybody', null],
  ])('when %s have changed', async (_, tenantId) => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    await it.verify('two', toKey('a'));
    it.changes.tell({ tenantId, keys: true });
    expect([it.isKnown('one'), it.isKnown('two')]).toEqual([false, false]);
  });

  test('while the feed is silent', async () => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    it.changes.clock.ms += 751;
    expect(it.isKnown('one')).toBe(false);
    await it.changes.catchUp();
    expect(it.isKnown('one')).toBe(true);
  });

  test.each<[string, string | null, boolean]>([
    ['keys of the tenant', 'a', false],
    ['keys of anybody', null, false],
    ['keys of another tenant', 'b', true],
  ])('when %s have changed between question and answer', async (_, tenantId, known) => {
    await using it = await openKeys();
    await it.keys.verify('one', async () => {
      it.changes.tell({ tenantId, keys: true });
      return toKey('a');
    });
    expect(it.isKnown('one')).toBe(known);
  });

  test('when it has refused the key, and when it has failed', async () => {
    await using it = await openKeys();
    await it.verify('one', toKey('a'));
    expect(await it.verify('one', undefined)).toBeUndefined();
    expect(it.isKnown('one')).toBe(false);
    const failing = it.keys.verify('one', () => Promise.reject(new RangeError('down')));
    await expect(failing).rejects.toBeInstanceOf(RangeError);
    expect(it.isKnown('one')).toBe(false);
  });

  test('for the key that was verified first, when there are too many', async () => {
    await using it = await openKeys(3);
    for (const name of ['one', 'two', 'three', 'four']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await it.verify(name, toKey(name));
      it.isKnown('one');
    }
    const left = ['one', 'two', 'three', 'four'].filter(it.isKnown);
    expect(left).toEqual(['two', 'three', 'four']);
  });

  test('for one that was verified again, later than for those that were not', async () => {
    await using it = await openKeys(2);
    for (const name of ['one', 'two', 'one', 'three']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await it.verify(name, toKey('a'));
    }
    expect(['one', 'two', 'three'].filter(it.isKnown)).toEqual(['one', 'three']);
  });

  test('each time by a gateway that remembers nothing', async () => {
    const verified = await disabledKeyCache.verify('one', async () => toKey('a'));
    expect(verified).toEqual(toKey('a'));
    expect(disabledKeyCache.find('one')).toBeUndefined();
  });
});
