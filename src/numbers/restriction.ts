// Restrictions that Meta announces to the webhook of an account: when each of them ends, and what it blocks.

import { type Reason, toReason } from './reason.ts';

/** What an account is restricted from, as its `account_update` webhooks reported it. Times are ISO 8601. */
export interface Restriction {
  /** Meta's `restriction_type`, for example RESTRICTED_BIZ_INITIATED_MESSAGING. */
  readonly kind: string;
  /** The id of the WhatsApp Business account. */
  readonly wabaId: string;
  /** Meta's time of the newest update that lists the restriction. */
  readonly reportedAt: string;
  /** When it ends; null if Meta gave no time. */
  readonly expiresAt: string | null;
  /** Meta's time of the newest update that leaves the restriction out; null if there is none. */
  readonly omittedAt: string | null;
  /**
   * When the account's health was read as AVAILABLE without another value since: the first and the last time. Null if no
   * read since the report said so, or if the last one said something else.
   */
  readonly availableFrom: string | null;
  readonly availableTo: string | null;
}

/** One read may have been answered from before the restriction; a later one that agrees with it was not. */
const minMsBetweenReads = 15 * 60_000;

/**
 * A restriction ends at its expiry time, or with a newer update that leaves it out, in Meta's order and not that of
 * arrival. One without an expiry time also ends when two reads, 15 minutes apart, find the account AVAILABLE; until then
 * reads prove nothing, because the health of a number stays AVAILABLE while its account is restricted.
 */
export function isInForce(restriction: Restriction, now: Date): boolean {
  const { reportedAt, expiresAt, omittedAt, availableFrom, availableTo } = restriction;
  const reportedMs = Date.parse(reportedAt);
  if (omittedAt !== null && Date.parse(omittedAt) > reportedMs) return false;
  if (expiresAt !== null) return now.getTime() < Date.parse(expiresAt);
  if (availableFrom === null || availableTo === null) return true;
  const fromMs = Date.parse(availableFrom);
  return fromMs <= reportedMs || Date.parse(availableTo) - fromMs < minMsBetweenReads;
}

// https://developers.facebook.com/docs/whatsapp/overview/policy-enforcement
const restrictionRules: Readonly<Record<string, Pick<Reason, 'effect' | 'scope' | 'text'>>> = {
  RESTRICTED_BIZ_INITIATED_MESSAGING: {
    effect: 'BLOCKS',
    scope: 'BUSINESS_INITIATED',
    text: 'Meta keeps the account from starting conversations.',
  },
  RESTRICTED_CUSTOMER_INITIATED_MESSAGING: {
    effect: 'BLOCKS',
    scope: 'REPLIES',
    text: 'Meta keeps the account from replying to people.',
  },
  RESTRICTED_ADD_PHONE_NUMBER_ACTION: {
    effect: 'INFORMS',
    scope: 'ALL',
    text: 'Meta keeps the account from adding phone numbers.',
  },
};

const otherRestriction = {
  effect: 'INFORMS',
  scope: 'ALL',
  text: 'Meta has restricted the account.',
} as const;

/** Why a restriction that is in force matters for sending. */
export function toRestrictionReason({ kind, wabaId, expiresAt }: Restriction): Reason {
  const rule = Object.hasOwn(restrictionRules, kind) ? restrictionRules[kind] : undefined;
  const { effect, scope, text } = rule ?? otherRestriction;
  const end = expiresAt === null ? '' : ` The restriction ends at ${expiresAt}.`;
  return toReason('WABA', 'restriction_type', kind, effect, `${text}${end}`, {
    scope,
    entityId: wabaId,
    solution: "Request a review in Meta's Business Support Home.",
  });
}
