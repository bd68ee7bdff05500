// Restrictions that Meta announces to the webhook of an account: when each of them ends, and what it blocks.

import { type Reason, toReason } from './reason.ts';
import { toMeaning } from './vocabulary.ts';

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
  /** What Meta says to do about it. */
  readonly remediation: string | null;
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
export const minMsBetweenReads = 15 * 60_000;

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

/** Any other restriction informs. https://developers.facebook.com/docs/whatsapp/overview/policy-enforcement */
const blockedScopes: Readonly<Record<string, 'BUSINESS_INITIATED' | 'REPLIES'>> = {
  RESTRICTED_BIZ_INITIATED_MESSAGING: 'BUSINESS_INITIATED',
  RESTRICTED_CUSTOMER_INITIATED_MESSAGING: 'REPLIES',
};

function blockedScopeOf(kind: string): 'BUSINESS_INITIATED' | 'REPLIES' | null {
  return (Object.hasOwn(blockedScopes, kind) ? blockedScopes[kind] : undefined) ?? null;
}

/** What the restrictions that are in force do together, as number_status has it. */
export type RestrictionEffect = 'INFORMS' | 'START' | 'REPLIES' | 'BOTH';

/** Null when none is in force. */
export function toRestrictionEffect(kinds: readonly string[]): RestrictionEffect | null {
  if (kinds.length === 0) return null;
  const scopes = new Set(kinds.map(blockedScopeOf));
  if (scopes.has('BUSINESS_INITIATED')) return scopes.has('REPLIES') ? 'BOTH' : 'START';
  return scopes.has('REPLIES') ? 'REPLIES' : 'INFORMS';
}

/** Why a restriction that is in force matters for sending. */
export function toRestrictionReason(restriction: Restriction): Reason {
  const { kind, wabaId, reportedAt, expiresAt, remediation } = restriction;
  const scope = blockedScopeOf(kind);
  const end =
    expiresAt === null ? '' : ` until ${toMoment(new Date(expiresAt), new Date(reportedAt))}`;
  const meaning = toMeaning('RestrictionType', kind);
  const text = `Meta has restricted the account${end}.${meaning === null ? '' : ` ${meaning}`}`;
  return toReason('WABA', 'restriction_type', kind, scope === null ? 'INFORMS' : 'BLOCKS', text, {
    scope: scope ?? 'ALL',
    entityId: wabaId,
    solution: remediation ?? "Request a review in Meta's Business Support Home.",
  });
}

/** For example `4 Dec, 14:00 UTC`, with the year if it is not that of the report. */
function toMoment(time: Date, reportedAt: Date): string {
  // Sun, 04 Dec 2026 14:00:00 GMT
  const [, day, month, year, clock] = time.toUTCString().split(' ');
  const date = `${Number(day)} ${month}`;
  const isSameYear = time.getUTCFullYear() === reportedAt.getUTCFullYear();
  return `${isSameYear ? date : `${date} ${year}`}, ${clock?.slice(0, 5)} UTC`;
}
