// Cached responses as callers of both APIs see them: equal to computed ones, and never outdated.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FaultProxy, openFaultProxy } from '../providers/fault-proxy.ts';
import {
  type SendOptions,
  databases,
  openTestDatabase,
  openTestGateway,
  openTestPostgresUrl,
  type Reply,
  type TestDatabase,
  type TestDatabaseOptions,
  type TestGateway,
  type TestNumber,
  type TestPostgresUrl,
  type TestTenant,
} from '../harness.ts';

const environment = { ANSWER_CACHE_MB: '32', API_KEY_PEPPER: 'p'.repeat(32) };
const start = Date.now();

/** Requests whose responses are cached; `id` is the id of a number. */
const cacheable: Readonly<
  Record<string, (id: string) => readonly [path: string, options: SendOptions]>
> = {
  'the list over REST': () => ['/v1/numbers', {}],
  'a number over REST': (id) => [`/v1/numbers/${id}`, {}],
  'HEAD of a number': (id) => [`/v1/numbers/${id}`, { method: 'HEAD' }],
  'the list over GraphQL': () => toOperation('{ numbers { id name state apiKeys { name } } }'),
  'a number over GraphQL': (id) =>
    toOperation(
      'query Q($id: ID!) { number(id: $id) { name health { sendable freshness { stale } } } }',
      {
        id,
      },
    ),
  'a number as application/graphql-response+json': (id) =>
    toOperation(`{ number(id: "${id}") { name } }`, undefined, {
      accept: 'application/graphql-response+json',
    }),
};

function toOperation(
  query: string,
  variables?: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): readonly [string, SendOptions] {
  return [
    '/graphql',
    {
      method: 'POST',
      body: JSON.stringify({ query, variables }),
      headers: { 'content-type': 'application/json', ...headers },
    },
  ];
}

/** A response without what differs between requests: its id, and the rest of the rate limit. */
function toComparable({ status, headers, text }: Reply<unknown>) {
  const others = [...headers].filter(([name]) => name !== 'x-request-id' && name !== 'ratelimit');
  return { status, text, headers: Object.fromEntries(others) };
}

describe.each(databases)('on %s', (kind) => {
  const clock = { ms: 0 };
  const time = { ms: start };
  let database: TestDatabase;
  let gateway: TestGateway;
  let tenant: TestTenant;
  let number: TestNumber;

  beforeAll(async () => {
    database = await openTestDatabase(kind, { changeFeed: { clock: () => clock.ms } });
    gateway = await openTestGateway({ database, environment, now: () => new Date(time.ms) });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    time.ms = start;
    tenant = await gateway.addTenant();
    number = await tenant.addNumber({ name: 'First' });
    await tenant.addKey({ numberId: number.id });
    // The first request records that the key was used.
    await tenant.rest('/v1/numbers');
    await database.changes.catchUp();
  });

  const countStatements = async (send: () => Promise<unknown>): Promise<number> => {
    database.clearStatements();
    await send();
    return database.statements.length;
  };
  const list = async (): Promise<readonly string[]> => {
    const { body } = await tenant.rest<readonly { name: string }[]>('/v1/numbers');
    return body.map(({ name }) => name);
  };

  describe.each(Object.entries(cacheable))('%s', (_, toRequest) => {
    test('is served from memory without a statement, byte for byte', async () => {
      const [path, options] = toRequest(number.id);
      const computed = await tenant.rest(path, options);
      let cached = computed;
      expect(
        await countStatements(async () => {
          cached = await tenant.rest(path, options);
        }),
      ).toBe(0);
      expect(toComparable(cached)).toEqual(toComparable(computed));
      expect(computed.status).toBe(200);
      expect(cached.headers.get('x-request-id')).not.toBe(computed.headers.get('x-request-id'));
    });

    test('costs as many points from memory as when it is computed', async () => {
      const [path, options] = toRequest(number.id);
      const remaining = async () => {
        const { headers } = await tenant.rest(path, options);
        return Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);
      };
      const left = [await remaining(), await remaining(), await remaining()];
      expect(left[0]! - left[1]!).toBe(left[1]! - left[2]!);
      expect(left[0]).toBeGreaterThan(left[1]!);
    });

    test('is computed again after a change, and while the change feed is silent', async () => {
      const [path, options] = toRequest(number.id);
      const isComputed = async () => (await countStatements(() => tenant.rest(path, options))) > 0;
      await isComputed();
      await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        number.id,
      ]);
      expect(await isComputed()).toBe(true);
      expect(await isComputed()).toBe(false);
      clock.ms += 751;
      expect(await isComputed()).toBe(true);
      await database.changes.catchUp();
      expect(await isComputed()).toBe(false);
    });
  });

  describe('a response reflects', () => {
    test('a write by other software', async () => {
      expect(await list()).toEqual(['First']);
      await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        number.id,
      ]);
      expect(await list()).toEqual(['Renamed']);
    });

    test('a write by this process, whether or not the change feed reports it', async () => {
      for (const state of ['CLOSE', 'OPEN', 'CONNECTING'] as const) {
        // oxlint-disable no-await-in-loop -- one after the other
        await tenant.rest(`/v1/numbers/${number.id}`);
        await gateway.numbers.setState(number.id, state);
        const { body } = await tenant.rest(`/v1/numbers/${number.id}`);
        expect(body).toMatchObject({ state });
        // oxlint-enable no-await-in-loop
      }
    });

    test('a live read, also through the other API', async () => {
      const send = () =>
        tenant.graphql<{ number: { meta: { waba: { name: string } } | null } }>(
          `{ number(id: "${number.id}") { meta { waba { name } } } }`,
        );
      expect((await send()).body.data?.number.meta).toBeNull();
      await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
      expect((await send()).body.data?.number.meta?.waba.name).toBe('Lucky Shrub');
    });

    test('that evidence has become stale, to the millisecond', async () => {
      await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
      const [{ at } = { at: new Date() }] = await database.query<{ at: Date }>(
        `select observed_at as at from number_snapshot where number_id = $1 and block = 'phone'`,
        [number.id],
      );
      const readHealth = async () => {
        const { body } = await tenant.graphql<{
          number: { health: { sendability: { verdict: string }; freshness: { stale: boolean } } };
        }>(
          `{ number(id: "${number.id}") { health { sendability { verdict } freshness { stale } } } }`,
        );
        const health = body.data?.number.health;
        return [health?.sendability.verdict, health?.freshness.stale];
      };
      time.ms = at.getTime() + 3_600_000;
      expect(await readHealth()).toEqual(['YES', false]);
      expect(await countStatements(readHealth)).toBe(0);
      time.ms = at.getTime() + 3_601_000 - 1;
      expect(await readHealth()).toEqual(['YES', false]);
      time.ms = at.getTime() + 3_601_000;
      expect(await readHealth()).toEqual(['UNKNOWN', true]);
    });

    test('that a listed key has expired', async () => {
      const hour = 3_600_000;
      await tenant.addKey({ numberId: number.id, expiresAt: new Date(Date.now() + hour) });
      await database.changes.catchUp();
      const isComputed = async () => (await countStatements(() => tenant.rest('/v1/numbers'))) > 0;
      time.ms = Date.now();
      const readAt = time.ms;
      expect(await isComputed()).toBe(true);
      time.ms = readAt + hour - 60_000;
      expect(await isComputed()).toBe(false);
      time.ms = readAt + hour;
      expect(await isComputed()).toBe(true);
    });
  });

  describe('is computed each time:', () => {
    const uncacheable: Readonly<Record<string, (id: string) => readonly [string, SendOptions]>> = {
      'a live read over REST': (id) => [`/v1/numbers/${id}?refresh=1`, {}],
      'a connection status': (id) => [`/v1/numbers/${id}/status`, {}],
      'a live read over GraphQL': (id) =>
        toOperation(`{ number(id: "${id}", refresh: true) { name health { sendable } } }`),
      'an age': (id) =>
        toOperation(`{ number(id: "${id}") { health { freshness { ageSeconds } } } }`),
      'an age in a fragment': (id) =>
        toOperation(
          `query { number(id: "${id}") { health { freshness { ...F } } } } fragment F on Freshness { a: ageSeconds }`,
        ),
      'a response that includes its cost': () =>
        toOperation('{ numbers { id } }', {}, { 'x-include-cost': '1' }),
      'a number that does not exist, over GraphQL': () =>
        toOperation('{ number(id: "wa_none") { name } }'),
      'a number that does not exist, beside one that does': (id) =>
        toOperation(`{ a: number(id: "wa_none") { name } b: number(id: "${id}") { name } }`),
      'a number that does not exist, over REST': () => ['/v1/numbers/wa_none', {}],
    };
    test.each(Object.entries(uncacheable))('%s', async (_, toRequest) => {
      const [path, options] = toRequest(number.id);
      await tenant.rest(path, options);
      await tenant.rest(path, options);
      expect(await countStatements(() => tenant.rest(path, options))).toBeGreaterThan(0);
    });
  });

  describe('a cached response is not served', () => {
    test('to another tenant that sends the same request', async () => {
      const other = await gateway.addTenant();
      await other.addNumber({ name: 'Theirs' });
      for (const caller of [tenant, other, tenant, other]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const { body } = await caller.rest('/v1/numbers');
        expect(body).toEqual([
          expect.objectContaining({ name: caller === tenant ? 'First' : 'Theirs' }),
        ]);
      }
      const foreign = await other.rest(`/v1/numbers/${number.id}`);
      await tenant.rest(`/v1/numbers/${number.id}`);
      const afterOwner = await other.rest(`/v1/numbers/${number.id}`);
      expect([foreign.status, afterOwner.status]).toEqual([404, 404]);
    });

    test('to a key of another scope', async () => {
      const { key } = await tenant.addKey({ numberId: number.id });
      await database.changes.catchUp();
      const both = [tenant.key, key];
      // Caches both keys, but no response: a 404 is not cached.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      for (const sent of both) await gateway.rest('/v1/numbers/wa_none', { key: sent });
      const counts: number[] = [];
      for (const sent of [...both, ...both]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        counts.push(await countStatements(() => gateway.rest('/v1/numbers', { key: sent })));
      }
      expect(counts.map((count) => count > 0)).toEqual([true, true, false, false]);
    });

    test('to an unknown or revoked key, however often it was served before', async () => {
      await list();
      await list();
      const unknown = await gateway.rest('/v1/numbers', { key: `${tenant.key.slice(0, -1)}~` });
      expect(unknown.status).toBe(401);
      await gateway.access.revokeKey(tenant.keyId);
      expect((await tenant.rest('/v1/numbers')).status).toBe(401);
    });
  });

  test('If-None-Match applies to cached responses as to computed ones', async () => {
    const { headers } = await tenant.rest('/v1/numbers');
    const etag = headers.get('etag')!;
    const send = () => tenant.rest('/v1/numbers', { headers: { 'if-none-match': etag } });
    expect((await send()).status).toBe(304);
    expect((await tenant.rest('/v1/numbers')).status).toBe(200);
    await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [number.id]);
    expect((await send()).status).toBe(200);
  });
});

test('cached responses count towards the rate limit', async () => {
  await using database = await openTestDatabase('PGlite', { changeFeed: { clock: () => 0 } });
  const limited = { ...environment, RATE_LIMIT: '10/60' };
  await using gateway = await openTestGateway({ database, environment: limited });
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  await database.changes.catchUp();
  const statuses: number[] = [];
  for (let count = 0; count < 6; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    statuses.push((await tenant.rest(`/v1/numbers/${id}`)).status);
  }
  // Each costs two points; only the first one is computed.
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429]);
});

describe('two processes on one PostgreSQL', () => {
  const made = new AsyncDisposableStack();
  const clock = { ms: 0 };
  let postgres: TestPostgresUrl;
  let proxy: FaultProxy;
  let one: TestGateway;
  let other: TestGateway;
  let tenant: TestTenant;
  let number: TestNumber;

  const open = async (of: TestPostgresUrl, options: TestDatabaseOptions = {}) => {
    const database = made.use(await openTestDatabase('PostgreSQL', { ...options, of }));
    return made.use(await openTestGateway({ database, environment }));
  };

  beforeAll(async () => {
    postgres = made.use(await openTestPostgresUrl());
    proxy = made.use(await openFaultProxy(postgres.url));
    const url = Object.assign(new URL(postgres.url), { host: new URL(proxy.url).host }).href;
    one = await open(postgres);
    other = await open({ ...postgres, url }, { changeFeed: { clock: () => clock.ms } });
  });
  afterAll(() => made.disposeAsync());
  beforeEach(async () => {
    tenant = await one.addTenant();
    number = await tenant.addNumber({ name: 'First' });
    await listAtOther();
    await other.database.changes.catchUp();
  });

  const listAtOther = async () => {
    const { status, body } = await other.rest<readonly { state: string }[]>('/v1/numbers', {
      key: tenant.key,
    });
    return status === 200 ? body.map(({ state }) => state) : status;
  };
  const isCached = async () => {
    other.clearStatements();
    await listAtOther();
    return other.statements.length === 0;
  };

  test('a write by one is returned by the other as soon as its change feed has reported it', async () => {
    await listAtOther();
    expect(await isCached()).toBe(true);
    await one.numbers.setState(number.id, 'CLOSE');
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CLOSE']);
  });

  test('a live read invalidates the cached responses of its tenant, but no cached key', async () => {
    const statusOf = async (path: string) => (await one.rest(path, { key: tenant.key })).status;
    await one.database.changes.catchUp();
    await statusOf('/v1/numbers');
    one.clearStatements();
    expect(await statusOf('/v1/numbers')).toBe(200);
    expect(one.statements).toEqual([]);
    expect(await statusOf(`/v1/numbers/${number.id}?refresh=1`)).toBe(200);
    expect(await statusOf('/v1/numbers')).toBe(200);
    expect(one.statements.filter((sql) => sql.includes('_api_key('))).toEqual([]);
    expect(one.statements.at(-1)).toContain('whatsapp_number');
  });

  test('an uncommitted write is not returned, and is not missed once it is committed', async () => {
    await one.database.query('begin');
    await one.database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [
      number.id,
    ]);
    expect(await listAtOther()).toEqual(['OPEN']);
    expect(await isCached()).toBe(true);
    await one.database.query('commit');
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CLOSE']);
  });

  test('a key that one process revoked is refused by the other within a second', async () => {
    await listAtOther();
    expect(await isCached()).toBe(true);
    await one.access.revokeKey(tenant.keyId);
    const revokedAt = performance.now();
    await expect.poll(listAtOther, { interval: 1 }).toBe(401);
    const ms = performance.now() - revokedAt;
    console.log(
      `revoked by one process, refused by the other after ${ms.toFixed(1)} ms (bar: 1000)`,
    );
    expect(ms).toBeLessThan(1_000);
  });

  test('a process whose change feed is silent refuses a revoked key after 750 ms', async () => {
    await listAtOther();
    expect(await isCached()).toBe(true);
    const faulted = proxy.untilFault();
    proxy.setFault('beat ', { kind: 'mute' });
    await faulted;
    await one.access.revokeKey(tenant.keyId);
    clock.ms += 750;
    expect(await listAtOther()).toEqual(['OPEN']);
    clock.ms += 1;
    expect(await listAtOther()).toBe(401);
    proxy.setFault('beat ', null);
    await other.database.changes.catchUp();
    expect(await listAtOther()).toBe(401);
  });

  test('writes made while the change feed was silent are returned, also once it has recovered', async () => {
    await listAtOther();
    const faulted = proxy.untilFault();
    proxy.setFault('beat ', { kind: 'mute' });
    await faulted;
    await one.numbers.setState(number.id, 'CLOSE');
    clock.ms += 751;
    expect(await listAtOther()).toEqual(['CLOSE']);
    await one.numbers.setState(number.id, 'CONNECTING');
    expect(await listAtOther()).toEqual(['CONNECTING']);
    proxy.setFault('beat ', null);
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CONNECTING']);
    expect(await isCached()).toBe(true);
  });
});
