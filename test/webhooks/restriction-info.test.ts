// Restrictions as events list them: kinds, ends in all forms, what to do; and that the order of arrival does not matter.

import { describe, expect, test } from 'vitest';
import { isInForce } from '../../src/numbers/restriction.ts';
import { readDelivery } from '../../src/webhooks/event.ts';
import {
  readRestrictions,
  type RestrictionList,
  toEvidence,
  toNewest,
} from '../../src/webhooks/restriction-info.ts';

const receivedAt = new Date('2026-11-29T12:00:00.000Z');

function readList(
  restriction_info: unknown,
  time: unknown = 1_748_454_394,
): RestrictionList | null {
  const value = { event: 'ACCOUNT_RESTRICTION', restriction_info };
  const entry = [{ id: '1', time, changes: [{ field: 'account_update', value }] }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
  return readRestrictions(readDelivery(body).events[0]!, receivedAt);
}

describe('a list', () => {
  test.each([
    ['a number', 1_641_330_498, '2022-01-04T21:08:18.000Z'],
    ['a number as text', '1641330498', '2022-01-04T21:08:18.000Z'],
    ['a time with an offset', '2026-04-19T13:59:20+0000', '2026-04-19T13:59:20.000Z'],
    ['a time in another zone', '2026-04-19T13:59:20-03:00', '2026-04-19T16:59:20.000Z'],
    ['a time in UTC', '2026-04-19T13:59:20Z', '2026-04-19T13:59:20.000Z'],
    ['prose', 'April 17, 2025', null],
    ['a time without a zone', '2026-04-19T13:59:20', null],
    ['null', null, null],
    ['missing', undefined, null],
  ])('has an end that is %s', (_, expiration, expiresAt) => {
    const list = readList([{ restriction_type: 'RESTRICTED_UTILITY_TEMPLATES', expiration }]);
    expect(list?.restrictions).toEqual([
      { kind: 'RESTRICTED_UTILITY_TEMPLATES', expiresAt, remediation: null },
    ]);
  });

  test.each([
    'RESTRICTED_ADD_PHONE_NUMBER_ACTION',
    'RESTRICTED_BIZ_INITIATED_MESSAGING',
    'RESTRICTED_CUSTOMER_INITIATED_MESSAGING',
    'RESTRICTED_BIZ_INITIATED_AND_USER_INITIATED_CALLING',
    'RESTRICTED_BUSINESS_INITIATED_CALLING',
    'RESTRICTED_USER_INITIATED_CALLING',
    'RESTRICTED_USER_INITIATED_CALLING_CALL_BUTTON_HIDDEN',
    'RESTRICTED_DIRECT_SEND_UTILITY_TEMPLATES',
    'RESTRICTED_UTILITY_TEMPLATES',
    'RESTRICTION_ON_ADD_PHONE_NUMBER_ACTION',
    'ACCOUNT_DISABLE',
    'A_WORD_OF_NEXT_YEAR',
  ])('may have the kind %s', (kind) => {
    const list = readList([{ restriction_type: kind, remediation: 'Appeal.' }]);
    expect(list?.restrictions).toEqual([{ kind, expiresAt: null, remediation: 'Appeal.' }]);
  });

  test('may be empty, and leaves out what has no kind', () => {
    expect(readList([])?.restrictions).toEqual([]);
    expect(readList([{}, null, 7, { restriction_type: 'x y' }])?.restrictions).toEqual([]);
  });

  test('has Meta’s time, or that of its receipt', () => {
    expect(readList([])?.reportedAt).toBe('2025-05-28T17:46:34.000Z');
    expect(readList([], 'later')?.reportedAt).toBe('2026-11-29T12:00:00.000Z');
  });

  test('is only in events that have one', () => {
    expect(readList(undefined)).toBeNull();
    expect(readList({})).toBeNull();
  });
});

describe('of several lists', () => {
  const list = (reportedAt: string, digest: string, ...kinds: string[]): RestrictionList => ({
    reportedAt,
    digest,
    restrictions: kinds.map((kind) => ({ kind, expiresAt: null, remediation: null })),
  });
  const lists = [
    list('2026-01-01T00:00:00.000Z', 'c', 'A', 'B'),
    list('2026-01-02T00:00:00.000Z', 'a', 'B'),
    list('2026-01-03T00:00:00.000Z', 'a'),
    list('2026-01-03T00:00:00.000Z', 'b', 'C'),
  ];
  const permute = <T>(items: readonly T[]): readonly (readonly T[])[] =>
    items.length === 0
      ? [[]]
      : items.flatMap((item, at) => permute(items.toSpliced(at, 1)).map((rest) => [item, ...rest]));

  test('the newest counts, whatever the order and however often each arrives', () => {
    for (const order of permute(lists)) {
      const arrived = [...order, ...order, ...order];
      const newest = arrived.reduce<RestrictionList | null>(toNewest, null);
      expect(newest).toBe(lists[3]);
    }
  });

  test('what it has is in force until its end', () => {
    const ends = { kind: 'A', expiresAt: '2026-01-05T00:00:00.000Z', remediation: null };
    const [restriction] = toEvidence('1', { ...lists[0]!, restrictions: [ends] });
    expect(isInForce(restriction!, new Date('2026-01-04T23:59:59.999Z'))).toBe(true);
    expect(isInForce(restriction!, new Date('2026-01-05T00:00:00.000Z'))).toBe(false);
  });
});
