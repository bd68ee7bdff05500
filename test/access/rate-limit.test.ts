// How much a tenant may ask for: how its points are taken, given back and refused, and how many requests are under way.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Access } from '../../src/access/access.ts';
import { createRateLimiter } from '../../src/access/rate-limit.ts';
import type { Counters } from '../../src/access/counters.ts';
import { admit } from '../../src/access/admission.ts';
import { GatewayError } from '../../src/errors.ts';
import { createMeter, createRequestContext } from '../../src/http/request-context.ts';

const seconds = 100;

/** A count that others take from too, and that says how it was asked. */
function createCount() {
  const asked: (readonly [string, number])[] = [];
  const totals = new Map<string, number>();
  const count = { kinds: [] as unknown[], asked, totals, endsAt: Date.now() + seconds * 1_000 };
  const failing: Error[] = [];
  const add = async (name: string, points: number) => {
    asked.push([name, points]);
    const failure = failing.shift();
    if (failure !== undefined) throw failure;
    const total = (totals.get(name) ?? 0) + points;
    totals.set(name, total);
    return { total, endsAt: count.endsAt };
  };
  const counters: Counters = (...kind) => {
    count.kinds.push(kind);
    return { add, addHere: add };
  };
  return { count, counters, failing };
}

function open(points: number | null, tenantMaxRequests = 10) {
  const { count, counters, failing } = createCount();
  const refusals: string[] = [];
  const rateLimit = points === null ? null : { points, seconds };
  const onRefusal = (reason: string) => void refusals.push(reason);
  const rateLimiter = createRateLimiter({ rateLimit, tenantMaxRequests, counters, onRefusal });
  return { ...rateLimiter, count, failing, refusals };
}

const refuse = () => Promise.reject(new GatewayError('UNAUTHENTICATED', 'No.'));

const refusal = (retryAfterSeconds: number, message: RegExp) =>
  expect.objectContaining({
    code: 'RATE_LIMITED',
    message: expect.stringMatching(message),
    retryAfterSeconds,
  });

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-22T12:00:00Z') });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('points', () => {
  test('are taken a fiftieth of the limit at a time, or as many as are wanted', async () => {
    const { admit: enterAs, count } = open(1_000);
    const admission = await enterAs('a');
    await admission.charge(19);
    expect(count.asked).toEqual([['a', 20]]);
    await admission.charge(5);
    await admission.charge(100.5);
    // Fifteen were in hand.
    expect(count.asked).toEqual([
      ['a', 20],
      ['a', 20],
      ['a', 86],
    ]);
    expect(count.kinds).toEqual([['points', seconds]]);
  });

  test('are known with each charge: how many are left, and until when', async () => {
    const { admit: enterAs, count } = open(1_000);
    const admission = await enterAs('a');
    const resetAt = new Date(count.endsAt);
    expect(admission.standing).toEqual({ limit: 1_000, remaining: 999, resetAt, seconds });
    await admission.charge(0.5);
    expect(admission.standing).toEqual({ limit: 1_000, remaining: 998, resetAt, seconds });
    expect(admission.spent).toBe(1.5);
  });

  test('that are in hand are spent at once, and others are not', async () => {
    const { admit: enterAs, count } = open(1_000);
    const admission = await enterAs('a');
    expect(admission.spend(19)).toBe(true);
    expect(admission.standing?.remaining).toBe(980);
    expect(admission.spent).toBe(20);
    expect(admission.spend(0.5)).toBe(false);
    expect(admission.standing?.remaining).toBe(980);
    expect(admission.spent).toBe(20);
    expect(count.asked).toEqual([['a', 20]]);
    const unlimited = await open(null).admit('a');
    expect(unlimited.spend(5)).toBe(true);
    expect(unlimited.standing).toBeNull();
    expect(unlimited.spent).toBe(6);
  });

  test('are refused when there are not enough, and none is taken', async () => {
    const { admit: enterAs, refusals } = open(30);
    const admission = await enterAs('a');
    vi.setSystemTime(Date.now() + 58_500);
    await expect(admission.charge(30)).rejects.toEqual(
      refusal(42, /^This takes 30 of the 30 points .* in 100 seconds, and fewer are left\.$/),
    );
    expect(refusals).toEqual(['points']);
    expect(admission.spent).toBe(1);
    await admission.charge(29);
    expect(admission.standing?.remaining).toBe(0);
    await expect(admission.charge(1)).rejects.toEqual(refusal(42, /takes 1 of/));
  });

  test('that other processes have taken are not had here', async () => {
    const { admit: enterAs, count } = open(1_000);
    const admission = await enterAs('a');
    count.totals.set('a', 975);
    // Nineteen are in hand; of the next sixty-one five are left.
    await expect(admission.charge(80)).rejects.toEqual(refusal(100, /takes 80/));
    expect(admission.standing?.remaining).toBe(44);
    await admission.charge(44);
    expect(admission.standing?.remaining).toBe(0);
    await expect(admission.charge(1)).rejects.toEqual(refusal(100, /takes 1/));
  });

  test('that are owed by all together are no points in hand', async () => {
    const { admit: enterAs, count } = open(100);
    count.totals.set('a', 500);
    await expect(async () => enterAs('a')).rejects.toEqual(refusal(100, /takes 1 of the 100/));
    expect(count.asked).toEqual([['a', 2]]);
    await expect(async () => enterAs('a')).rejects.toEqual(refusal(100, /takes 1 of the 100/));
    expect(count.asked).toHaveLength(1);
  });

  test('that were not spent are given back, and more can be taken than there are', async () => {
    const { admit: enterAs } = open(50);
    const admission = await enterAs('a');
    await admission.charge(40);
    admission.settle(30);
    expect(admission.standing?.remaining).toBe(39);
    expect(admission.spent).toBe(11);
    admission.settle(-50);
    expect(admission.standing?.remaining).toBe(0);
    expect(admission.spent).toBe(61);
    await expect(admission.charge(1)).rejects.toEqual(refusal(100, /takes 1/));
    admission.settle(0);
    expect(admission.spent).toBe(61);
    admission.settle(1_000);
    expect(admission.standing?.remaining).toBe(50);
  });

  test('begin anew when the window is over, and what was charged before is not given back', async () => {
    const { admit: enterAs, count } = open(50);
    const admission = await enterAs('a');
    await admission.charge(40);
    vi.setSystemTime(count.endsAt - 1);
    admission.settle(1);
    expect(admission.standing?.remaining).toBe(10);
    vi.setSystemTime(count.endsAt);
    count.totals.clear();
    count.endsAt = Date.now() + 1_000;
    admission.settle(20);
    expect(admission.standing?.remaining).toBe(10);
    await admission.charge(30);
    expect(admission.standing).toMatchObject({ remaining: 20, resetAt: new Date(count.endsAt) });
    // A debt is one in the new window too.
    vi.setSystemTime(count.endsAt);
    count.totals.clear();
    count.endsAt = Date.now() + 1_000;
    admission.settle(-5);
    expect(admission.standing?.remaining).toBe(45);
    expect(admission.standing?.resetAt).toEqual(new Date(Date.now() + seconds * 1_000));
  });

  test('are each tenant’s own', async () => {
    const { admit: enterAs } = open(20);
    await (await enterAs('a')).charge(19);
    expect((await enterAs('b')).standing?.remaining).toBe(19);
    await expect(async () => enterAs('a')).rejects.toEqual(refusal(100, /takes 1/));
  });

  test('are taken once for all who wait for them', async () => {
    const { admit: enterAs, count } = open(1_000);
    const visits = await Promise.all([enterAs('a'), enterAs('a'), enterAs('a')]);
    expect(count.asked).toEqual([['a', 20]]);
    expect(visits.map(({ standing }) => standing?.remaining)).toEqual([999, 998, 997]);
  });

  test('can be had after a count that has failed', async () => {
    const { admit: enterAs, count, failing } = open(1_000);
    failing.push(new Error('no count'));
    await expect(async () => enterAs('a')).rejects.toThrow('no count');
    expect((await enterAs('a')).standing?.remaining).toBe(999);
    expect(count.asked).toHaveLength(2);
  });

  test('in hand are kept for the 10,000 tenants that came last', async () => {
    const { admit: enterAs, count } = open(1_000_000);
    for (let tenant = 0; tenant <= 10_000; tenant += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      (await enterAs(`tenant ${tenant}`)).leave();
    }
    count.asked.length = 0;
    await enterAs('tenant 1');
    expect(count.asked).toEqual([]);
    await enterAs('tenant 0');
    expect(count.asked).toHaveLength(1);
  });

  test('are not counted where there is no limit', async () => {
    const { admit: enterAs, count } = open(null);
    const admission = await enterAs('a');
    await admission.charge(1_000_000);
    admission.settle(10);
    expect(admission.standing).toBeNull();
    expect(admission.spent).toBe(999_991);
    expect(count.asked).toEqual([]);
  });

  test('are counted in this process unless told, and a refusal needs nobody to hear of it', async () => {
    const rateLimiter = createRateLimiter({
      rateLimit: { points: 2, seconds },
      tenantMaxRequests: 2,
    });
    await rateLimiter.admit('a');
    await rateLimiter.admit('a');
    await expect(async () => rateLimiter.admit('a')).rejects.toThrow('under way');
    await expect((await rateLimiter.admit('b')).charge(5)).rejects.toMatchObject({
      code: 'RATE_LIMITED',
    });
  });
});

describe('requests under way', () => {
  test('are so many of a tenant, until one has ended', async () => {
    const { admit: enterAs, refusals } = open(1_000, 2);
    const [first] = [await enterAs('a'), await enterAs('a')];
    await expect(async () => enterAs('a')).rejects.toEqual(
      refusal(1, /^More than 2 requests of this tenant are under way\.$/),
    );
    expect(refusals).toEqual(['under way']);
    await enterAs('b');
    first.leave();
    // It has only one place to leave.
    first.leave();
    await enterAs('a');
    await expect(async () => enterAs('a')).rejects.toEqual(refusal(1, /under way/));
  });

  test('stay counted while thousands of others come and go', async () => {
    const { admit: enterAs } = open(null, 1);
    const [admission] = [await enterAs('a'), await enterAs('b')];
    for (let tenant = 0; tenant <= 10_001; tenant += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      (await enterAs(`tenant ${tenant}`)).leave();
    }
    await expect(async () => enterAs('a')).rejects.toEqual(refusal(1, /under way/));
    admission.leave();
    (await enterAs('a')).leave();
    await expect(async () => enterAs('b')).rejects.toEqual(refusal(1, /under way/));
  });

  test('are one less when its first point is refused', async () => {
    const { admit: enterAs, refusals } = open(1, 1);
    (await enterAs('a')).leave();
    for (const _ of [1, 2, 3]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(async () => enterAs('a')).rejects.toEqual(refusal(100, /takes 1/));
    }
    expect(refusals).toEqual(['points', 'points', 'points']);
  });
});

describe('the way in', () => {
  const headers = new Headers({ 'x-api-key': 'key' });
  const access: Access = {
    tenantId: 'a',
    keyId: 'key_a',
    numberId: null,
    receivedAt: 0,
    meter: createMeter(),
  };

  test('is the key first, then the allowance of its tenant, and the request is known by both', async () => {
    const context = createRequestContext(headers, '192.0.2.1');
    const attempts: unknown[] = [];
    const authenticate = async (attempt: unknown) => {
      attempts.push(attempt);
      return access;
    };
    const entered = await admit(
      { access: { authenticate }, rateLimiter: open(9) },
      { headers },
      context,
    );
    expect(attempts).toEqual([
      { headers, receivedAt: context.receivedAt, clientAddress: '192.0.2.1', meter: context.meter },
    ]);
    expect(entered.access).toBe(access);
    expect(context).toMatchObject({ tenantId: 'a', keyId: 'key_a' });
    expect(context.admission).toBe(entered.admission);
  });

  test('ends at a key that is none, or where the tenant may ask for no more', async () => {
    const unknown = createRequestContext(headers);
    const stranger = { access: { authenticate: refuse }, rateLimiter: open(9) };
    const refused = admit(stranger, { headers }, unknown);
    await expect(refused).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(unknown).toMatchObject({ tenantId: null, keyId: null, admission: null });
    const known = createRequestContext(headers);
    const options = { access: { authenticate: async () => access }, rateLimiter: open(9, 0) };
    await expect(async () => admit(options, { headers }, known)).rejects.toMatchObject({
      code: 'RATE_LIMITED',
    });
    expect(known).toMatchObject({ tenantId: 'a', keyId: 'key_a' });
    // For the headers of the refusal.
    expect(known.admission?.standing).toMatchObject({ limit: 9, remaining: 9 });
  });
});
