// That limits hold for all processes together where the counts are in the database, and for each of them where they are
// not, or the database does not answer.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRateLimiter } from '../../src/access/rate-limit.ts';
import { createLocalCounters, createSharedCounters } from '../../src/access/counters.ts';
import { createKey } from '../../src/access/key.ts';
import { openDatabase } from '../../src/database/database.ts';
import { databases, openTestDatabase, openTestGateway, type TestGateway } from '../harness.ts';

const shared = {
  RATE_LIMIT_STORE: 'database',
  RATE_LIMIT: '200/3600',
  API_KEY_PEPPER: 'p'.repeat(32),
};

/** Two gateways on one database, as two processes would be. */
async function openTwo(environment: Readonly<Record<string, string>> = {}) {
  const made = new AsyncDisposableStack();
  const database = made.use(await openTestDatabase('PostgreSQL'));
  const open = async () =>
    made.use(await openTestGateway({ database, environment: { ...shared, ...environment } }));
  const gateways = [await open(), await open()] as const;
  return { database, gateways, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

/** How many of these requests, one after the other, are answered with 200. */
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
  test('are one limit for two processes that count in their database, at a statement for each fiftieth', async () => {
    await using two = await openTwo();
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await spend(first, key, 100)).toBe(100);
    expect(await spend(second, key, 150)).toBe(100);
    expect(await spend(first, key, 20)).toBe(0);
    const counted = two.database.statements.filter((statement) => statement.includes('rate_count'));
    // Fifty shares, and one more for each process to learn that there is none left.
    expect(counted.length).toBeLessThanOrEqual(52);
    expect(counted.length).toBeGreaterThanOrEqual(50);
  });

  test('are a limit for each of two processes that count by themselves', async () => {
    await using two = await openTwo({ RATE_LIMIT_STORE: 'memory' });
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await spend(first, key, 201)).toBe(200);
    expect(await spend(second, key, 201)).toBe(200);
    expect(two.database.statements.join()).not.toContain('rate_count');
  });

  test('are a limit for each process while the count cannot be had, which is told once', async () => {
    await using two = await openTwo();
    const [first, second] = two.gateways;
    const { key } = await first.addTenant();
    await two.database.query('alter table rate_count rename to away');
    expect(await spend(first, key, 201)).toBe(200);
    expect(await spend(second, key, 201)).toBe(200);
    for (const { logLines } of two.gateways) {
      const told = logLines.filter((line) => line.includes('counted in this process alone'));
      expect(told).toHaveLength(1);
      expect(told[0]).toContain('rate_count');
    }
    await two.database.query('alter table away rename to rate_count');
    const { key: another } = await first.addTenant();
    expect((await spend(first, another, 120)) + (await spend(second, another, 120))).toBe(200);
  });

  test('are never more than the limit, however many ask at once in three processes', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const open = () =>
      createRateLimiter({
        rateLimit: { points: 1_000, seconds: 3_600 },
        tenantMaxRequests: 1_000,
        counters: createSharedCounters(database, (error) => expect.fail(String(error))),
      });
    const processes = [open(), open(), open()];
    const visits = Array.from({ length: 240 }, async (_, index) => {
      const admission = await processes[index % 3]!.admit('a');
      const price = 5 + (index % 40);
      await admission.charge(price);
      // A third is not spent after all.
      const unspent = index % 3 === 0 ? price : 0;
      admission.settle(unspent);
      return 1 + price - unspent;
    });
    const spent = (await Promise.allSettled(visits)).map((admission) =>
      admission.status === 'fulfilled' ? admission.value : 0,
    );
    const sum = spent.reduce((total, points) => total + points, 0);
    expect(sum).toBeLessThanOrEqual(1_000);
    expect(sum).toBeGreaterThan(500);
  });

  test('are refused in one process only when there are not enough, and never exceeded', async () => {
    const step = fc.record({ charge: fc.nat(60), unspent: fc.nat(60) });
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
        for (const { charge, unspent } of steps) {
          // oxlint-disable-next-line no-await-in-loop -- one after the other
          const isRefused = await admission.charge(charge).then(
            () => false,
            () => true,
          );
          expect(isRefused).toBe(charge > left);
          if (isRefused) continue;
          const back = Math.min(unspent, charge);
          left -= charge - back;
          admission.settle(back);
          expect(admission.standing?.remaining).toBe(left);
        }
      }),
    );
  });

  test.each(databases)('begin anew on %s when the window is over', async (kind) => {
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
    expect((await open().admit('a')).standing?.remaining).toBe(9);
  });
});

test('limits hold in this process while no database answers at all', async () => {
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

describe('wrong keys', () => {
  const from = '203.0.113.7';
  const guess = async ({ gateway }: TestGateway, key = createKey()) => {
    const headers = { 'x-api-key': key };
    return (await gateway.fetch(new Request('http://gateway.test/v1/numbers', { headers }), from))
      .status;
  };
  const guesses = async (gateway: TestGateway, times: number, key?: string) => {
    const statuses: number[] = [];
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      statuses.push(await guess(gateway, key));
    }
    return statuses;
  };

  test('of one source are counted by all processes together', async () => {
    await using two = await openTwo({ KEY_FAILURES_PER_MINUTE: '6' });
    const [first, second] = two.gateways;
    expect(await guesses(first, 3)).toEqual([401, 401, 401]);
    expect(await guesses(second, 4)).toEqual([401, 401, 401, 429]);
    // It learns with the next one that it counts.
    expect(await guesses(first, 2)).toEqual([401, 429]);
  });

  test('cost the count nothing when they are no keys, and neither do right ones', async () => {
    await using two = await openTwo({ KEY_FAILURES_PER_MINUTE: '3', RATE_LIMIT: 'off' });
    const [first] = two.gateways;
    const { key } = await first.addTenant();
    two.database.clearStatements();
    expect(await guesses(first, 4, 'no key')).toEqual([401, 401, 401, 429]);
    expect(two.database.statements).toEqual([]);
    const [, second] = two.gateways;
    expect(await guess(second, key)).toBe(200);
    expect(two.database.statements.join()).not.toContain('rate_count');
  });
});
