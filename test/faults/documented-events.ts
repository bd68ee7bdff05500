// Every event about an account that Meta documents or that was seen in the wild, with the forms that values have.
// https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview

import type { MetaWebhookEvent } from '../../src/simulator/webhooks.ts';

export interface EventSubject {
  readonly wabaId: string;
  /** Digits. */
  readonly phone: string;
  readonly phoneNumberId: string;
}

type Described = readonly [field: string, value: Readonly<Record<string, unknown>>];

const restrictionTypes = [
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
];

const update = (event: string, more: object = {}): Described => [
  'account_update',
  { event, ...more },
];

const alert = (entity_type: string, entity_id: string, alert_type: string): Described => [
  'account_alerts',
  {
    entity_type,
    entity_id,
    alert_info: { alert_severity: 'WARNING', alert_status: 'ACTIVE', alert_type },
  },
];

/** `endsAt`: seconds since 1970, in the future. */
function describeEvents({ wabaId, phone, phoneNumberId }: EventSubject, endsAt: number) {
  const partner = (event: string, more: object = {}): Described =>
    update(event, {
      waba_info: { waba_id: wabaId, owner_business_id: '2329417887457253' },
      ...more,
    });
  const ofPhone = (field: string, value: object): Described => [
    field,
    { display_phone_number: phone, ...value },
  ];
  return [
    // Each type alone, its end as a number or as text, and then several together.
    ...restrictionTypes.map((restriction_type, index) =>
      update('ACCOUNT_RESTRICTION', {
        restriction_info: [
          {
            restriction_type,
            expiration: index % 2 === 0 ? endsAt + index : String(endsAt + index),
            remediation: 'Ask for a review.',
          },
        ],
      }),
    ),
    update('ACCOUNT_RESTRICTION', { restriction_info: [] }),
    ...['DISABLE', 'SCHEDULE_FOR_DISABLE', 'REINSTATE'].map((waba_ban_state) =>
      update('DISABLED_UPDATE', { ban_info: { waba_ban_state, waba_ban_date: 'April 17, 2025' } }),
    ),
    update('DISABLED_UPDATE', { ban_info: { waba_ban_state: ['SCHEDULE_FOR_DISABLE'] } }),
    ...['ADULT', 'SPAM'].map((violation_type) =>
      update('ACCOUNT_VIOLATION', { violation_info: { violation_type } }),
    ),
    ...[
      'ACCOUNT_DISCONNECTED',
      'BUSINESS_DOWNGRADE',
      'CHANGE_NUMBER',
      'COMPANION_INACTIVITY',
      'PRIMARY_INACTIVITY',
      'USER_RE_REGISTERED',
    ].map((reason) =>
      partner('PARTNER_REMOVED', { disconnection_info: { reason, initiated_by: 'SYSTEM' } }),
    ),
    partner('PARTNER_ADDED'),
    partner('PARTNER_APP_INSTALLED'),
    partner('PARTNER_APP_UNINSTALLED'),
    partner('PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE'),
    partner('AD_ACCOUNT_LINKED'),
    partner('MM_LITE_TERMS_SIGNED'),
    update('ACCOUNT_OFFBOARDED'),
    update('ACCOUNT_RECONNECTED'),
    update('ACCOUNT_DELETED'),
    update('VERIFIED_ACCOUNT'),
    update('AUTH_INTL_PRICE_ELIGIBILITY_UPDATE'),
    update('BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE', { country: 'BR' }),
    update('VOLUME_BASED_PRICING_TIER_UPDATE'),
    ...['APPROVED', 'REJECTED', 'PENDING', 'DEFERRED'].map((decision): Described => [
      'account_review_update',
      { decision },
    ]),
    ...['APPROVED', 'DEFERRED', 'PENDING', 'REJECTED'].map((decision) =>
      ofPhone('phone_number_name_update', { decision, requested_verified_name: 'Lucky Shrub' }),
    ),
    ...['ONBOARDING', 'THROUGHPUT_UPGRADE', 'FLAGGED', 'UNFLAGGED', 'UPGRADE', 'DOWNGRADE'].map(
      (event) => ofPhone('phone_number_quality_update', { event, current_limit: 'TIER_UNLIMITED' }),
    ),
    ...['PIN_CHANGED', 'PIN_RESET_REQUEST', 'PIN_REQUEST_SUCCESS'].map((event) =>
      ofPhone('security', { event, requester: '15550001111' }),
    ),
    alert('BUSINESS', '506914307656634', 'INCREASED_CAPABILITIES_ELIGIBILITY_DEFERRED'),
    alert('PHONE_NUMBER', phoneNumberId, 'PROFILE_PICTURE_LOST'),
    ...[2_000, '10000', 'TIER_100K', -1].map((limit): Described => [
      'business_capability_update',
      { max_daily_conversations_per_business: limit, max_phone_numbers_per_waba: 25 },
    ]),
    ['business_capability_update', { max_phone_numbers_per_business: '2' }] satisfies Described,
    ...['message_template_status_update', 'template_category_update'].map((field): Described => [
      field,
      { event: 'APPROVED', message_template_id: 1, message_template_name: 'welcome' },
    ]),
    ['next_year_update', { event: 'NEW' }] satisfies Described,
    update('ACCOUNT_RESTRICTION', {
      restriction_info: [
        {
          restriction_type: 'RESTRICTED_BIZ_INITIATED_MESSAGING',
          expiration: String(endsAt),
          remediation: 'Ask for a review.',
        },
        { restriction_type: 'RESTRICTED_UTILITY_TEMPLATES', expiration: endsAt + 60 },
      ],
    }),
  ] as const;
}

/** Oldest first, a second apart, the last one at `until`. */
export function listDocumentedEvents(
  subject: EventSubject,
  until: Date,
): readonly MetaWebhookEvent[] {
  const last = Math.floor(until.getTime() / 1_000);
  const described = describeEvents(subject, last + 86_400);
  return described.map(([field, value], index) => ({
    // For an event about partners the entry is the business.
    entryId: 'waba_info' in value ? '2329417887457253' : subject.wabaId,
    field,
    value,
    happenedAt: new Date((last - described.length + 1 + index) * 1_000),
  }));
}
