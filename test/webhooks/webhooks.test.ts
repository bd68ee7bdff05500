// Meta's webhooks through the gateway: the handshake, proofs, what is stored and counted, and what is never logged.

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deleteOld } from '../../src/database/retention.ts';
import { eventRetention } from '../../src/webhooks/store.ts';
import {
  databases,
  openTestGateway,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';

const restriction = (wabaId: string, time = 1_748_454_394) => ({
  object: 'whatsapp_business_account',
  entry: [
    {
      id: wabaId,
      time,
      changes: [
        {
          field: 'account_update',
          value: {
            event: 'ACCOUNT_RESTRICTION',
            restriction_info: [
              { restriction_type: 'RESTRICTED_BIZ_INITIATED_MESSAGING', expiration: 1_641_330_498 },
            ],
          },
        },
      ],
    },
  ],
});

const sign = (body: string | Buffer, secret = appSecret) =>
  `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;

async function readEvents(gateway: TestGateway, tenant: TestTenant) {
  return await gateway.database.query<Record<string, unknown>>(
    `select waba_id, field, event, payload, happened_at, outcome from meta_event
     where tenant_id = $1 order by received_at, digest`,
    [tenant.id],
  );
}

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  let number: TestNumber;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
    tenant = await gateway.addTenant();
    number = await tenant.addNumber();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    gateway.rest(path, { method: 'POST', body: body as string, headers });
  const postSigned = (path: string, body: string, secret = appSecret) =>
    post(path, body, { 'x-hub-signature-256': sign(body, secret) });
  const addSigned = (of = tenant) =>
    gateway.gateway.webhooks.add({ tenantId: of.id, proof: 'SIGNED', appSecrets: [appSecret] });

  test('a signed event is stored once, however often it is sent, and answered with 200', async () => {
    const own = await gateway.addTenant();
    const { wabaId } = await own.addNumber();
    const { path } = await addSigned(own);
    const body = JSON.stringify(restriction(wabaId));
    for (let time = 0; time < 3; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await postSigned(path, body);
      expect([reply.status, reply.text]).toEqual([200, 'received\n']);
    }
    const value = restriction(wabaId).entry[0]!.changes[0]!.value;
    expect(await readEvents(gateway, own)).toEqual([
      {
        waba_id: wabaId,
        field: 'account_update',
        event: 'ACCOUNT_RESTRICTION',
        payload: value,
        happened_at: new Date('2025-05-28T17:46:34.000Z'),
        outcome: 'RECEIVED',
      },
    ]);
  });

  test('deliveries of the same events at the same time, in any order, store each once', async () => {
    const own = await gateway.addTenant();
    const { wabaId } = await own.addNumber();
    const { path } = await addSigned(own);
    const entries = Array.from({ length: 40 }, (_, at) => restriction(wabaId, 1_700_000_000 + at));
    const toBody = (listed: typeof entries) =>
      JSON.stringify({ ...listed[0], entry: listed.flatMap(({ entry }) => entry) });
    const bodies = [entries, entries.toReversed(), [...entries.slice(20), ...entries], entries];
    // Meta sends what is not answered with 200 again: a transaction waits for others with the same events for a second.
    const sendUntilAnswered = async (body: string): Promise<void> => {
      const { status } = await postSigned(path, body);
      expect([200, 503]).toContain(status);
      if (status === 503) await sendUntilAnswered(body);
    };
    await Promise.all(bodies.map((listed) => sendUntilAnswered(toBody(listed))));
    expect(await readEvents(gateway, own)).toHaveLength(40);
  });

  test('1,000 updates in one request are stored in one transaction', async () => {
    const own = await gateway.addTenant();
    const { wabaId } = await own.addNumber();
    const { path } = await addSigned(own);
    const entry = Array.from(
      { length: 1_000 },
      (_, at) => restriction(wabaId, 1_700_000_000 + at).entry[0],
    );
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    gateway.clearStatements();
    expect((await postSigned(path, body)).status).toBe(200);
    expect(gateway.statements.filter((it) => it.includes('insert into meta_event'))).toHaveLength(
      1,
    );
    expect(await readEvents(gateway, own)).toHaveLength(1_000);
  });

  test('events of accounts that the tenant does not have are answered with 200 and not stored', async () => {
    const [own, other] = [await gateway.addTenant(), await gateway.addTenant()];
    const { wabaId } = await other.addNumber();
    const { path } = await addSigned(own);
    for (const id of [wabaId, '999']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await postSigned(path, JSON.stringify(restriction(id)));
      expect([reply.status, reply.text]).toEqual([200, 'received\n']);
    }
    expect(await readEvents(gateway, own)).toEqual([]);
    expect(await readEvents(gateway, other)).toEqual([]);
  });

  test('a payload may have characters that a database does not store as text', async () => {
    const own = await gateway.addTenant();
    const { wabaId } = await own.addNumber();
    const { path } = await addSigned(own);
    const body = JSON.stringify(restriction(wabaId)).replace(
      'ACCOUNT_RESTRICTION',
      String.raw`\u0000\ud800\u00e9`,
    );
    expect((await postSigned(path, body)).status).toBe(200);
    const [stored] = await gateway.database.query<{ payload: string; event: null }>(
      'select payload::text as payload, event from meta_event where tenant_id = $1',
      [own.id],
    );
    expect(stored?.event).toBeNull();
    expect(stored?.payload).toContain(String.raw`"event":"\u0000\ud800é"`);
  });

  test('bytes that Meta escapes are verified as they were sent', async () => {
    const { path } = await addSigned();
    const body = JSON.stringify(restriction(number.wabaId, 1)).replace(
      'ACCOUNT_RESTRICTION',
      String.raw`caf\u00e9`,
    );
    expect((await postSigned(path, body)).status).toBe(200);
    const reserialised = JSON.stringify(JSON.parse(body));
    const reply = await post(path, reserialised, { 'x-hub-signature-256': sign(body) });
    expect(reply.status).toBe(401);
  });

  test('events are deleted when they are older than the retention', async () => {
    const own = await gateway.addTenant();
    const { wabaId } = await own.addNumber();
    const { path } = await addSigned(own);
    for (const time of [1, 2]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await postSigned(path, JSON.stringify(restriction(wabaId, time)));
    }
    await gateway.database.query(
      `update meta_event set received_at = '2026-01-01T00:00:00Z' where tenant_id = $1 and happened_at = to_timestamp(1)`,
      [own.id],
    );
    const delete30 = (now: string) =>
      deleteOld({
        database: gateway.database,
        now: () => new Date(now),
        retention: eventRetention,
        days: 30,
      });
    await delete30('2026-01-30T23:59:59Z');
    expect(await readEvents(gateway, own)).toHaveLength(2);
    await delete30('2026-01-31T00:00:01Z');
    const left = await readEvents(gateway, own);
    expect(left.map(({ happened_at }) => happened_at)).toEqual([new Date(2_000)]);
  });

  test('the endpoints of a tenant are listed, rotated and removed', async () => {
    const own = await gateway.addTenant();
    const { webhooks } = gateway.gateway;
    const { verifyToken, ...added } = await addSigned(own);
    const listed = { ...added, appSecrets: 1 };
    expect(added.path).toMatch(/^\/v1\/webhooks\/meta\/[\w-]{22}$/);
    expect(await webhooks.list(own.id)).toEqual([listed]);
    const { wabaId } = await own.addNumber();
    const trySecret = async (secret: string) =>
      (await postSigned(added.path, JSON.stringify(restriction(wabaId)), secret)).status;
    const rotate = (appSecrets: readonly string[], keepsFormer: boolean) =>
      webhooks.rotate({ tenantId: own.id, id: added.id, appSecrets, keepsFormer });
    const kept = await rotate(['second'], true);
    expect(kept.verifyToken).not.toBe(verifyToken);
    expect(kept).toMatchObject({ id: added.id, path: added.path, appSecrets: 2 });
    expect([await trySecret(appSecret), await trySecret('second')]).toEqual([200, 200]);
    // Five with the two from before, and one too many.
    await rotate(['3', '4', '5'], true);
    await expect(rotate(['6'], true)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('would accept 6 app secrets with the former ones'),
    });
    expect(await trySecret(appSecret)).toBe(200);
    // One of them is not counted twice.
    expect(await rotate(['5'], true)).toMatchObject({ appSecrets: 5 });
    await rotate(['third'], false);
    expect([await trySecret('second'), await trySecret('third')]).toEqual([401, 200]);
    await webhooks.remove(own.id, added.id);
    expect(await webhooks.list(own.id)).toEqual([]);
    expect(await trySecret('third')).toBe(404);
    await expect(webhooks.remove(own.id, added.id)).rejects.toMatchObject({
      code: 'WEBHOOK_NOT_FOUND',
    });
    await expect(rotate(['third'], false)).rejects.toMatchObject({ code: 'WEBHOOK_NOT_FOUND' });
    const trail = await gateway.access.listAudit(own.id, 9);
    expect(trail.map(({ action }) => action).filter((it) => it.startsWith('webhook'))).toEqual([
      'webhook.removed',
      ...Array<string>(4).fill('webhook.rotated'),
      'webhook.added',
    ]);
  });
});

describe('a request', () => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  let wabaId: string;
  let path: string;
  let verifyToken: string;
  /** Its events are proved by API keys. */
  let keyed: string;
  beforeAll(async () => {
    gateway = await openTestGateway({ environment: { KEY_FAILURES_PER_MINUTE: '0' } });
    tenant = await gateway.addTenant();
    ({ wabaId } = await tenant.addNumber());
    const { webhooks } = gateway.gateway;
    const request = { tenantId: tenant.id, appSecrets: [appSecret, 'another'] } as const;
    ({ path, verifyToken } = await webhooks.add({ ...request, proof: 'SIGNED' }));
    const endpoint = await webhooks.add({ tenantId: tenant.id, proof: 'KEY', appSecrets: [] });
    keyed = endpoint.path;
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const challenge = (values: Record<string, string>, to = path) =>
    gateway.rest(`${to}?${new URLSearchParams(values)}`);
  const valid = () => ({
    'hub.mode': 'subscribe',
    'hub.verify_token': verifyToken,
    'hub.challenge': '1158201444',
  });
  const deliver = async (to: string, headers: Record<string, string>, content?: string) => {
    const body = content ?? JSON.stringify(restriction(wabaId));
    return await gateway.rest<{ code?: string; error?: string }>(to, {
      method: 'POST',
      body,
      headers,
    });
  };

  test('with the verify token gets the challenge as plain text', async () => {
    for (const text of ['1158201444', 'a.b_C-9', 'x'.repeat(128)]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await challenge({ ...valid(), 'hub.challenge': text });
      expect([reply.status, reply.text]).toEqual([200, text]);
      expect(reply.headers.get('content-type')).toBe('text/plain; charset=utf-8');
      expect(reply.headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  test.each([
    ['a wrong token', { 'hub.verify_token': 'wrong' }, 401, 'UNAUTHENTICATED'],
    ['an empty token', { 'hub.verify_token': '' }, 401, 'UNAUTHENTICATED'],
    ['markup as the challenge', { 'hub.challenge': '<script>' }, 400, 'INVALID_REQUEST'],
    ['a long challenge', { 'hub.challenge': 'x'.repeat(129) }, 400, 'INVALID_REQUEST'],
    ['no challenge', { 'hub.challenge': '' }, 400, 'INVALID_REQUEST'],
    ['another mode', { 'hub.mode': 'unsubscribe' }, 400, 'INVALID_REQUEST'],
  ])('with %s is refused', async (_, change, status, code) => {
    const reply = await challenge({ ...valid(), ...change });
    expect([reply.status, reply.body]).toMatchObject([status, { code }]);
    expect(reply.text).not.toContain('script');
  });

  test.each([
    ['another method', () => gateway.rest(path, { method: 'DELETE' }), 405],
    ['HEAD', () => gateway.rest(path, { method: 'HEAD' }), 405],
    ['an unknown endpoint', () => challenge(valid(), `${path.slice(0, -1)}.`), 404],
    [
      'an endpoint of the right form',
      () => challenge(valid(), `${path.slice(0, -22)}${'x'.repeat(22)}`),
      404,
    ],
    ['a path below an endpoint', () => challenge(valid(), `${path}/x`), 404],
    ['no endpoint', () => challenge(valid(), '/v1/webhooks/meta/'), 404],
  ])('with %s is refused', async (_, send, status) => {
    const reply = await send();
    expect([reply.status, reply.headers.get('allow')]).toEqual([
      status,
      status === 405 ? 'GET, POST' : null,
    ]);
  });

  test('is accepted when any of the app secrets signed it', async () => {
    const body = JSON.stringify(restriction(wabaId));
    for (const secret of [appSecret, 'another']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await deliver(path, { 'x-hub-signature-256': sign(body, secret) });
      expect(reply.status).toBe(200);
    }
  });

  test('without a signature is refused without a query, whether or not the endpoint exists', async () => {
    for (const headers of [{}, { 'x-hub-signature-256': 'sha256=x' }, { 'x-hub-signature': 'x' }]) {
      for (const to of [path, keyed, `/v1/webhooks/meta/${'x'.repeat(22)}`]) {
        gateway.clearStatements();
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const reply = await deliver(to, headers as Record<string, string>);
        expect([reply.status, reply.body.code]).toEqual([401, 'UNAUTHENTICATED']);
        expect(gateway.statements).toEqual([]);
      }
    }
  });

  test.each([
    ['a wrong signature', () => sign('other')],
    ['the signature of another secret', () => sign(JSON.stringify(restriction(wabaId)), 'x')],
    ['two signatures', () => `${sign('other')}, ${sign(JSON.stringify(restriction(wabaId)))}`],
  ])('with %s is refused, and nothing is stored', async (_, toSignature) => {
    const before = await readEvents(gateway, tenant);
    const reply = await deliver(path, { 'x-hub-signature-256': toSignature() });
    expect([reply.status, reply.body.code]).toEqual([401, 'UNAUTHENTICATED']);
    expect(await readEvents(gateway, tenant)).toEqual(before);
  });

  test('with an API key is accepted at an endpoint with this proof, if the key has the scope', async () => {
    const { key } = await tenant.addKey({ scopes: ['webhooks'] });
    for (const headers of [{ 'x-api-key': key }, { authorization: `Bearer ${key}` }]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await deliver(keyed, headers as Record<string, string>);
      expect(reply.status).toBe(200);
    }
    const reply = await deliver(keyed, { 'x-api-key': tenant.key });
    expect([reply.status, reply.body.code]).toEqual([403, 'FORBIDDEN']);
  });

  test('with an API key is refused at an endpoint with another proof', async () => {
    const { key } = await tenant.addKey({ scopes: ['webhooks'] });
    const reply = await deliver(path, { 'x-api-key': key });
    expect([reply.status, reply.body.code]).toEqual([401, 'UNAUTHENTICATED']);
    const body = JSON.stringify(restriction(wabaId));
    const signed = await deliver(keyed, { 'x-hub-signature-256': sign(body) });
    expect([signed.status, signed.body.code]).toEqual([401, 'UNAUTHENTICATED']);
  });

  test('with the key of another tenant is answered like one to an endpoint that does not exist', async () => {
    const { key } = await (await gateway.addTenant()).addKey({ scopes: ['webhooks'] });
    const [foreign, missing] = [
      await deliver(keyed, { 'x-api-key': key }),
      await deliver(`/v1/webhooks/meta/${'x'.repeat(22)}`, { 'x-api-key': key }),
    ];
    expect(foreign.status).toBe(404);
    expect({ ...foreign.body, requestId: '' }).toEqual({ ...missing.body, requestId: '' });
  });

  test('with a signed body that is no webhook is refused', async () => {
    const reply = await deliver(path, { 'x-hub-signature-256': sign('{}') }, '{}');
    expect([reply.status, reply.body.code]).toEqual([400, 'INVALID_REQUEST']);
  });

  test('with messages alone queries nothing but the endpoint', async () => {
    const message = { field: 'messages', value: { messages: [{ text: { body: 'Private' } }] } };
    const body = JSON.stringify({
      object: 'whatsapp_business_account',
      entry: [{ id: wabaId, time: 1, changes: [message, message] }],
    });
    const send = () => deliver(path, { 'x-hub-signature-256': sign(body) }, body);
    // Once a minute it is stored that the endpoint receives.
    await send();
    gateway.clearStatements();
    gateway.clearLogLines();
    expect(await send()).toMatchObject({ status: 200 });
    expect(gateway.statements).toHaveLength(1);
    expect(gateway.logLines.join('')).not.toContain('Private');
    const dump = await gateway.database.query('select * from meta_event');
    expect(JSON.stringify(dump)).not.toContain('Private');
    const { text } = await gateway.gateway.metrics!.render();
    expect(text).toContain('gateway_meta_events_total{kind="messages",outcome="dropped"} 4');
  });

  test('is logged without its query and without the endpoint, whatever becomes of it', async () => {
    gateway.clearLogLines();
    await challenge(valid());
    await gateway.rest(`${path}/deeper?x=1`);
    await gateway.rest(path, { method: 'PUT' });
    await deliver(path, {});
    const segment = path.slice(-22);
    const logged = gateway.logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(logged.map(({ path: shown, status }) => [shown, status])).toEqual([
      ['/v1/webhooks/meta/{endpoint}', 200],
      ['/v1/webhooks/meta/{endpoint}/deeper', 404],
      ['/v1/webhooks/meta/{endpoint}', 405],
      ['/v1/webhooks/meta/{endpoint}', 401],
    ]);
    expect(logged[0]).toMatchObject({ operation: 'verifyWebhook', tenantId: tenant.id });
    const text = gateway.logLines.join('');
    for (const secret of [segment, verifyToken, appSecret]) expect(text).not.toContain(secret);
  });

  test('is counted by what it held and what became of it', async () => {
    const readSeries = async () =>
      (await gateway.gateway.metrics!.render()).text
        .split('\n')
        .filter((line) => line.startsWith('gateway_meta_events_total'));
    const own = await gateway.addTenant();
    const account = (await own.addNumber()).wabaId;
    const endpoint = await gateway.gateway.webhooks.add({
      tenantId: own.id,
      proof: 'SIGNED',
      appSecrets: [appSecret],
    });
    const value = { display_phone_number: '1', event: 'PIN_CHANGED' };
    const changes = [{ field: 'security', value }];
    const entry = [
      { id: account, time: 1, changes },
      { id: account, time: 1, changes },
      { id: '999', time: 1, changes },
    ];
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    await deliver(endpoint.path, { 'x-hub-signature-256': sign(body) }, body);
    const series = (await readSeries()).filter((line) => line.includes('security'));
    expect(series.toSorted()).toEqual([
      'gateway_meta_events_total{kind="security",outcome="foreign"} 1',
      'gateway_meta_events_total{kind="security",outcome="repeated"} 1',
      'gateway_meta_events_total{kind="security",outcome="stored"} 1',
    ]);
  });
});
