// The rules of alerts: a fixed set with names, so that nobody has to write or learn an expression language.

export const severities = ['CRITICAL', 'WARNING', 'INFO'] as const;
export type Severity = (typeof severities)[number];

export interface Rule {
  readonly severity: Severity;
  /** A cause must last so long before an incident is opened; 0: until an evaluation has reached the present time. */
  readonly holdSeconds: number;
  /** False for something that happens, which is over at once. */
  readonly lasts: boolean;
  /** Incidents of these scopes are of their subject as a whole, and not of several of its numbers. Meta bans both. */
  readonly wholes?: readonly WholeScope[];
  readonly meaning: string;
  /** For a single number, where the meaning is about more. */
  readonly ofNumber?: string;
  /** For an account, where the meaning is about more. */
  readonly ofAccount?: string;
  /** For several accounts, which are one incident as several numbers are. */
  readonly ofAccounts?: string;
  /** That something that lasts is over, whether of one number or of several. */
  readonly end?: string;
  /** The meaning for several numbers, after how many there are; absent where the rule is not about single numbers. */
  readonly ofSeveral?: string;
  /** Why it is so, by the value with which it began; added to the meaning. */
  readonly reasons?: Readonly<Record<string, string>>;
  /** Added to the text of the incident that covers this rule; see `coveredBy`. */
  readonly asConsequence?: string;
}

export type WholeScope = 'ACCOUNT' | 'PORTFOLIO' | 'TOKEN';

/** A later release may add rules. */
export const alertRules = {
  SENDABLE_LOST: {
    severity: 'CRITICAL',
    holdSeconds: 60,
    lasts: true,
    meaning: 'The number cannot start conversations any more.',
    ofSeveral: 'numbers cannot start conversations any more.',
    asConsequence: 'Conversations cannot be started any more.',
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
    wholes: ['PORTFOLIO', 'ACCOUNT'],
    meaning: 'The messaging limit that all numbers of a business portfolio share has changed.',
  },
  STATUS_CHANGED: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    meaning: "Meta's status of the number is not CONNECTED any more.",
    ofSeveral: 'numbers are not CONNECTED at Meta any more.',
    asConsequence: "Meta's status is not CONNECTED any more.",
    end: "It is over: Meta's status is CONNECTED again, or another alert tells of it.",
  },
  RESTRICTED: {
    severity: 'CRITICAL',
    holdSeconds: 0,
    lasts: true,
    wholes: ['ACCOUNT'],
    meaning: 'Meta has restricted the account.',
    end: 'The restrictions of the account have ended.',
  },
  RESTRICTION_LIFTED: {
    severity: 'INFO',
    holdSeconds: 0,
    lasts: false,
    wholes: ['ACCOUNT'],
    meaning: 'A restriction of the account has ended.',
  },
  ACCOUNT_BANNED: {
    severity: 'CRITICAL',
    holdSeconds: 0,
    lasts: true,
    wholes: ['ACCOUNT'],
    meaning: 'Meta has disabled or banned the account or the number.',
    ofNumber: 'Meta has banned the number.',
    ofSeveral: 'numbers were banned by Meta.',
    ofAccount: 'Meta has disabled the account.',
    end: 'This alert has ended: Meta reports no ban any more, or the alert of the account or of several numbers tells of it.',
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
    // The code of the change does not say what Meta refuses.
    meaning:
      'Meta refuses reads of the number, because of the access token, a permission, the app, the account or an id; the reasons of the number say why.',
    ofSeveral:
      'numbers cannot be read: Meta refuses, because of the access token, a permission, the app, the account or an id; the reasons of the numbers say why.',
    end: 'It is over: Meta does not refuse reads any more, or they fail for another reason.',
  },
  TOKEN_EXPIRING: {
    severity: 'WARNING',
    holdSeconds: 0,
    lasts: true,
    wholes: ['TOKEN'],
    meaning: 'The access token, or its permission to read data, ends within 7 days, or has ended.',
    end: 'It is over: the access token is valid for more than 7 days.',
  },
  READS_FAILING: {
    severity: 'WARNING',
    holdSeconds: 60,
    lasts: true,
    meaning: 'Reads of the number fail for another reason than a refusal by Meta.',
    ofSeveral: 'numbers cannot be read, for another reason than a refusal by Meta.',
    end: 'It is over: reads succeed again, or Meta refuses them.',
  },
  DISCONNECTED: {
    severity: 'CRITICAL',
    holdSeconds: 60,
    lasts: true,
    meaning: 'The number has lost its connection.',
    ofSeveral: 'numbers have lost their connection.',
    asConsequence: 'The connection is lost.',
    end: 'It is over: the connection is there again.',
  },
  SYNC_LATE: {
    severity: 'WARNING',
    // After a start, what is due is read first.
    holdSeconds: 300,
    lasts: true,
    wholes: ['ACCOUNT'],
    meaning:
      'The numbers of the account, or their health, could not be read in the background for more than twice as long as planned, and for more than 10 minutes.',
    ofAccounts:
      'The numbers of several accounts, or their health, could not be read in the background for more than twice as long as planned, and for more than 10 minutes.',
    reasons: {
      META_UNAVAILABLE:
        'The last read failed: Meta could not be reached, or its response was invalid.',
      META_TIMEOUT: 'The last read failed: Meta did not respond in time.',
      META_RATE_LIMITED:
        'The last read was not possible: the calls that Meta allows for the account, or the share of them for the background, are used up. It goes on by itself.',
    },
    end: 'It is over: what was late was read, or Meta refuses the access token.',
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
    wholes: ['ACCOUNT'],
    meaning: "Meta's webhooks about the account do not arrive.",
    ofAccounts: "Meta's webhooks about several accounts do not arrive.",
    end: "It is over: Meta's webhooks arrive, or none are expected.",
  },
} as const satisfies Record<string, Rule>;

export type RuleName = keyof typeof alertRules;
export const ruleNames = Object.keys(alertRules) as readonly RuleName[];

/**
 * Which rules explain which others of the same number, the most specific first. What is explained opens no incident of its own:
 * the incident of the cause covers it, and endpoints that are told only of the covered rule are told of that incident. When the
 * cause ends and what it explained does not, that opens an incident.
 *
 * WHILE_IT_LASTS: whatever follows meanwhile is explained: a number that is banned or disconnected cannot send. TOGETHER: only
 * what begins with it is, because a number whose status is FLAGGED, for example, can send, and may lose that later for another
 * reason.
 */
export const coveredBy: Readonly<
  Partial<Record<RuleName, Readonly<Partial<Record<RuleName, 'WHILE_IT_LASTS' | 'TOGETHER'>>>>>
> = {
  STATUS_CHANGED: { ACCOUNT_BANNED: 'WHILE_IT_LASTS' },
  DISCONNECTED: { ACCOUNT_BANNED: 'WHILE_IT_LASTS', STATUS_CHANGED: 'TOGETHER' },
  SENDABLE_LOST: {
    ACCOUNT_BANNED: 'WHILE_IT_LASTS',
    // One that blocks conversations.
    RESTRICTED: 'WHILE_IT_LASTS',
    STATUS_CHANGED: 'TOGETHER',
    DISCONNECTED: 'WHILE_IT_LASTS',
  },
};

/** Whether incidents of this name and scope are about their subject as a whole; ACCOUNT_BANNED may be about numbers too. */
export function isOfWhole(name: string, scope: string): boolean {
  const { wholes = [] } = findRule(name);
  return wholes.some((whole) => whole === scope);
}

/** Without any property for a rule of a later release. */
export function findRule(name: string): Partial<Rule> {
  return Object.hasOwn(alertRules, name) ? alertRules[name as RuleName] : {};
}
