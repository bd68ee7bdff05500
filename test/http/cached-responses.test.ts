// Answers that are kept in memory, as a caller meets them at both doors: the same as those that are read, and never old.

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

/** What is asked; `id` is that of a number. */
const questions: Readonly<
  Record<string, (id: string) => readonly [path: string, ask: SendOptions]>
> = {
  'the list of REST': () => ['/v1/numbers', {}],
  'a number of REST': (id) => [`/v1/numbers/${id}`, {}],
  'the head of a number': (id) => [`/v1/numbers/${id}`, { method: 'HEAD' }],
  'the list of GraphQL': () => toOperation('{ numbers { id name state apiKeys { name } } }'),
  'a number of GraphQL': (id) =>
    toOperation(
      'query Q($id: ID!) { number(id: $id) { name health { sendable freshness { stale } } } }',
      {
        id,
      },
    ),
  'a number in the newer media type': (id) =>
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

/** All of an answer but what belongs to one request: its id, and what is left of the allowance. */
function toLasting({ status, headers, text }: Reply<unknown>) {
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
    // The use of the key is noted with the first request.
    await tenant.rest('/v1/numbers');
    await database.changes.catchUp();
  });

  const countStatements = async (ask: () => Promise<unknown>): Promise<number> => {
    database.clearStatements();
    await ask();
    return database.statements.length;
  };
  const list = async (): Promise<readonly string[]> => {
    const { body } = await tenant.rest<readonly { name: string }[]>('/v1/numbers');
    return body.map(({ name }) => name);
  };

  describe.each(Object.entries(questions))('%s', (_, toQuestion) => {
    test('is answered again without a statement, with the same bytes', async () => {
      const [path, ask] = toQuestion(number.id);
      const read = await tenant.rest(path, ask);
      let again = read;
      expect(
        await countStatements(async () => {
          again = await tenant.rest(path, ask);
        }),
      ).toBe(0);
      expect(toLasting(again)).toEqual(toLasting(read));
      expect(read.status).toBe(200);
      expect(again.headers.get('x-request-id')).not.toBe(read.headers.get('x-request-id'));
    });

    test('costs as much as if it were read', async () => {
      const [path, ask] = toQuestion(number.id);
      const remaining = async () => {
        const { headers } = await tenant.rest(path, ask);
        return Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);
      };
      const left = [await remaining(), await remaining(), await remaining()];
      expect(left[0]! - left[1]!).toBe(left[1]! - left[2]!);
      expect(left[0]).toBeGreaterThan(left[1]!);
    });

    test('is read again after a change, and while the feed is silent', async () => {
      const [path, ask] = toQuestion(number.id);
      const isRead = async () => (await countStatements(() => tenant.rest(path, ask))) > 0;
      await isRead();
      await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        number.id,
      ]);
      expect(await isRead()).toBe(true);
      expect(await isRead()).toBe(false);
      clock.ms += 751;
      expect(await isRead()).toBe(true);
      await database.changes.catchUp();
      expect(await isRead()).toBe(false);
    });
  });

  describe('an answer shows', () => {
    test('what other software has written', async () => {
      expect(await list()).toEqual(['First']);
      await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        number.id,
      ]);
      expect(await list()).toEqual(['Renamed']);
    });

    test('what this process has written, whether or not the feed brings it', async () => {
      for (const state of ['CLOSE', 'OPEN', 'CONNECTING'] as const) {
        // oxlint-disable no-await-in-loop -- one after the other
        await tenant.rest(`/v1/numbers/${number.id}`);
        await gateway.numbers.setState(number.id, state);
        const { body } = await tenant.rest(`/v1/numbers/${number.id}`);
        expect(body).toMatchObject({ state });
        // oxlint-enable no-await-in-loop
      }
    });

    test('what a live reading has brought, at the other door too', async () => {
      const ask = () =>
        tenant.graphql<{ number: { meta: { waba: { name: string } } | null } }>(
          `{ number(id: "${number.id}") { meta { waba { name } } } }`,
        );
      expect((await ask()).body.data?.number.meta).toBeNull();
      await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
      expect((await ask()).body.data?.number.meta?.waba.name).toBe('Lucky Shrub');
    });

    test('that evidence has grown old, at the very moment', async () => {
      await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
      const [{ at } = { at: new Date() }] = await database.query<{ at: Date }>(
        `select observed_at as at from number_snapshot where number_id = $1 and block = 'phone'`,
        [number.id],
      );
      const ask = async () => {
        const { body } = await tenant.graphql<{
          number: { health: { sendability: { verdict: string }; freshness: { stale: boolean } } };
        }>(
          `{ number(id: "${number.id}") { health { sendability { verdict } freshness { stale } } } }`,
        );
        const health = body.data?.number.health;
        return [health?.sendability.verdict, health?.freshness.stale];
      };
      time.ms = at.getTime() + 3_600_000;
      expect(await ask()).toEqual(['YES', false]);
      expect(await countStatements(ask)).toBe(0);
      time.ms = at.getTime() + 3_601_000 - 1;
      expect(await ask()).toEqual(['YES', false]);
      time.ms = at.getTime() + 3_601_000;
      expect(await ask()).toEqual(['UNKNOWN', true]);
    });

    test('that a listed key has ended', async () => {
      const hour = 3_600_000;
      await tenant.addKey({ numberId: number.id, expiresAt: new Date(Date.now() + hour) });
      await database.changes.catchUp();
      const isRead = async () => (await countStatements(() => tenant.rest('/v1/numbers'))) > 0;
      time.ms = Date.now();
      const readAt = time.ms;
      expect(await isRead()).toBe(true);
      time.ms = readAt + hour - 60_000;
      expect(await isRead()).toBe(false);
      time.ms = readAt + hour;
      expect(await isRead()).toBe(true);
    });
  });

  describe('is read each time', () => {
    const unkept: Readonly<Record<string, (id: string) => readonly [string, SendOptions]>> = {
      'a live reading of REST': (id) => [`/v1/numbers/${id}?refresh=1`, {}],
      'a status': (id) => [`/v1/numbers/${id}/status`, {}],
      'a live reading of GraphQL': (id) =>
        toOperation(`{ number(id: "${id}", refresh: true) { name health { sendable } } }`),
      'an age': (id) =>
        toOperation(`{ number(id: "${id}") { health { freshness { ageSeconds } } } }`),
      'an age in a fragment': (id) =>
        toOperation(
          `query { number(id: "${id}") { health { freshness { ...F } } } } fragment F on Freshness { a: ageSeconds }`,
        ),
      'what says its cost': () => toOperation('{ numbers { id } }', {}, { 'x-include-cost': '1' }),
      'a number that is not there': () => toOperation('{ number(id: "wa_none") { name } }'),
      'a number that is not there, beside one that is': (id) =>
        toOperation(`{ a: number(id: "wa_none") { name } b: number(id: "${id}") { name } }`),
      'a number that REST does not find': () => ['/v1/numbers/wa_none', {}],
    };
    test.each(Object.entries(unkept))('%s', async (_, toQuestion) => {
      const [path, ask] = toQuestion(number.id);
      await tenant.rest(path, ask);
      await tenant.rest(path, ask);
      expect(await countStatements(() => tenant.rest(path, ask))).toBeGreaterThan(0);
    });
  });

  describe('nobody is given', () => {
    test('the answer of another tenant to the same question', async () => {
      const other = await gateway.addTenant();
      await other.addNumber({ name: 'Theirs' });
      for (const asking of [tenant, other, tenant, other]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const { body } = await asking.rest('/v1/numbers');
        expect(body).toEqual([
          expect.objectContaining({ name: asking === tenant ? 'First' : 'Theirs' }),
        ]);
      }
      const foreign = await other.rest(`/v1/numbers/${number.id}`);
      await tenant.rest(`/v1/numbers/${number.id}`);
      const again = await other.rest(`/v1/numbers/${number.id}`);
      expect([foreign.status, again.status]).toEqual([404, 404]);
    });

    test('the answer to a key of another scope', async () => {
      const { key } = await tenant.addKey({ numberId: number.id });
      await database.changes.catchUp();
      const both = [tenant.key, key];
      // From then on both keys are known; what is not found is not kept.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      for (const as of both) await gateway.rest('/v1/numbers/wa_none', { key: as });
      const counts: number[] = [];
      for (const as of [...both, ...both]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        counts.push(await countStatements(() => gateway.rest('/v1/numbers', { key: as })));
      }
      expect(counts.map((count) => count > 0)).toEqual([true, true, false, false]);
    });

    test('an answer to a key that is unknown, revoked or ended, however often it was given', async () => {
      await list();
      await list();
      const unknown = await gateway.rest('/v1/numbers', { key: `${tenant.key.slice(0, -1)}~` });
      expect(unknown.status).toBe(401);
      await gateway.access.revokeKey(tenant.keyId);
      expect((await tenant.rest('/v1/numbers')).status).toBe(401);
    });
  });

  test('a condition is judged for what is kept as for what is read', async () => {
    const { headers } = await tenant.rest('/v1/numbers');
    const etag = headers.get('etag')!;
    const ask = () => tenant.rest('/v1/numbers', { headers: { 'if-none-match': etag } });
    expect((await ask()).status).toBe(304);
    expect((await tenant.rest('/v1/numbers')).status).toBe(200);
    await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [number.id]);
    expect((await ask()).status).toBe(200);
  });
});

test('what a tenant may spend is spent by answers from memory too', async () => {
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
  // Two points each, the first one read.
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
  const isKept = async () => {
    other.clearStatements();
    await listAtOther();
    return other.statements.length === 0;
  };

  test('what one has written the other shows as soon as it has heard of it', async () => {
    await listAtOther();
    expect(await isKept()).toBe(true);
    await one.numbers.setState(number.id, 'CLOSE');
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CLOSE']);
  });

  test('a live reading forgets the answers of its tenant, and no key', async () => {
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

  test('what is not committed yet is not shown, and not missed', async () => {
    await one.database.query('begin');
    await one.database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [
      number.id,
    ]);
    expect(await listAtOther()).toEqual(['OPEN']);
    expect(await isKept()).toBe(true);
    await one.database.query('commit');
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CLOSE']);
  });

  test('a key that one has revoked the other refuses within a second', async () => {
    await listAtOther();
    expect(await isKept()).toBe(true);
    await one.access.revokeKey(tenant.keyId);
    const revokedAt = performance.now();
    await expect.poll(listAtOther, { interval: 1 }).toBe(401);
    const ms = performance.now() - revokedAt;
    console.log(
      `revoked by one process, refused by the other after ${ms.toFixed(1)} ms (bar: 1000)`,
    );
    expect(ms).toBeLessThan(1_000);
  });

  test('a process that hears nothing any more refuses a revoked key three quarters of a second later', async () => {
    await listAtOther();
    expect(await isKept()).toBe(true);
    const met = proxy.untilFault();
    proxy.setFault('beat ', { kind: 'mute' });
    await met;
    await one.access.revokeKey(tenant.keyId);
    clock.ms += 750;
    expect(await listAtOther()).toEqual(['OPEN']);
    clock.ms += 1;
    expect(await listAtOther()).toBe(401);
    proxy.setFault('beat ', null);
    await other.database.changes.catchUp();
    expect(await listAtOther()).toBe(401);
  });

  test('what was changed while a process heard nothing is shown once it hears again', async () => {
    await listAtOther();
    const met = proxy.untilFault();
    proxy.setFault('beat ', { kind: 'mute' });
    await met;
    await one.numbers.setState(number.id, 'CLOSE');
    clock.ms += 751;
    expect(await listAtOther()).toEqual(['CLOSE']);
    await one.numbers.setState(number.id, 'CONNECTING');
    expect(await listAtOther()).toEqual(['CONNECTING']);
    proxy.setFault('beat ', null);
    await other.database.changes.catchUp();
    expect(await listAtOther()).toEqual(['CONNECTING']);
    expect(await isKept()).toBe(true);
  });
});
