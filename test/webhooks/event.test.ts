// What is read from the body of a webhook: digests, accounts, words and times, and what is dropped.

import { describe, expect, test } from 'vitest';
import { type MetaEvent, readDelivery } from '../../src/webhooks/event.ts';

const toBody = (field: string, value: unknown, entry: object = {}) =>
  JSON.stringify({
    object: 'whatsapp_business_account',
    entry: [{ id: '102290129340398', time: 1_748_454_394, changes: [{ field, value }], ...entry }],
  });

const readEvent = (field: string, value: unknown, entry: object = {}): MetaEvent => {
  const { events } = readDelivery(toBody(field, value, entry));
  expect(events).toHaveLength(1);
  return events[0]!;
};

test('an event has the account, the field, Meta’s word, its time, and its value as JSON', () => {
  const value = { display_phone_number: '15550783881', event: 'PIN_CHANGED' };
  expect(readEvent('security', value)).toEqual({
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    wabaId: '102290129340398',
    field: 'security',
    event: 'PIN_CHANGED',
    phone: '15550783881',
    payload: '{"display_phone_number":"15550783881","event":"PIN_CHANGED"}',
    happenedAt: new Date('2025-05-28T17:46:34.000Z'),
    outcome: 'RECEIVED',
  });
});

describe('the digest', () => {
  const value = { event: 'DISABLED_UPDATE', ban_info: { a: 1, b: ['é', { c: 2, d: 3 }] } };

  test('is the same for a repetition, whatever the order of members and the escapes', () => {
    const { digest } = readEvent('account_update', value);
    const other = { ban_info: { b: ['é', { d: 3, c: 2 }], a: 1 }, event: 'DISABLED_UPDATE' };
    expect(readEvent('account_update', other).digest).toBe(digest);
    const escaped = toBody('account_update', value).replace('é', String.raw`\u00e9`);
    expect(readDelivery(escaped).events[0]?.digest).toBe(digest);
  });

  test('differs for another account, time, field and value', () => {
    const digests = [
      readEvent('account_update', value),
      readEvent('account_update', value, { id: '102290129340399' }),
      readEvent('account_update', value, { time: 1_748_454_395 }),
      readEvent('account_alerts', value),
      readEvent('account_update', { ...value, event: 'ACCOUNT_DELETED' }),
    ].map(({ digest }) => digest);
    expect(new Set(digests).size).toBe(5);
  });
});

test.each([
  'PARTNER_ADDED',
  'PARTNER_REMOVED',
  'PARTNER_APP_INSTALLED',
  'PARTNER_APP_UNINSTALLED',
  'AD_ACCOUNT_LINKED',
  'MM_LITE_TERMS_SIGNED',
])('the account of %s is that of the value, because the entry is the business', (event) => {
  const waba_info = { waba_id: '980198427658004', owner_business_id: '2329417887457253' };
  const read = readEvent('account_update', { event, waba_info }, { id: '2329417887457253' });
  expect(read).toMatchObject({ wabaId: '980198427658004', event });
});

test('the word of a review or a name is the decision', () => {
  expect(readEvent('account_review_update', { decision: 'APPROVED' }).event).toBe('APPROVED');
  const name = { display_phone_number: '1555', decision: 'REJECTED', rejection_reason: null };
  expect(readEvent('phone_number_name_update', name).event).toBe('REJECTED');
  expect(readEvent('business_capability_update', { max_phone_numbers_per_waba: 25 }).event).toBe(
    null,
  );
});

test.each([
  ['a number', 1_748_454_394, '2025-05-28T17:46:34.000Z'],
  ['text', '1748454394', '2025-05-28T17:46:34.000Z'],
  ['in milliseconds', 1_748_454_394_000, null],
  ['prose', 'April 17, 2025', null],
  ['missing', undefined, null],
])('a time that is %s', (_, time, expected) => {
  const { happenedAt } = readEvent('security', { event: 'PIN_CHANGED' }, { time });
  expect(happenedAt?.toISOString() ?? null).toBe(expected);
});

test('messages and statuses are counted one by one, and none of their content is kept', () => {
  const value = {
    messaging_product: 'whatsapp',
    contacts: [{ profile: { name: 'Private' } }],
    messages: [{ text: { body: 'Private' } }, { text: { body: 'Private' } }],
    statuses: [{ status: 'delivered' }],
  };
  expect(readDelivery(toBody('messages', value))).toEqual({
    events: [],
    dropped: ['messages', 'messages', 'statuses'],
  });
});

test.each([
  'message_echoes',
  'smb_message_echoes',
  'smb_app_state_sync',
  'history',
  'calls',
  'standby',
  'messaging_handovers',
  'consumer_profile',
  'user_preferences',
  'group_lifecycle_update',
  'flows',
])('the field %s is dropped, because it may carry a conversation', (field) => {
  expect(readDelivery(toBody(field, { body: 'Private' }))).toEqual({
    events: [],
    dropped: ['other'],
  });
});

test('the payload of an unknown field is not stored, because it may carry a conversation', () => {
  expect(readEvent('next_year_update', { event: 'NEW', text: 'Private' })).toMatchObject({
    field: 'next_year_update',
    event: 'NEW',
    payload: null,
    outcome: 'UNKNOWN_FIELD',
  });
});

test('a payload of more than 64 kB is not stored', () => {
  const read = readEvent('account_alerts', { text: 'x'.repeat(65_536) });
  expect(read).toMatchObject({ payload: null, outcome: 'TOO_LARGE' });
});

test.each([
  ['an object that is no WhatsApp account', { object: 'page' }, undefined],
  ['a field that is no name', {}, { changes: [{ field: 'x y', value: {} }] }],
  ['a change without a value', {}, { changes: [{ field: 'security' }] }],
  ['a change that is no object', {}, { changes: [7] }],
  ['an entry without an account', {}, { id: 'x' }],
])('%s is dropped', (_, top, entry) => {
  const body = { ...JSON.parse(toBody('security', { event: 'PIN_CHANGED' }, entry)), ...top };
  expect(readDelivery(JSON.stringify(body))).toEqual({ events: [], dropped: ['other'] });
});

test.each([
  ['no JSON', '{"entry": [', 'The body must be JSON.'],
  ['no object', '7', 'The body must be a webhook of Meta, with entries.'],
  ['an object without entries', '{}', 'The body must be a webhook of Meta, with entries.'],
  [
    'nested without end',
    toBody('security', { a: 'x' }).replace('"x"', `${'['.repeat(100_000)}${']'.repeat(100_000)}`),
    'The body is nested too deeply.',
  ],
])('a body that is %s is refused', (_, body, message) => {
  expect(() => readDelivery(body)).toThrow(
    expect.objectContaining({ code: 'INVALID_REQUEST', message }),
  );
});
