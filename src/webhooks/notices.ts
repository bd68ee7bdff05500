// Reads from events what Meta announces of an account to webhooks alone.

import type { AccountNotices, Ban, ListedRestriction, Notice } from '../numbers/account-notices.ts';
import type { MetaEvent } from './event.ts';

/** An event, as it is stored. */
export type StoredEvent = Pick<MetaEvent, 'digest' | 'field' | 'event' | 'payload'> & {
  /** Meta's time, or that of the receipt where Meta gave none. */
  readonly happenedAt: Date;
};

/** The fields of events that announce anything. Those of the index in migrations/0028_keep_notices_of_accounts.ts. */
export const noticeFields: ReadonlySet<string> = new Set([
  'account_update',
  'business_capability_update',
]);

type Json = Readonly<Record<string, unknown>>;

/** What the event announces; null when it is nothing. */
export function readNotices(stored: StoredEvent): AccountNotices | null {
  const { field, event, payload, digest } = stored;
  if (payload === null || !noticeFields.has(field)) return null;
  const value = JSON.parse(payload) as Json;
  const reportedAt = stored.happenedAt.toISOString();
  const toNotice = <T>(it: T | undefined): Notice<T> | undefined =>
    it === undefined ? undefined : { reportedAt, digest, value: it };
  const notices =
    field === 'account_update'
      ? {
          restrictions: toNotice(readRestrictions(value['restriction_info'])),
          ban: toNotice(readBan(value['ban_info'])),
          violation: toNotice(readViolation(value['violation_info'])),
          disconnection: toNotice(readDisconnection(event, value['disconnection_info'])),
        }
      : {
          messagingLimitTier: toNotice(readLimit(value)),
          maxPhoneNumbers: toNotice(readMaxPhoneNumbers(value)),
        };
  const announced = Object.entries(notices).filter(([, notice]) => notice !== undefined);
  return announced.length === 0 ? null : (Object.fromEntries(announced) as AccountNotices);
}

/** All that the account is restricted from, each type once; undefined for what is no list. */
function readRestrictions(listed: unknown): readonly ListedRestriction[] | undefined {
  if (!Array.isArray(listed)) return undefined;
  const byKind = new Map<string, ListedRestriction>();
  for (const item of listed.map(toObject)) {
    const kind = toWord(item['restriction_type']);
    if (kind === null) continue;
    const expiresAt = toTime(item['expiration']);
    const remediation = toText(item['remediation']);
    const known = byKind.get(kind);
    // The one that ends last is the one that matters.
    if (known === undefined || isLater(expiresAt, known.expiresAt)) {
      byKind.set(kind, { kind, expiresAt, remediation });
    }
  }
  return [...byKind.values()];
}

/** One without a time ends last. */
function isLater(one: string | null, other: string | null): boolean {
  return other !== null && (one === null || one > other);
}

function readBan(given: unknown): Ban | undefined {
  const { waba_ban_state: state, waba_ban_date: date } = toObject(given);
  // In the wild, some events have several states.
  const word = toWord(Array.isArray(state) ? state.at(-1) : state);
  return word === null ? undefined : { state: word, date: toText(date) };
}

function readViolation(given: unknown) {
  const { violation_type: type, remediation } = toObject(given);
  const word = toWord(type);
  return word === null ? undefined : { type: word, remediation: toText(remediation) };
}

const connections: ReadonlySet<string> = new Set([
  'ACCOUNT_RECONNECTED',
  'PARTNER_ADDED',
  'PARTNER_APP_INSTALLED',
]);
const disconnections: ReadonlySet<string> = new Set(['ACCOUNT_OFFBOARDED', 'PARTNER_REMOVED']);

function readDisconnection(event: string | null, given: unknown) {
  if (event !== null && connections.has(event)) return null;
  const { reason, initiated_by: initiatedBy } = toObject(given);
  const words = { reason: toWord(reason), initiatedBy: toWord(initiatedBy) };
  const isDisconnected = words.reason !== null || (event !== null && disconnections.has(event));
  return isDisconnected ? words : undefined;
}

/** The older field is of each number and has the same numbers. */
function readLimit(value: Json): string | undefined {
  const limit =
    value['max_daily_conversations_per_business'] ?? value['max_daily_conversation_per_phone'];
  const text = toDigits(limit);
  if (text === null) return toWord(limit) ?? undefined;
  return limitWords[text] ?? text;
}

/** https://developers.facebook.com/docs/whatsapp/messaging-limits */
const limitWords: Readonly<Record<string, string>> = {
  '-1': 'TIER_UNLIMITED',
  50: 'TIER_50',
  250: 'TIER_250',
  1000: 'TIER_1K',
  2000: 'TIER_2K',
  10000: 'TIER_10K',
  100000: 'TIER_100K',
};

function readMaxPhoneNumbers(value: Json): number | undefined {
  const text = toDigits(
    value['max_phone_numbers_per_waba'] ?? value['max_phone_numbers_per_business'],
  );
  return text === null ? undefined : Number(text);
}

function toObject(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

function toWord(value: unknown): string | null {
  return typeof value === 'string' && /^\w{1,100}$/.test(value) ? value : null;
}

const maxTextLength = 1_000;

/** PostgreSQL stores neither NUL nor half of a surrogate pair. */
function toText(value: unknown): string | null {
  if (typeof value !== 'string' || value === '') return null;
  return value.slice(0, maxTextLength).toWellFormed().replaceAll('\0', '\uFFFD');
}

/** A whole number, given as a number or as text. */
function toDigits(value: unknown): string | null {
  const text = typeof value === 'number' ? String(value) : value;
  return typeof text === 'string' && /^(-1|\d{1,9})$/.test(text) ? text : null;
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
