// That the change feed gives each change a new version, and knows at each moment whether it has heard all changes.

import { EventEmitter, once } from 'node:events';
import { sql } from 'kysely';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../src/database/database.ts';
import { createPostgresListener } from '../../src/database/postgres.ts';
import { openFaultProxy } from '../providers/fault-proxy.ts';
import { databases, openTestDatabase, openTestPostgresUrl, type TestDatabase } from '../harness.ts';
import { createLocalFeed } from './local-feed.ts';
import { hasPgBouncer, startPgBouncer } from './pgbouncer.ts';

const listeners = `select pid from pg_stat_activity
  where application_name = 'numbers-gateway changes' and datname = current_database()`;

/** The versions of a tenant's numbers and of its keys. */
const versionsOf = ({ changes }: Database, tenantId: string) => [
  changes.versionOf(tenantId, 'numbers'),
  changes.versionOf(tenantId, 'keys'),
];

async function openChanges({ changes }: Database): Promise<void> {
  changes.open();
  await changes.catchUp();
}

function addTenant(database: TestDatabase, id: string): Promise<unknown> {
  return database.query(`insert into tenant (id, name) values ($1, 'Tenant')`, [id]);
}

const change = `insert into waba_snapshot (tenant_id, waba_id, attempted_at) values ('a', '20001', now())
  on conflict (tenant_id, waba_id) do update set attempted_at = now()`;

describe.each(databases)('on %s', (kind) => {
  const clock = { ms: 0 };
  const open = () => openTestDatabase(kind, { changeFeed: { clock: () => clock.ms } });
  afterEach(() => {
    clock.ms = 0;
  });

  test('a feed that was not opened is not current and does not listen', async () => {
    await using database = await open();
    await database.ping();
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(false);
    expect(versionsOf(database, 'a')).toEqual([null, null]);
    expect(await database.query(listeners)).toEqual([]);
  });

  test('is current when a heartbeat was heard, for 750 ms from when it was sent', async () => {
    await using database = await open();
    database.changes.open();
    expect(database.changes.isCurrent()).toBe(false);
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(true);
    clock.ms = 750;
    expect(database.changes.isCurrent()).toBe(true);
    clock.ms = 751;
    expect(database.changes.isCurrent()).toBe(false);
    expect(versionsOf(database, 'a')).toEqual([null, null]);
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(true);
  });

  test('a change gives its tenant a new version, of its numbers or of its numbers and keys', async () => {
    await using database = await open();
    await addTenant(database, 'a');
    await openChanges(database);
    const before = versionsOf(database, 'a');
    const other = versionsOf(database, 'b');
    await database.query(change);
    await database.changes.catchUp();
    const after = versionsOf(database, 'a');
    expect(after[0]).toBeGreaterThan(before[0] ?? Infinity);
    expect(after[1]).toBe(before[1]);
    await database.query(
      `insert into api_key (tenant_id, name, key_prefix, key_last4, hash)
       values ('a', 'Key', 'ps_abcd', 'wxyz', 'hash')`,
    );
    await database.changes.catchUp();
    expect(versionsOf(database, 'a')[1]).toBeGreaterThan(after[1] ?? Infinity);
    expect(versionsOf(database, 'b')).toEqual(other);
  });

  test('a transaction of this process gives a new version before its promise settles, whether or not it failed', async () => {
    await using database = await open();
    await openChanges(database);
    const before = versionsOf(database, 'a');
    await database.withTenant('a', async () => undefined);
    const after = versionsOf(database, 'a');
    for (const [index, version] of after.entries()) {
      expect(version).toBeGreaterThan(before[index] ?? Infinity);
    }
    const failing = database.withTenant('a', () => Promise.reject(new RangeError('midway')));
    await expect(failing).rejects.toBeInstanceOf(RangeError);
    for (const [index, version] of versionsOf(database, 'a').entries()) {
      expect(version).toBeGreaterThan(after[index] ?? Infinity);
    }
  });

  test('a message that cannot be parsed is a change of everything', async () => {
    await using database = await open();
    await openChanges(database);
    for (const message of [
      '',
      'x',
      'null',
      '{}',
      '{"tenant":"a"}',
      '{"tenant":1,"keys":true}',
      '[]',
    ]) {
      const before = versionsOf(database, 'a');
      // oxlint-disable no-await-in-loop -- one connection
      await database.query(`select pg_notify('gateway_changes', $1)`, [message]);
      await database.changes.catchUp();
      // oxlint-enable no-await-in-loop
      for (const [index, version] of versionsOf(database, 'a').entries()) {
        expect(version).toBeGreaterThan(before[index] ?? Infinity);
      }
    }
  });

  test('a heartbeat of a gateway of the previous release is no change', async () => {
    await using database = await open();
    await openChanges(database);
    const before = versionsOf(database, 'a');
    await database.query(`select pg_notify('gateway_changes', 'beat of-another-gateway 1')`);
    await database.changes.catchUp();
    expect(versionsOf(database, 'a')).toEqual(before);
  });

  test('waiting for a change ends with the next change of the tenant or of all tenants', async () => {
    await using database = await open();
    await addTenant(database, 'a');
    await openChanges(database);
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

  test('closing the feed ends every wait, and it is not current', async () => {
    const database = await open();
    await openChanges(database);
    const waiting = database.changes.catchUp();
    await database[Symbol.asyncDispose]();
    await waiting;
    await database.changes.catchUp();
    expect(database.changes.isCurrent()).toBe(false);
  });
});

test('a change leaves the versions of other tenants alone, however many tenants have changed before', async () => {
  await using feed = createLocalFeed();
  feed.open();
  await feed.catchUp();
  const tell = (prefix: string, count: number) => {
    for (let index = 0; index < count; index += 1) {
      feed.tell({ tenantId: `${prefix}${index}`, keys: true });
    }
  };
  const listVersions = () =>
    Array.from({ length: 1_000 }, (_, index) => feed.versionOf(`tenant${index}`, 'keys'));
  tell('tenant', 150_000);
  const before = listVersions();
  tell('other', 100);
  const changed = listVersions().filter((version, index) => version !== before[index]);
  expect(changed.length).toBeLessThan(50);
});

describe('on PostgreSQL', () => {
  const made = new AsyncDisposableStack();
  let url: string;
  let ownerUrl: string;
  let observer: Client;
  const clock = { ms: 0 };

  beforeAll(async () => {
    const postgres = made.use(await openTestPostgresUrl());
    ({ url, ownerUrl } = postgres);
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
    database.changes.open();
    return Object.assign(database, {
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

  test('a connection that ends is reported once, and its successor makes everything outdated', async () => {
    await using feed = await openFeed();
    await feed.changes.catchUp();
    const before = versionsOf(feed, 'b');
    const lost = feed.untilLost();
    const [pid] = await listListeners();
    await observer.query('select pg_terminate_backend($1)', [pid]);
    await lost;
    expect(feed.changes.isCurrent()).toBe(false);
    await feed.changes.catchUp();
    expect(feed.changes.isCurrent()).toBe(true);
    const after = versionsOf(feed, 'b');
    for (const [index, version] of after.entries()) {
      expect(version).toBeGreaterThan(before[index] ?? Infinity);
    }
    const [numbers] = versionsOf(feed, 'a');
    await observer.query(change);
    await feed.changes.catchUp();
    expect(versionsOf(feed, 'a')[0]).toBeGreaterThan(numbers ?? Infinity);
    expect(versionsOf(feed, 'b')).toEqual(after);
    expect(feed.losses).toHaveLength(1);
  });

  test('a server that cannot be reached is reported once, and tried until it can be', async () => {
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

  test('a connection from which nothing is received is replaced, and the feed is not current meanwhile', async () => {
    await using proxy = await openFaultProxy(url);
    await using feed = await openFeed(toProxied(proxy.url));
    await feed.changes.catchUp();
    const [before] = versionsOf(feed, 'b');
    const lost = feed.untilLost();
    proxy.setFault('heartbeat ', { kind: 'mute' });
    await lost;
    expect(feed.losses[0]?.message).toContain('No heartbeat was heard');
    expect(feed.changes.isCurrent()).toBe(false);
    await observer.query(change);
    proxy.setFault('heartbeat ', null);
    await feed.changes.catchUp();
    expect(versionsOf(feed, 'b')[0]).toBeGreaterThan(before ?? Infinity);
    expect(feed.changes.isCurrent()).toBe(true);
  });

  test('a process hears its own heartbeats and no others, and the changes of all', async () => {
    await using stack = new AsyncDisposableStack();
    const listen = async () => {
      const heard: string[] = [];
      const hear = (message: string) => void heard.push(message);
      const listener = { onChange: hear, onHeartbeat: hear, onLost: () => undefined };
      return { heard, session: stack.use(await createPostgresListener(url)(listener)) };
    };
    const [one, other] = [await listen(), await listen()];
    await one.session.sendHeartbeat('one 1');
    await other.session.sendHeartbeat('other 1');
    await observer.query(change);
    await other.session.sendHeartbeat('other 2');
    await one.session.sendHeartbeat('one 2');
    await expect.poll(() => [one.heard.at(-1), other.heard.at(-1)]).toEqual(['one 2', 'other 2']);
    const announced = expect.stringContaining('"a"');
    expect(one.heard).toEqual(['one 1', announced, 'one 2']);
    expect(other.heard).toEqual(['other 1', announced, 'other 2']);
  });

  test('a heartbeat is heard after every change that was committed before it, with several writers at the same time', async () => {
    await using stack = new AsyncDisposableStack();
    await using feed = await openFeed();
    await feed.changes.catchUp();
    const writers = ['w1', 'w2', 'w3', 'w4'].map(async (tenant) => {
      const client = stack.adopt(new Client({ connectionString: ownerUrl }), (it) => it.end());
      await client.connect();
      await client.query(`insert into tenant (id, name) values ($1, 'Tenant')`, [tenant]);
      for (let commits = 0; commits < 50; commits += 1) {
        const [before] = versionsOf(feed, tenant);
        // oxlint-disable no-await-in-loop -- one commit after the other
        await client.query(change.replace(`'a'`, `'${tenant}'`));
        await feed.changes.catchUp();
        // oxlint-enable no-await-in-loop
        expect(versionsOf(feed, tenant)[0]).toBeGreaterThan(before ?? Infinity);
      }
    });
    await Promise.all(writers);
  });

  const toProxied = (proxyUrl: string) =>
    Object.assign(new URL(url), { host: new URL(proxyUrl).host }).href;

  describe.skipIf(!hasPgBouncer('the change feed behind PgBouncer'))('behind PgBouncer', () => {
    test('the feed is never current, reports the pooler, and leaves no shared connection listening', async () => {
      await using stack = new AsyncDisposableStack();
      await using feed = await openFeed(await startPgBouncer(stack, { url }));
      await feed.untilLost();
      await observer.query(change);
      expect(feed.losses[0]?.message).toContain('pooler');
      expect(feed.changes.isCurrent()).toBe(false);
      const channels = await feed.acrossTenants((functions) =>
        sql`select pg_listening_channels()`.execute(functions),
      );
      expect(channels.rows).toEqual([]);
    });
  });
});
