// What the gateway makes of the database's announcements: that it knows at each moment whether it has heard all of them.

import { EventEmitter, once } from 'node:events';
import { sql } from 'kysely';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../src/database/database.ts';
import type { Change } from '../../src/database/change-feed.ts';
import { openFaultProxy } from '../providers/fault-proxy.ts';
import { databases, openTestDatabase, openTestPostgresUrl, type TestDatabase } from '../harness.ts';
import { hasPgBouncer, startPgBouncer } from './pgbouncer.ts';

const listeners = `select pid from pg_stat_activity
  where application_name = 'numbers-gateway changes' and datname = current_database()`;

const everything: Change = { tenantId: null, keys: true };

/** Collects what is told, and opens the feed by that. */
function listenTo(database: Database): Change[] {
  const heard: Change[] = [];
  database.changes.subscribe((change) => heard.push(change));
  return heard;
}

function addTenant(database: TestDatabase, id: string): Promise<unknown> {
  return database.query(`insert into tenant (id, name) values ($1, 'Tenant')`, [id]);
}

const change = `insert into waba_snapshot (tenant_id, waba_id, attempted_at) values ('a', '20001', now())
  on conflict (tenant_id, waba_id) do update set attempted_at = now()`;

describe.each(databases)('on %s', (kind) => {
  const made = new AsyncDisposableStack();
  const clock = { ms: 0 };
  const open = () => openTestDatabase(kind, { changeFeed: { clock: () => clock.ms } });
  afterEach(() => {
    clock.ms = 0;
  });

  test('nothing is open before somebody subscribes, and nothing is current', async () => {
    await using database = await open();
    await database.ping();
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(false);
    expect(await database.query(listeners)).toEqual([]);
  });

  test('is current once a beat was heard, and not three quarters of a second after the last one was sent', async () => {
    await using database = await open();
    listenTo(database);
    expect(database.changes.isCurrent()).toBe(false);
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(true);
    clock.ms = 750;
    expect(database.changes.isCurrent()).toBe(true);
    clock.ms = 751;
    expect(database.changes.isCurrent()).toBe(false);
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(true);
  });

  test('begins by telling that everything may have changed, then tells what does', async () => {
    await using database = await open();
    await addTenant(database, 'a');
    const heard = listenTo(database);
    await database.changes.catchUp();
    expect(heard).toEqual([everything]);
    await database.query(change);
    await database.changes.catchUp();
    expect(heard).toEqual([everything, { tenantId: 'a', keys: false }]);
  });

  test('a transaction of a tenant is told before its promise is settled, whether or not it worked', async () => {
    await using database = await open();
    const heard = listenTo(database);
    await database.changes.catchUp();
    heard.length = 0;
    const own = { tenantId: 'a', keys: true };
    await database.withTenant('a', async () => undefined);
    expect(heard).toEqual([own]);
    const failing = database.withTenant('a', () => Promise.reject(new RangeError('midway')));
    await expect(failing).rejects.toBeInstanceOf(RangeError);
    expect(heard).toEqual([own, own]);
  });

  test('what it cannot understand is taken for everything, and the beats of others for nothing', async () => {
    await using database = await open();
    const heard = listenTo(database);
    await database.changes.catchUp();
    heard.length = 0;
    const send = (message: string) =>
      database.query(`select pg_notify('gateway_changes', $1)`, [message]);
    await send('beat of-another-gateway 1');
    await database.changes.catchUp();
    expect(heard).toEqual([]);
    const strange = ['', 'x', 'null', '{}', '{"tenant":"a"}', '{"tenant":1,"keys":true}', '[]'];
    // oxlint-disable-next-line no-await-in-loop -- one connection
    for (const message of strange) await send(message);
    await database.changes.catchUp();
    expect(heard).toEqual(strange.map(() => everything));
  });

  test('who has left is told nothing more', async () => {
    await using database = await open();
    const heard: Change[] = [];
    const leave = database.changes.subscribe((told) => heard.push(told));
    await database.changes.catchUp();
    leave();
    heard.length = 0;
    await database.withTenant('a', async () => undefined);
    expect(heard).toEqual([]);
  });

  test('waiting for a change ends with the next change of the tenant or of all tenants', async () => {
    await using database = await open();
    await addTenant(database, 'a');
    listenTo(database);
    await database.changes.catchUp();
    const resolved: string[] = [];
    const wait = (tenantId: string) =>
      database.changes
        .waitForChange(tenantId, { timeoutMs: 60_000 })
        .then(() => resolved.push(tenantId));
    const [a, b] = [wait('a'), wait('b')];
    await database.query(change);
    await a;
    await database.changes.catchUp();
    expect(resolved).toEqual(['a']);
    await database.query('truncate waba_snapshot');
    await b;
    const again = wait('a');
    await database.withTenant('b', async () => undefined);
    expect(resolved).toEqual(['a', 'b']);
    await database.withTenant('a', async () => undefined);
    await again;
  });

  test('waiting for a change ends after the time limit, when it is aborted and when the feed is closed', async () => {
    const database = await open();
    const wait = (timeoutMs: number, signal?: AbortSignal) =>
      database.changes.waitForChange('a', { timeoutMs, signal });
    await wait(60_000);
    await database.changes.catchUp();
    await wait(1);
    const controller = new AbortController();
    const waiting = wait(60_000, controller.signal);
    controller.abort(new RangeError('left'));
    await expect(waiting).rejects.toThrow(RangeError);
    await expect(wait(60_000, controller.signal)).rejects.toThrow(RangeError);
    const last = wait(60_000);
    await database[Symbol.asyncDispose]();
    await last;
  });

  test('whoever waits when it is closed waits no longer, and nothing is current', async () => {
    const database = made.use(await open());
    listenTo(database);
    await database.changes.catchUp();
    const waiting = database.changes.catchUp();
    await made.disposeAsync();
    await waiting;
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(false);
  });
});

describe('on PostgreSQL', () => {
  const made = new AsyncDisposableStack();
  let url: string;
  let observer: Client;
  const clock = { ms: 0 };

  beforeAll(async () => {
    const postgres = made.use(await openTestPostgresUrl());
    url = postgres.url;
    observer = made.adopt(new Client({ connectionString: postgres.ownerUrl }), (it) => it.end());
    await observer.connect();
    await observer.query(`insert into tenant (id, name) values ('a', 'Tenant')`);
  });
  afterAll(() => made.disposeAsync());

  const listListeners = async () =>
    (await observer.query<{ pid: number }>(listeners)).rows.map(({ pid }) => pid);

  async function openFeed(through = url) {
    const losses: Error[] = [];
    const lost = new EventEmitter();
    const database = await openDatabase(
      { kind: 'postgres', url: through },
      {
        changeFeed: {
          clock: () => clock.ms,
          onLost(cause) {
            losses.push(cause);
            lost.emit('lost');
          },
        },
      },
    );
    return Object.assign(database, {
      heard: listenTo(database),
      losses,
      untilLost: () => once(lost, 'lost'),
    });
  }

  test('one connection listens, and is gone when the database is closed', async () => {
    const feed = await openFeed();
    await feed.changes.catchUp();
    expect(await listListeners()).toHaveLength(1);
    await feed[Symbol.asyncDispose]();
    await expect.poll(listListeners).toEqual([]);
  });

  test('a connection that ends is told once, is not current, and comes back with everything', async () => {
    await using feed = await openFeed();
    await feed.changes.catchUp();
    const lost = feed.untilLost();
    const [pid] = await listListeners();
    await observer.query('select pg_terminate_backend($1)', [pid]);
    await lost;
    expect(feed.changes.isCurrent()).toBe(false);
    await observer.query(change);
    feed.heard.length = 0;
    await feed.changes.catchUp();
    expect(feed.changes.isCurrent()).toBe(true);
    expect(feed.heard).toEqual([everything]);
    await observer.query(change);
    await feed.changes.catchUp();
    expect(feed.heard).toEqual([everything, { tenantId: 'a', keys: false }]);
    expect(feed.losses).toHaveLength(1);
  });

  test('a server that cannot be reached is told once, and tried until it can', async () => {
    await using proxy = await openFaultProxy(url);
    proxy.setFault('numbers-gateway changes', { kind: 'reset' });
    await using feed = await openFeed(toProxied(proxy.url));
    await feed.untilLost();
    const caughtUp = feed.changes.catchUp();
    expect(feed.changes.isCurrent()).toBe(false);
    proxy.setFault('numbers-gateway changes', null);
    await caughtUp;
    expect(feed.changes.isCurrent()).toBe(true);
    expect(feed.losses).toHaveLength(1);
  });

  test('a connection that brings nothing any more is given up, and nothing is current meanwhile', async () => {
    await using proxy = await openFaultProxy(url);
    await using feed = await openFeed(toProxied(proxy.url));
    await feed.changes.catchUp();
    const lost = feed.untilLost();
    proxy.setFault('beat ', { kind: 'mute' });
    await lost;
    expect(feed.losses[0]?.message).toContain('not heard');
    expect(feed.changes.isCurrent()).toBe(false);
    await observer.query(change);
    feed.heard.length = 0;
    proxy.setFault('beat ', null);
    await feed.changes.catchUp();
    expect(feed.heard).toContainEqual(everything);
    expect(feed.changes.isCurrent()).toBe(true);
  });

  const toProxied = (proxyUrl: string) =>
    Object.assign(new URL(url), { host: new URL(proxyUrl).host }).href;

  describe.skipIf(!hasPgBouncer('the change feed behind PgBouncer'))('behind PgBouncer', () => {
    test('it is never current, says why, and leaves nobody’s connection listening', async () => {
      await using stack = new AsyncDisposableStack();
      await using feed = await openFeed(await startPgBouncer(stack, { url }));
      await feed.untilLost();
      await observer.query(change);
      expect(feed.losses[0]?.message).toContain('pooler');
      expect(feed.heard).toEqual([]);
      expect(feed.changes.isCurrent()).toBe(false);
      const channels = await feed.acrossTenants((functions) =>
        sql`select pg_listening_channels()`.execute(functions),
      );
      expect(channels.rows).toEqual([]);
    });
  });
});
