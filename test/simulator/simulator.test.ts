// The simulated Graph API and session engine, reached by the in-process fetch and by HTTP.

import { createHmac } from 'node:crypto';

import { afterEach, describe, expect, test, vi } from 'vitest';

import {
  createTestSimulator,
  sentinels,
  sentinelWabaId,
  type Fault,
  type TestSimulator,
  type SimulatorOptions,
} from './simulator.ts';
import { createSimulator } from '../../src/simulator/simulator.ts';
import { readMemory } from '../memory.ts';

const phoneId = '106540352242922';
const otherPhoneId = '106540352242923';
const wabaId = '102290129340398';
const foreignWabaId = '102290129340399';
const foreignPhoneId = '106540352242999';

const fleet: SimulatorOptions = {
  phones: [
    {
      id: phoneId,
      wabaId,
      fields: {
        display_phone_number: '+1 631-555-5555',
        quality_rating: 'GREEN',
        messaging_limit_tier: 'TIER_1K',
        username: null,
        throughput: { level: 'STANDARD' },
      },
      profile: { about: 'Hello', vertical: 'RETAIL', websites: ['https://example.org/'] },
    },
    { id: otherPhoneId, wabaId, fields: { quality_rating: 'RED' }, profile: null },
    { id: foreignPhoneId, wabaId: foreignWabaId, fields: {}, profile: null },
  ],
  wabas: [
    { id: wabaId, fields: { name: 'Lucky Shrub', timezone_id: '1' } },
    { id: foreignWabaId, fields: { name: 'Foreign' } },
  ],
  tokens: [
    { token: 'good', wabaIds: [wabaId] },
    { token: 'foreign', wabaIds: [foreignWabaId] },
    { token: 'messaging', wabaIds: [wabaId], scopes: ['whatsapp_business_messaging'] },
    { token: 'nothing', wabaIds: [wabaId], scopes: [] },
    { token: 'expired', wabaIds: [wabaId], state: 'expired' },
    { token: 'invalid', wabaIds: [wabaId], state: 'invalid' },
    { token: 'secret', wabaIds: [wabaId], appSecret: 'app secret' },
  ],
  instances: [{ instanceName: 'shop one', state: 'open' }],
  sessionEngineKey: 'engine key',
  now: () => new Date('2026-11-22T12:00:00Z'),
};

const opened: TestSimulator[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(opened.splice(0).map((it) => it[Symbol.asyncDispose]()));
});

function open(options: SimulatorOptions = {}): TestSimulator {
  const simulator = createTestSimulator({ ...fleet, ...options });
  opened.push(simulator);
  return simulator;
}

type Send = (path: string, init?: RequestInit & { readonly token?: string }) => Promise<Response>;

type Transport = 'in-process fetch' | 'HTTP';

async function connect(transport: Transport, simulator: TestSimulator): Promise<Send> {
  const isHttp = transport === 'HTTP';
  const origin = isHttp ? (await simulator.listen()).url : 'https://graph.facebook.com';
  const fetch = isHttp ? globalThis.fetch : simulator.fetch;
  return (path, { token = 'good', headers, ...init } = {}) =>
    fetch(`${origin}${path}`, {
      ...init,
      headers: { ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...headers },
    });
}

/** The status and the parsed body. */
async function read(response: Promise<Response>): Promise<unknown> {
  const { status, body } = await readWhole(response);
  return { status, body };
}

async function readWhole(
  pending: Promise<Response>,
): Promise<{ readonly status: number; readonly headers: Headers; readonly body: any }> {
  const response = await pending;
  return { status: response.status, headers: response.headers, body: await response.json() };
}

function toError(code: number, subcode?: number, message: string | RegExp = /./): unknown {
  return {
    error: expect.objectContaining({
      code,
      fbtrace_id: expect.stringMatching(/^A[\w-]{22}$/),
      message: expect.stringMatching(message),
      ...(subcode === undefined ? {} : { error_subcode: subcode }),
    }),
  };
}

function toBatch(
  items: readonly string[],
  more: Readonly<Record<string, string>> = {},
): RequestInit {
  const batch = items.map((relative_url) => ({ method: 'GET', relative_url }));
  const form = { include_headers: 'false', batch: JSON.stringify(batch), ...more };
  return { method: 'POST', body: new URLSearchParams(form) };
}

const sentinelWith = (kind: Fault['kind']): string =>
  Object.entries(sentinels).find(([, it]) => it.node === 'phone' && it.fault?.kind === kind)?.[0] ??
  `no sentinel for ${kind}`;

describe.each<Transport>(['in-process fetch', 'HTTP'])('by %s', (transport) => {
  test('a phone has the selected fields and always its id, without unset fields', async () => {
    const send = await connect(transport, open());
    const fields = 'quality_rating,username,messaging_limit_tier,throughput';
    expect(await read(send(`/v26.0/${phoneId}?fields=${fields}`))).toEqual({
      status: 200,
      body: { quality_rating: 'GREEN', throughput: { level: 'STANDARD' }, id: phoneId },
    });
  });

  test('unset fields are null with emitNulls', async () => {
    const send = await connect(transport, open({ emitNulls: true }));
    expect(
      await read(send(`/v26.0/${phoneId}?fields=username,messaging_limit_tier`)),
    ).toMatchObject({ body: { username: null, messaging_limit_tier: null, id: phoneId } });
  });

  test('a nonexisting field refuses the whole request with Meta’s message', async () => {
    const send = await connect(transport, open());
    const { status, headers, body } = await readWhole(
      send(`/v26.0/${wabaId}?fields=name,messaging_limit_tier`),
    );
    const message =
      '(#100) Tried accessing nonexisting field (messaging_limit_tier) on node type (WhatsAppBusinessAccount)';
    expect({ status, body }).toEqual({
      status: 400,
      body: {
        error: { message, type: 'OAuthException', code: 100, fbtrace_id: expect.any(String) },
      },
    });
    expect(headers.get('www-authenticate')).toBe(
      `OAuth "Facebook Platform" "invalid_request" "${message}"`,
    );
    expect(await read(send(`/v26.0/${phoneId}?fields=whatsapp_business_account`))).toMatchObject({
      body: toError(100, undefined, /\(whatsapp_business_account\).*WhatsAppBusinessPhoneNumber/),
    });
  });

  test('the profile edge contains one flat object, or nothing', async () => {
    const send = await connect(transport, open());
    const edge = 'whatsapp_business_profile?fields=about,vertical,email';
    expect(await read(send(`/v26.0/${phoneId}/${edge}`))).toEqual({
      status: 200,
      body: { data: [{ about: 'Hello', vertical: 'RETAIL', messaging_product: 'whatsapp' }] },
    });
    expect(await read(send(`/v26.0/${otherPhoneId}/${edge}`))).toMatchObject({
      body: { data: [] },
    });
  });

  test('a batch answers, counts and logs each item separately, in order', async () => {
    const simulator = open();
    const send = await connect(transport, simulator);
    const nullItem = sentinelWith('null-item');
    const { status, body } = await readWhole(
      send(
        '/v26.0/',
        toBatch([`${phoneId}?fields=quality_rating`, nullItem, 'v25.0/1', otherPhoneId]),
      ),
    );
    expect(status).toBe(200);
    expect(body.map((it: any) => it && { code: it.code, body: JSON.parse(it.body) })).toEqual([
      { code: 200, body: { quality_rating: 'GREEN', id: phoneId } },
      null,
      { code: 400, body: toError(100, 33, /Object with ID '1' does not exist/) },
      { code: 200, body: { quality_rating: 'RED', id: otherPhoneId } },
    ]);
    expect(simulator.calls).toMatchObject([
      {
        method: 'POST',
        path: '/v26.0/',
        operations: [`phone ${phoneId}`, `phone ${nullItem}`, 'node 1', `phone ${otherPhoneId}`],
        status: 200,
      },
    ]);
  });

  test('an instance returns its state with the right key only', async () => {
    const simulator = open();
    const send = await connect(transport, simulator);
    const ask = (name: string, apikey: string) =>
      read(send(`/instance/connectionState/${name}`, { token: '', headers: { apikey } }));
    expect(await ask('shop%20one', 'engine key')).toEqual({
      status: 200,
      body: { instance: { instanceName: 'shop one', state: 'open' } },
    });
    expect(await ask('shop%20one', 'wrong')).toMatchObject({ status: 401 });
    expect(await ask('shop%20two', 'engine key')).toEqual({
      status: 404,
      body: {
        status: 404,
        error: 'Not Found',
        response: { message: ['The "shop two" instance does not exist'] },
      },
    });
    simulator.setInstance({ instanceName: 'shop two', state: null });
    expect(await ask('shop%20two', 'engine key')).toEqual({
      status: 200,
      body: { instance: { instanceName: 'shop two' } },
    });
    simulator.setFault('shop two', { kind: 'error', code: 401, status: 401 });
    expect(await ask('shop%20two', 'engine key')).toEqual({
      status: 401,
      body: { status: 401, error: 'Unauthorized', response: { message: 'Unauthorized' } },
    });
    expect(simulator.calls[0]?.operations).toEqual(['connectionState shop one']);
  });

  test('a reset connection rejects as undici does', async () => {
    const simulator = open();
    const send = await connect(transport, simulator);
    await expect(send(`/v26.0/${sentinelWith('reset')}`)).rejects.toMatchObject({
      name: 'TypeError',
      message: 'fetch failed',
      cause: { code: 'ECONNRESET' },
    });
    expect(simulator.calls).toMatchObject([{ status: 0 }]);
  });

  test.each(['hang', 'hold', 'latency'] as const)(
    'an abort ends a request that waits because of: %s',
    async (kind) => {
      const simulator = open();
      const send = await connect(transport, simulator);
      const hold = simulator.hold(phoneId);
      if (kind !== 'hold') simulator.setFault(phoneId, { kind, ms: 1e8 } as Fault);
      const controller = new AbortController();
      const pending = send(`/v26.0/${phoneId}`, { signal: controller.signal });
      await hold.arrived;
      if (kind !== 'hold') hold.release();
      const reason = new Error('aborted');
      controller.abort(reason);
      await expect(pending).rejects.toBe(reason);
    },
  );

  test('reading a stalled or oversized body can be aborted', async () => {
    const send = await connect(transport, open());
    const controller = new AbortController();
    const stalled = await send(`/v26.0/${sentinelWith('stall')}`, { signal: controller.signal });
    const rest = stalled.text();
    controller.abort(new Error('aborted'));
    await expect(rest).rejects.toThrow('aborted');

    const large = await send(`/v26.0/${sentinelWith('oversized')}`);
    expect((await large.arrayBuffer()).byteLength).toBeGreaterThan(1024 * 1024);
    const left = await send(`/v26.0/${sentinelWith('oversized')}`);
    await left.body?.cancel();
  });

  test('a redirect is returned, rejected or followed, as the client chooses', async () => {
    const simulator = open();
    const send = await connect(transport, simulator);
    const path = `/v26.0/${sentinelWith('redirect')}`;
    expect((await send(path, { redirect: 'manual' })).status).toBe(302);
    await expect(send(path, { redirect: 'error' })).rejects.toThrow('fetch failed');
    expect((await send(path)).status).toBe(400);
    expect(simulator.calls.map((call) => call.path)).toEqual([
      path,
      path,
      path,
      '/redirect-target',
    ]);
  });

  test('HTML and truncated JSON have the status of their fault', async () => {
    const send = await connect(transport, open());
    const html = await send('/v26.0/990000000011');
    expect([html.status, html.headers.get('content-type')]).toEqual([
      503,
      expect.stringMatching('html'),
    ]);
    expect(await html.text()).toMatch(/^<!DOCTYPE html>/);
    const half = await send(`/v26.0/${sentinelWith('truncated')}`);
    expect(half.status).toBe(200);
    expect(await half.text()).toMatch(/^\{"[^}]*$/);
  });

  test('closing the simulator rejects the requests in flight', async () => {
    const simulator = open();
    const send = await connect(transport, simulator);
    const hold = simulator.hold('*');
    const pending = send(`/v26.0/${phoneId}`).catch((error: unknown) => error);
    await hold.arrived;
    await simulator[Symbol.asyncDispose]();
    expect(await pending).toMatchObject({ name: 'TypeError', message: 'fetch failed' });
    await expect(send(`/v26.0/${phoneId}`)).rejects.toThrow('fetch failed');
  });
});

/** Enough for tests of the content of a response, which does not depend on the transport. */
const connectInProcess = (simulator: TestSimulator): Promise<Send> =>
  connect('in-process fetch', simulator);

describe('access', () => {
  test.each([
    ['no token', '', `${phoneId}`, 401, 190, undefined],
    [
      'no token on the profile edge',
      '',
      `${phoneId}/whatsapp_business_profile`,
      400,
      200,
      undefined,
    ],
    ['an unknown token', 'garbage', `${phoneId}`, 401, 190, undefined],
    ['an expired token', 'expired', `${phoneId}`, 401, 190, 463],
    ['an invalidated token', 'invalid', `${phoneId}`, 401, 190, 467],
    ['no scope for a phone', 'nothing', `${phoneId}`, 400, 10, undefined],
    ['no scope for a WABA', 'messaging', `${wabaId}`, 400, 200, undefined],
    ['no appsecret_proof', 'secret', `${phoneId}`, 400, 100, undefined],
    ['a wrong appsecret_proof', 'secret', `${phoneId}?appsecret_proof=00`, 400, 100, undefined],
    ['a missing id', 'good', '1', 400, 100, 33],
    ['a foreign phone', 'good', foreignPhoneId, 400, 100, 33],
    ['a foreign WABA', 'foreign', wabaId, 400, 100, 33],
  ])('%s is refused', async (_case, token, path, status, code, subcode) => {
    const send = await connectInProcess(open());
    expect(await read(send(`/v26.0/${path}`, { token }))).toMatchObject({
      status,
      body: toError(code, subcode),
    });
  });

  test('a valid appsecret_proof is accepted, and inherited by the items of a batch', async () => {
    const send = await connectInProcess(open());
    const appsecret_proof = createHmac('sha256', 'app secret').update('secret').digest('hex');
    const path = `/v26.0/${phoneId}?appsecret_proof=${appsecret_proof}`;
    expect(await read(send(path, { token: 'secret' }))).toMatchObject({ status: 200 });
    const form = toBatch([phoneId], { access_token: 'secret', appsecret_proof });
    expect((await readWhole(send('/v26.0/', { ...form, token: '' }))).body[0].code).toBe(200);
  });

  test('the token of an item takes precedence over that of its batch, and needs its own proof', async () => {
    const send = await connectInProcess(open());
    const items = ['foreign', 'good', 'secret', 'expired'].map(
      (it) => `${foreignPhoneId}?access_token=${it}`,
    );
    const { body } = await readWhole(send('/v26.0/', toBatch(items, { include_headers: 'true' })));
    expect(body.map((it: any) => it.code)).toEqual([200, 400, 400, 401]);
    expect(body[3].headers).toContainEqual({
      name: 'www-authenticate',
      value: expect.stringMatching(/^OAuth "Facebook Platform" "invalid_token" "Error validating/),
    });
  });

  test('the message of an expired token has times in Meta’s format', async () => {
    const send = await connectInProcess(open());
    const { body } = await readWhole(send(`/v26.0/${phoneId}`, { token: 'expired' }));
    expect(body.error.message).toBe(
      'Error validating access token: Session has expired on Saturday, 21-Nov-26 04:00:00 PST. The current time is Sunday, 22-Nov-26 04:00:00 PST.',
    );
  });

  test('while no token is registered, every token is valid, but one is required', async () => {
    const send = await connectInProcess(open({ tokens: [] }));
    expect((await send(`/v26.0/${phoneId}`, { token: 'any' })).status).toBe(200);
    expect((await send(`/v26.0/${phoneId}`, { token: '' })).status).toBe(401);
  });
});

describe('requests', () => {
  test.each([
    ['v23.0', 'v24.0'],
    ['v24.0', 'v24.0'],
    ['v26.0', 'v26.0'],
  ])('%s is answered by %s', async (version, answering) => {
    const send = await connectInProcess(open());
    const { status, headers } = await send(`/${version}/${phoneId}`);
    expect([status, headers.get('facebook-api-version')]).toEqual([200, answering]);
  });

  test.each(['v27.0', 'v26.1'])('%s is an unknown path', async (version) => {
    const send = await connectInProcess(open());
    expect(await read(send(`/${version}/${phoneId}`))).toEqual({
      status: 400,
      body: toError(2500, undefined, `Unknown path components: /${phoneId}`),
    });
  });

  test.each([
    ['POST to a node', 'POST', phoneId, 100],
    ['DELETE', 'DELETE', phoneId, 100],
    ['a path without an id', 'GET', '', 100],
    ['an edge that the node does not have', 'GET', `${wabaId}/whatsapp_business_profile`, 100],
    ['an edge that nothing has', 'GET', `${wabaId}/likes`, 100],
    ['a longer path', 'GET', `${wabaId}/likes/1`, 2500],
    ['a syntax error in fields', 'GET', `${phoneId}?fields=a{b`, 2500],
  ])('%s is refused with a Graph error', async (_case, method, path, code) => {
    const send = await connectInProcess(open());
    expect(await read(send(`/v26.0/${path}`, { method }))).toMatchObject({
      status: 400,
      body: toError(code),
    });
  });

  test.each([
    ['a bad token', toBatch([phoneId], { access_token: 'garbage' }), 190],
    ['no array', toBatch([], { batch: '{' }), 100],
    ['51 items', toBatch(Array.from({ length: 51 }, () => phoneId)), 100],
  ])('a batch with %s is one refusal instead of an array', async (_case, init, code) => {
    const send = await connectInProcess(open());
    expect(await read(send('/v26.0/', init))).toMatchObject({ body: toError(code) });
  });

  test('fetch accepts a string, a URL and a Request', async () => {
    const { fetch } = open();
    const url = `https://graph.facebook.com/v26.0/${phoneId}?access_token=good`;
    const responses = await Promise.all([fetch(url), fetch(new URL(url)), fetch(new Request(url))]);
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200]);
  });
});

const toUsage = (headers: Headers): any =>
  JSON.parse(headers.get('x-business-use-case-usage') ?? '{}')[wabaId]?.[0];

describe('rate limits', () => {
  test('each item counts as a call of the rolling hour, per WABA', async () => {
    let now = new Date('2026-11-22T12:00:00Z');
    const simulator = open({ now: () => now });
    simulator.setWaba({ id: wabaId, fields: {}, hourlyCalls: 4 });
    const send = await connectInProcess(simulator);
    const { headers } = await readWhole(send('/v26.0/', toBatch([phoneId, phoneId, wabaId])));
    expect(toUsage(headers)).toEqual({
      type: 'whatsapp_business_management',
      call_count: 75,
      total_cputime: 75,
      total_time: 75,
      estimated_time_to_regain_access: 0,
    });
    now = new Date('2026-11-22T12:20:00Z');
    await send(`/v26.0/${phoneId}`);
    const refused = await readWhole(send(`/v26.0/${phoneId}`));
    expect(refused).toMatchObject({ status: 400, body: toError(80008) });
    expect(toUsage(refused.headers)).toMatchObject({
      call_count: 100,
      estimated_time_to_regain_access: 40,
    });
    const profile = send(`/v26.0/${phoneId}/whatsapp_business_profile`);
    expect((await profile).status, 'the profile edge is counted separately').toBe(200);
    expect((await send(`/v26.0/${foreignPhoneId}`, { token: 'foreign' })).status).toBe(200);
    now = new Date('2026-11-22T13:01:00Z');
    expect((await send(`/v26.0/${phoneId}`)).status).toBe(200);
  });

  test('a throttled fault has the configured code, status and minutes', async () => {
    const simulator = open({ rateLimitCode: 80007, rateLimitStatus: 429 });
    simulator.setFault(phoneId, { kind: 'throttled', minutes: 7 });
    const { status, headers, body } = await readWhole(
      (await connectInProcess(simulator))(`/v26.0/${phoneId}`),
    );
    expect({ status, body }).toMatchObject({ status: 429, body: toError(80007) });
    expect(toUsage(headers).estimated_time_to_regain_access).toBe(7);
  });
});

describe('a portfolio', () => {
  const owner = { id: '506914307656634', name: 'Lucky Shrub Inc' };

  test('is a node of its own, which has few fields and no edge of an account', async () => {
    const simulator = open();
    const send = await connectInProcess(simulator);
    simulator.setWaba({ id: wabaId, fields: { owner_business_info: owner } });
    const ask = async (path: string) => (await readWhole(send(path))).body;
    expect(await ask(`/v26.0/${owner.id}?fields=id,name`)).toEqual(owner);
    expect(await ask(`/v26.0/${owner.id}?fields=name,currency`)).toEqual(
      toError(100, undefined, /nonexisting field \(currency\) on node type \(Business\)/),
    );
    expect(await ask(`/v26.0/${owner.id}/phone_numbers`)).toEqual(
      toError(100, undefined, /nonexisting field \(phone_numbers\) on node type \(Business\)/),
    );
  });

  test('of accounts that the token cannot see does not exist', async () => {
    const simulator = open();
    const send = await connectInProcess(simulator);
    simulator.setWaba({ id: foreignWabaId, fields: { owner_business_info: owner } });
    const { body } = await readWhole(send(`/v26.0/${owner.id}?fields=id`));
    expect(body).toEqual(toError(100, 33, /does not exist/));
  });
});

describe('faults', () => {
  const profilePath = `/v26.0/${phoneId}/whatsapp_business_profile?fields=about,vertical`;

  const flat = { about: 'Hello', vertical: 'RETAIL', messaging_product: 'whatsapp' };

  test.each<[Fault, string, unknown]>([
    [{ kind: 'empty-data' }, profilePath, { data: [] }],
    [{ kind: 'empty-data' }, `/v26.0/${phoneId}?fields=quality_rating`, { id: phoneId }],
    [{ kind: 'empty-data' }, `/v26.0/${phoneId}?fields=whatsapp_business_profile`, { id: phoneId }],
    [
      { kind: 'missing-vertical' },
      profilePath,
      { data: [{ about: 'Hello', messaging_product: 'whatsapp' }] },
    ],
    [{ kind: 'nested-profile' }, profilePath, { data: [{ business_profile: flat }] }],
    [
      { kind: 'wrong-types' },
      `/v26.0/${phoneId}?fields=quality_rating,throughput`,
      { quality_rating: 5, throughput: { level: 8 }, id: phoneId.length },
    ],
    [{ kind: 'unknown-field', field: 'about' }, profilePath, toError(100, undefined, /\(about\)/)],
    [
      { kind: 'denied-field', field: ['email', 'about'] },
      profilePath,
      toError(200, undefined, /^\(#200\) You do not have permission to access this field\.$/),
    ],
    [{ kind: 'error', code: 368, subcode: 7, message: 'no' }, profilePath, toError(368, 7, /^no$/)],
    [{ kind: 'null-item' }, profilePath, { data: [flat] }],
  ])('%o affects the response until it is removed', async (fault, path, body) => {
    const simulator = open();
    const send = await connectInProcess(simulator);
    const healthy = await read(send(path));
    simulator.setFault(phoneId, fault);
    expect((await readWhole(send(path))).body).toEqual(body);
    simulator.setFault(phoneId, null);
    expect(await read(send(path))).toEqual(healthy);
  });

  test('a fault with times ends after that many requests', async () => {
    const simulator = open();
    const send = await connectInProcess(simulator);
    simulator.setFault(phoneId, { kind: 'transient-then-ok', times: 2 });
    const codes = [
      await send(`/v26.0/${phoneId}`),
      await send(profilePath),
      await send(profilePath),
    ];
    expect(codes.map(({ status }) => status)).toEqual([500, 500, 200]);
  });

  test('the transient sentinel fails each read once and answers its retry', async () => {
    const send = await connectInProcess(open());
    const path = `/v26.0/${sentinelWith('transient-then-ok')}`;
    const edge = `${path}/whatsapp_business_profile`;
    const first = await Promise.all([readWhole(send(path)), readWhole(send(edge))]);
    expect(first[0]).toMatchObject({
      status: 500,
      body: { error: { code: 2, is_transient: true } },
    });
    const retried = await Promise.all([send(path), send(edge)]);
    expect([first[1].status, ...retried.map(({ status }) => status)]).toEqual([500, 200, 200]);
    expect((await send(path)).status).toBe(500);
  });

  test('a fault on * affects every request, and a batch as a whole', async () => {
    const simulator = open();
    const send = await connectInProcess(simulator);
    simulator.setFault('*', { kind: 'error', code: 2, times: 2 });
    expect((await send('/v26.0/', toBatch([phoneId, otherPhoneId]))).status).toBe(500);
    expect((await send(profilePath)).status).toBe(500);
    expect((await send(profilePath)).status).toBe(200);
  });

  test('a fault of one item of a batch does not affect the others', async () => {
    const send = await connectInProcess(open());
    const ids = ['990000000010', '990000000020', phoneId, '990000000012', '990000000026'];
    const { body } = await readWhole(send('/v26.0/', toBatch(ids)));
    expect(body.map((it: any) => it.code)).toEqual([502, 500, 200, 200, 400]);
  });

  test.each<[Fault, number]>([
    [{ kind: 'html', status: 503 }, 503],
    [{ kind: 'error', code: 1 }, 500],
    [{ kind: 'throttled' }, 429],
  ])('%o on an instance has the session engine’s error format', async (fault, status) => {
    const simulator = open();
    simulator.setFault('shop one', fault);
    const headers = { apikey: 'engine key' };
    const send = await connectInProcess(simulator);
    const ask = () => send('/instance/connectionState/shop%20one', { token: '', headers });
    expect((await ask()).status).toBe(status);
    simulator.setFault('shop one', null);
    simulator.setInstance({ instanceName: 'shop one', state: 'close' });
    expect(await read(ask())).toMatchObject({ body: { instance: { state: 'close' } } });
  });

  test('latency delays the response', async () => {
    vi.useFakeTimers();
    const simulator = open();
    const pending = (await connectInProcess(simulator))('/v26.0/990000000002');
    await vi.waitUntil(() => vi.getTimerCount() > 0);
    await vi.advanceTimersByTimeAsync(5000);
    expect((await pending).status).toBe(200);
  });

  test('a held request is answered from the data at its release', async () => {
    const simulator = open();
    const hold = simulator.hold(phoneId);
    const pending = read((await connectInProcess(simulator))(`/v26.0/${phoneId}?fields=status`));
    await hold.arrived;
    expect(simulator.calls).toMatchObject([{ operations: [`phone ${phoneId}`], status: 0 }]);
    simulator.setPhone({ id: phoneId, wabaId, fields: { status: 'BANNED' }, profile: null });
    hold.release();
    expect(await pending).toMatchObject({ body: { status: 'BANNED' } });
    simulator.clearCalls();
    expect(simulator.calls).toEqual([]);
  });

  test('every valid token can see every sentinel', async () => {
    const send = await connectInProcess(open());
    const answering = Object.entries(sentinels).filter(
      ([, { fault }]) => fault === null || ['unknown-field', 'null-item'].includes(fault.kind),
    );
    const responses = await Promise.all(answering.map(([id]) => send(`/v26.0/${id}`)));
    expect(responses.map(({ status }) => status)).toEqual(answering.map(() => 200));
    const waba = await readWhole(
      send(`/v26.0/${sentinelWabaId}?fields=business_verification_status`),
    );
    expect(waba.body).toEqual({ business_verification_status: 'verified', id: sentinelWabaId });
  });
});

test('a timeout ends a request that hangs, also after a garbage collection', async () => {
  const simulator = createSimulator();
  simulator.setFault(phoneId, { kind: 'hang' });
  const pending = simulator.fetch(`http://localhost/v26.0/${phoneId}`, {
    signal: AbortSignal.timeout(300),
  });
  const collecting = setInterval(readMemory, 50);
  await expect(pending).rejects.toMatchObject({ name: 'TimeoutError' });
  clearInterval(collecting);
});
