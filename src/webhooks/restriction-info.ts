// Reads the restrictions of an account from its events, and says which of several lists counts.

import type { Restriction } from '../numbers/restriction.ts';
import type { MetaEvent } from './event.ts';

/** One restriction, as an event lists it. */
export interface ListedRestriction {
  /** Meta's `restriction_type`. */
  readonly kind: string;
  /** In ISO 8601; null if Meta gave no time, or one that cannot be read. */
  readonly expiresAt: string | null;
  /** What Meta says to do about it. */
  readonly remediation: string | null;
}

/** All restrictions that the account had at the time of an event. */
export interface RestrictionList {
  /** In ISO 8601, by Meta. */
  readonly reportedAt: string;
  /** Orders the lists of one second. */
  readonly digest: string;
  readonly restrictions: readonly ListedRestriction[];
}

/** The list that the event carries; null for one that says nothing of restrictions. */
export function readRestrictions(event: MetaEvent, receivedAt: Date): RestrictionList | null {
  if (event.field !== 'account_update' || event.payload === null) return null;
  const value = JSON.parse(event.payload) as Readonly<Record<string, unknown>>;
  const listed = value['restriction_info'];
  if (!Array.isArray(listed)) return null;
  const restrictions = listed.flatMap((item: unknown): readonly ListedRestriction[] => {
    const restriction = (item ?? {}) as Readonly<Record<string, unknown>>;
    const kind = restriction['restriction_type'];
    if (typeof kind !== 'string' || !/^\w{1,100}$/.test(kind)) return [];
    const remediation = restriction['remediation'];
    return [
      {
        kind,
        expiresAt: toTime(restriction['expiration']),
        remediation: typeof remediation === 'string' ? remediation.slice(0, 1_000) : null,
      },
    ];
  });
  const reportedAt = (event.happenedAt ?? receivedAt).toISOString();
  return { reportedAt, digest: event.digest, restrictions };
}

/** Seconds since 1970 as a number or as text, or a time such as `2026-04-19T13:59:20+0000`. */
function toTime(value: unknown): string | null {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string') return null;
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(text);
  const time = /^\d{1,11}$/.test(text)
    ? new Date(Number(text) * 1_000)
    : new Date(isTime ? text.replace(/([+-]\d\d)(\d\d)$/, '$1:$2') : NaN);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}

/**
 * The list that counts: the newest by Meta's time, whichever arrived first, and of one second that with the higher digest. Each
 * list has everything that the account is restricted from, so nothing of an older one is kept.
 */
export function toNewest(one: RestrictionList | null, other: RestrictionList): RestrictionList {
  if (one === null || one.reportedAt < other.reportedAt) return other;
  return one.reportedAt === other.reportedAt && one.digest < other.digest ? other : one;
}

/** As the rules about sending take them. */
export function toEvidence(wabaId: string, list: RestrictionList): readonly Restriction[] {
  return list.restrictions.map(({ kind, expiresAt }) => ({
    kind,
    wabaId,
    reportedAt: list.reportedAt,
    expiresAt,
    omittedAt: null,
    availableFrom: null,
    availableTo: null,
  }));
}
