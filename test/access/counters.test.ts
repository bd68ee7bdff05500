// Counters shared through the database, and counters of one process, which replace them while the database is down.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { createLocalCounters, createSharedCounters } from '../../src/access/counters.ts';
import { createRateLimiter, type RateLimiter } from '../../src/access/rate-limit.ts';
import { openDatabase } from '../../src/database/database.ts';
import { databases, openTestDatabase, openTestGateway, type TestGateway } from '../harness.ts';

const shared = {
  RATE_LIMIT_STORE: 'database',
  RATE_LIMIT: '200/3600',
  API_KEY_PEPPER: 'p'.repeat(32),
};

/** Two gateways on one database behave like two processes. */
async function openTwo(environment: Readonly<Record<string, string>> = {}) {
  const made = new AsyncDisposableStack();
  const database = made.use(await openTestDatabase('PostgreSQL'));
  const open = async () =>
    made.use(await openTestGateway({ database, environment: { ...shared, ...environment } }));
  const gateways = [await open(), await open()] as const;
  return { database, gateways, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

/** Sends requests one after the other. Returns how many were answered with 200. */
async function spend({ graphql }: TestGateway, key: string, times: number): Promise<number> {
  let answered = 0;
  for (let time = 0; time < times; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { status } = await graphql('{ __typename }', { key });
    expect([200, 429]).toContain(status);
    if (status === 200) answered += 1;
  }
  return answered;
}

describe('the points of a tenant', () => {
  test('share one limit in two processes that count in the database, at one statement for each fiftieth', async () => {
    await using two = await openTwo();
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await spend(first, key, 100)).toBe(100);
    expect(await spend(second, key, 150)).toBe(100);
    expect(await spend(first, key, 20)).toBe(0);
    const counted = two.database.statements.filter((statement) => statement.includes('rate_count'));
    // Fifty extensions, and one more for each process to learn that no points are left.
    expect(counted.length).toBeLessThanOrEqual(52);
    expect(counted.length).toBeGreaterThanOrEqual(50);
  });

  test('have a limit of their own in each of two processes that count in memory', async () => {
    await using two = await openTwo({ RATE_LIMIT_STORE: 'memory' });
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await spend(first, key, 201)).toBe(200);
    expect(await spend(second, key, 201)).toBe(200);
    expect(two.database.statements.join()).not.toContain('rate_count');
  });

  test('have a limit of their own in each process while counting fails, which is logged once', async () => {
    await using two = await openTwo();
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    await two.database.query('alter table rate_count rename to away');
    expect(await spend(first, key, 201)).toBe(200);
    expect(await spend(second, key, 201)).toBe(200);
    for (const { logLines } of two.gateways) {
      const warnings = logLines.filter((line) => line.includes('does not count rate limits'));
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain('rate_count');
    }
    await two.database.query('alter table away rename to rate_count');
    const { key: another } = await first.addTenant();
    expect((await spend(first, another, 120)) + (await spend(second, another, 120))).toBe(200);
  });

  test('never exceed the limit, however many requests charge at once in three processes', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const open = () =>
      createRateLimiter({
        rateLimit: { points: 1_000, seconds: 3_600 },
        tenantMaxRequests: 1_000,
        counters: createSharedCounters(database, (error) => expect.fail(String(error))),
      });
    const processes = [open(), open(), open()];
    const requests = Array.from({ length: 240 }, async (_, index) => {
      const admission = await processes[index % 3]!.admit('a');
      const price = 5 + (index % 40);
      await admission.charge(price);
      // Every third request uses nothing.
      const unused = index % 3 === 0 ? price : 0;
      admission.settle(unused);
      return 1 + price - unused;
    });
    const spent = (await Promise.allSettled(requests)).map((request) =>
      request.status === 'fulfilled' ? request.value : 0,
    );
    const sum = spent.reduce((total, points) => total + points, 0);
    expect(sum).toBeLessThanOrEqual(1_000);
    expect(sum).toBeGreaterThan(500);
  });

  test('are refused in one process only when the tenant has too few, and never exceed the limit', async () => {
    const step = fc.record({ charge: fc.nat(60), unused: fc.nat(60) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 300 }), fc.array(step), async (points, steps) => {
        const rateLimit = { points, seconds: 3_600 };
        const rateLimiter = createRateLimiter({
          rateLimit,
          tenantMaxRequests: 1_000,
          counters: createLocalCounters(),
        });
        let left = points;
        const admission = await rateLimiter.admit('a');
        left -= 1;
        for (const { charge, unused } of steps) {
          // oxlint-disable-next-line no-await-in-loop -- one after the other
          const isRefused = await admission.charge(charge).then(
            () => false,
            () => true,
          );
          expect(isRefused).toBe(charge > left);
          if (isRefused) continue;
          const returned = Math.min(unused, charge);
          left -= charge - returned;
          admission.settle(returned);
          expect(admission.rateLimit?.remaining).toBe(left);
        }
      }),
    );
  });

  test('are not lost when processes that share the count evict leases', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const open = () =>
      createRateLimiter({
        rateLimit: { points: 100, seconds: 3_600 },
        tenantMaxRequests: 9,
        counters: createSharedCounters(database, (error) => expect.fail(String(error))),
        maxIdleLeases: 1,
      });
    const processes = [open(), open()];
    const admitted = { a: 0, b: 0, c: 0 };
    const send = async (rateLimiter: RateLimiter, tenant: keyof typeof admitted) => {
      (await rateLimiter.admit(tenant)).leave();
      admitted[tenant] += 1;
    };
    for (let request = 0; request < 110; request += 1) {
      for (const tenant of ['a', 'b', 'c'] as const) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await send(processes[request % 2]!, tenant).catch(() => undefined);
      }
    }
    // Each process may still hold a fiftieth of the limit.
    for (const count of Object.values(admitted)) {
      expect(count).toBeLessThanOrEqual(100);
      expect(count).toBeGreaterThanOrEqual(96);
    }
  });

  test.each(databases)('are all available again on %s in a new window', async (kind) => {
    await using database = await openTestDatabase(kind);
    const rateLimit = { points: 10, seconds: 3_600 };
    const open = () =>
      createRateLimiter({
        rateLimit,
        tenantMaxRequests: 9,
        counters: createSharedCounters(database, (error) => expect.fail(String(error))),
      });
    await (await open().admit('a')).charge(9);
    await expect(async () => open().admit('a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    await database.query('update rate_count set expire = expire - 3600000');
    expect((await open().admit('a')).rateLimit?.remaining).toBe(9);
  });
});

test('failures are kept in memory for a limited number of networks, and points for all tenants', async () => {
  const counters = createLocalCounters(2);
  const addAll = async (kind: 'points' | 'failures', names: readonly string[]) => {
    const { add, addLocally } = counters(kind, 60);
    await Promise.all(names.map((name) => add(name, 1)));
    const totals = names.toReversed().map(async (name) => (await addLocally(name, 1)).total);
    return await Promise.all(totals);
  };
  expect(await addAll('failures', ['a', 'b', 'c'])).toEqual([2, 2, 1]);
  expect(await addAll('points', ['a', 'b', 'c'])).toEqual([2, 2, 2]);
});

test('limits hold in this process while the database cannot be reached', async () => {
  await using database = await openDatabase({
    kind: 'postgres',
    url: 'postgres://127.0.0.1:1/nothing',
  });
  const failures: unknown[] = [];
  const rateLimiter = createRateLimiter({
    rateLimit: { points: 5, seconds: 60 },
    tenantMaxRequests: 9,
    counters: createSharedCounters(database, (error) => failures.push(error)),
  });
  for (let time = 0; time < 5; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await rateLimiter.admit('a');
  }
  await expect(async () => rateLimiter.admit('a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  expect(failures).toMatchObject([{ code: 'UNAVAILABLE' }]);
});

describe('invalid keys', () => {
  const from = '203.0.113.7';
  const send = async ({ gateway }: TestGateway, key = createKey()) => {
    const headers = { 'x-api-key': key };
    return (await gateway.fetch(new Request('http://gateway.test/v1/numbers', { headers }), from))
      .status;
  };
  const sendMany = async (gateway: TestGateway, times: number, key?: string) => {
    const statuses: number[] = [];
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      statuses.push(await send(gateway, key));
    }
    return statuses;
  };

  test('of one address are counted by all processes together', async () => {
    await using two = await openTwo({ KEY_FAILURES_PER_MINUTE: '6' });
    const [first, second] = two.gateways;
    expect(await sendMany(first, 3)).toEqual([401, 401, 401]);
    expect(await sendMany(second, 4)).toEqual([401, 401, 401, 429]);
    // This process learns that the address is throttled when it counts the next failure.
    expect(await sendMany(first, 2)).toEqual([401, 429]);
  });

  test('cause no statement when they are malformed, and valid keys none of the shared counter', async () => {
    await using two = await openTwo({ KEY_FAILURES_PER_MINUTE: '3', RATE_LIMIT: 'off' });
    const [first] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await sendMany(first, 4, 'malformed')).toEqual([401, 401, 401, 429]);
    expect(two.database.statements).toEqual([]);
    const [, second] = two.gateways;
    expect(await send(second, key)).toBe(200);
    expect(two.database.statements.join()).not.toContain('rate_count');
  });
});
