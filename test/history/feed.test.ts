// Tests the pages of changes and the streams of pages, without HTTP.

import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Access } from '../../src/access/access.ts';
import type { Database } from '../../src/database/database.ts';
import type { ChangePage } from '../../src/history/change.ts';
import { createHistory } from '../../src/history/history.ts';
import { renewEpoch } from '../../src/history/store.ts';
import { createMeter } from '../../src/http/request-context.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  openTestPostgresUrl,
  type TestGateway,
} from '../harness.ts';

/** A tenant of its own, with a number. */
async function openFeed(gateway: TestGateway, options: { heartbeatMs?: number } = {}) {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', instanceName: 'shop' });
  const access: Access = {
    tenantId: tenant.id,
    keyId: tenant.keyId,
    numberId: null,
    scopes: ['read'],
    receivedAt: 0,
    meter: createMeter(),
  };
  const history = createHistory({ database: gateway.database, now: () => new Date(), ...options });
  const abort = new AbortController();
  return {
    tenant,
    id,
    access,
    history,
    abort,
    close: () =>
      gateway.database.query("update whatsapp_number set state = 'CLOSE' where id = $1", [id]),
    /** Makes one change. */
    rename: (name: string) =>
      gateway.database.query('update whatsapp_number set name = $1 where id = $2', [name, id]),
    read: (after: string | null, first = 100, filter = {}) =>
      history.readChanges(access, { after, first, filter }),
    watch: (after: string | null, filter = {}, signal = abort.signal) =>
      history.watchChanges(access, { after, filter, signal }),
    [Symbol.dispose]: () => abort.abort(),
  };
}

const valuesOf = ({ changes }: ChangePage) => changes.map((change) => change.newValue);

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  describe('a page of changes', () => {
    test('without a cursor has no changes, and the cursor from which the next ones follow', async () => {
      using feed = await openFeed(gateway);
      const start = await feed.read(null);
      expect(start).toMatchObject({ changes: [], caughtUp: true });
      await feed.rename('a');
      await feed.rename('b');
      const page = await feed.read(start.cursor);
      expect(valuesOf(page)).toEqual(['a', 'b']);
      expect(page.caughtUp).toBe(true);
      expect(page.changes.at(-1)?.cursor).toBe(page.cursor);
      expect(await feed.read(page.cursor)).toMatchObject({ changes: [], cursor: page.cursor });
    });

    test('of any size leads to the same sequence', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      for (const name of ['a', 'b', 'c', 'd', 'e']) {
        // oxlint-disable-next-line no-await-in-loop -- in this order
        await feed.rename(name);
      }
      for (const size of [1, 2, 3, 4, 5, 6]) {
        const seen = [];
        // oxlint-disable-next-line no-await-in-loop -- one page after the other
        let page: ChangePage = await feed.read(cursor, size);
        seen.push(...valuesOf(page));
        while (!page.caughtUp) {
          // oxlint-disable-next-line no-await-in-loop -- one page after the other
          page = await feed.read(page.cursor, size);
          seen.push(...valuesOf(page));
        }
        expect(seen).toEqual(['a', 'b', 'c', 'd', 'e']);
      }
    });

    test('with a filter passes over the other changes', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      const other = await feed.tenant.addNumber();
      await feed.rename('a');
      const changes = async (filter: object) => (await feed.read(cursor, 100, filter)).changes;
      expect(await changes({ numberIds: [other.id] })).toMatchObject([{ kind: 'ADDED' }]);
      expect(await changes({ kinds: ['FIELD'], fields: ['NAME'] })).toMatchObject([
        { newValue: 'a' },
      ]);
      expect(await changes({ fields: ['STATE'], numberIds: [feed.id] })).toEqual([]);
      expect(await changes({ numberIds: ['a\0b'] })).toEqual([]);
      expect(await changes({ wabaIds: [] })).toEqual([]);
      const hidden = await feed.read(cursor, 100, { fields: ['STATE'] });
      expect(hidden).toMatchObject({ changes: [], caughtUp: true });
      expect(hidden.cursor).toBe((await feed.read(null)).cursor);
    });

    test('has a change that was committed after another caller had begun to read', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      const [hasRead, mayReturn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const slow: Database['readTenant'] = async (...read) => {
        const rows = await gateway.database.readTenant(...read);
        hasRead.resolve();
        await mayReturn.promise;
        return rows;
      };
      const history = createHistory({
        database: { ...gateway.database, readTenant: slow },
        now: () => new Date(),
      });
      const request = { after: cursor, first: 100, filter: {} };
      const before = history.readChanges(feed.access, request);
      await hasRead.promise;
      await feed.rename('a');
      const after = history.readChanges(feed.access, request);
      mayReturn.resolve();
      expect(valuesOf(await before)).toEqual([]);
      expect(valuesOf(await after)).toEqual(['a']);
    });

    test('has the changes of the tenant alone', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      const other = await gateway.addTenant();
      await other.addNumber();
      expect(await feed.read(cursor)).toMatchObject({ changes: [], cursor });
    });

    test.each(['', 'c1', 'c1.x.1', 'c2.00000000000000000000000000000000.1', 'c1.a.-1'])(
      'refuses the cursor %j as malformed',
      async (cursor) => {
        using feed = await openFeed(gateway);
        await expect(feed.read(cursor)).rejects.toMatchObject({ code: 'INVALID_CURSOR' });
      },
    );

    test('refuses a cursor beyond the last change, or of another epoch', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      const beyond = cursor.replace(/\d+$/, '999');
      await expect(feed.read(beyond)).rejects.toMatchObject({
        code: 'CURSOR_UNKNOWN',
        status: 410,
      });
      await renewEpoch(gateway.database, feed.tenant.id);
      await expect(feed.read(cursor)).rejects.toMatchObject({ code: 'CURSOR_UNKNOWN' });
      await expect(feed.watch(cursor)).rejects.toMatchObject({ code: 'CURSOR_UNKNOWN' });
    });
  });

  describe('a stream of changes', () => {
    test('has each change once, in order, as it is committed', async () => {
      using feed = await openFeed(gateway);
      const stream = await feed.watch(null);
      const seen: (string | null)[] = [];
      const all = (async () => {
        for await (const page of stream) {
          seen.push(...valuesOf(page));
          if (seen.at(-1) === 'last') return;
        }
      })();
      for (let count = 0; count < 20; count += 1) {
        // oxlint-disable-next-line no-await-in-loop -- in this order
        await feed.rename(`name ${count}`);
      }
      await feed.rename('last');
      await all;
      expect(seen).toEqual([...Array(20).keys()].map((count) => `name ${count}`).concat('last'));
    });

    test('goes on after a cursor', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      await feed.rename('missed');
      const { value } = await (await feed.watch(cursor)).next();
      expect(valuesOf(value as ChangePage)).toEqual(['missed']);
    });

    test('without changes sends a page as a sign of life, whose cursor passes over hidden changes', async () => {
      using feed = await openFeed(gateway, { heartbeatMs: 300 });
      const stream = await feed.watch(null, { fields: ['STATE'] });
      const next = stream.next();
      await feed.rename('hidden');
      const { value } = await next;
      expect(value).toMatchObject({ changes: [], caughtUp: true });
      const { value: later } = await stream.next();
      expect((later as ChangePage).cursor).toBe((await feed.read(null)).cursor);
    });

    test('ends when its signal is aborted, and when it is returned twice', async () => {
      using feed = await openFeed(gateway);
      const [aborted, returned] = [await feed.watch(null), await feed.watch(null)];
      const next = aborted.next();
      await nextTurn();
      feed.abort.abort();
      expect(await next).toMatchObject({ done: true });
      await returned.return?.();
      await returned.return?.();
      expect(await returned.next()).toMatchObject({ done: true });
    });

    test('has the same page as the others at its place, also when one of them leaves', async () => {
      using feed = await openFeed(gateway);
      const leaving = new AbortController();
      const streams = [
        await feed.watch(null, {}, leaving.signal),
        await feed.watch(null),
        await feed.watch(null),
        await feed.watch(null, { kinds: ['FIELD'] }),
      ];
      const [left, ...next] = streams.map((stream) => stream.next());
      await nextTurn();
      leaving.abort();
      expect(await left).toMatchObject({ done: true });
      await feed.rename('a');
      const [one, two, filtered] = (await Promise.all(next)).map(({ value }) => value);
      expect(valuesOf(one as ChangePage)).toEqual(['a']);
      expect(two).toBe(one);
      expect(filtered).toEqual({ ...(one as ChangePage), time: expect.any(String) });
      expect(filtered).not.toBe(one);
    });

    test('that has ended reads nothing any more', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      await feed.rename('first');
      const stream = await feed.watch(cursor);
      await stream.next();
      const next = stream.next();
      await delay(150);
      feed.abort.abort();
      await next;
      gateway.clearStatements();
      await feed.rename('a');
      // The change has been announced.
      await gateway.database.changes.catchUp();
      await delay(150);
      const reads = gateway.statements.filter((statement) => /^\s*select/.test(statement));
      expect(reads.filter((statement) => statement.includes('number_change'))).toEqual([]);
    });

    test('ends with CURSOR_UNKNOWN when the epoch is renewed', async () => {
      using feed = await openFeed(gateway);
      const stream = await feed.watch(null);
      const next = stream.next();
      await nextTurn();
      await renewEpoch(gateway.database, feed.tenant.id);
      await expect(next).rejects.toMatchObject({ code: 'CURSOR_UNKNOWN' });
    });
  });

  describe('a wait for changes', () => {
    test('ends at once with changes that there are, and with the first one that matches', async () => {
      using feed = await openFeed(gateway);
      const { cursor } = await feed.read(null);
      const wait = (filter: object, waitMs: number) =>
        feed.history.waitForChanges(feed.access, {
          after: cursor,
          first: 100,
          filter,
          waitMs,
          signal: feed.abort.signal,
        });
      const waiting = wait({ fields: ['NAME'] }, 60_000);
      await feed.close();
      await feed.rename('a');
      expect(valuesOf(await waiting)).toEqual(['a']);
      expect(valuesOf(await wait({ fields: ['NAME'] }, 60_000))).toEqual(['a']);
      expect(await wait({ fields: ['WABA_ID'] }, 50)).toMatchObject({
        changes: [],
        caughtUp: true,
      });
    });

    test('ends with the reason of its signal', async () => {
      using feed = await openFeed(gateway);
      const waiting = feed.history.waitForChanges(feed.access, {
        after: null,
        first: 1,
        filter: {},
        waitMs: 60_000,
        signal: feed.abort.signal,
      });
      await nextTurn();
      feed.abort.abort(new Error('gone'));
      await expect(waiting).rejects.toThrow('gone');
    });
  });

  describe('the history of a number', () => {
    test('has its changes, newest first, page by page', async () => {
      using feed = await openFeed(gateway);
      await feed.tenant.addNumber();
      await feed.rename('a');
      await feed.close();
      await feed.rename('b');
      const list = (request: object) =>
        feed.history.listHistory(feed.access, {
          numberId: feed.id,
          first: 2,
          after: null,
          fields: ['NAME'],
          since: null,
          ...request,
        });
      const page = await list({ first: 1 });
      expect(page).toMatchObject({ changes: [{ newValue: 'b' }], hasNextPage: true });
      const after = page.changes[0]?.cursor;
      expect(await list({ after })).toMatchObject({
        changes: [{ newValue: 'a' }],
        hasNextPage: false,
      });
      expect(await list({ since: new Date(Date.now() + 1_000) })).toMatchObject({ changes: [] });
      expect((await list({ fields: null, first: 100 })).changes.map((it) => it.kind)).toEqual([
        'FIELD',
        'VERDICT',
        'VERDICT',
        'FIELD',
        'FIELD',
        'ADDED',
      ]);
    });
  });
});

test('streams of every process end when the epoch is renewed', async () => {
  await using postgres = await openTestPostgresUrl();
  await using database = await openTestDatabase('PostgreSQL', { of: postgres });
  await using gateway = await openTestGateway({ database });
  await using other = await openTestDatabase('PostgreSQL', { of: postgres });
  using feed = await openFeed(gateway);
  const stream = await feed.watch(null);
  const next = stream.next();
  await database.changes.catchUp();
  await renewEpoch(other, feed.tenant.id);
  await expect(next).rejects.toMatchObject({ code: 'CURSOR_UNKNOWN' });
});
