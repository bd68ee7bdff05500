// The limits of a tenant: how points are spent, returned and refused, and how many requests may be in progress.

import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Counters, createLocalCounters } from '../../src/access/counters.ts';
import { createRateLimiter, type RateLimiter } from '../../src/access/rate-limit.ts';
import type { GatewayError } from '../../src/errors.ts';
import { createRequestContext } from '../../src/http/request-context.ts';

const seconds = 100;

/** A counter that records its calls. Tests change `totals` to spend points as another process. */
function createRecordingCounter() {
  const calls: (readonly [string, number])[] = [];
  const totals = new Map<string, number>();
  const counter = { kinds: [] as unknown[], calls, totals, endsAt: Date.now() + seconds * 1_000 };
  const failures: Error[] = [];
  const add = async (name: string, points: number) => {
    calls.push([name, points]);
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
    const total = (totals.get(name) ?? 0) + points;
    totals.set(name, total);
    return { total, endsAt: counter.endsAt };
  };
  const counters: Counters = (...kind) => {
    counter.kinds.push(kind);
    return { add, addLocally: add };
  };
  return { counter, counters, failures };
}

function open(points: number | null, tenantMaxRequests = 10, maxIdleLeases = 100) {
  const { counter, counters, failures } = createRecordingCounter();
  const refusals: string[] = [];
  const rateLimiter = createRateLimiter({
    rateLimit: points === null ? null : { points, seconds },
    tenantMaxRequests,
    counters,
    onRefusal: (reason) => void refusals.push(reason),
    maxIdleLeases,
  });
  return { ...rateLimiter, counter, failures, refusals };
}

const refusal = (retryAfterSeconds: number, message: string) =>
  expect.objectContaining({
    code: 'RATE_LIMITED',
    message: expect.stringContaining(message),
    retryAfterSeconds,
  });

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-22T12:00:00Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('points', () => {
  test('are leased a fiftieth of the limit at a time, or as many as a request needs', async () => {
    const { admit: enter, counter } = open(1_000);
    const admission = await enter('a');
    await admission.charge(19);
    expect(counter.calls).toEqual([['a', 20]]);
    await admission.charge(5);
    // The lease has 15 left.
    await admission.charge(100.5);
    expect(counter.calls).toEqual([
      ['a', 20],
      ['a', 20],
      ['a', 86],
    ]);
    expect(counter.kinds).toEqual([['points', seconds]]);
  });

  test('are reported with each charge: how many remain, and until when', async () => {
    const { admit: enter, counter } = open(1_000);
    const admission = await enter('a');
    const resetAt = new Date(counter.endsAt);
    expect(admission.rateLimit).toEqual({ limit: 1_000, remaining: 999, resetAt, seconds });
    await admission.charge(0.5);
    expect(admission.rateLimit).toEqual({ limit: 1_000, remaining: 998, resetAt, seconds });
    expect(admission.spent).toBe(1.5);
  });

  test('of the lease are spent synchronously, and no others', async () => {
    const { admit: enter, counter } = open(1_000);
    const admission = await enter('a');
    expect(admission.spend(19)).toBe(true);
    expect(admission.rateLimit?.remaining).toBe(980);
    expect(admission.spent).toBe(20);
    expect(admission.spend(0.5)).toBe(false);
    expect(admission.rateLimit?.remaining).toBe(980);
    expect(admission.spent).toBe(20);
    expect(counter.calls).toEqual([['a', 20]]);
    const unlimited = await open(null).admit('a');
    expect(unlimited.spend(5)).toBe(true);
    expect(unlimited.rateLimit).toBeNull();
    expect(unlimited.spent).toBe(6);
  });

  test('are not spent when the tenant has too few', async () => {
    const { admit: enter, refusals } = open(30);
    const admission = await enter('a');
    vi.setSystemTime(Date.now() + 58_500);
    await expect(admission.charge(30)).rejects.toEqual(
      refusal(
        42,
        "Rate limit exceeded: the request needs 31 points, and 30 of the tenant's 30 points per 100 seconds are left.",
      ),
    );
    expect(refusals).toEqual(['points']);
    expect(admission.spent).toBe(1);
    await admission.charge(29);
    expect(admission.rateLimit?.remaining).toBe(0);
    await expect(admission.charge(1)).rejects.toEqual(refusal(42, 'the request needs'));
  });

  test('that other processes have leased are not available here', async () => {
    const { admit: enter, counter } = open(1_000);
    const admission = await enter('a');
    counter.totals.set('a', 975);
    // The lease has 19; of the 61 that it asks for, 25 are left.
    await expect(admission.charge(80)).rejects.toEqual(refusal(100, 'needs 81 points, and 45 of'));
    expect(admission.rateLimit?.remaining).toBe(44);
    await admission.charge(44);
    expect(admission.rateLimit?.remaining).toBe(0);
    await expect(admission.charge(1)).rejects.toEqual(refusal(100, 'the request needs'));
  });

  test('that were counted beyond the limit are not available, and are not asked for again', async () => {
    const { admit: enter, counter } = open(100);
    counter.totals.set('a', 500);
    await expect(async () => enter('a')).rejects.toEqual(
      refusal(100, "0 of the tenant's 100 points"),
    );
    expect(counter.calls).toEqual([['a', 2]]);
    await expect(async () => enter('a')).rejects.toEqual(
      refusal(100, "0 of the tenant's 100 points"),
    );
    expect(counter.calls).toHaveLength(1);
  });

  test('are returned when they were not used, and may be settled beyond the limit', async () => {
    const { admit: enter } = open(50);
    const admission = await enter('a');
    await admission.charge(40);
    admission.settle(30);
    expect(admission.rateLimit?.remaining).toBe(39);
    expect(admission.spent).toBe(11);
    admission.settle(-50);
    expect(admission.rateLimit?.remaining).toBe(0);
    expect(admission.spent).toBe(61);
    await expect(admission.charge(1)).rejects.toEqual(refusal(100, 'the request needs'));
    admission.settle(0);
    expect(admission.spent).toBe(61);
    admission.settle(1_000);
    expect(admission.rateLimit?.remaining).toBe(50);
  });

  test('are all available in a new window, and those of an earlier window are not returned to it', async () => {
    const { admit: enter, counter } = open(50);
    const admission = await enter('a');
    await admission.charge(40);
    vi.setSystemTime(counter.endsAt - 1);
    admission.settle(1);
    expect(admission.rateLimit?.remaining).toBe(10);
    vi.setSystemTime(counter.endsAt);
    counter.totals.clear();
    counter.endsAt = Date.now() + 1_000;
    admission.settle(20);
    expect(admission.rateLimit?.remaining).toBe(10);
    await admission.charge(30);
    expect(admission.rateLimit).toMatchObject({ remaining: 20, resetAt: new Date(counter.endsAt) });
    // Points that are settled beyond the charge count in the new window.
    vi.setSystemTime(counter.endsAt);
    counter.totals.clear();
    counter.endsAt = Date.now() + 1_000;
    admission.settle(-5);
    expect(admission.rateLimit?.remaining).toBe(45);
    expect(admission.rateLimit?.resetAt).toEqual(new Date(Date.now() + seconds * 1_000));
  });

  test('of one tenant do not count for another', async () => {
    const { admit: enter } = open(20);
    await (await enter('a')).charge(19);
    expect((await enter('b')).rateLimit?.remaining).toBe(19);
    await expect(async () => enter('a')).rejects.toEqual(refusal(100, 'the request needs'));
  });

  test('are leased once for all requests that wait for them', async () => {
    const { admit: enter, counter } = open(1_000);
    const admissions = await Promise.all([enter('a'), enter('a'), enter('a')]);
    expect(counter.calls).toEqual([['a', 20]]);
    expect(admissions.map(({ rateLimit }) => rateLimit?.remaining)).toEqual([999, 998, 997]);
  });

  test('are available again after a counter has failed', async () => {
    const { admit: enter, counter, failures } = open(1_000);
    failures.push(new Error('no count'));
    await expect(async () => enter('a')).rejects.toThrow('no count');
    expect((await enter('a')).rateLimit?.remaining).toBe(999);
    expect(counter.calls).toHaveLength(2);
  });

  test('are not counted without a limit', async () => {
    const { admit: enter, counter } = open(null);
    const admission = await enter('a');
    await admission.charge(1_000_000);
    admission.settle(10);
    expect(admission.rateLimit).toBeNull();
    expect(admission.spent).toBe(999_991);
    admission.leave();
    expect(counter.calls).toEqual([]);
  });

  test('are counted in this process by default, without a listener for refusals', async () => {
    const rateLimiter = createRateLimiter({
      rateLimit: { points: 2, seconds },
      tenantMaxRequests: 2,
    });
    await rateLimiter.admit('a');
    await rateLimiter.admit('a');
    await expect(async () => rateLimiter.admit('a')).rejects.toThrow('in progress');
    await expect((await rateLimiter.admit('b')).charge(5)).rejects.toMatchObject({
      code: 'RATE_LIMITED',
    });
  });
});

/** Sends a request that costs one point. */
const send = async ({ admit: enter }: Pick<RateLimiter, 'admit'>, tenantId: string) => {
  const admission = await enter(tenantId);
  admission.leave();
  return admission;
};
const openLocal = (points: number, maxIdleLeases: number) =>
  createRateLimiter({
    rateLimit: { points, seconds },
    tenantMaxRequests: 10,
    counters: createLocalCounters(),
    maxIdleLeases,
  });

interface Step {
  readonly tenant: string;
  readonly charge: number;
  readonly unused: number;
}

describe('more tenants than leases', () => {
  const tenants = ['a', 'b', 'c', 'd', 'e'];

  test('all have their whole limit, and not more', async () => {
    const rateLimiter = openLocal(200, 2);
    for (let request = 0; request < 200; request += 1) {
      for (const tenant of tenants) {
        // oxlint-disable-next-line no-await-in-loop -- in this order
        await send(rateLimiter, tenant);
      }
    }
    for (const tenant of tenants) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(send(rateLimiter, tenant)).rejects.toEqual(refusal(100, 'the request needs'));
    }
  });

  test('get the same verdicts as with a lease for each, whatever they charge and settle', async () => {
    const step: fc.Arbitrary<Step> = fc.record({
      tenant: fc.constantFrom(...tenants),
      charge: fc.nat(40),
      // Negative: more than was charged.
      unused: fc.integer({ min: -5, max: 40 }),
    });
    const run = async (rateLimiter: RateLimiter, { tenant, charge, unused }: Step) => {
      const context = { admission: null };
      try {
        const admission = await rateLimiter.admit(tenant, context);
        try {
          await admission.charge(charge);
          admission.settle(Math.min(unused, charge));
          return admission.rateLimit?.remaining;
        } finally {
          admission.leave();
        }
      } catch (error) {
        return (error as GatewayError).code;
      }
    };
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 20, max: 300 }),
        fc.array(step, { minLength: 20, maxLength: 60 }),
        async (points, steps) => {
          const [few, many] = [openLocal(points, 1), openLocal(points, 100)];
          for (const it of steps) {
            // oxlint-disable-next-line no-await-in-loop -- one after the other
            expect(await run(few, it)).toEqual(await run(many, it));
          }
        },
      ),
    );
  });

  test('return the points of an evicted lease to the counter', async () => {
    const limiter = open(1_000, 10, 1);
    await send(limiter, 'a');
    await send(limiter, 'b');
    expect(limiter.counter.calls).toEqual([
      ['a', 20],
      ['b', 20],
      ['a', -19],
    ]);
    expect((await send(limiter, 'a')).rateLimit?.remaining).toBe(998);
  });

  test('return only whole points, and count what was settled beyond the lease', async () => {
    const limiter = open(1_000, 10, 1);
    const admission = await limiter.admit('a');
    await admission.charge(0.5);
    admission.leave();
    const other = await limiter.admit('b');
    other.settle(-30.5);
    other.leave();
    await send(limiter, 'c');
    expect(limiter.counter.totals.get('a')).toBe(2);
    expect(limiter.counter.totals.get('b')).toBe(32);
  });

  test('keep the leases of tenants with requests in progress', async () => {
    const limiter = open(1_000, 10, 1);
    await send(limiter, 'a');
    const admission = await limiter.admit('a');
    await send(limiter, 'b');
    await send(limiter, 'c');
    expect(admission.spend(18)).toBe(true);
    expect(limiter.counter.totals.get('a')).toBe(20);
  });

  test('return nothing to a window that is over, and nothing when nothing is left', async () => {
    const limiter = open(50, 10, 1);
    await send(limiter, 'a');
    await send(limiter, 'b');
    expect(limiter.counter.calls).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
    const late = open(1_000, 10, 1);
    await send(late, 'a');
    vi.setSystemTime(late.counter.endsAt);
    late.counter.endsAt = Date.now() + 1_000;
    await send(late, 'b');
    expect(late.counter.calls).toEqual([
      ['a', 20],
      ['b', 20],
    ]);
    const exceeded = open(10, 10, 1);
    exceeded.counter.totals.set('a', 20);
    await expect(send(exceeded, 'a')).rejects.toEqual(refusal(100, 'the request needs'));
    vi.setSystemTime(exceeded.counter.endsAt);
    exceeded.counter.totals.clear();
    exceeded.counter.endsAt = Date.now() + 1_000;
    await send(exceeded, 'a');
    await send(exceeded, 'b');
    expect(exceeded.counter.totals.get('a')).toBe(1);
  });

  test('are served when returned points cannot be counted', async () => {
    const limiter = open(1_000, 10, 1);
    await send(limiter, 'a');
    const admission = await limiter.admit('b');
    limiter.failures.push(new Error('no count'));
    admission.leave();
    expect(limiter.counter.calls.at(-1)).toEqual(['a', -19]);
    expect((await send(limiter, 'b')).rateLimit?.remaining).toBe(998);
  });
});

describe('requests in progress', () => {
  test('are limited for each tenant', async () => {
    const { admit: enter, refusals } = open(1_000, 2);
    const [first] = [await enter('a'), await enter('a')];
    await expect(async () => enter('a')).rejects.toEqual(
      refusal(1, 'Rate limit exceeded: 2 requests of this tenant are in progress; retry when one'),
    );
    expect(refusals).toEqual(['under way']);
    await enter('b');
    first.leave();
    // A second call has no effect.
    first.leave();
    await enter('a');
    await expect(async () => enter('a')).rejects.toEqual(refusal(1, 'in progress'));
  });

  test('stay counted while requests of other tenants begin and end', async () => {
    const { admit: enter } = open(1_000, 1, 1);
    const [admission] = [await enter('a'), await enter('b')];
    for (let tenant = 0; tenant < 10; tenant += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      (await enter(`tenant ${tenant}`)).leave();
    }
    await expect(async () => enter('a')).rejects.toEqual(refusal(1, 'in progress'));
    admission.leave();
    (await enter('a')).leave();
    await expect(async () => enter('b')).rejects.toEqual(refusal(1, 'in progress'));
  });

  test('that are refused have a rateLimit for the headers of the response', async () => {
    for (const limiter of [open(9, 0), open(0, 1)]) {
      const context = createRequestContext(new Headers());
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(async () => limiter.admit('a', context)).rejects.toMatchObject({
        code: 'RATE_LIMITED',
      });
      const { limit = 0 } = context.admission?.rateLimit ?? {};
      expect(context.admission?.rateLimit).toMatchObject({ remaining: limit, seconds });
    }
  });

  test('do not include a request that was refused for its points', async () => {
    const { admit: enter, refusals } = open(1, 1);
    (await enter('a')).leave();
    for (const _ of [1, 2, 3]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(async () => enter('a')).rejects.toEqual(refusal(100, 'the request needs'));
    }
    expect(refusals).toEqual(['points', 'points', 'points']);
  });
});
