// Security events as changes: of which number, once each, in any order of arrival, and without the name of who asked.

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeCursor } from '../../src/history/cursor.ts';
import { databases, openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  async function openTenant() {
    const tenant = await gateway.addTenant();
    const { path } = await gateway.gateway.webhooks.add({
      tenantId: tenant.id,
      proof: 'SIGNED',
      appSecrets: [appSecret],
    });
    const deliver = async (wabaId: string, time: number, value: object): Promise<void> => {
      const entry = [{ id: wabaId, time, changes: [{ field: 'security', value }] }];
      const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
      const signature = createHmac('sha256', appSecret).update(body).digest('hex');
      const headers = { 'x-hub-signature-256': `sha256=${signature}` };
      const { status } = await gateway.rest(path, { method: 'POST', body, headers });
      expect(status).toBe(200);
    };
    return { tenant, deliver };
  }

  async function listSecurity(tenant: TestTenant) {
    const { body } = await tenant.rest<{ changes: readonly Record<string, unknown>[] }>(
      `/v1/changes?kind=SECURITY&after=${await firstCursor(tenant)}`,
    );
    return body.changes.map(({ numberId, wabaId, newValue, source, occurredAt }) =>
      [numberId ?? wabaId, newValue, source, occurredAt].join(' '),
    );
  }

  /** Of the tenant's first change. */
  async function firstCursor(tenant: TestTenant): Promise<string> {
    const [row] = await gateway.database.query<{ epoch: string }>(
      'select epoch from feed_position where tenant_id = $1',
      [tenant.id],
    );
    return encodeCursor({ epoch: row?.epoch ?? '', sequence: 0 });
  }

  test('each becomes one change of its number at Meta’s time, however often and in which order it is sent', async () => {
    const { tenant, deliver } = await openTenant();
    const { id, number, wabaId } = await tenant.addNumber();
    await tenant.addNumber({ wabaId });
    const words = ['PIN_RESET_REQUEST', 'PIN_REQUEST_SUCCESS', 'PIN_CHANGED'];
    for (const at of [2, 0, 1, 0, 2, 1, 0, 1, 2]) {
      const requester = at === 0 ? { requester: 'Private Person' } : {};
      const value = { display_phone_number: number, event: words[at], ...requester };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await deliver(wabaId, 1_748_454_394 + at, value);
    }
    const listed = await listSecurity(tenant);
    expect(listed.toSorted()).toEqual([
      `${id} PIN_CHANGED WEBHOOK 2025-05-28T17:46:36.000Z`,
      `${id} PIN_REQUEST_SUCCESS WEBHOOK 2025-05-28T17:46:35.000Z`,
      `${id} PIN_RESET_REQUEST WEBHOOK 2025-05-28T17:46:34.000Z`,
    ]);
    const stored = await gateway.database.query(
      'select * from number_change where tenant_id = $1',
      [tenant.id],
    );
    expect(JSON.stringify(stored)).not.toContain('Private Person');
  });

  test('a number is found whether or not its mobile digit is written', async () => {
    const { tenant, deliver } = await openTenant();
    const { id, wabaId } = await tenant.addNumber({ number: '5511987654321' });
    await deliver(wabaId, 1, { display_phone_number: '+55 11 8765-4321', event: 'PIN_CHANGED' });
    expect(await listSecurity(tenant)).toEqual([
      `${id} PIN_CHANGED WEBHOOK 1970-01-01T00:00:01.000Z`,
    ]);
  });

  test('it is a change of the account when the tenant has no such number in it', async () => {
    const { tenant, deliver } = await openTenant();
    const { wabaId } = await tenant.addNumber();
    await tenant.addNumber({ number: '15550783881' });
    await deliver(wabaId, 1, { display_phone_number: '15550783881', event: 'PIN_CHANGED' });
    await deliver(wabaId, 2, { event: 'PIN_CHANGED' });
    expect(await listSecurity(tenant)).toEqual([
      `${wabaId} PIN_CHANGED WEBHOOK 1970-01-01T00:00:01.000Z`,
      `${wabaId} PIN_CHANGED WEBHOOK 1970-01-01T00:00:02.000Z`,
    ]);
  });

  test('it wakes those who wait for changes', async () => {
    const { tenant, deliver } = await openTenant();
    const { wabaId, number } = await tenant.addNumber();
    const { body } = await tenant.rest<{ cursor: string }>('/v1/changes');
    const waiting = tenant.rest<{ changes: readonly { kind: string }[] }>(
      `/v1/changes?after=${body.cursor}&kind=SECURITY&wait=20`,
    );
    await deliver(wabaId, 1, { display_phone_number: number, event: 'PIN_CHANGED' });
    expect((await waiting).body.changes.map((change) => change.kind)).toEqual(['SECURITY']);
  });
});
