// The reads that events make due. When and how they are made: test/sync/requests.test.ts.

import { createHmac } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { toReadRequest } from '../../src/webhooks/due-reads.ts';
import type { MetaEvent } from '../../src/webhooks/event.ts';
import { openTestGateway, toHealthyPhone } from '../harness.ts';

const toEvent = (field: string, value: object = {}, wabaId = '1'): MetaEvent => ({
  digest: '',
  wabaId,
  field,
  event: null,
  phone: null,
  payload: JSON.stringify(value),
  happenedAt: null,
  outcome: 'RECEIVED',
});

describe('what an event makes due', () => {
  const number = { display_phone_number: '15550783881' };

  test.each([
    ['phone_number_quality_update', number, ['15550783881']],
    ['phone_number_name_update', number, ['15550783881']],
    ['security', number, ['15550783881']],
    ['security', {}, 'all'],
    [
      'account_alerts',
      { entity_type: 'PHONE_NUMBER', entity_id: '106540352242922' },
      ['106540352242922'],
    ],
    ['account_alerts', { entity_type: 'PHONE_NUMBER', entity_id: 106_540_352 }, ['106540352']],
    ['account_alerts', { entity_type: 'BUSINESS', entity_id: '506914307656634' }, 'all'],
    ['account_update', { event: 'DISABLED_UPDATE' }, 'all'],
    ['account_review_update', { decision: 'APPROVED' }, 'all'],
    ['business_capability_update', { max_phone_numbers_per_waba: 25 }, 'all'],
    ['message_template_status_update', { event: 'APPROVED' }, null],
    ['next_year_update', {}, null],
  ])('%s %j: %j', (field, value, expected) => {
    const due = toReadRequest(toEvent(field, value));
    expect(due === null ? null : (due.phones ?? 'all')).toEqual(expected);
  });

  test('is all of an account when the payload was too large', () => {
    expect(toReadRequest({ ...toEvent('account_update'), payload: null })).toEqual({
      wabaId: '1',
      phones: null,
    });
  });
});

test('a number has its new quality within moments of the webhook, and a repetition reads nothing', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { id, number, phoneNumberId, wabaId } = await tenant.addNumber();
  const { id: other } = await tenant.addNumber({ wabaId });
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  const appSecret = 'a-secret-of-the-app-0123456789';
  const { path } = await gateway.gateway.webhooks.add({
    tenantId: tenant.id,
    proof: 'SIGNED',
    appSecrets: [appSecret],
  });
  const deliver = async (time: number, value: object) => {
    const changes = [{ field: 'phone_number_quality_update', value }];
    const entry = [{ id: wabaId, time, changes }];
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    const signature = createHmac('sha256', appSecret).update(body).digest('hex');
    const headers = { 'x-hub-signature-256': `sha256=${signature}` };
    expect((await gateway.rest(path, { method: 'POST', body, headers })).status).toBe(200);
  };
  const readQuality = async (of: string) =>
    (await tenant.rest<{ health: { qualityRating: string | null } }>(`/v1/numbers/${of}`)).body
      .health.qualityRating;
  const fields = { display_phone_number: `+${number}`, quality_rating: 'RED' };
  gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
  gateway.simulator.clearCalls();
  const event = { display_phone_number: number, event: 'FLAGGED', current_limit: 'TIER_1K' };
  await deliver(1, event);
  await vi.waitFor(async () => expect(await readQuality(id)).toBe('RED'), { timeout: 5_000 });
  expect(await readQuality(other)).toBeNull();
  const calls = gateway.simulator.calls.length;
  await deliver(1, event);
  await deliver(1, event);
  expect(gateway.simulator.calls).toHaveLength(calls);
});
