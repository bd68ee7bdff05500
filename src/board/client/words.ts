// How the board says things: the words for Meta's values, durations, times and counts. Pure.

import type { Change, FleetNumber, Reason, Verdict } from './queries.ts';

export const verdictWords: Readonly<Record<Verdict, string>> = {
  YES: 'Can send',
  NO: 'Cannot send',
  UNKNOWN: 'Unknown',
};

/** `TIER_100K` as 100K. */
export function formatLimit({
  messagingLimitTier,
  messagingLimitTierRaw,
}: FleetNumber['health']): string {
  if (messagingLimitTier === null) return '—';
  if (messagingLimitTier === 'UNRECOGNIZED') return shorten(messagingLimitTierRaw ?? '?');
  if (messagingLimitTier === 'TIER_UNLIMITED') return 'No limit';
  return /^TIER_\d+K?$/.test(messagingLimitTier) ? messagingLimitTier.slice(5) : '—';
}

export function formatQuality({ qualityRating, qualityRatingRaw }: FleetNumber['health']): string {
  if (qualityRating === null) return '—';
  if (qualityRating === 'UNRECOGNIZED') return shorten(qualityRatingRaw ?? '?');
  return ['UNKNOWN', 'NA'].includes(qualityRating) ? 'Not rated' : toWords(qualityRating);
}

const states: Readonly<Record<string, string>> = {
  OPEN: 'Connected',
  CONNECTING: 'Connecting',
  CLOSE: 'Disconnected',
};

/** Meta's status, or the connection state of a number that is not Meta's. */
export function formatStatus({ health, state, provider }: FleetNumber): string {
  if (provider !== 'META') return states[state] ?? toWords(state);
  if (health.metaStatus === null) return '—';
  return health.metaStatus === 'UNRECOGNIZED'
    ? shorten(health.metaStatusRaw ?? '?')
    : toWords(health.metaStatus);
}

/** `RATE_LIMITED` as Rate limited. */
export function toWords(text: string): string {
  const words = text.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function shorten(text: string, length = 24): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** As people write it if Meta says how, otherwise the digits. */
export function formatNumber({ number, meta }: Pick<FleetNumber, 'number' | 'meta'>): string {
  return meta?.phone?.displayPhoneNumber ?? (number === '' ? 'no number stored' : `+${number}`);
}

/** What stands for the number in headings and links, which must not be empty. */
export function formatName(number: Pick<FleetNumber, 'name' | 'number' | 'meta'>): string {
  return number.name.trim() === '' ? formatNumber(number) : number.name;
}

const units = [
  { name: 'y', seconds: 365 * 86_400, until: Infinity },
  { name: 'd', seconds: 86_400, until: 2 * 365 * 86_400 },
  { name: 'h', seconds: 3_600, until: 48 * 3_600 },
  { name: 'min', seconds: 60, until: 3_600 },
  { name: 's', seconds: 1, until: 60 },
] as const;

/** In one unit: 12 s, 5 min, 26 h, 3 d, 2 y. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const unit = units.findLast(({ until }) => seconds < until) ?? units[0];
  return `${Math.floor(seconds / unit.seconds)} ${unit.name}`;
}

/** In two units, for what a countdown shows: 3 d 4 h, 4 h 12 min, 12 min, 40 s. */
function formatRemaining(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return formatDuration(ms);
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24];
  const parts =
    days > 0
      ? [`${days} d`, hours && `${hours} h`]
      : [hours && `${hours} h`, minutes % 60 && `${minutes % 60} min`];
  return parts.filter(Boolean).join(' ');
}

const utcDay = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  timeZone: 'UTC',
});
const utcDayOfYear = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: 'UTC' });
const utcMinute = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  timeZone: 'UTC',
});

/** `ends in 3 d 4 h (4 Dec, 14:00 UTC)`. Meta gives no end for some restrictions. */
export function formatEnd(expiresAt: string | null, now: number): string {
  if (expiresAt === null) return 'without an end that Meta has told';
  const at = new Date(expiresAt);
  const isThisYear = at.getUTCFullYear() === new Date(now).getUTCFullYear();
  const date = (isThisYear ? utcDay : utcDayOfYear).format(at);
  const moment = `${date}, ${utcMinute.format(at)} UTC`;
  const ms = at.getTime() - now;
  return ms <= 0 ? `has ended (${moment})` : `ends in ${formatRemaining(ms)} (${moment})`;
}

/** When values are read next, as `next in 2 min`; null if nothing is planned. */
export function formatNext(nextSyncAt: string | null, now: number): string | null {
  if (nextSyncAt === null) return null;
  const ms = Date.parse(nextSyncAt) - now;
  return ms < 1_000 ? 'next read due' : `next in ${formatDuration(ms)}`;
}

export function formatAge(at: string | null, now: number): string {
  if (at === null) return 'never';
  const ms = now - Date.parse(at);
  return ms < 5_000 ? 'now' : `${formatDuration(ms)} ago`;
}

const clock = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});
const minute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const dayOfYear = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' });

export const formatClock = (at: number | Date): string => clock.format(at);
export const formatDay = (at: string | Date): string => day.format(new Date(at));
export const formatMinute = (at: number | Date): string => minute.format(at);
export const formatFull = (at: string): string => full.format(new Date(at));

/** The time of today, the date of another day, with the year if it is another one. */
export function formatMoment(at: string, now: number): string {
  const date = new Date(at);
  if (dayOfYear.format(date) === dayOfYear.format(now)) return minute.format(date);
  const isThisYear = date.getFullYear() === new Date(now).getFullYear();
  return (isThisYear ? day : dayOfYear).format(date);
}

const count = new Intl.NumberFormat('en-GB');
export const formatCount = (value: number): string => count.format(value);

/** Said of old values in the place of more precise reasons. */
export function isGeneral({ entity, field }: Reason): boolean {
  return entity === 'SNAPSHOT' && (field === 'stale' || field === 'observedAt');
}

/** The reason that a row shows; null if there is none. */
export function findMainReason(health: Pick<FleetNumber['health'], 'sendability'>): Reason | null {
  const { verdict, reasons } = health.sendability;
  const effect = { NO: 'BLOCKS', UNKNOWN: 'INCONCLUSIVE', YES: 'INFORMS' }[verdict];
  const candidates = reasons.filter((reason) => reason.effect === effect);
  // Why nothing can be read comes first, and what an old reading says comes last.
  const refusal = candidates.find((reason) => reason.entity === 'SNAPSHOT' && !isGeneral(reason));
  return refusal ?? candidates.find(isGeneral) ?? candidates[0] ?? reasons[0] ?? null;
}

export interface Explanation {
  readonly text: string;
  readonly solution: string | null;
}

/** Why a number has its verdict, and what to do. A number that can send without any reason has none. */
export function explain(
  health: Pick<FleetNumber['health'], 'sendability' | 'freshness'>,
): Explanation | null {
  const reason = findMainReason(health);
  const failure = health.freshness?.error ?? null;
  if (reason !== null && !isGeneral(reason)) return reason;
  if (failure !== null) {
    // The rest of a message says what to do.
    const [text = failure.message, ...rest] = failure.message.split(/(?<=[.!?])\s/);
    const otherwise =
      reason === null ? 'The last good values are kept.' : 'Values are too old to rely on.';
    return { text, solution: rest.join(' ') || otherwise };
  }
  if (reason === null) return null;
  return health.freshness?.observedAt
    ? { text: 'The last reading is too old to rely on.', solution: 'Read the number now.' }
    : { text: 'The number has never been read.', solution: 'Read the number now.' };
}

const fieldWords: Readonly<Record<string, string>> = {
  META_STATUS: 'Status',
  QUALITY_RATING: 'Quality',
  MESSAGING_LIMIT_TIER: 'Limit',
  VERDICT: 'Can send',
  REPLY_VERDICT: 'Can reply',
  STATE: 'Connection',
  PIN_ENABLED: 'Two-step PIN',
  PHONE: 'Number',
};

const kindWords: Readonly<Record<string, string>> = {
  ADDED: 'Added',
  REMOVED: 'Removed',
  READ_FAILING: 'Reads began to fail',
  READ_RECOVERED: 'Reads work again',
};

/** What changed, in words, without the values. */
export function describeChange({ kind, field, previousValue, newValue }: Change): string {
  const subject = field === null ? null : (fieldWords[field] ?? toWords(field));
  if (kind === 'FIELD' || kind === 'VERDICT') return subject ?? toWords(kind);
  if (kind === 'ADDED')
    return subject === null ? 'Added to the gateway' : `${subject} read for the first time`;
  if (kind === 'GAP') {
    const ms = Date.parse(newValue ?? '') - Date.parse(previousValue ?? '');
    return Number.isNaN(ms) ? 'Not observed for a while' : `Not observed for ${formatDuration(ms)}`;
  }
  if (kind === 'MUTE') return formatMute(newValue);
  if (kind === 'REFRESH') return formatRefresh(newValue);
  if (kind === 'INCIDENT') return describeIncident(previousValue, newValue);
  if (kind === 'LABELS') {
    const labels = JSON.parse(newValue ?? '[]') as readonly string[];
    return labels.length === 0 ? 'Labels removed' : `Labels ${labels.join(', ')}`;
  }
  if (kind === 'SECURITY') return `Two-step PIN: ${toWords(newValue ?? 'changed')}`;
  const words = kindWords[kind] ?? toWords(kind);
  return subject === null ? words : `${words}: ${subject.toLowerCase()}`;
}

interface IncidentValue {
  readonly rule?: string;
  readonly state?: string;
}

/** What has become of an incident, from the values of a change. */
function describeIncident(previousValue: string | null, newValue: string | null): string {
  const { rule = '', state } = JSON.parse(newValue ?? '{}') as IncidentValue;
  const isNew = previousValue === null;
  const isOver = state === 'CLOSED';
  const what = isOver && !isNew ? 'over' : isNew ? 'opened' : 'acknowledged';
  return isNew && isOver ? toWords(rule) : `Incident ${what}: ${toWords(rule).toLowerCase()}`;
}

/** The end of a mute, from the value of a change. */
function formatMute(value: string | null): string {
  const { until } = JSON.parse(value ?? '{}') as { readonly until?: string };
  return until === undefined ? 'Alerts are on again' : `Alerts muted until ${formatFull(until)}`;
}

/** What somebody has asked to be read, from the value of a change. */
function formatRefresh(value: string | null): string {
  const { blocks = [] } = JSON.parse(value ?? '{}') as { readonly blocks?: readonly string[] };
  const parts = blocks.map((block) => (fieldWords[block] ?? toWords(block)).toLowerCase());
  return parts.length === 0 ? 'A read was asked for' : `A read was asked for: ${parts.join(', ')}`;
}

/** A value of a change, as the board shows it elsewhere. */
export function formatValue(value: string | null): string {
  if (value === null || value === '') return 'none';
  const words: Readonly<Record<string, string>> = {
    YES: 'yes',
    NO: 'no',
    UNKNOWN: 'unknown',
    true: 'on',
    false: 'off',
  };
  return shorten(words[value] ?? value.replace(/^TIER_/, ''), 80);
}

/** `team=ops` as team. */
export function toLabelKey(label: string): string {
  return label.slice(0, Math.max(0, label.indexOf('=')));
}
