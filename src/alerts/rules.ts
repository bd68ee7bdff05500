// The rules of alerts: a fixed set with names, so that nobody has to write or learn an expression language.

export const severities = ['CRITICAL', 'WARNING', 'INFO'] as const;
export type Severity = (typeof severities)[number];

export interface Rule {
  readonly severity: Severity;
  /** A cause must last so long before an incident is opened. */
  readonly holdSeconds: number;
  /** False for something that happens, which is over at once. */
  readonly lasts: boolean;
  /** Whose it is, and not that of single numbers. */
  readonly ofWhole?: 'ACCOUNT' | 'TOKEN';
  readonly meaning: string;
  /** That something that lasts is over, whether of one number or of several. */
  readonly end?: string;
  /** The meaning for several numbers, after how many there are; absent where the rule is not about single numbers. */
  readonly ofSeveral?: string;
}

/** A later release may add rules. */
export const alertRules = {
  SENDABLE_LOST: {
    severity: 'CRITICAL',
    holdSeconds: 60,
    lasts: true,
    meaning: 'The number cannot start conversations any more.',
    ofSeveral: 'numbers cannot start conversations any more.',
    end: 'It is over: conversations can be started again.',
  },
  SENDABLE_REGAINED: {
    severity: 'INFO',
    holdSeconds: 60,
    lasts: false,
    meaning: 'The number can start conversations again.',
    ofSeveral: 'numbers can start conversations again.',
  },
  QUALITY_DROPPED: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    meaning: 'Meta rates the quality of the number as medium or low.',
    ofSeveral: 'numbers have a quality that Meta rates as medium or low.',
    end: 'It is over: Meta does not rate the quality as medium or low any more.',
  },
  LIMIT_CHANGED: {
    severity: 'INFO',
    holdSeconds: 60,
    lasts: false,
    meaning: 'The messaging limit of the number or its account has changed.',
    ofSeveral: 'numbers have another messaging limit.',
  },
  STATUS_CHANGED: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    meaning: "Meta's status of the number is not CONNECTED any more.",
    ofSeveral: 'numbers are not CONNECTED at Meta any more.',
    end: "It is over: Meta's status is CONNECTED again, or another alert tells of it.",
  },
  RESTRICTED: {
    severity: 'CRITICAL',
    holdSeconds: 0,
    lasts: true,
    ofWhole: 'ACCOUNT',
    meaning: 'Meta has restricted the account.',
    end: 'The restrictions of the account have ended.',
  },
  RESTRICTION_LIFTED: {
    severity: 'INFO',
    holdSeconds: 0,
    lasts: false,
    ofWhole: 'ACCOUNT',
    meaning: 'A restriction of the account has ended.',
  },
  ACCOUNT_BANNED: {
    severity: 'CRITICAL',
    holdSeconds: 0,
    lasts: true,
    ofWhole: 'ACCOUNT',
    meaning: 'Meta has disabled or banned the account or the number.',
    end: 'It is over: Meta reports no ban any more.',
  },
  NAME_DECIDED: {
    severity: 'INFO',
    holdSeconds: 0,
    lasts: false,
    meaning: 'Meta has approved or declined the display name of the number.',
    ofSeveral: 'numbers have a display name that Meta has approved or declined.',
  },
  TOKEN_REJECTED: {
    severity: 'CRITICAL',
    holdSeconds: 60,
    lasts: true,
    meaning: 'Meta refuses the access token.',
    ofSeveral: 'numbers have an access token that Meta refuses.',
    end: 'It is over: Meta accepts the access token again, or reads fail for another reason.',
  },
  TOKEN_EXPIRING: {
    severity: 'WARNING',
    holdSeconds: 0,
    lasts: true,
    ofWhole: 'TOKEN',
    meaning: 'The access token, or its permission to read data, ends within 7 days, or has ended.',
    end: 'It is over: the access token is valid for more than 7 days.',
  },
  READS_FAILING: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    meaning: 'Reads of the number fail for another reason than the access token.',
    ofSeveral: 'numbers cannot be read, for another reason than the access token.',
    end: 'It is over: reads succeed again, or fail because of the access token.',
  },
  DISCONNECTED: {
    severity: 'CRITICAL',
    holdSeconds: 60,
    lasts: true,
    meaning: 'The number has lost its connection.',
    ofSeveral: 'numbers have lost their connection.',
    end: 'It is over: the connection is there again.',
  },
  SYNC_LATE: {
    severity: 'WARNING',
    // After a start, what is due is read first.
    holdSeconds: 300,
    lasts: true,
    ofWhole: 'ACCOUNT',
    meaning:
      'The account was not read in the background for more than twice as long as it should be, and for more than 10 minutes.',
    end: 'It is over: the account was read.',
  },
  PIN_RESET_REQUESTED: {
    severity: 'WARNING',
    holdSeconds: 0,
    lasts: false,
    meaning: "Somebody asked to reset the PIN of the number's two-step verification.",
    ofSeveral: 'numbers had a request to reset the PIN of their two-step verification.',
  },
  WEBHOOK_SILENT: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    ofWhole: 'ACCOUNT',
    meaning: "Meta's webhooks about the account do not arrive.",
    end: "It is over: Meta's webhooks arrive, or none are expected.",
  },
} as const satisfies Record<string, Rule>;

export type RuleName = keyof typeof alertRules;
export const ruleNames = Object.keys(alertRules) as readonly RuleName[];

/** Of what incidents of this name are as a whole; null if they are of single numbers. Meta bans both. */
export function toWhole(name: string): 'ACCOUNT' | 'TOKEN' | null {
  if (!Object.hasOwn(alertRules, name)) return null;
  const { ofWhole }: Rule = alertRules[name as RuleName];
  return ofWhole ?? null;
}
