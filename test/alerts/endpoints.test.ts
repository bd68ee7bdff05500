// The endpoints of alerts: what is stored and shown of them, and test messages.

import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { databases, openTestGateway, type TestGateway } from '../harness.ts';
import { openReceiver, type Receiver } from './receiver.ts';

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver();
    gateway = await openTestGateway({ database: kind, alerts: { allowsLocalHttp: true } });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });
  const endpoints = () => gateway.gateway.alertEndpoints;
  const add = async (tenantId: string, format: 'STANDARD' | 'SLACK' = 'STANDARD') => {
    const url = `${receiver.url}/T0CANARY`;
    const added = await endpoints().add({ tenantId, url, format, rules: [] });
    gateway.addSecrets('T0CANARY', ...(added.secret === null ? [] : [added.secret]));
    return added;
  };
  const readChanges = (tenantId: string) =>
    gateway.database.query<Record<string, string | null>>(
      `select previous_value as before, new_value as after, source from number_change
       where tenant_id = $1 and kind = 'ENDPOINT' order by sequence`,
      [tenantId],
    );

  test('a test message verifies with an independent library, and by hand', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const { id, secret } = await add(tenantId);
    const count = receiver.requests.length;
    expect(await endpoints().test(tenantId, id)).toEqual({
      accepted: true,
      outcome: '204',
      switchedOn: false,
    });
    const { headers, body, path } = receiver.requests[count]!;
    expect(path).toBe('/hook/T0CANARY');
    const verified = new Webhook(secret!).verify(body, headers);
    expect(verified).toEqual({
      type: 'test',
      timestamp: expect.stringMatching(/^20\d\d-.*Z$/),
      data: { endpointId: id, text: expect.any(String) },
    });
    const key = Buffer.from(secret!.slice('whsec_'.length), 'base64');
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    const signature = createHmac('sha256', key).update(signed).digest('base64');
    expect(headers['webhook-signature']).toBe(`v1,${signature}`);
    expect(() => new Webhook(secret!).verify(`${body} `, headers)).toThrow('signature');
  });

  test('after a rotation both secrets sign until the end of the overlap, and with none only the new one', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const first = await add(tenantId);
    const second = await endpoints().rotate(tenantId, first.id, 3_600_000);
    gateway.addSecrets(second.secret!);
    const send = async () => {
      await endpoints().test(tenantId, first.id);
      return receiver.requests.at(-1)!;
    };
    const during = await send();
    expect(during.headers['webhook-signature']?.split(' ')).toHaveLength(2);
    for (const { secret } of [first, second]) {
      expect(() => new Webhook(secret!).verify(during.body, during.headers)).not.toThrow();
    }
    const third = await endpoints().rotate(tenantId, first.id, 0);
    gateway.addSecrets(third.secret!);
    const after = await send();
    expect(after.headers['webhook-signature']?.split(' ')).toHaveLength(1);
    expect(() => new Webhook(third.secret!).verify(after.body, after.headers)).not.toThrow();
    expect(() => new Webhook(second.secret!).verify(after.body, after.headers)).toThrow(
      'signature',
    );
  });

  test('Slack gets a text, without a signature', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const { id, secret } = await add(tenantId, 'SLACK');
    expect(secret).toBeNull();
    await endpoints().test(tenantId, id);
    const { headers, body } = receiver.requests.at(-1)!;
    expect(headers).not.toHaveProperty('webhook-signature');
    expect(JSON.parse(body)).toEqual({
      text: 'A test of alerts: this endpoint receives them.',
      unfurl_links: false,
      unfurl_media: false,
    });
    await expect(endpoints().rotate(tenantId, id, 0)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    });
  });

  test('only the host of a URL is readable anywhere', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const { id } = await add(tenantId);
    expect(await endpoints().list(tenantId)).toEqual([
      {
        id,
        host: '127.0.0.1',
        format: 'STANDARD',
        rules: [],
        state: 'ON',
        offReason: null,
        failingSince: null,
        lastOutcome: null,
        lastAttemptAt: null,
        createdAt: expect.any(Date),
      },
    ]);
    const [stored] = await gateway.database.query<{ all: string }>(
      `select jsonb_build_object('e', (select jsonb_agg(e) from alert_endpoint e),
         'c', (select jsonb_agg(c) from number_change c), 'a', (select jsonb_agg(a) from audit a))::text as all`,
    );
    expect(stored!.all).toContain(id);
    expect(stored!.all).not.toContain('T0CANARY');
  });

  test('adding and removing an endpoint are changes and audit entries of the tenant', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const { id } = await add(tenantId, 'SLACK');
    await endpoints().remove(tenantId, id);
    const value = { id, host: '127.0.0.1', format: 'SLACK', state: 'ON' };
    const changes = await readChanges(tenantId);
    expect(
      changes.map(({ before, after, source }) => [
        JSON.parse(before ?? 'null'),
        JSON.parse(after ?? 'null'),
        source,
      ]),
    ).toEqual([
      [null, value, 'COMMAND_LINE'],
      [value, null, 'COMMAND_LINE'],
    ]);
    const audit = await gateway.access.listAudit(tenantId, 10);
    const actions = audit.map(({ action }) => action).filter((it) => it.startsWith('alert'));
    expect(actions.toSorted()).toEqual(['alert.added', 'alert.removed']);
    expect(await endpoints().list(tenantId)).toEqual([]);
  });

  test('the changes are shown by both APIs, and belong to no number and no account', async () => {
    const tenant = await gateway.addTenant();
    const start = await tenant.rest<{ cursor: string }>('/v1/changes');
    await add(tenant.id);
    const page = await tenant.rest<{ changes: Record<string, unknown>[] }>(
      `/v1/changes?after=${start.body.cursor}`,
    );
    expect(page.body.changes).toEqual([
      expect.objectContaining({
        kind: 'ENDPOINT',
        numberId: null,
        wabaId: null,
        actor: { type: 'COMMAND_LINE', key: null },
      }),
    ]);
    const { body } = await tenant.graphql<{ changes: { changes: unknown[] } }>(
      `query($after: String!) { changes(after: $after) { changes { kind numberId number { id } } } }`,
      { variables: { after: start.body.cursor } },
    );
    expect(body.data?.changes.changes).toEqual([
      { kind: 'ENDPOINT', numberId: null, number: null },
    ]);
  });

  test('an endpoint of another tenant does not exist', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const { id: other } = await gateway.addTenant();
    const { id } = await add(tenantId);
    for (const use of [
      () => endpoints().test(other, id),
      () => endpoints().rotate(other, id, 0),
      () => endpoints().remove(other, id),
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(use()).rejects.toMatchObject({ code: 'ENDPOINT_NOT_FOUND' });
    }
    expect(await endpoints().list(other)).toEqual([]);
    expect(await endpoints().list(tenantId)).toHaveLength(1);
  });

  test('a tenant has at most 20 endpoints', async () => {
    const { id: tenantId } = await gateway.addTenant();
    for (let count = 0; count < 20; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await add(tenantId);
    }
    await expect(add(tenantId)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  test('a URL that is not allowed is not stored', async () => {
    const { id: tenantId } = await gateway.addTenant();
    const request = { tenantId, format: 'STANDARD', rules: [] } as const;
    await expect(
      endpoints().add({ ...request, url: 'https://169.254.169.254/latest' }),
    ).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect(await endpoints().list(tenantId)).toEqual([]);
  });
});
