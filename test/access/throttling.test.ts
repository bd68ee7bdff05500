// The throttle of invalid keys as clients see it: it limits an address without locking out others behind the same one.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

const address = '203.0.113.7';

async function send(
  { gateway }: TestGateway,
  key: string,
  { from = address, headers = {} }: { from?: string; headers?: Record<string, string> } = {},
) {
  const request = new Request('http://gateway.test/v1/numbers', {
    headers: { 'x-api-key': key, ...headers },
  });
  const response = await gateway.fetch(request, from);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

async function guess(gateway: TestGateway, times: number, options: { from?: string } = {}) {
  const statuses: number[] = [];
  for (let time = 0; time < times; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    statuses.push((await send(gateway, createKey(), options)).status);
  }
  return statuses;
}

describe('an address', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-22T12:00:00Z') });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('that sent twenty invalid keys gets 429 without a query until the minute is over', async () => {
    await using gateway = await openTestGateway();
    expect(await guess(gateway, 20)).toEqual(Array.from({ length: 20 }, () => 401));
    gateway.clearStatements();
    const refused = await send(gateway, createKey());
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect(JSON.parse(refused.text)).toMatchObject({ code: 'RATE_LIMITED' });
    expect((await send(gateway, 'malformed')).status).toBe(429);
    expect(gateway.statements).toEqual([]);
    vi.setSystemTime(Date.now() + 60_000);
    expect((await send(gateway, createKey())).status).toBe(401);
  });

  test('cannot lock out a client behind it whose key was verified before', async () => {
    await using gateway = await openTestGateway();
    const [known, fresh] = [await gateway.addTenant(), await gateway.addTenant()];
    expect((await send(gateway, known.key)).status).toBe(200);
    await guess(gateway, 30);
    expect((await send(gateway, known.key)).status).toBe(200);
    // A key that was never verified here cannot be accepted without a query.
    expect((await send(gateway, fresh.key)).status).toBe(429);
    expect((await send(gateway, fresh.key, { from: '203.0.113.8' })).status).toBe(200);
    expect((await send(gateway, fresh.key)).status).toBe(200);
  });

  test('is throttled for a key that was verified and then revoked', async () => {
    await using gateway = await openTestGateway();
    const { key, keyId } = await gateway.addTenant();
    expect((await send(gateway, key)).status).toBe(200);
    await guess(gateway, 20);
    await gateway.access.revokeKey(keyId);
    expect((await send(gateway, key)).status).toBe(401);
    expect((await send(gateway, key)).status).toBe(429);
  });

  test('is not counted for requests without a key, nor when it is unknown', async () => {
    await using gateway = await openTestGateway();
    for (let time = 0; time < 25; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { status } = await gateway.gateway.fetch(
        new Request('http://gateway.test/v1/numbers'),
        address,
      );
      expect(status).toBe(401);
    }
    expect(await guess(gateway, 1)).toEqual([401]);
    const { key } = await gateway.addTenant();
    const requests = Array.from({ length: 25 }, () => gateway.rest('/v1/numbers', { key: 'x' }));
    expect(new Set((await Promise.all(requests)).map(({ status }) => status))).toEqual(
      new Set([401]),
    );
    expect((await gateway.rest('/v1/numbers', { key })).status).toBe(200);
  });

  test('is told the reason and when to retry', async () => {
    await using gateway = await openTestGateway({ environment: { KEY_FAILURES_PER_MINUTE: '1' } });
    await guess(gateway, 1);
    vi.setSystemTime(Date.now() + 29_500);
    const { text, headers } = await send(gateway, createKey());
    expect(text).toContain(
      'Too many invalid API keys were sent from this address; retry in 31 seconds.',
    );
    expect(headers.get('retry-after')).toBe('31');
  });

  test('has the configured limit, and none when that is 0', async () => {
    await using strict = await openTestGateway({ environment: { KEY_FAILURES_PER_MINUTE: '2' } });
    expect(await guess(strict, 4)).toEqual([401, 401, 429, 429]);
    await using lenient = await openTestGateway({ environment: { KEY_FAILURES_PER_MINUTE: '0' } });
    expect(new Set(await guess(lenient, 30))).toEqual(new Set([401]));
  });

  test('behind a trusted proxy is read from x-forwarded-for', async () => {
    const environment = { TRUSTED_PROXIES: '10.0.0.0/8', KEY_FAILURES_PER_MINUTE: '1' };
    await using gateway = await openTestGateway({ environment });
    const through = (client: string) =>
      send(gateway, createKey(), { from: '10.1.2.3', headers: { 'x-forwarded-for': client } });
    expect((await through('198.51.100.1')).status).toBe(401);
    expect((await through('198.51.100.1')).status).toBe(429);
    // An entry that the client itself wrote changes nothing.
    expect((await through('192.0.2.9, 198.51.100.1')).status).toBe(429);
    expect((await through('198.51.100.2')).status).toBe(401);
  });

  test('cannot be chosen by the client when no proxy is trusted', async () => {
    await using gateway = await openTestGateway({ environment: { KEY_FAILURES_PER_MINUTE: '1' } });
    const as = (client: string) =>
      send(gateway, createKey(), { headers: { 'x-forwarded-for': client } });
    expect([(await as('192.0.2.1')).status, (await as('192.0.2.2')).status]).toEqual([401, 429]);
  });
});

const read = (name: string, value: string) => parseConfig(readEnvironment({ [name]: value }));

describe('the configuration', () => {
  test('accepts a number of proxies, or addresses and networks', () => {
    const proxies = ['', '0', '2', '10.0.0.0/8', '10.0.0.1, ::1,fd00::/8'];
    expect(proxies.map((text) => read('TRUSTED_PROXIES', text).trustedProxies)).toEqual([
      [],
      0,
      2,
      ['10.0.0.0/8'],
      ['10.0.0.1', '::1', 'fd00::/8'],
    ]);
  });

  test.each([
    ['TRUSTED_PROXIES', '100'],
    ['TRUSTED_PROXIES', '-1'],
    ['TRUSTED_PROXIES', 'balancer.example.com'],
    ['TRUSTED_PROXIES', '10.0.0.0/33'],
    ['TRUSTED_PROXIES', '::1/129'],
    ['TRUSTED_PROXIES', '10.0.0.0/8/8'],
    ['TRUSTED_PROXIES', '10.0.0.1;10.0.0.2'],
    ['KEY_FAILURES_PER_MINUTE', 'many'],
    ['KEY_FAILURES_PER_MINUTE', '-1'],
    ['KEY_FAILURES_PER_MINUTE', '1.5'],
  ])('refuses %s=%s with the name of the variable', (name, value) => {
    expect(() => read(name, value)).toThrow(new RegExp(`- ${name} must be `));
  });
});
