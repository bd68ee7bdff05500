// Meta's enumerations: their values, and what each means.

/**
 * The values of each enumeration. Values that Meta spells in lower case are in upper case here. A value that is not listed is
 * stored as it is, and returned as UNRECOGNIZED.
 */
export const vocabularies = {
  QualityRating: {
    meaning:
      'The quality of the messages, which Meta computes from blocks and reports of the last seven days.',
    words: {
      GREEN: 'High quality.',
      YELLOW: 'Medium quality: people block or report the number often.',
      RED: 'Low quality: Meta may flag or restrict the number.',
      UNKNOWN: 'Meta has not rated the number yet, usually because it has sent too little.',
      NA: 'Not rated; another spelling of UNKNOWN that Meta sometimes uses.',
    },
  },
  MessagingLimitTier: {
    meaning:
      'How many different people the business may start a conversation with in 24 hours. The limit belongs to the business portfolio and is shared by all of its numbers.',
    words: {
      TIER_50: 'Up to 50 people.',
      TIER_250: 'Up to 250 people; the limit of a new business.',
      TIER_1K: 'Up to 1,000 people; an older limit, which Meta has replaced by TIER_2K.',
      TIER_2K: 'Up to 2,000 people.',
      TIER_10K: 'Up to 10,000 people.',
      TIER_100K: 'Up to 100,000 people.',
      TIER_UNLIMITED: 'No limit.',
      UNTIERED: 'Meta has not assigned a limit.',
      TIER_NOT_SET: 'Meta has not assigned a limit; another spelling of UNTIERED.',
    },
  },
  MetaStatus: {
    meaning: "Meta's status of the number.",
    words: {
      CONNECTED: 'Registered and in service.',
      DISCONNECTED: 'Not connected to the WhatsApp network.',
      PENDING: 'Registration has not finished.',
      FLAGGED:
        'The quality is low. The number continues to send; since October 2025 Meta no longer lowers the limit for this.',
      RESTRICTED:
        'The messaging limit is used up: the number cannot start conversations until the limit reopens, within 24 hours. Replies still go out.',
      RATE_LIMITED:
        'The number was asked to send faster than Meta allows, so it sends more slowly than asked.',
      BANNED: 'Meta has banned the number.',
      DELETED: 'The number has been removed from its account.',
      MIGRATED: 'The number has moved to another account.',
      UNVERIFIED: 'Ownership of the number has not been verified.',
      UNKNOWN: 'Meta does not say.',
    },
  },
  NameStatus: {
    meaning: 'The status of the review of the display name.',
    words: {
      APPROVED: 'Approved; people see the name.',
      AVAILABLE_WITHOUT_REVIEW: 'Usable, but not reviewed: people do not see the name everywhere.',
      DECLINED: 'Declined; choose another name.',
      EXPIRED: 'The approval has expired.',
      PENDING_REVIEW: 'In review.',
      NONE: 'There is no name, or none was submitted.',
    },
  },
  CodeVerificationStatus: {
    meaning: 'Whether the code that proves ownership of the number was entered.',
    words: {
      VERIFIED: 'Verified.',
      NOT_VERIFIED: 'Not verified.',
      UNVERIFIED: 'Not verified; another spelling that Meta sometimes uses.',
      EXPIRED: 'The verification has expired.',
    },
  },
  PlatformType: {
    meaning: 'Which of the WhatsApp Business platforms the number is registered on.',
    words: {
      CLOUD_API: "Meta's Cloud API: the number can send through it.",
      ON_PREMISE: 'The retired On-Premises API.',
      NOT_APPLICABLE: 'Not registered on any platform.',
    },
  },
  ThroughputLevel: {
    meaning: 'How many messages a second the number may send.',
    words: {
      STANDARD: 'Up to 80 messages a second.',
      HIGH: 'Up to 1,000 messages a second.',
      NOT_APPLICABLE: 'Meta does not say.',
    },
  },
  AccountMode: {
    meaning: 'Whether the number is for real traffic.',
    words: {
      LIVE: 'Real traffic.',
      SANDBOX: 'A test number.',
    },
  },
  BusinessVertical: {
    meaning: 'The line of business that the profile shows.',
    words: {
      UNDEFINED: 'Not chosen.',
      OTHER: 'Other.',
      AUTO: 'Automotive.',
      BEAUTY: 'Beauty, spa and salon.',
      APPAREL: 'Clothing and apparel.',
      EDU: 'Education.',
      ENTERTAIN: 'Entertainment.',
      EVENT_PLAN: 'Event planning and service.',
      FINANCE: 'Finance and banking.',
      GROCERY: 'Food and grocery.',
      GOVT: 'Public service.',
      HOTEL: 'Hotel and lodging.',
      HEALTH: 'Medical and health.',
      NONPROFIT: 'Non-profit.',
      PROF_SERVICES: 'Professional services.',
      RETAIL: 'Shopping and retail.',
      TRAVEL: 'Travel and transportation.',
      RESTAURANT: 'Restaurant.',
      ALCOHOL: 'Alcoholic beverages.',
      ONLINE_GAMBLING: 'Online gambling and gaming.',
      PHYSICAL_GAMBLING: 'Physical gambling and gaming.',
      OTC_DRUGS: 'Over-the-counter drugs.',
      NOT_A_BIZ: 'Not a business.',
      MATRIMONY_SERVICE: 'Matrimony service.',
    },
  },
  BusinessVerificationStatus: {
    meaning: 'Whether Meta has verified the business behind the account.',
    words: {
      VERIFIED: 'Verified.',
      NOT_VERIFIED: 'Not verified.',
      PENDING: 'In review.',
      PENDING_NEED_MORE_INFO: 'In review; Meta needs more information.',
      PENDING_SUBMISSION: 'Started, but not submitted.',
      EXPIRED: 'The verification has expired.',
      FAILED: 'The verification failed.',
      INELIGIBLE: 'The business cannot be verified.',
      REJECTED: 'Rejected.',
      REVOKED: 'Revoked by Meta.',
    },
  },
  AccountReviewStatus: {
    meaning: 'The status of the review of the WhatsApp Business account.',
    words: {
      APPROVED: 'Approved.',
      PENDING: 'In review.',
      REJECTED: 'Rejected.',
      LIMIT_REACHED: 'The limit of accounts is reached.',
      RESTRICTED: 'Restricted.',
    },
  },
  OwnershipType: {
    meaning: 'Who owns the WhatsApp Business account.',
    words: {
      SELF_OWNED: 'The business itself.',
      CLIENT_OWNED: 'A client; it is shared with the business.',
      AGENCY_OWNED: 'An agency.',
      ON_BEHALF_OF: 'The business, on behalf of another one.',
    },
  },
  RestrictionType: {
    meaning: 'What Meta restricts an account from.',
    words: {
      RESTRICTED_ADD_PHONE_NUMBER_ACTION: 'Phone numbers cannot be added to the account.',
      RESTRICTION_ON_ADD_PHONE_NUMBER_ACTION:
        'Phone numbers cannot be added to the account; another spelling that Meta sometimes uses.',
      RESTRICTED_BIZ_INITIATED_MESSAGING: 'The account cannot start conversations.',
      RESTRICTED_CUSTOMER_INITIATED_MESSAGING: 'The account cannot reply to customers.',
      RESTRICTED_BIZ_INITIATED_AND_USER_INITIATED_CALLING:
        'The account can neither call customers nor be called by them.',
      RESTRICTED_BUSINESS_INITIATED_CALLING: 'The account cannot call customers.',
      RESTRICTED_USER_INITIATED_CALLING: 'Customers cannot call the account.',
      RESTRICTED_USER_INITIATED_CALLING_CALL_BUTTON_HIDDEN:
        'Customers do not see the button with which they call.',
      RESTRICTED_DIRECT_SEND_UTILITY_TEMPLATES:
        'Utility messages cannot be sent directly, without an approved template.',
      RESTRICTED_UTILITY_TEMPLATES: 'Utility templates cannot be sent.',
      ACCOUNT_DISABLE: 'The account is disabled.',
    },
  },
  BanState: {
    meaning: 'What Meta announced about a ban of an account.',
    words: {
      DISABLE: 'Meta has disabled the account.',
      SCHEDULE_FOR_DISABLE: 'Meta is going to disable the account.',
      REINSTATE: 'Meta has lifted the ban.',
    },
  },
  DisconnectionReason: {
    meaning: 'Why an account was disconnected from the app that sends for it.',
    words: {
      ACCOUNT_DISCONNECTED: 'Somebody has disconnected it.',
      BUSINESS_DOWNGRADE: 'It was changed to a personal account.',
      CHANGE_NUMBER: 'The number of the WhatsApp Business app was changed.',
      COMPANION_INACTIVITY: 'The app that sends for it was not used for too long.',
      PRIMARY_INACTIVITY: 'The WhatsApp Business app was not used for too long.',
      USER_RE_REGISTERED: 'The number was registered in the WhatsApp Business app again.',
    },
  },
} as const satisfies Record<string, { meaning: string; words: Record<string, string> }>;

export type VocabularyName = keyof typeof vocabularies;

/** A value as GraphQL returns it: one of the table, or UNRECOGNIZED. Null stays null. */
export function toWord(vocabulary: VocabularyName, raw: string | null): string | null {
  if (raw === null) return null;
  const word = raw.toUpperCase();
  return Object.hasOwn(vocabularies[vocabulary].words, word) ? word : 'UNRECOGNIZED';
}

/** What a value means; null for one that is not in the table. */
export function toMeaning(vocabulary: VocabularyName, raw: string): string | null {
  const words: Readonly<Record<string, string>> = vocabularies[vocabulary].words;
  const word = raw.toUpperCase();
  return Object.hasOwn(words, word) ? (words[word] ?? null) : null;
}
