// What events announce of an account: restrictions with ends in all forms, bans, violations, disconnections and limits; and
// that the order of arrival does not matter.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AccountNotices,
  findOpen,
  listNoticeReasons,
  mergeNotices,
  toRestrictions,
} from '../../src/numbers/account-notices.ts';
import { readDelivery } from '../../src/webhooks/event.ts';
import { readNotices } from '../../src/webhooks/notices.ts';

const receivedAt = new Date('2026-11-29T12:00:00.000Z');

function read(field: string, value: object, time: unknown = 1_748_454_394): AccountNotices | null {
  const entry = [{ id: '1', time, changes: [{ field, value }] }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
  const event = readDelivery(body).events[0]!;
  return readNotices({ ...event, happenedAt: event.happenedAt ?? receivedAt });
}

const readUpdate = (value: object, time?: unknown) => read('account_update', value, time);

const readList = (restriction_info: unknown, time?: unknown) =>
  readUpdate({ event: 'ACCOUNT_RESTRICTION', restriction_info }, time)?.restrictions;

describe('a list of restrictions', () => {
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
    expect(list?.value).toEqual([
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
    expect(list?.value).toEqual([{ kind, expiresAt: null, remediation: 'Appeal.' }]);
  });

  test('may be empty, and leaves out what has no kind', () => {
    expect(readList([])?.value).toEqual([]);
    expect(readList([{}, null, 7, { restriction_type: 'x y' }])?.value).toEqual([]);
  });

  test('has each kind once, with the end that comes last', () => {
    const kind = 'RESTRICTED_UTILITY_TEMPLATES';
    const ofEnds = (...ends: unknown[]) =>
      readList(ends.map((expiration) => ({ restriction_type: kind, expiration })))?.value;
    const ending = (expiresAt: string | null) => [{ kind, expiresAt, remediation: null }];
    expect(ofEnds(1_641_330_498, 1_641_330_499, 1_641_330_497)).toEqual(
      ending('2022-01-04T21:08:19.000Z'),
    );
    expect(ofEnds(1_641_330_498, null, 1_641_330_497)).toEqual(ending(null));
  });

  test('has texts that a database can store', () => {
    const list = readList([{ restriction_type: 'A', remediation: 'a\0b\ud800c' }]);
    expect(list?.value[0]?.remediation).toBe('a\ufffdb\ufffdc');
  });

  test('has Meta’s time, or that of its receipt', () => {
    expect(readList([])?.reportedAt).toBe('2025-05-28T17:46:34.000Z');
    expect(readList([], '1748454394')?.reportedAt).toBe('2025-05-28T17:46:34.000Z');
    expect(readList([], 'later')?.reportedAt).toBe('2026-11-29T12:00:00.000Z');
  });

  test('is only in events that have one', () => {
    expect(readList(undefined)).toBeUndefined();
    expect(readList({})).toBeUndefined();
  });
});

/** Of each subject what is announced, without when. */
function valuesOf(notices: AccountNotices | null): object {
  const entries = Object.entries(notices ?? {}) as [string, { value: unknown }][];
  return Object.fromEntries(entries.map(([subject, { value }]) => [subject, value]));
}

describe('other events', () => {
  test.each([
    [
      { event: 'DISABLED_UPDATE', ban_info: { waba_ban_state: 'DISABLE', waba_ban_date: 'May 3' } },
      { ban: { state: 'DISABLE', date: 'May 3' } },
    ],
    [
      { event: 'DISABLED_UPDATE', ban_info: { waba_ban_state: ['SCHEDULE_FOR_DISABLE'] } },
      { ban: { state: 'SCHEDULE_FOR_DISABLE', date: null } },
    ],
    [
      { event: 'ACCOUNT_VIOLATION', violation_info: { violation_type: 'ADULT' } },
      { violation: { type: 'ADULT', remediation: null } },
    ],
    [
      {
        event: 'PARTNER_REMOVED',
        disconnection_info: { reason: 'PRIMARY_INACTIVITY', initiated_by: 'SYSTEM' },
      },
      { disconnection: { reason: 'PRIMARY_INACTIVITY', initiatedBy: 'SYSTEM' } },
    ],
    [{ event: 'ACCOUNT_OFFBOARDED' }, { disconnection: { reason: null, initiatedBy: null } }],
    [{ event: 'ACCOUNT_RECONNECTED' }, { disconnection: null }],
    [{ event: 'PARTNER_ADDED', waba_info: { waba_id: '2' } }, { disconnection: null }],
    [{ event: 'VERIFIED_ACCOUNT' }, {}],
    [{ event: 'MM_LITE_TERMS_SIGNED', waba_info: { waba_id: '2' } }, {}],
    [{ event: 'DISABLED_UPDATE', ban_info: null }, {}],
  ])('of an account: %j', (value, expected) => {
    expect(valuesOf(readUpdate(value))).toEqual(expected);
  });

  test.each([
    [{ max_daily_conversations_per_business: 2_000 }, { messagingLimitTier: 'TIER_2K' }],
    [{ max_daily_conversations_per_business: '2000' }, { messagingLimitTier: 'TIER_2K' }],
    [{ max_daily_conversations_per_business: 'TIER_2K' }, { messagingLimitTier: 'TIER_2K' }],
    [{ max_daily_conversations_per_business: -1 }, { messagingLimitTier: 'TIER_UNLIMITED' }],
    [{ max_daily_conversations_per_business: '-1' }, { messagingLimitTier: 'TIER_UNLIMITED' }],
    [{ max_daily_conversations_per_business: 7 }, { messagingLimitTier: '7' }],
    [{ max_daily_conversation_per_phone: 250 }, { messagingLimitTier: 'TIER_250' }],
    [{ max_daily_conversation_per_phone: 10_000 }, { messagingLimitTier: 'TIER_10K' }],
    [{ max_daily_conversations_per_business: 100_000 }, { messagingLimitTier: 'TIER_100K' }],
    [{ max_phone_numbers_per_waba: 25 }, { maxPhoneNumbers: 25 }],
    [{ max_phone_numbers_per_waba: '25' }, { maxPhoneNumbers: 25 }],
    [{ max_phone_numbers_per_business: 2 }, { maxPhoneNumbers: 2 }],
    [{ max_phone_numbers_per_waba: 'many', max_daily_conversations_per_business: {} }, {}],
  ])('of limits: %j', (value, expected) => {
    expect(valuesOf(read('business_capability_update', value))).toEqual(expected);
  });

  test('of other fields announce nothing', () => {
    const value = { event: 'FLAGGED', restriction_info: [], max_phone_numbers_per_waba: 2 };
    expect(read('phone_number_quality_update', value)).toBeNull();
  });
});

describe('of several announcements', () => {
  const list = (time: number, ...kinds: string[]) =>
    readUpdate(
      {
        event: 'ACCOUNT_RESTRICTION',
        restriction_info: kinds.map((restriction_type) => ({ restriction_type })),
      },
      time,
    )!;
  const announced: readonly AccountNotices[] = [
    list(100, 'A', 'B'),
    list(200, 'B'),
    list(300),
    list(300, 'C'),
    readUpdate({ ban_info: { waba_ban_state: 'DISABLE' } }, 100)!,
    readUpdate({ ban_info: { waba_ban_state: 'REINSTATE' } }, '200')!,
    readUpdate({ event: 'PARTNER_REMOVED' }, 100)!,
    readUpdate({ event: 'ACCOUNT_RECONNECTED' }, 50)!,
    read('business_capability_update', { max_phone_numbers_per_waba: 2 }, 100)!,
    read('business_capability_update', { max_daily_conversations_per_business: 250 }, 200)!,
    read('business_capability_update', { max_daily_conversations_per_business: '2000' }, 100)!,
  ];
  const expected = announced.reduce(mergeNotices, {});

  test('the newest of each subject counts', () => {
    const { restrictions, ...others } = expected;
    expect(valuesOf(others)).toEqual({
      ban: { state: 'REINSTATE', date: null },
      disconnection: { reason: null, initiatedBy: null },
      maxPhoneNumbers: 2,
      messagingLimitTier: 'TIER_250',
    });
    // Of one second that with the higher digest.
    const [one, other] = [announced[2]!.restrictions!, announced[3]!.restrictions!];
    expect(restrictions).toEqual(one.digest > other.digest ? one : other);
  });

  test('whatever the order, and however often each arrives', () => {
    const tripled = [...announced, ...announced, ...announced];
    const shuffled = fc.shuffledSubarray(tripled, { minLength: tripled.length });
    fc.assert(
      fc.property(shuffled, fc.nat(tripled.length), (arrived, at) => {
        const parts = [arrived.slice(0, at), arrived.slice(at)];
        const merged = parts.map((part) => part.reduce(mergeNotices, {}));
        expect(mergeNotices(merged[0]!, merged[1]!)).toEqual(expected);
      }),
    );
  });
});

const ends = (kind: string, expiration: unknown) => ({ restriction_type: kind, expiration });

const find = (...listed: readonly object[]) => {
  const notices = { restrictions: readList(listed)! };
  const reads = { availableFrom: null, availableTo: null };
  const { open, ...found } = findOpen(toRestrictions('1', notices, reads), receivedAt);
  return { kinds: open.map(({ type }) => type.slice(11, 14)), ...found };
};

test('of what is in force, the effect is found and when it changes', () => {
  const start = ends('RESTRICTED_BIZ_INITIATED_MESSAGING', '2026-11-30T00:00:00Z');
  const replies = ends('RESTRICTED_CUSTOMER_INITIATED_MESSAGING', '2026-12-01T00:00:00Z');
  const other = ends('RESTRICTED_UTILITY_TEMPLATES', null);
  const [at30, at1] = ['2026-11-30T00:00:00.000Z', '2026-12-01T00:00:00.000Z'];
  expect([
    find(),
    find(ends('RESTRICTED_BIZ_INITIATED_MESSAGING', 1_641_330_498)),
    find(start),
    find(replies, start),
    find(replies),
    find(other, replies),
    find(other),
  ]).toEqual([
    { kinds: [], effect: null, nextEnd: null, endsByReads: false },
    { kinds: [], effect: null, nextEnd: null, endsByReads: false },
    { kinds: ['BIZ'], effect: 'START', nextEnd: at30, endsByReads: false },
    { kinds: ['CUS', 'BIZ'], effect: 'BOTH', nextEnd: at30, endsByReads: false },
    { kinds: ['CUS'], effect: 'REPLIES', nextEnd: at1, endsByReads: false },
    { kinds: ['UTI', 'CUS'], effect: 'REPLIES', nextEnd: at1, endsByReads: true },
    { kinds: ['UTI'], effect: 'INFORMS', nextEnd: null, endsByReads: true },
  ]);
});

const reasonsOf = (...values: readonly object[]) => {
  const notices = values.map((value, at) => readUpdate(value, at + 1)!);
  return listNoticeReasons('1', notices.reduce(mergeNotices, {})).map(
    ({ field, value, effect, entityId, text }) => [field, value, effect, entityId, text],
  );
};

test('a ban and a disconnection are reasons until they end', () => {
  const ban = {
    ban_info: { waba_ban_state: 'SCHEDULE_FOR_DISABLE', waba_ban_date: 'April 17, 2025' },
  };
  const disconnection = {
    event: 'PARTNER_REMOVED',
    disconnection_info: { reason: 'CHANGE_NUMBER' },
  };
  expect(reasonsOf(ban, disconnection)).toEqual([
    [
      'waba_ban_state',
      'SCHEDULE_FOR_DISABLE',
      'INFORMS',
      '1',
      'Meta is going to disable the account. The date is April 17, 2025.',
    ],
    [
      'disconnection_info',
      'CHANGE_NUMBER',
      'INFORMS',
      '1',
      'The account was disconnected from the app. The number of the WhatsApp Business app was changed.',
    ],
  ]);
  const lifted = { ban_info: { waba_ban_state: 'REINSTATE' } };
  expect(reasonsOf(ban, disconnection, lifted, { event: 'ACCOUNT_RECONNECTED' })).toEqual([]);
});
