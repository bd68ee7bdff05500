// What a value of a number was over time, and for how much of it the number could send. Pure: from what is recorded.

import { staleAfterSeconds, type Timestamp } from '../numbers/number.ts';

/** The values that have a timeline, and what each means. */
export const timelineFields = {
  STATE: 'The connection state: OPEN, CONNECTING or CLOSE.',
  VERDICT: 'Whether the number could start conversations: YES, NO or UNKNOWN.',
  REPLY_VERDICT: 'Whether the number could reply: YES, NO or UNKNOWN.',
  QUALITY_RATING: 'The quality rating, as Meta spells it.',
  META_STATUS: "Meta's status of the number, as Meta spells it.",
  MESSAGING_LIMIT_TIER: 'The messaging limit, as Meta spells it.',
} as const satisfies Record<string, string>;

export type TimelineField = keyof typeof timelineFields;

export interface TimelineSpan {
  /** Null when there was none, or when it is not known. */
  readonly value: string | null;
  readonly from: Timestamp;
  readonly to: Timestamp;
  /** UNOBSERVED while nothing was known of the number: the last read had become too old, or there was none. */
  readonly certainty: 'OBSERVED' | 'UNOBSERVED';
}

export interface Availability {
  /** Of the observed time, the share with the verdict YES; null when nothing was observed. */
  readonly sendableShare: number | null;
  /** Of the whole time. */
  readonly observedShare: number;
}

/** What is recorded of one number and one field. */
export interface Recorded {
  /** When changes of the tenant were first recorded, or the time of the oldest one that is still stored. */
  readonly recordedSince: Timestamp;
  readonly createdAt: Timestamp;
  readonly isMeta: boolean;
  /** When the evidence was read last; null when it never was. */
  readonly observedAt: Timestamp | null;
  /** When the evidence expired, if it has and the gateway has noticed. */
  readonly staleSince: Timestamp | null;
  readonly current: string | null;
  /**
   * In their order: the changes of the field, what was added, and when a status at Meta was forgotten; at least from the
   * first that occurred in the window on.
   */
  readonly changes: readonly RecordedChange[];
  /** Those in the window, in any order. */
  readonly gaps: readonly { readonly from: Timestamp; readonly to: Timestamp }[];
}

export interface RecordedChange {
  readonly kind: string;
  readonly field: string | null;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly occurredAt: Timestamp;
}

export interface Window {
  readonly from: Date;
  readonly to: Date;
}

/** The spans of the window in order, without gaps between them; equal neighbours are one. */
export function toTimeline(
  recorded: Recorded,
  field: TimelineField,
  { from, to }: Window,
): readonly TimelineSpan[] {
  const [start, end] = [from.getTime(), to.getTime()];
  const steps = listSteps(recorded, field);
  const unobserved = listUnobserved(recorded);
  const times = [...steps.map(({ at }) => at), ...unobserved.flat()];
  const inside = times.filter((at) => at > start && at < end);
  const bounds = [...new Set([start, ...inside])].toSorted((a, b) => a - b);
  const spans: TimelineSpan[] = [];
  let [step, gap] = [0, 0];
  for (const [at, bound] of bounds.entries()) {
    while (step + 1 < steps.length && steps[step + 1]!.at <= bound) step += 1;
    while (gap < unobserved.length && unobserved[gap]![1] <= bound) gap += 1;
    const isObserved = (unobserved[gap]?.[0] ?? Infinity) > bound;
    const value = steps[step]!.value;
    const certainty = isObserved ? 'OBSERVED' : 'UNOBSERVED';
    const next = new Date(bounds[at + 1] ?? end).toISOString();
    const last = spans.at(-1);
    if (last?.value === value && last.certainty === certainty) {
      spans[spans.length - 1] = { ...last, to: next };
    } else {
      spans.push({ value, from: new Date(bound).toISOString(), to: next, certainty });
    }
  }
  return spans;
}

/** `spans` are those of VERDICT. */
export function toAvailability(spans: readonly TimelineSpan[]): Availability {
  const sum = (isCounted: (span: TimelineSpan) => boolean) =>
    spans
      .filter(isCounted)
      .reduce((total, { from, to }) => total + Date.parse(to) - Date.parse(from), 0);
  const isObserved = ({ certainty }: TimelineSpan) => certainty === 'OBSERVED';
  const observed = sum(isObserved);
  const sendable = sum((span) => isObserved(span) && span.value === 'YES');
  return {
    sendableShare: observed === 0 ? null : sendable / observed,
    observedShare: observed / sum(() => true),
  };
}

interface Step {
  readonly at: number;
  readonly value: string | null;
}

/** The values, each from its moment on, in order. */
function listSteps(
  { changes, current, recordedSince, createdAt }: Recorded,
  field: TimelineField,
): readonly Step[] {
  const known = changes.flatMap((change) => toChangeOfField(change, field) ?? []);
  const start = Math.max(Date.parse(recordedSince), Date.parse(createdAt));
  const steps: Step[] = [
    { at: -Infinity, value: null },
    { at: start, value: known.length === 0 ? current : known[0]!.previousValue },
  ];
  let latest = start;
  for (const { occurredAt, newValue } of known) {
    // The order in which they were stored decides; times may be a little out of order.
    latest = Math.max(latest, Date.parse(occurredAt));
    steps.push({ at: latest, value: newValue });
  }
  return steps;
}

function toChangeOfField(change: RecordedChange, field: TimelineField): RecordedChange | null {
  if (change.kind !== 'ADDED') return change.field === field ? change : null;
  const part = partOf(field);
  if (part === undefined || change.field !== part) return null;
  const values = JSON.parse(change.newValue ?? '{}') as Readonly<Record<string, string>>;
  return { ...change, newValue: values[field] ?? null };
}

/** The field of the ADDED change that has the first value; undefined when none has. */
function partOf(field: TimelineField): string | null | undefined {
  if (field === 'STATE') return null;
  return field === 'VERDICT' || field === 'REPLY_VERDICT' ? undefined : 'PHONE';
}

type Interval = readonly [from: number, to: number];

/** Disjoint, in order. */
function listUnobserved(recorded: Recorded): readonly Interval[] {
  const { recordedSince, createdAt, isMeta, observedAt, staleSince, gaps } = recorded;
  const expiresAt = isMeta && observedAt !== null ? toExpiry(observedAt) : Infinity;
  const intervals: Interval[] = [
    [-Infinity, Math.max(Date.parse(recordedSince), Date.parse(createdAt))],
    ...(isMeta ? listTimesWithoutRead(recorded) : []),
    ...gaps.map(({ from, to }): Interval => [Date.parse(from), Date.parse(to)]),
    [staleSince === null ? expiresAt : Date.parse(staleSince), Infinity],
  ];
  const merged: Interval[] = [];
  for (const [from, to] of intervals.toSorted(([a], [b]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1]) {
      merged[merged.length - 1] = [last[0], Math.max(last[1], to)];
    } else if (from < to) merged.push([from, to]);
  }
  return merged;
}

/** While nothing is stored of a number of Meta: until its first read, and after its ids have changed until the next one. */
function listTimesWithoutRead({ changes, observedAt }: Recorded): readonly Interval[] {
  const intervals: Interval[] = [];
  let forgottenAt = -Infinity;
  for (const { kind, field, newValue, occurredAt } of changes) {
    const at = Date.parse(occurredAt);
    if (kind === 'FIELD' && field === 'META_STATUS' && newValue === null) forgottenAt = at;
    else if (kind === 'ADDED' && field === 'PHONE') intervals.push([forgottenAt, at]);
  }
  return observedAt === null ? [...intervals, [forgottenAt, Infinity]] : intervals;
}

function toExpiry(observedAt: Timestamp): number {
  return Date.parse(observedAt) + (staleAfterSeconds + 1) * 1_000;
}
