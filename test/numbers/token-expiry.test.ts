// The reason that tells when an access token ends: its texts, and that it informs over both APIs and changes no verdict.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findNextTokenChange, listTokenReasons } from '../../src/numbers/token-expiry.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const now = new Date('2030-01-01T00:00:00Z');

describe('an access token', () => {
  test.each([
    ['2030-02-01T00:00:00.000Z', null, '2030-01-02T00:00:00.000Z'],
    ['2030-01-31T00:00:00.000Z', 'expires in 30 days.', '2030-01-01T00:00:00.001Z'],
    ['2030-01-07T23:59:59.999Z', 'expires in 6 days.', '2030-01-02T00:00:00.000Z'],
    ['2030-01-07T00:00:00.000Z', 'expires in 6 days.', '2030-01-01T00:00:00.001Z'],
    ['2030-01-02T12:00:00.000Z', 'expires in 1 day.', '2030-01-01T12:00:00.001Z'],
    ['2030-01-02T00:00:00.000Z', 'expires in 1 day.', '2030-01-01T00:00:00.001Z'],
    ['2030-01-01T12:00:00.000Z', 'expires in less than a day.', '2030-01-01T12:00:00.000Z'],
    ['2030-01-01T00:00:00.000Z', 'has expired.', null],
    ['2029-06-01T00:00:00.000Z', 'has expired.', null],
  ])('that ends at %s: %s', (expiresAt, text, changesAt) => {
    const token = { expiresAt, dataAccessExpiresAt: null };
    const reasons = listTokenReasons(token, now).map((reason) => reason.text);
    expect(reasons).toEqual(text === null ? [] : [`The access token ${text}`]);
    const change = findNextTokenChange(token, now);
    expect(change === null ? null : new Date(change).toISOString()).toBe(changesAt);
  });

  test('of which Meta says nothing, or that never ends, has no reason', () => {
    expect(listTokenReasons(null, now)).toEqual([]);
    const never = { expiresAt: null, dataAccessExpiresAt: null };
    expect(listTokenReasons(never, now)).toEqual([]);
    expect(findNextTokenChange(never, now)).toBeNull();
  });
});

describe('a number that uses a token which ends', () => {
  const accessToken = 'EAAends0123456789abcdefghijklmno';
  const day = 86_400_000;
  // Whole seconds, as Meta tells times.
  const start = Math.floor(Date.now() / 1_000) * 1_000;
  const expiresAt = new Date(start + 6.5 * day);
  let passedMs = 0;
  let gateway: TestGateway;
  let tenant: TestTenant;
  let number: string;

  beforeAll(async () => {
    gateway = await openTestGateway({
      now: () => new Date(Date.now() + passedMs),
      simulator: {
        tokens: [
          {
            token: accessToken,
            wabaIds: 'all',
            expiresAt,
            dataAccessExpiresAt: new Date(start + 50 * day),
          },
        ],
      },
    });
    tenant = await gateway.addTenant();
    ({ id: number } = await tenant.addNumber({ credentials: null }));
    const { credentials } = gateway.gateway.onboarding;
    const { id } = await credentials.set({
      tenantId: tenant.id,
      id: null,
      name: 'fleet',
      credentials: { accessToken, appSecret: null },
      check: true,
      signal: AbortSignal.any([]),
    });
    await gateway.numbers.shareCredential(number, id);
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const expected = {
    entity: 'TOKEN',
    field: 'expires_at',
    value: expiresAt.toISOString(),
    text: 'The access token expires in 6 days.',
    solution: 'Store a new token for all numbers that use it, with: credential set.',
    effect: 'INFORMS',
    scope: 'ALL',
  };

  const listReasons = async (): Promise<readonly { entity: string; text: string }[]> => {
    const { body } = await tenant.graphql<any>(
      `{ number(id: "${number}") { health { sendability { reasons {
         entity field value text solution effect scope } } } } }`,
    );
    const { reasons } = body.data.number.health.sendability;
    return reasons.filter(({ entity }: { entity: string }) => entity === 'TOKEN');
  };

  test('informs over GraphQL and REST, and changes no verdict', async () => {
    expect(await listReasons()).toEqual([expected]);
    const { body } = await tenant.rest<any>(`/v1/numbers/${number}?include=sendability&refresh=1`);
    expect(body.sendability.reasons).toContainEqual(expect.objectContaining(expected));
    expect(body.sendability).toMatchObject({ verdict: 'YES', replyVerdict: 'YES' });
  });

  test('tells the days that are left when they have become fewer, also from the cache', async () => {
    passedMs = 5 * day;
    expect((await listReasons()).map(({ text }) => text)).toEqual([
      'The access token expires in 1 day.',
    ]);
    passedMs = 40.5 * day;
    expect((await listReasons()).map(({ text }) => text)).toEqual([
      'The access token has expired.',
      "The access token's permission to read data ends in 9 days.",
    ]);
  });

  test('stops informing in the next response when the token is replaced', async () => {
    const { credentials } = gateway.gateway.onboarding;
    const [stored] = await credentials.list(tenant.id);
    gateway.simulator.setToken({ token: 'EAAnew0123456789abcdefghijklmnop', wabaIds: 'all' });
    await credentials.set({
      tenantId: tenant.id,
      id: stored?.id ?? null,
      name: null,
      credentials: { accessToken: 'EAAnew0123456789abcdefghijklmnop', appSecret: null },
      check: true,
      signal: AbortSignal.any([]),
    });
    expect(await listReasons()).toEqual([]);
  });
});
