// What the simulated Graph API and session engine promise to those who test against them, through both doors.
import { createHmac } from 'node:crypto';

import { afterEach, describe, expect, test, vi } from 'vitest';

import {
  createSimulator,
  sentinels,
  sentinelWabaId,
  type Fault,
  type Simulator,
  type SimulatorOptions,
} from '../../src/simulator/simulator.ts';

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

const opened: Simulator[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(opened.splice(0).map((it) => it[Symbol.asyncDispose]()));
});

function open(options: SimulatorOptions = {}): Simulator {
  const simulator = createSimulator({ ...fleet, ...options });
  opened.push(simulator);
  return simulator;
}

type Send = (path: string, init?: RequestInit & { readonly token?: string }) => Promise<Response>;

async function openDoor(door: string, simulator: Simulator): Promise<Send> {
  const origin = door === 'server' ? (await simulator.listen()).url : 'https://graph.facebook.com';
  const fetch = door === 'server' ? globalThis.fetch : simulator.fetch;
  return (path, { token = 'good', headers, ...init } = {}) =>
    fetch(`${origin}${path}`, {
      ...init,
      headers: { ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...headers },
    });
}

/** The reply in one line of sight: status and parsed body. */
async function read(reply: Promise<Response>): Promise<unknown> {
  const { status, body } = await readWhole(reply);
  return { status, body };
}

async function readWhole(
  reply: Promise<Response>,
): Promise<{ readonly status: number; readonly headers: Headers; readonly body: any }> {
  const response = await reply;
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

describe.each(['fetch', 'server'])('through the %s door', (door) => {
  test('a phone answers the fields asked for, its id always, and leaves out what is unset', async () => {
    const send = await openDoor(door, open());
    const fields = 'quality_rating,username,messaging_limit_tier,throughput';
    expect(await read(send(`/v26.0/${phoneId}?fields=${fields}`))).toEqual({
      status: 200,
      body: { quality_rating: 'GREEN', throughput: { level: 'STANDARD' }, id: phoneId },
    });
  });

  test('unset fields are null where the simulator is told to emit nulls', async () => {
    const send = await openDoor(door, open({ emitNulls: true }));
    expect(
      await read(send(`/v26.0/${phoneId}?fields=username,messaging_limit_tier`)),
    ).toMatchObject({ body: { username: null, messaging_limit_tier: null, id: phoneId } });
  });

  test('one field that does not exist refuses the whole request in Meta’s words', async () => {
    const send = await openDoor(door, open());
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

  test('the profile edge wraps one flat object, or none', async () => {
    const send = await openDoor(door, open());
    const edge = 'whatsapp_business_profile?fields=about,vertical,email';
    expect(await read(send(`/v26.0/${phoneId}/${edge}`))).toEqual({
      status: 200,
      body: { data: [{ about: 'Hello', vertical: 'RETAIL', messaging_product: 'whatsapp' }] },
    });
    expect(await read(send(`/v26.0/${otherPhoneId}/${edge}`))).toMatchObject({
      body: { data: [] },
    });
  });

  test('an expanded read brings a WABA, its phones and their profiles', async () => {
    const send = await openDoor(door, open());
    const fields =
      'name,phone_numbers.limit(1){quality_rating,throughput{level},whatsapp_business_profile{about}}';
    const { body } = await readWhole(send(`/v26.0/${wabaId}?fields=${fields}`));
    expect(body).toMatchObject({
      name: 'Lucky Shrub',
      phone_numbers: {
        data: [
          {
            quality_rating: 'GREEN',
            whatsapp_business_profile: { data: [{ about: 'Hello' }] },
            id: phoneId,
          },
        ],
        paging: { next: expect.stringContaining(`/v26.0/${wabaId}/phone_numbers?fields=`) },
      },
    });
  });

  test('a batch answers each item on its own, in order, counted and logged one by one', async () => {
    const simulator = open();
    const send = await openDoor(door, simulator);
    const nullItem = sentinelWith('null-item');
    const { status, body } = await readWhole(
      send(
        '/v26.0/',
        toBatch([`${phoneId}?fields=quality_rating`, nullItem, 'v25.0/1', `?ids=${otherPhoneId}`]),
      ),
    );
    expect(status).toBe(200);
    expect(body.map((it: any) => it && { code: it.code, body: JSON.parse(it.body) })).toEqual([
      { code: 200, body: { quality_rating: 'GREEN', id: phoneId } },
      null,
      { code: 400, body: toError(100, 33, /Object with ID '1' does not exist/) },
      { code: 200, body: { [otherPhoneId]: { quality_rating: 'RED', id: otherPhoneId } } },
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

  test('an instance tells its state to whoever has the key', async () => {
    const simulator = open();
    const send = await openDoor(door, simulator);
    const ask = (name: string, apikey: string) =>
      read(send(`/instance/connectionState/${name}`, { token: '', headers: { apikey } }));
    expect(await ask('shop%20one', 'engine key')).toEqual({
      status: 200,
      body: { instance: { instanceName: 'shop one', state: 'open' } },
    });
    expect(await ask('shop%20one', 'wrong')).toMatchObject({ status: 401 });
    expect(await ask('shop%20two', 'engine key')).toMatchObject({ status: 404 });
    expect(simulator.calls[0]?.operations).toEqual(['connectionState shop one']);
  });

  test('a fault that resets the connection rejects like undici does', async () => {
    const simulator = open();
    const send = await openDoor(door, simulator);
    await expect(send(`/v26.0/${sentinelWith('reset')}`)).rejects.toMatchObject({
      name: 'TypeError',
      message: 'fetch failed',
      cause: { code: 'ECONNRESET' },
    });
    expect(simulator.calls).toMatchObject([{ status: 0 }]);
  });

  test.each(['hang', 'hold', 'latency'] as const)(
    'an abort ends a request that waits because of %s',
    async (kind) => {
      const simulator = open();
      const send = await openDoor(door, simulator);
      const hold = simulator.hold(phoneId);
      if (kind !== 'hold') simulator.setFault(phoneId, { kind, ms: 1e8 } as Fault);
      const giveUp = new AbortController();
      const pending = send(`/v26.0/${phoneId}`, { signal: giveUp.signal });
      await hold.arrived;
      if (kind !== 'hold') hold.release();
      const reason = new Error('enough');
      giveUp.abort(reason);
      await expect(pending).rejects.toBe(reason);
    },
  );

  test('a body that stalls or never ends can be left behind', async () => {
    const send = await openDoor(door, open());
    const giveUp = new AbortController();
    const stalled = await send(`/v26.0/${sentinelWith('stall')}`, { signal: giveUp.signal });
    const rest = stalled.text();
    giveUp.abort(new Error('enough'));
    await expect(rest).rejects.toThrow('enough');

    const large = await send(`/v26.0/${sentinelWith('oversized')}`);
    expect((await large.arrayBuffer()).byteLength).toBeGreaterThan(1024 * 1024);
    const left = await send(`/v26.0/${sentinelWith('oversized')}`);
    await left.body?.cancel();
  });

  test('a redirect is an answer, an error, or a second call in the log, as the client chose', async () => {
    const simulator = open();
    const send = await openDoor(door, simulator);
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

  test('HTML and half a JSON come with the status of their fault', async () => {
    const send = await openDoor(door, open());
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

  test('closing the simulator ends what is under way', async () => {
    const simulator = open();
    const send = await openDoor(door, simulator);
    const hold = simulator.hold('*');
    const pending = send(`/v26.0/${phoneId}`).catch((error: unknown) => error);
    await hold.arrived;
    await simulator[Symbol.asyncDispose]();
    expect(await pending).toMatchObject({ name: 'TypeError', message: 'fetch failed' });
    await expect(send(`/v26.0/${phoneId}`)).rejects.toThrow('fetch failed');
  });
});

/** In process is enough where only the content of an answer is at stake: both doors share it. */
const openFetch = (simulator: Simulator): Promise<Send> => openDoor('fetch', simulator);

describe('who asks', () => {
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
    const send = await openFetch(open());
    expect(await read(send(`/v26.0/${path}`, { token }))).toMatchObject({
      status,
      body: toError(code, subcode),
    });
  });

  test('the right appsecret_proof is accepted, and a batch hands it down to its items', async () => {
    const send = await openFetch(open());
    const appsecret_proof = createHmac('sha256', 'app secret').update('secret').digest('hex');
    const path = `/v26.0/${phoneId}?appsecret_proof=${appsecret_proof}`;
    expect(await read(send(path, { token: 'secret' }))).toMatchObject({ status: 200 });
    const form = toBatch([phoneId], { access_token: 'secret', appsecret_proof });
    expect((await readWhole(send('/v26.0/', { ...form, token: '' }))).body[0].code).toBe(200);
  });

  test('an item’s own token goes before that of the batch, and needs its own proof', async () => {
    const send = await openFetch(open());
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

  test('the expiry of a token is told in Meta’s way of writing time', async () => {
    const send = await openFetch(open());
    const { body } = await readWhole(send(`/v26.0/${phoneId}`, { token: 'expired' }));
    expect(body.error.message).toBe(
      'Error validating access token: Session has expired on Saturday, 21-Nov-26 04:00:00 PST. The current time is Sunday, 22-Nov-26 04:00:00 PST.',
    );
  });

  test('debug_token describes good and bad tokens to an app', async () => {
    const send = await openFetch(open());
    const ask = async (input: string) => {
      const path = `/v26.0/debug_token?input_token=${input}&access_token=1|app`;
      return (await readWhole(send(path, { token: '' }))).body.data;
    };
    expect(await ask('good')).toMatchObject({
      is_valid: true,
      type: 'SYSTEM_USER',
      expires_at: 0,
      granular_scopes: expect.arrayContaining([
        { scope: 'whatsapp_business_management', target_ids: [wabaId] },
      ]),
    });
    expect(await ask('expired')).toMatchObject({
      is_valid: false,
      error: { code: 190, subcode: 463 },
    });
  });

  test('while no token is registered, any token will do, but not none', async () => {
    const send = await openFetch(open({ tokens: [] }));
    expect((await send(`/v26.0/${phoneId}`, { token: 'any' })).status).toBe(200);
    expect((await send(`/v26.0/${phoneId}`, { token: '' })).status).toBe(401);
  });
});

describe('what is asked', () => {
  test.each([
    ['v23.0', 'v24.0'],
    ['v24.0', 'v24.0'],
    ['v26.0', 'v26.0'],
  ])('%s is answered by %s', async (version, answering) => {
    const send = await openFetch(open());
    const { status, headers } = await send(`/${version}/${phoneId}`);
    expect([status, headers.get('facebook-api-version')]).toEqual([200, answering]);
  });

  test.each(['v27.0', 'v26.1'])('%s is a path that Graph does not know', async (version) => {
    const send = await openFetch(open());
    expect(await read(send(`/${version}/${phoneId}`))).toEqual({
      status: 400,
      body: toError(2500, undefined, `Unknown path components: /${phoneId}`),
    });
  });

  test.each([
    ['POST to a node', 'POST', phoneId, 100],
    ['DELETE', 'DELETE', phoneId, 100],
    ['an edge that the node does not have', 'GET', `${phoneId}/phone_numbers`, 100],
    ['an edge that nothing has', 'GET', `${wabaId}/likes`, 100],
    ['a longer path', 'GET', `${wabaId}/phone_numbers/1`, 2500],
    ['a syntax error in fields', 'GET', `${phoneId}?fields=a{b`, 2500],
    ['no ids at all', 'GET', '', 100],
    ['empty ids', 'GET', '?ids=,', 100],
    ['more than 50 ids', 'GET', `?ids=${Array.from({ length: 51 }, (_, n) => n).join()}`, 100],
    ['a limit that is no number', 'GET', `${wabaId}/phone_numbers?limit=x`, 100],
    ['a cursor that nobody gave out', 'GET', `${wabaId}/phone_numbers?after=x`, 100],
  ])('%s is an honest Graph error', async (_case, method, path, code) => {
    const send = await openFetch(open());
    expect(await read(send(`/v26.0/${path}`, { method }))).toMatchObject({
      status: 400,
      body: toError(code),
    });
  });

  test('one id that cannot be seen refuses all ids', async () => {
    const send = await openFetch(open());
    const path = `/v26.0/?ids=${phoneId},${foreignPhoneId}`;
    expect(await read(send(path))).toMatchObject({ status: 404, body: toError(803) });
  });

  test.each([
    ['a bad token', toBatch([phoneId], { access_token: 'garbage' }), 190],
    ['no array', toBatch([], { batch: '{' }), 100],
    ['51 items', toBatch(Array.from({ length: 51 }, () => phoneId)), 100],
  ])('a batch with %s is one refusal instead of an array', async (_case, init, code) => {
    const send = await openFetch(open());
    expect(await read(send('/v26.0/', init))).toMatchObject({ body: toError(code) });
  });

  test('the pages of an edge join without gap or repetition, forwards and back', async () => {
    const simulator = open();
    const send = await openFetch(simulator);
    const ids = [phoneId, otherPhoneId, '30001', '30002', '30003'];
    for (const id of ids.slice(2)) simulator.setPhone({ id, wabaId, fields: {}, profile: null });
    const seen: string[] = [];
    let page: any;
    let next: string | undefined =
      `https://any.host/v26.0/${wabaId}/phone_numbers?fields=id&limit=2&access_token=good`;
    for (; next !== undefined; next = page.paging.next) {
      // oxlint-disable-next-line no-await-in-loop -- each page names the next one
      page = (await readWhole(simulator.fetch(next))).body;
      seen.push(...page.data.map((it: { id: string }) => it.id));
    }
    expect(seen).toEqual(ids);
    const back = await readWhole(simulator.fetch(page.paging.previous));
    expect(back.body.data).toEqual([{ id: '30001' }, { id: '30002' }]);
    expect(await read(send(`/v26.0/${wabaId}/phone_numbers?limit=100`))).toMatchObject({
      body: { paging: { cursors: expect.anything() } },
    });
  });

  test('fetch takes a string, a URL and a Request', async () => {
    const { fetch } = open();
    const url = `https://graph.facebook.com/v26.0/${phoneId}?access_token=good`;
    const replies = await Promise.all([fetch(url), fetch(new URL(url)), fetch(new Request(url))]);
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200]);
  });
});

const toUsage = (headers: Headers): any =>
  JSON.parse(headers.get('x-business-use-case-usage') ?? '{}')[wabaId]?.[0];

describe('what it costs', () => {
  test('each item and each id is a call of the rolling hour, and the limit is per WABA', async () => {
    let now = new Date('2026-11-22T12:00:00Z');
    const simulator = open({ now: () => now });
    simulator.setWaba({ id: wabaId, fields: {}, hourlyCalls: 4 });
    const send = await openFetch(simulator);
    const { headers } = await readWhole(
      send('/v26.0/', toBatch([phoneId, `?ids=${phoneId},${wabaId}`])),
    );
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
    expect((await profile).status, 'the profile edge has a counter of its own').toBe(200);
    expect((await send(`/v26.0/${foreignPhoneId}`, { token: 'foreign' })).status).toBe(200);
    now = new Date('2026-11-22T13:01:00Z');
    expect((await send(`/v26.0/${phoneId}`)).status).toBe(200);
  });

  test('a throttled fault speaks with the code, status and minutes it was given', async () => {
    const simulator = open({ rateLimitCode: 80007, rateLimitStatus: 429 });
    simulator.setFault(phoneId, { kind: 'throttled', minutes: 7 });
    const { status, headers, body } = await readWhole(
      (await openFetch(simulator))(`/v26.0/${phoneId}`),
    );
    expect({ status, body }).toMatchObject({ status: 429, body: toError(80007) });
    expect(toUsage(headers).estimated_time_to_regain_access).toBe(7);
  });
});

describe('what goes wrong', () => {
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
    [{ kind: 'error', code: 368, subcode: 7, message: 'no' }, profilePath, toError(368, 7, /^no$/)],
    [{ kind: 'null-item' }, profilePath, { data: [flat] }],
  ])('%o shows in the answer, until it is taken away', async (fault, path, body) => {
    const simulator = open();
    const send = await openFetch(simulator);
    const healthy = await read(send(path));
    simulator.setFault(phoneId, fault);
    expect((await readWhole(send(path))).body).toEqual(body);
    simulator.setFault(phoneId, null);
    expect(await read(send(path))).toEqual(healthy);
  });

  test('a fault with times is over after so many strikes', async () => {
    const simulator = open();
    const send = await openFetch(simulator);
    simulator.setFault(phoneId, { kind: 'transient-then-ok', times: 2 });
    const codes = [
      await send(`/v26.0/${phoneId}`),
      await send(profilePath),
      await send(profilePath),
    ];
    expect(codes.map(({ status }) => status)).toEqual([500, 500, 200]);
  });

  test('the transient sentinel fails each read once and heals it at its retry', async () => {
    const send = await openFetch(open());
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

  test('a fault on * strikes every request, and a batch as a whole', async () => {
    const simulator = open();
    const send = await openFetch(simulator);
    simulator.setFault('*', { kind: 'error', code: 2, times: 2 });
    expect((await send('/v26.0/', toBatch([phoneId, otherPhoneId]))).status).toBe(500);
    expect((await send(profilePath)).status).toBe(500);
    expect((await send(profilePath)).status).toBe(200);
  });

  test('a fault in one item of a batch leaves the others alone', async () => {
    const send = await openFetch(open());
    const ids = ['990000000010', '990000000020', phoneId, '990000000012', '990000000026'];
    const { body } = await readWhole(send('/v26.0/', toBatch(ids)));
    expect(body.map((it: any) => it.code)).toEqual([502, 500, 200, 200, 400]);
  });

  test.each<[Fault, number]>([
    [{ kind: 'html', status: 503 }, 503],
    [{ kind: 'error', code: 1 }, 500],
    [{ kind: 'throttled' }, 429],
  ])('%o on an instance is an answer of the session engine', async (fault, status) => {
    const simulator = open();
    simulator.setFault('shop one', fault);
    const headers = { apikey: 'engine key' };
    const send = await openFetch(simulator);
    const ask = () => send('/instance/connectionState/shop%20one', { token: '', headers });
    expect((await ask()).status).toBe(status);
    simulator.setFault('shop one', null);
    simulator.setInstance({ instanceName: 'shop one', state: 'close' });
    expect(await read(ask())).toMatchObject({ body: { instance: { state: 'close' } } });
  });

  test('latency delays, and then the answer is there', async () => {
    vi.useFakeTimers();
    const simulator = open();
    const pending = (await openFetch(simulator))('/v26.0/990000000002');
    await vi.waitUntil(() => vi.getTimerCount() > 0);
    await vi.advanceTimersByTimeAsync(5000);
    expect((await pending).status).toBe(200);
  });

  test('a held request is answered from what is known at its release', async () => {
    const simulator = open();
    const hold = simulator.hold(phoneId);
    const pending = read((await openFetch(simulator))(`/v26.0/${phoneId}?fields=status`));
    await hold.arrived;
    expect(simulator.calls).toMatchObject([{ operations: [`phone ${phoneId}`], status: 0 }]);
    simulator.setPhone({ id: phoneId, wabaId, fields: { status: 'BANNED' }, profile: null });
    hold.release();
    expect(await pending).toMatchObject({ body: { status: 'BANNED' } });
    simulator.clearCalls();
    expect(simulator.calls).toEqual([]);
  });

  test('every sentinel that answers is seen by every valid token', async () => {
    const send = await openFetch(open());
    const answering = Object.entries(sentinels).filter(
      ([, { fault }]) => fault === null || ['unknown-field', 'null-item'].includes(fault.kind),
    );
    const replies = await Promise.all(answering.map(([id]) => send(`/v26.0/${id}`)));
    expect(replies.map(({ status }) => status)).toEqual(answering.map(() => 200));
    const waba = await readWhole(
      send(`/v26.0/${sentinelWabaId}?fields=business_verification_status`),
    );
    expect(waba.body).toEqual({ business_verification_status: 'verified', id: sentinelWabaId });
  });
});
