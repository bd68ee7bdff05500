// Deliveries to receivers that fail: when the next attempt follows, when none does, and that each has the same id.

import type { ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createAttempt } from '../../src/alerts/attempt.ts';
import { startDeliveries, toDelay } from '../../src/alerts/delivery.ts';
import { insertDeliveries } from '../../src/alerts/delivery-store.ts';
import type { NewAlertEndpoint } from '../../src/alerts/endpoints.ts';
import { createTargets } from '../../src/alerts/endpoint-url.ts';
import { createSender } from '../../src/alerts/sender.ts';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { createVault } from '../../src/secrets.ts';
import { databases, openTestGateway, type TestGateway } from '../harness.ts';
import { openReceiver, type Receiver } from './receiver.ts';

const aSecond = 1_000;
const minute = 60 * aSecond;
const hour = 60 * minute;
const day = 24 * hour;

describe('the delay of the next attempt', () => {
  test('grows in these steps, plus or minus a fifth, until no attempt follows', () => {
    const steps = [5 * aSecond, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 10 * hour];
    for (const [failed, step] of steps.entries()) {
      expect(toDelay(failed, null, 0)).toBeCloseTo(step * 0.8);
      expect(toDelay(failed, null, 0.5)).toBeCloseTo(step);
      expect(toDelay(failed, null, 1)).toBeCloseTo(step * 1.2);
    }
    expect(toDelay(steps.length, null, 0)).toBeNull();
  });

  test('is what the receiver asks for, from one to two times the step', () => {
    expect(toDelay(1, 400, 0)).toBe(400 * aSecond);
    expect(toDelay(1, 0, 0)).toBe(5 * minute);
    expect(toDelay(1, 86_400, 0)).toBe(10 * minute);
    expect(toDelay(7, 60, 0)).toBeNull();
  });
});

/** The `random` of delays without jitter. */
const noJitter = () => 0.5;

const encryptionKeys = `test:${Buffer.alloc(32, 5).toString('base64')}`;

/** The responses wait until the returned function is called. */
function holdResponses(receiver: Receiver): () => void {
  const held: ServerResponse[] = [];
  receiver.behave((response) => void held.push(response));
  return () => {
    receiver.behave(204);
    for (const response of held) response.writeHead(204).end();
  };
}

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  let receiver: Receiver;
  let time = Date.parse('2026-11-29T12:00:00Z');
  const now = () => new Date(time);
  beforeAll(async () => {
    receiver = await openReceiver();
    gateway = await openTestGateway({
      database: kind,
      alerts: { allowsLocalHttp: true },
      environment: { ENCRYPTION_KEYS: encryptionKeys },
    });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });

  // What a test leaves is not sent by the next one.
  beforeEach(() => gateway.database.query('delete from alert_delivery'));

  /** A process that delivers, when it is told to. */
  function start(options: { timeoutMs?: number } = {}) {
    const [counted, written]: [string[], string[]] = [[], []];
    const { promise: graceBegan, resolve: beginGrace } =
      Promise.withResolvers<() => Promise<void>>();
    const graceMs = 1;
    const { encryptionKeys: keys } = parseConfig(
      readEnvironment({ ENCRYPTION_KEYS: encryptionKeys }),
    );
    const targets = createTargets({ allowedNetworks: [], allowedPorts: [], allowsLocalHttp: true });
    const deliveries = startDeliveries({
      database: gateway.database,
      attempt: createAttempt({
        vault: createVault(keys),
        targets,
        send: createSender({ targets, ...options }),
        now,
      }),
      write: async (_tenant, { type }) => {
        written.push(type);
        return null;
      },
      now,
      startTimer(ms, run) {
        if (ms === graceMs) beginGrace(run);
        return { [Symbol.dispose]: () => undefined };
      },
      graceMs,
      random: noJitter,
      onAttempted: (outcome) => counted.push(outcome),
      onSwitchedOff: (_tenant, _endpoint, reason) => counted.push(`off ${reason}`),
      onFailure: (error) => {
        throw error;
      },
    });
    return { ...deliveries, counted, written, endGrace: async () => await (await graceBegan)() };
  }

  async function addEndpoint(url = receiver.url) {
    const { id: tenantId } = await gateway.addTenant();
    const request = { tenantId, url, format: 'STANDARD', rules: [] } as const;
    const endpoint = await gateway.gateway.alertEndpoints.add(request);
    gateway.addSecrets(endpoint.secret!);
    const queue = (...ids: readonly string[]) =>
      gateway.database.withTenant(tenantId, (transaction) =>
        insertDeliveries(
          transaction,
          tenantId,
          ids.map((id) => ({
            endpointId: endpoint.id,
            id,
            type: 'test',
            content: JSON.stringify({ type: 'test', id }),
            incidentId: null,
            changeId: null,
          })),
          now(),
        ),
      );
    return { tenantId, endpoint, queue };
  }

  const show = async (tenantId: string) => (await gateway.gateway.alertEndpoints.list(tenantId))[0];
  const readDue = async (tenantId: string) => {
    const rows = await gateway.database.query<{ due_at: Date }>(
      'select due_at from alert_delivery where tenant_id = $1 order by due_at',
      [tenantId],
    );
    return rows.map(({ due_at }) => due_at.getTime() - time);
  };
  const listReceived = ({ secret }: NewAlertEndpoint, from: number) =>
    receiver.requests.slice(from).map(({ body, headers }) => {
      const signature = new Webhook(secret!).sign(
        headers['webhook-id']!,
        new Date(Number(headers['webhook-timestamp']) * 1_000),
        body,
      );
      expect(headers['webhook-signature']).toBe(signature);
      return [headers['webhook-id'], Number(headers['webhook-timestamp']) * 1_000, body] as const;
    });

  test('a message is sent once when it is accepted', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    const from = receiver.requests.length;
    await queue('msg_a');
    await process.deliverDue();
    await process.deliverDue();
    expect(receiver.requests.length - from).toBe(1);
    expect(await readDue(tenantId)).toEqual([]);
    expect(process.counted).toEqual(['delivered']);
    expect(await show(tenantId)).toMatchObject({ lastOutcome: '204', lastAttemptAt: now() });
  });

  test('a message that is not accepted is sent again after each step, with the same id and a new time', async () => {
    await using process = start({ timeoutMs: 200 });
    const { tenantId, endpoint, queue } = await addEndpoint();
    const from = receiver.requests.length;
    const began = time;
    receiver.script(500, 'reset', 'hang', 301, 404, 503, 429);
    await queue('msg_b');
    const outcomes: (string | null | undefined)[] = [];
    const delays: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await process.deliverDue();
      // oxlint-disable-next-line no-await-in-loop -- as above
      outcomes.push((await show(tenantId))?.lastOutcome);
      // oxlint-disable-next-line no-await-in-loop -- as above
      const [due] = await readDue(tenantId);
      if (due === undefined) break;
      delays.push(due);
      time += due - 1;
      // oxlint-disable-next-line no-await-in-loop -- as above
      await process.deliverDue();
      time += 1;
    }
    expect(outcomes).toEqual([
      '500',
      'CONNECTION_FAILED',
      'TIMEOUT',
      '301',
      '404',
      '503',
      '429',
      '204',
    ]);
    expect(delays).toEqual([
      5 * aSecond,
      5 * minute,
      30 * minute,
      2 * hour,
      5 * hour,
      10 * hour,
      10 * hour,
    ]);
    const received = listReceived(endpoint, from);
    expect(new Set(received.map(([id]) => id))).toEqual(new Set(['msg_b']));
    expect(new Set(received.map(([, , body]) => body)).size).toBe(1);
    expect(received.map(([, at]) => at - began)).toEqual(
      [0, ...delays].map((_, place) => delays.slice(0, place).reduce((sum, it) => sum + it, 0)),
    );
    expect(process.counted).toEqual([...Array<string>(7).fill('failed'), 'delivered']);
    expect(await show(tenantId)).toMatchObject({ failingSince: null, state: 'ON' });
  });

  test('Retry-After is honoured within one to two times the step', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    receiver.script((response) => response.writeHead(503, { 'retry-after': '8' }).end());
    await queue('msg_c');
    await process.deliverDue();
    expect(await readDue(tenantId)).toEqual([8 * aSecond]);
  });

  test('after the last attempt a message is dropped', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    receiver.script(...Array<number>(8).fill(500));
    await queue('msg_d');
    for (let attempt = 0; attempt < 8; attempt += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await process.deliverDue();
      // oxlint-disable-next-line no-await-in-loop -- as above
      time += (await readDue(tenantId))[0] ?? 0;
    }
    expect(await readDue(tenantId)).toEqual([]);
    expect(process.counted.at(-1)).toBe('dropped');
    expect(await show(tenantId)).toMatchObject({ state: 'ON', failingSince: expect.any(Date) });
  });

  test('a message that is older than three days is dropped without an attempt', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    const from = receiver.requests.length;
    await queue('msg_e');
    time += 3 * day + 1;
    await queue('msg_f');
    await process.deliverDue();
    expect(receiver.requests.slice(from).map(({ headers }) => headers['webhook-id'])).toEqual([
      'msg_f',
    ]);
    expect(await readDue(tenantId)).toEqual([]);
    expect(process.counted.toSorted()).toEqual(['delivered', 'dropped']);
  });

  test('410 switches the endpoint off, which is a change, and nothing more is sent until a test is accepted', async () => {
    await using process = start();
    const { tenantId, endpoint, queue } = await addEndpoint();
    const from = receiver.requests.length;
    receiver.script(410);
    await queue('msg_g');
    await process.deliverDue();
    await queue('msg_h');
    await process.deliverDue();
    expect(receiver.requests.length - from).toBe(1);
    expect(process.counted).toEqual(['dropped', 'off GONE']);
    expect(await show(tenantId)).toMatchObject({ state: 'OFF', offReason: 'GONE' });
    const [change] = await gateway.database.query<{ value: string; source: string }>(
      `select new_value as value, source from number_change
       where tenant_id = $1 and kind = 'ENDPOINT' order by sequence desc limit 1`,
      [tenantId],
    );
    expect(JSON.parse(change!.value)).toMatchObject({
      id: endpoint.id,
      state: 'OFF',
      reason: 'GONE',
    });
    expect(change!.source).toBe('ALERTS');

    receiver.script(500);
    const { alertEndpoints } = gateway.gateway;
    expect(await alertEndpoints.test(tenantId, endpoint.id)).toMatchObject({ switchedOn: false });
    expect(await show(tenantId)).toMatchObject({ state: 'OFF' });
    expect(await alertEndpoints.test(tenantId, endpoint.id)).toMatchObject({ switchedOn: true });
    expect(await show(tenantId)).toMatchObject({ state: 'ON', offReason: null });
  });

  test('five days without a delivery switch the endpoint off', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    const fail = async (id: string) => {
      await gateway.database.query('delete from alert_delivery');
      receiver.script(500);
      await queue(id);
      await process.deliverDue();
    };
    await fail('msg_i');
    const failingSince = now();
    // The longest delay that a receiver may ask for is 20 hours.
    for (const hours of [20, 40, 60, 80, 100]) {
      time = failingSince.getTime() + hours * hour;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await fail('msg_j');
    }
    time = failingSince.getTime() + 5 * day - 1;
    await fail('msg_j');
    expect(await show(tenantId)).toMatchObject({ state: 'ON', failingSince });
    time = failingSince.getTime() + 5 * day;
    await fail('msg_k');
    expect(await show(tenantId)).toMatchObject({ state: 'OFF', offReason: 'FAILING' });
    expect(process.counted.at(-1)).toBe('off FAILING');
    expect(await readDue(tenantId)).toEqual([]);
  });

  test('a process that dies after sending, and before it says so, leads to a repetition with the same id', async () => {
    const { tenantId, queue } = await addEndpoint();
    const from = receiver.requests.length;
    await queue('msg_l');
    // Claimed by a process that then does nothing more.
    await gateway.database.query(
      `select * from claim_alert_deliveries($1, $1::timestamptz + interval '30 seconds', 32, 4)`,
      [now()],
    );
    await using process = start();
    await process.deliverDue();
    time += 29_999;
    await process.deliverDue();
    expect(receiver.requests.length - from).toBe(0);
    time += 1;
    await process.deliverDue();
    expect(receiver.requests.slice(from).map(({ headers }) => headers['webhook-id'])).toEqual([
      'msg_l',
    ]);
    expect(await readDue(tenantId)).toEqual([]);
  });

  test('a process that stops waits for the responses to what it sends, and sends nothing more', async () => {
    const { tenantId, queue } = await addEndpoint();
    const from = receiver.requests.length;
    const release = holdResponses(receiver);
    await queue('msg_1', 'msg_2', 'msg_3', 'msg_4', 'msg_5');
    const stopping = start();
    const sent = stopping.deliverDue();
    await receiver.received(from + 4);
    const stopped = stopping[Symbol.asyncDispose]();
    release();
    await Promise.all([stopped, sent]);
    expect(stopping.counted).toEqual(Array(4).fill('delivered'));
    expect(receiver.requests.length - from).toBe(4);
    expect(await readDue(tenantId)).toEqual([0]);
  });

  test('a process that stops ends what has no response after a while, and another one sends it at once', async () => {
    const { queue } = await addEndpoint();
    const from = receiver.requests.length;
    receiver.script('hang');
    await queue('msg_m');
    const stopping = start();
    const sent = stopping.deliverDue();
    await receiver.received(from + 1);
    const stopped = stopping[Symbol.asyncDispose]();
    await stopping.endGrace();
    await Promise.all([stopped, sent]);
    expect(stopping.counted).toEqual([]);
    await using process = start();
    await process.deliverDue();
    expect(receiver.requests.slice(from).map(({ headers }) => headers['webhook-id'])).toEqual([
      'msg_m',
      'msg_m',
    ]);
  });

  test('an endpoint gets four messages at a time, of several processes together, and does not delay others', async () => {
    await using slow = await openReceiver();
    const release = holdResponses(slow);
    const slowly = await addEndpoint(slow.url);
    const quickly = await addEndpoint();
    const from = receiver.requests.length;
    await slowly.queue(...Array.from({ length: 12 }, (_, at) => `msg_n${at}`));
    await using one = start();
    await using two = start();
    const sent = [one.deliverDue(), two.deliverDue()];
    await slow.received(4);
    await quickly.queue('msg_o');
    await using three = start();
    await three.deliverDue();
    expect(receiver.requests.length - from).toBe(1);
    expect(slow.requests).toHaveLength(4);
    release();
    await Promise.all(sent);
    await three.deliverDue();
    expect(slow.maxOpen).toBe(4);
    expect(slow.requests).toHaveLength(12);
  });

  test('a process sends at most 32 messages at a time', async () => {
    await using slow = await openReceiver();
    const release = holdResponses(slow);
    for (let count = 0; count < 10; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { queue } = await addEndpoint(slow.url);
      // oxlint-disable-next-line no-await-in-loop -- as above
      await queue(...Array.from({ length: 4 }, (_, at) => `msg_p${count}_${at}`));
    }
    await using process = start();
    const sent = process.deliverDue();
    await slow.received(32);
    release();
    await sent;
    expect(slow.requests).toHaveLength(40);
    expect(slow.maxOpen).toBe(32);
  });

  test('an endpoint that is removed gets nothing more', async () => {
    await using process = start();
    const { tenantId, endpoint, queue } = await addEndpoint();
    const from = receiver.requests.length;
    await queue('msg_q');
    await gateway.gateway.alertEndpoints.remove(tenantId, endpoint.id);
    await process.deliverDue();
    expect(receiver.requests.length - from).toBe(0);
  });

  test('an endpoint whose address is not allowed any more gets nothing', async () => {
    const { tenantId, queue } = await addEndpoint();
    await queue('msg_r');
    const { encryptionKeys: keys } = parseConfig(
      readEnvironment({ ENCRYPTION_KEYS: encryptionKeys }),
    );
    const targets = createTargets({
      allowedNetworks: [],
      allowedPorts: [],
      allowsLocalHttp: false,
    });
    const attempt = createAttempt({
      vault: createVault(keys),
      targets,
      send: createSender({ targets }),
      now,
    });
    const [endpoint] = await gateway.database.query<{ id: string; sealed: string }>(
      'select id, sealed from alert_endpoint where tenant_id = $1',
      [tenantId],
    );
    const { id: endpointId, sealed } = endpoint!;
    const result = await attempt(
      { tenantId, endpointId, format: 'STANDARD', sealed },
      { id: 'msg_r', content: '{}' },
      AbortSignal.any([]),
    );
    expect(result).toEqual({ outcome: 'ADDRESS_REFUSED' });
  });

  test('a failure after days without an attempt does not go on with an old one, and a test ends it', async () => {
    await using process = start();
    const { tenantId, endpoint, queue } = await addEndpoint();
    receiver.script(500);
    await queue('msg_1');
    await process.deliverDue();
    expect((await show(tenantId))?.failingSince).toEqual(now());
    await gateway.database.query('delete from alert_delivery');
    time += 6 * day;
    receiver.script(503);
    await queue('msg_2');
    await process.deliverDue();
    expect(await show(tenantId)).toMatchObject({ state: 'ON', failingSince: now() });
    expect(await readDue(tenantId)).toEqual([5 * aSecond]);
    await gateway.gateway.alertEndpoints.test(tenantId, endpoint.id);
    expect(await show(tenantId)).toMatchObject({ state: 'ON', failingSince: null });
  });

  test('what was queued for an endpoint that is off is deleted', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    await gateway.database.query(
      `update alert_endpoint set state = 'OFF', off_reason = 'GONE' where tenant_id = $1`,
      [tenantId],
    );
    await queue('msg_1');
    await process.deliverDue();
    expect(await readDue(tenantId)).toEqual([]);
  });

  test('the content of a message that is too old is not written any more', async () => {
    await using process = start();
    const { tenantId, queue } = await addEndpoint();
    await queue('msg_1');
    await gateway.database.query('update alert_delivery set content = null');
    time += 4 * day;
    await process.deliverDue();
    expect(await readDue(tenantId)).toEqual([]);
    expect(process.counted).toEqual(['dropped']);
    expect(process.written).toEqual([]);
  });
});
