// The fields that changes name, and what each means.

/** A later release may add fields. */
export const changeFields = {
  STATE: 'The connection state of the number: OPEN, CONNECTING or CLOSE.',
  NAME: 'The name that the tenant gave to the number.',
  NUMBER: 'The digits of the phone number.',
  WABA_ID: "Meta's id of the WhatsApp Business account that the number belongs to.",
  VERDICT: 'Whether the number can start conversations: YES, NO or UNKNOWN.',
  REPLY_VERDICT: 'Whether the number can reply: YES, NO or UNKNOWN.',
  // Those of `fields_of_block` in migrations/0023_record_changes.ts.
  DISPLAY_PHONE_NUMBER: 'The phone number as people see it.',
  VERIFIED_NAME: 'The name that people see.',
  QUALITY_RATING: 'The quality rating of the messages, as Meta spells it.',
  MESSAGING_LIMIT_TIER:
    'How many people the business can start a conversation with in 24 hours, as Meta spells it.',
  PIN_ENABLED: 'Whether two-step verification is on: true or false.',
  META_STATUS: "Meta's status of the number.",
  NAME_STATUS: 'The review of the display name.',
  CODE_VERIFICATION_STATUS: 'Whether the ownership of the number has been verified by a code.',
  PLATFORM_TYPE: 'The platform that the number is registered on.',
  THROUGHPUT_LEVEL: 'How fast the number may send.',
  ACCOUNT_MODE: 'Whether the number is for production or for tests.',
  OFFICIAL_BUSINESS_ACCOUNT: 'Whether the number has a badge of authenticity: true or false.',
  ON_BUSINESS_APP: 'Whether the WhatsApp Business app uses the number too: true or false.',
  HEALTH_PHONE_NUMBER: 'Whether the number itself prevents sending: AVAILABLE, LIMITED or BLOCKED.',
  HEALTH_WABA: 'The same of its WhatsApp Business account.',
  HEALTH_BUSINESS: 'The same of the business that owns the account.',
  HEALTH_APP: 'The same of the apps at Meta that send for it; the worst of them.',
  PROFILE_ABOUT: 'The short text of the business profile.',
  PROFILE_EMAIL: 'The email address of the business profile.',
  PROFILE_WEBSITES: 'The websites of the business profile, as a JSON list.',
  PROFILE_VERTICAL: 'The industry of the business profile.',
  PROFILE_ADDRESS: 'The address of the business profile.',
  PROFILE_DESCRIPTION: 'The description of the business profile.',
  ACCOUNT_NAME: 'The name of the WhatsApp Business account.',
  ACCOUNT_CURRENCY: 'The currency of the account.',
  ACCOUNT_COUNTRY: 'The country of the account.',
  ACCOUNT_TIMEZONE: "Meta's id of the time zone of the account.",
  ACCOUNT_VERIFICATION_STATUS: 'The verification of the business that owns the account.',
  ACCOUNT_REVIEW_STATUS: 'The review of the account.',
  ACCOUNT_MESSAGING_LIMIT_TIER: 'The messaging limit that Meta reports of the account.',
  ACCOUNT_OWNERSHIP_TYPE: 'How the account is owned.',
  ACCOUNT_OWNER_ID: "Meta's id of the business that owns the account.",
  ACCOUNT_OWNER_NAME: 'The name of the business that owns the account.',
  // Written by the gateway; see src/numbers/webhook-route.ts.
  ACCOUNT_WEBHOOK:
    "Whether Meta's webhooks about the account arrive: RECEIVING, SILENT, MISROUTED or UNKNOWN; null while the tenant has no endpoint. See `meta.webhook`.",
  // Parts that are read at once.
  PHONE:
    'The number at Meta as a whole, when its reads begin or cease to fail, or at its first read.',
  PROFILE: 'The business profile as a whole, in the same cases.',
  ACCOUNT: 'The WhatsApp Business account as a whole, in the same cases.',
  CONNECTION: 'The connection state that the session engine reports, in the same cases.',
} as const satisfies Record<string, string>;

export type ChangeField = keyof typeof changeFields;
