// How the simulated Meta sends webhooks: the bytes and their signature, the handshake, repetition, order and retries.

import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { changePhone, combine, decideName, flag, unflag } from '../../src/simulator/changes.ts';
import {
  createWebhookSender,
  type MetaWebhookEvent,
  type WebhookSenderOptions,
} from '../../src/simulator/webhooks.ts';
import { createTestClock } from '../clock.ts';
import { createRandom } from '../database/tenancy-probe.ts';
import { openTestGateway } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';
const url = 'http://gateway.test/v1/webhooks/meta/some-endpoint';
const hour = 3_600_000;

const event = (id: string, seconds = 1_748_454_394): MetaWebhookEvent => ({
  entryId: id,
  field: 'phone_number_name_update',
  value: { requested_verified_name: 'Café 🌵' },
  happenedAt: new Date(seconds * 1_000),
});

interface Received {
  readonly entryIds: readonly string[];
  readonly body: string;
  readonly headers: Headers;
  readonly at: Date;
}

/** An endpoint that answers with these statuses, the last one again and again; 0 breaks the connection. */
function openEndpoint(statuses: readonly number[], more: Partial<WebhookSenderOptions> = {}) {
  const received: Received[] = [];
  const sender = createWebhookSender({
    url,
    appSecret,
    async fetch(request) {
      const body = await request.text();
      const { entry } = JSON.parse(body) as { entry: readonly { id: string }[] };
      const entryIds = entry.map(({ id }) => id);
      received.push({ entryIds, body, headers: request.headers, at: new Date() });
      const status = statuses[Math.min(received.length, statuses.length) - 1]!;
      if (status === 0) throw new TypeError('fetch failed');
      return new Response('', { status });
    },
    ...more,
  });
  return { received, sender };
}

describe('a delivery', () => {
  test('has Meta’s envelope, with everything outside ASCII escaped before it is signed', async () => {
    const { received, sender } = openEndpoint([200]);
    await using _ = sender;
    await sender.send([event('102290129340398')]);
    const [{ body, headers }] = received as [Received];
    expect(body).toBe(
      String.raw`{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","time":1748454394,"changes":[{"field":"phone_number_name_update","value":{"requested_verified_name":"Caf\u00e9 \ud83c\udf35"}}]}]}`,
    );
    const digest = createHmac('sha256', appSecret).update(body).digest('hex');
    expect(headers.get('x-hub-signature-256')).toBe(`sha256=${digest}`);
  });

  test('is one for each event, once and in their order, unless asked otherwise', async () => {
    const { received, sender } = openEndpoint([200]);
    await using _ = sender;
    const events = ['1', '2', '3', '4'].map((id) => event(id));
    const takeIds = () => received.splice(0).map(({ entryIds }) => entryIds.join());
    await sender.send(events);
    expect(takeIds()).toEqual(['1', '2', '3', '4']);
    await sender.send(events, { times: 2 });
    expect(takeIds()).toEqual(['1', '2', '3', '4', '1', '2', '3', '4']);
    await sender.send(events, { inOneBody: true });
    expect(takeIds()).toEqual(['1,2,3,4']);
    await sender.send(events, { times: 3, random: createRandom(1) });
    const shuffled = takeIds();
    expect(shuffled.toSorted()).toEqual('111222333444'.split(''));
    expect(shuffled).not.toEqual(shuffled.toSorted());
    await sender.send(events, { times: 3, random: createRandom(1) });
    expect(takeIds()).toEqual(shuffled);
  });
});

describe('a delivery that is not answered with 200', () => {
  test('is repeated at once, then less and less often, until it is', async () => {
    using clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
    const { received, sender } = openEndpoint([503, 0, 404, 204, 302, 200], clock);
    await using _ = sender;
    await sender.send([event('1')]);
    expect([received.length, sender.countWaiting()]).toEqual([1, 1]);
    await clock.advance(hour);
    expect(received.map(({ at }) => at.toISOString().slice(11, 16))).toEqual([
      '12:00',
      '12:00',
      '12:01',
      '12:03',
      '12:07',
      '12:15',
    ]);
    expect(new Set(received.map(({ body }) => body)).size).toBe(1);
    expect(sender.countWaiting()).toBe(0);
  });

  test('is given up after seven days, and does not keep others back', async () => {
    using clock = createTestClock();
    const { received, sender } = openEndpoint([500, 200, 500], clock);
    await using _ = sender;
    await sender.send([event('1'), event('2')]);
    expect(received.map(({ entryIds }) => entryIds[0])).toEqual(['1', '2']);
    await clock.advance(7 * 24 * hour);
    const attempts = received.length;
    expect(attempts).toBeGreaterThan(20);
    expect(sender.countWaiting()).toBe(0);
    await clock.advance(30 * 24 * hour);
    expect(received).toHaveLength(attempts);
  });

  test('ends with the sender', async () => {
    using clock = createTestClock();
    const { received, sender } = openEndpoint([500], clock);
    await sender.send([event('1')]);
    await sender[Symbol.asyncDispose]();
    await sender.send([event('2')]);
    await clock.advance(24 * hour);
    expect(received).toHaveLength(1);
  });
});

async function open() {
  const gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber();
  const { webhooks } = gateway.gateway;
  const { path, verifyToken } = await webhooks.add({
    tenantId: tenant.id,
    proof: 'SIGNED',
    appSecrets: [appSecret],
  });
  const sender = createWebhookSender({
    url: `http://gateway.test${path}`,
    appSecret,
    fetch: gateway.fetch,
  });
  return { gateway, tenant, number, verifyToken, sender };
}

describe('the endpoint of the gateway', () => {
  test('passes the handshake with its token, and with no other', async () => {
    const { gateway, verifyToken, sender } = await open();
    await using _ = gateway;
    expect(await sender.verify(verifyToken)).toBe(true);
    expect(await sender.verify('another')).toBe(false);
  });

  test('stores what is tripled and shuffled once, as what is sent once and in order', async () => {
    const { gateway, tenant, number, sender } = await open();
    await using _ = gateway;
    const { phoneNumberId } = number;
    const events = [
      flag(phoneNumberId),
      decideName(phoneNumberId, { name: 'Çınar', decision: 'APPROVED' }),
      combine(changePhone(phoneNumberId, { is_pin_enabled: false }), unflag(phoneNumberId)),
    ].flatMap((change) => gateway.simulator.change(change));
    const listStored = async () =>
      await gateway.database.query(
        `select field, event, payload::text from meta_event where tenant_id = $1 order by digest`,
        [tenant.id],
      );
    await sender.send(events);
    const inOrder = await listStored();
    expect(inOrder).toHaveLength(3);
    await gateway.database.query('delete from meta_event where tenant_id = $1', [tenant.id]);
    await sender.send(events, { times: 3, random: createRandom(7) });
    expect(await listStored()).toEqual(inOrder);
    await sender.send(events, { inOneBody: true });
    expect(await listStored()).toEqual(inOrder);
    expect(sender.countWaiting()).toBe(0);
  });
});
