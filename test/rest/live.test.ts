// Live reads over REST: the detail with `refresh`, and the connection status.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createGateway } from '../../src/gateway.ts';
import type { Fault } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { databases, openTestGateway, type TestGateway, type TestNumber } from '../harness.ts';

// The example of the product's page, verbatim.
const example = {
  id: 'wa_abc',
  number: '5511999999999',
  name: 'My WhatsApp',
  provider: 'META',
  state: 'OPEN',
  isFullyConnected: true,
  createdAt: '2026-02-24T15:00:00.000Z',
  updatedAt: '2026-06-30T09:18:33.000Z',
  health: {
    qualityRating: 'GREEN',
    messagingLimitTier: 'TIER_2K',
    metaStatus: 'CONNECTED',
    sendable: true,
  },
  meta: {
    fetchedAt: '2026-06-30T09:18:33.000Z',
    phone: {
      displayPhoneNumber: '+55 11 99999-9999',
      verifiedName: 'Acme LTDA',
      qualityRating: 'GREEN',
      messagingLimitTier: 'TIER_2K',
      isPinEnabled: true,
    },
    profile: {
      about: '8h-18h',
      email: 'contato@acme.com',
      websites: ['https://acme.com'],
      vertical: 'RETAIL',
    },
    waba: {
      id: '1029384756',
      name: 'Acme WABA',
      currency: 'BRL',
      businessVerificationStatus: 'verified',
      country: 'BR',
    },
  },
};

type Detail = typeof example & { readonly meta: Record<string, unknown> };

const denied: Fault = { kind: 'error', code: 190, subcode: 463, status: 401 };

function setFaults({ simulator }: TestGateway, number: TestNumber, fault: Fault | null): void {
  for (const id of [number.phoneNumberId, number.wabaId]) simulator.setFault(id, fault);
}

function listOperations({ simulator }: TestGateway): readonly string[] {
  return simulator.calls.flatMap((call) => call.operations).toSorted();
}

describe.each(databases)('on %s', (database) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test("the response equals the example of the product's page, except for the id and the times", async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({
      name: 'My WhatsApp',
      number: '5511999999999',
      wabaId: '1029384756',
      phone: { verified_name: 'Acme LTDA', display_phone_number: '+55 11 99999-9999' },
      profile: {
        about: '8h-18h',
        email: 'contato@acme.com',
        websites: ['https://acme.com'],
        vertical: 'RETAIL',
      },
      waba: { name: 'Acme WABA', currency: 'BRL' },
    });
    const { text, body } = await tenant.rest<Detail>(`/v1/numbers/${id}?refresh=1`);
    const { createdAt, updatedAt } = body;
    const { fetchedAt } = body.meta;
    const expected = { ...example, id, createdAt, updatedAt, meta: { ...example.meta, fetchedAt } };
    expect(text).toBe(JSON.stringify(expected));
    expect(fetchedAt).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);
    expect(updatedAt).toBe(fetchedAt);
    expect((await tenant.rest(`/v1/numbers/${id}`)).text).toBe(text);
    const { text: document } = await tenant.rest('/v1/openapi.json');
    expect(document).toContain(JSON.stringify(example));
  });

  test.each(['refresh=1', 'refresh=true', 'x=0&refresh=1', 'refresh=%31'])(
    '?%s reads all three blocks; without it nothing is read from Meta',
    async (query) => {
      const tenant = await gateway.addTenant();
      const { id, phoneNumberId, wabaId } = await tenant.addNumber();
      gateway.simulator.clearCalls();
      expect(await tenant.rest(`/v1/numbers/${id}`)).toMatchObject({ body: { meta: null } });
      expect(gateway.simulator.calls).toEqual([]);
      expect(await tenant.rest(`/v1/numbers/${id}?${query}`)).toMatchObject({ status: 200 });
      expect(listOperations(gateway)).toEqual([
        `phone ${phoneNumberId}`,
        `profile ${phoneNumberId}`,
        `waba ${wabaId}`,
      ]);
    },
  );

  test('a member that Meta did not return is null, and an unknown value is returned unchanged', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({
      phone: {
        quality_rating: 'TURQUOISE',
        verified_name: null,
        is_pin_enabled: null,
        status: 'HIBERNATING',
        whatsapp_business_manager_messaging_limit: null,
      },
      profile: null,
      waba: { business_verification_status: 'Half_Verified', country: null },
    });
    const { body } = await tenant.rest<Detail>(`/v1/numbers/${id}?refresh=1`);
    expect(body.health).toEqual({
      qualityRating: 'TURQUOISE',
      messagingLimitTier: null,
      metaStatus: 'HIBERNATING',
      sendable: false,
    });
    expect(body.meta).toMatchObject({
      phone: { verifiedName: null, qualityRating: 'TURQUOISE', isPinEnabled: null },
      profile: { about: null, email: null, websites: null, vertical: null },
      waba: { businessVerificationStatus: 'Half_Verified', country: null },
    });
    expect(Object.keys(body.meta.phone)).toEqual(Object.keys(example.meta.phone));
  });

  test('a block that could not be read keeps its last value, and the others are updated', async () => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber({
      waba: { name: 'Old' },
      phone: { quality_rating: 'RED' },
    });
    const path = `/v1/numbers/${number.id}`;
    gateway.simulator.setFault(number.wabaId, denied);
    const partly = await tenant.rest<Detail>(`${path}?refresh=1`);
    expect(partly).toMatchObject({ status: 200, body: { meta: { waba: null } } });
    gateway.simulator.setFault(number.wabaId, null);
    expect(await tenant.rest(`${path}?refresh=1`)).toMatchObject({
      body: { meta: { phone: { qualityRating: 'RED' }, waba: { name: 'Old' } } },
    });
    gateway.simulator.setFault(number.phoneNumberId, denied);
    gateway.simulator.setWaba({ id: number.wabaId, fields: { name: 'New' } });
    const { status, body } = await tenant.rest<Detail>(`${path}?refresh=1`);
    expect(status).toBe(200);
    expect(body.meta).toMatchObject({ phone: { qualityRating: 'RED' }, waba: { name: 'New' } });
    expect((await tenant.rest<Detail>(path)).body).toEqual(body);
  });

  test.each([
    {
      fault: { kind: 'error', code: 2, transient: true } as const,
      status: 502,
      code: 'META_UNAVAILABLE',
      retryAfter: /^[1-9]\d?$/,
      details: { metaCode: 2, transient: true, retryAt: null },
      sendable: true,
    },
    {
      fault: { kind: 'throttled', minutes: 7 } as const,
      status: 503,
      code: 'META_RATE_LIMITED',
      retryAfter: /^4[12]\d$/,
      details: { metaCode: 80_008, transient: true, retryAt: expect.stringMatching(/\.\d{3}Z$/) },
      sendable: true,
    },
    {
      fault: denied,
      status: 502,
      code: 'META_ACCESS_DENIED',
      retryAfter: /^none$/,
      details: { metaCode: 190, metaSubcode: 463, transient: false, retryAt: null },
      // Whether the number can still send is not known without a token that works.
      sendable: false,
    },
  ])(
    'a live read that fails is $status $code, and the last snapshot is kept',
    async ({ fault, status, code, retryAfter, details, sendable }) => {
      const tenant = await gateway.addTenant();
      const number = await tenant.addNumber();
      const path = `/v1/numbers/${number.id}`;
      const good = await tenant.rest(`${path}?refresh=1`);
      setFaults(gateway, number, fault);
      const { body, ...reply } = await tenant.rest(`${path}?refresh=1`);
      expect({ status: reply.status, code: body['code'] }).toEqual({ status, code });
      expect(Object.keys(body)).toEqual(['error', 'code', 'requestId', 'details']);
      expect(body['requestId']).toBe(reply.headers.get('x-request-id'));
      expect(body['details']).toEqual({
        metaSubcode: null,
        fbtraceId: expect.any(String),
        ...details,
      });
      expect(reply.headers.get('retry-after') ?? 'none').toMatch(retryAfter);
      expect(reply.headers.has('etag')).toBe(false);
      expect((await tenant.rest(path)).text).toBe(
        good.text.replace('"sendable":true', `"sendable":${sendable}`),
      );
    },
  );

  test('the state of a Meta number without an instance is read from Meta and stored', async () => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber({ phone: { status: 'BANNED' } });
    const path = `/v1/numbers/${number.id}`;
    gateway.simulator.clearCalls();
    const { text } = await tenant.rest(`${path}/status`);
    expect(text).toBe(`{"id":"${number.id}","state":"CLOSE","isFullyConnected":false}`);
    expect(listOperations(gateway)).toEqual([`phone ${number.phoneNumberId}`]);
    expect(await tenant.rest(path)).toMatchObject({ body: { state: 'CLOSE' } });
    setFaults(gateway, number, denied);
    expect(await tenant.rest(`${path}/status`)).toMatchObject({
      status: 502,
      body: { code: 'META_ACCESS_DENIED', details: { metaCode: 190 } },
    });
  });

  test('the state of a non-Meta number is read from the session engine', async () => {
    const tenant = await gateway.addTenant();
    const { id, instanceName } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    gateway.simulator.setInstance({ instanceName, state: 'connecting' });
    const { text } = await tenant.rest(`/v1/numbers/${id}/status`);
    expect(text).toBe(`{"id":"${id}","state":"CONNECTING","isFullyConnected":false}`);
    gateway.simulator.setInstance({ instanceName, state: 'close' });
    expect(await tenant.rest(`/v1/numbers/${id}?refresh=1`)).toMatchObject({
      body: { state: 'CLOSE', meta: null },
    });
    gateway.simulator.setFault(instanceName, { kind: 'reset' });
    const { status, headers, body } = await tenant.rest(`/v1/numbers/${id}/status`);
    expect({ status, code: body['code'] }).toEqual({ status: 503, code: 'UNAVAILABLE' });
    expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    expect(await tenant.rest(`/v1/numbers/${id}`)).toMatchObject({ body: { state: 'CLOSE' } });
  });
});

describe('a live read', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({
      deadlineMs: 1_000,
      environment: { SESSION_ENGINE_URL: '', SESSION_ENGINE_KEY: '' },
    });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('returns what is stored when no session engine is configured', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'CONNECTING' });
    const { status, text } = await tenant.rest(`/v1/numbers/${id}/status`);
    expect(status).toBe(200);
    expect(text).toBe(`{"id":"${id}","state":"CONNECTING","isFullyConnected":false}`);
    expect(await tenant.rest(`/v1/numbers/${id}?refresh=1`)).toMatchObject({
      status: 200,
      body: { state: 'CONNECTING', meta: null },
    });
    expect(gateway.simulator.calls).toEqual([]);
  });

  test('is 504 META_TIMEOUT when Meta does not respond by the deadline, and the snapshot is kept', async () => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber();
    const path = `/v1/numbers/${number.id}`;
    const good = await tenant.rest(`${path}?refresh=1`);
    setFaults(gateway, number, { kind: 'hang' });
    expect(await tenant.rest(`${path}?refresh=1`)).toMatchObject({
      status: 504,
      body: { code: 'META_TIMEOUT', details: { metaCode: null, transient: true, retryAt: null } },
    });
    expect((await tenant.rest(path)).text).toBe(good.text);
  });

  test('is executed even if If-None-Match has the ETag of the last response, and by HEAD as well', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const path = `/v1/numbers/${id}?refresh=1`;
    const first = await tenant.rest(path);
    gateway.simulator.clearCalls();
    const headers = { 'if-none-match': first.headers.get('etag') ?? '' };
    expect(await tenant.rest(path, { headers })).toMatchObject({ status: 200 });
    expect(listOperations(gateway)).toHaveLength(3);
    expect(await tenant.rest(path, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
    expect(listOperations(gateway)).toHaveLength(6);
    expect(await tenant.rest(path, { headers: { 'if-none-match': '*' } })).toMatchObject({
      status: 304,
    });
    expect(listOperations(gateway)).toHaveLength(9);
  });

  test('is cancelled when the client disconnects, and is not logged as a failure', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const hold = gateway.simulator.hold(phoneNumberId);
    const client = new AbortController();
    gateway.clearLogLines();
    const response = tenant.rest(`/v1/numbers/${id}?refresh=1`, { signal: client.signal });
    await hold.arrived;
    client.abort();
    expect((await response).status).toBe(503);
    hold.release();
    const messages = gateway.logLines.map((line) => JSON.parse(line).msg);
    expect(messages).not.toContain('request failed');
  });
});

test('an unreachable database is 503 UNAVAILABLE with Retry-After, and the cause is logged', async () => {
  const logLines: string[] = [];
  const telemetry = createTelemetry({ level: 'trace', write: (line) => logLines.push(line) });
  const config = parseConfig(
    readEnvironment({
      DATABASE_URL: 'postgres://127.0.0.1:1/nothing',
      ENCRYPTION_KEYS: `test:${Buffer.alloc(32).toString('base64')}`,
      API_KEY_PEPPER: 'x'.repeat(32),
    }),
  );
  await using gateway = await createGateway(config, { telemetry });
  const headers = { 'x-api-key': createKey() };
  const response = await gateway.fetch(new Request('http://gateway.test/v1/numbers', { headers }));
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('1');
  expect(await response.json()).toMatchObject({ code: 'UNAVAILABLE' });
  const lines = logLines.map((line) => JSON.parse(line));
  expect(lines.find(({ msg }) => msg === 'request failed')).toMatchObject({
    requestId: response.headers.get('x-request-id'),
    code: 'UNAVAILABLE',
    cause: expect.stringContaining('ECONNREFUSED'),
  });
});
