// What Meta announces of an account to webhooks alone, and which of several announcements counts: restrictions, bans,
// violations, disconnections and limits.

import { type Reason, toReason } from './reason.ts';
import { isInForce, type Restriction, toRestrictionEffect } from './restriction.ts';
import { toMeaning } from './vocabulary.ts';

/** One restriction, as an event lists it. */
export interface ListedRestriction {
  /** Meta's `restriction_type`. */
  readonly kind: string;
  /** In ISO 8601; null if Meta gave no time, or one that cannot be read. */
  readonly expiresAt: string | null;
  /** What Meta says to do about it. */
  readonly remediation: string | null;
}

export interface Ban {
  /** Meta's `waba_ban_state`. */
  readonly state: string;
  /** Prose without a time zone, so nothing is computed with it. */
  readonly date: string | null;
}

export interface Violation {
  /** Meta's `violation_type`. */
  readonly type: string;
  readonly remediation: string | null;
}

export interface Disconnection {
  /** Meta's word; null if it gave none. */
  readonly reason: string | null;
  readonly initiatedBy: string | null;
}

/** The newest that was announced of one subject. */
export interface Notice<T> {
  /** In ISO 8601, by Meta. */
  readonly reportedAt: string;
  /** Of the event. Orders those of one second. */
  readonly digest: string;
  readonly value: T;
}

/** By subject; those of which nothing was announced are missing. */
export interface AccountNotices {
  /** Everything that the account was restricted from at that time. */
  readonly restrictions?: Notice<readonly ListedRestriction[]>;
  readonly ban?: Notice<Ban>;
  readonly violation?: Notice<Violation>;
  /** The value is null once the account is connected again. */
  readonly disconnection?: Notice<Disconnection | null>;
  /** In the words of MessagingLimitTier. */
  readonly messagingLimitTier?: Notice<string>;
  readonly maxPhoneNumbers?: Notice<number>;
}

/** When the health of the account was read as AVAILABLE without another value since; see `Restriction`. */
export type AvailableReads = Pick<Restriction, 'availableFrom' | 'availableTo'>;

/**
 * Of each subject the newest by Meta's time, whichever arrived first, and of one second that with the higher digest. So the
 * order of arrival does not matter, nor how often an event arrives.
 */
export function mergeNotices(one: AccountNotices, other: AccountNotices): AccountNotices {
  const merged: Record<string, Notice<unknown>> = { ...one };
  for (const [subject, notice] of Object.entries(other) as [string, Notice<unknown>][]) {
    const known = merged[subject];
    if (known === undefined || isNewer(notice, known)) merged[subject] = notice;
  }
  return merged;
}

function isNewer(one: Notice<unknown>, other: Notice<unknown>): boolean {
  if (one.reportedAt !== other.reportedAt) return one.reportedAt > other.reportedAt;
  return one.digest > other.digest;
}

/** As the rules about sending take them, in force or not. */
export function toRestrictions(
  wabaId: string,
  { restrictions }: AccountNotices,
  { availableFrom, availableTo }: AvailableReads,
): readonly Restriction[] {
  if (restrictions === undefined) return [];
  const { reportedAt, value } = restrictions;
  return value.map(({ kind, expiresAt, remediation }) => ({
    kind,
    wabaId,
    reportedAt,
    expiresAt,
    remediation,
    omittedAt: null,
    availableFrom,
    availableTo,
  }));
}

/** What of the restrictions is in force at a moment, as account_notice has it. */
export interface OpenRestrictions {
  readonly open: readonly { readonly type: string; readonly expiresAt: string | null }[];
  readonly effect: ReturnType<typeof toRestrictionEffect>;
  /** When the first of them ends; null when time ends none. */
  readonly nextEnd: string | null;
  /** Whether one of them has no expiry time, so that reads may end it. */
  readonly endsByReads: boolean;
}

export function findOpen(restrictions: readonly Restriction[], now: Date): OpenRestrictions {
  const inForce = restrictions.filter((it) => isInForce(it, now));
  const ends = inForce.map(({ expiresAt }) => expiresAt).filter((end) => end !== null);
  return {
    open: inForce.map(({ kind, expiresAt }) => ({ type: kind, expiresAt })),
    effect: toRestrictionEffect(inForce.map(({ kind }) => kind)),
    nextEnd: ends.toSorted()[0] ?? null,
    endsByReads: ends.length < inForce.length,
  };
}

/** Bans and disconnections inform: the reads that follow them find what they change for sending. */
export function listNoticeReasons(
  wabaId: string | null,
  { ban, disconnection }: AccountNotices,
): readonly Reason[] {
  const reasons: Reason[] = [];
  if (ban !== undefined && ban.value.state !== 'REINSTATE') {
    const { state, date } = ban.value;
    const meaning = toMeaning('BanState', state) ?? 'Meta has changed the state of the account.';
    const text = date === null ? meaning : `${meaning} The date is ${date}.`;
    const solution = "Appeal in Meta's Business Support Home.";
    reasons.push(
      toReason('WABA', 'waba_ban_state', state, 'INFORMS', text, { entityId: wabaId, solution }),
    );
  }
  const disconnected = disconnection?.value ?? null;
  if (disconnected !== null) {
    const { reason } = disconnected;
    const meaning = reason === null ? null : toMeaning('DisconnectionReason', reason);
    const text = `The account was disconnected from the app.${meaning === null ? '' : ` ${meaning}`}`;
    const solution = 'Connect the account again, from the app or from the business.';
    reasons.push(
      toReason('WABA', 'disconnection_info', reason, 'INFORMS', text, {
        entityId: wabaId,
        solution,
      }),
    );
  }
  return reasons;
}
