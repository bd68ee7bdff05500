// Tests timelines and availability against what a number was at each moment, without a database.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Recorded,
  type RecordedChange,
  type TimelineField,
  type TimelineSpan,
  toAvailability,
  toTimeline,
} from '../../src/history/timeline.ts';

const base = Date.parse('2026-05-01T00:00:00.000Z');
const toTime = (seconds: number) => new Date(base + seconds * 1_000).toISOString();
const lifetime = 3_601;
/** In seconds: about eight hours. */
const endOfTime = 30_000;

const fields = ['STATE', 'VERDICT', 'QUALITY_RATING'] as const;

interface Event {
  readonly at: number;
  /** What a read finds; null for a state that other software writes. */
  readonly quality: string | null;
  readonly verdict: string;
  readonly state: string;
}

interface History {
  readonly createdAt: number;
  readonly recordedSince: number;
  readonly events: readonly Event[];
  /** Whether the verdicts that expire are recorded. */
  readonly hasClock: boolean;
}

const histories = fc.record({
  createdAt: fc.integer({ min: -5_000, max: 5_000 }),
  recordedSince: fc.integer({ min: -8_000, max: 8_000 }),
  hasClock: fc.boolean(),
  events: fc.uniqueArray(
    fc.record({
      at: fc.integer({ min: 5_001, max: endOfTime }),
      quality: fc.constantFrom('GREEN', 'YELLOW', null),
      verdict: fc.constantFrom('YES', 'NO'),
      state: fc.constantFrom('OPEN', 'CLOSE'),
    }),
    { selector: ({ at }) => at, maxLength: 25 },
  ),
});

const byTime = (a: { readonly at: number }, b: { readonly at: number }) => a.at - b.at;

interface Moment {
  readonly value: string | null;
  readonly isObserved: boolean;
}

/** What was known of the number at this moment, from its events alone. */
function findMoment(history: History, field: TimelineField, at: number): Moment {
  if (at < Math.max(history.createdAt, history.recordedSince)) {
    return { value: null, isObserved: false };
  }
  const past = history.events.filter((event) => event.at <= at).toSorted(byTime);
  const read = past.findLast((event) => event.quality !== null);
  const isObserved = read !== undefined && at < read.at + lifetime;
  if (field === 'STATE') return { value: past.at(-1)?.state ?? 'OPEN', isObserved };
  if (field === 'QUALITY_RATING') return { value: read?.quality ?? null, isObserved };
  const isMarked = read !== undefined && !isObserved && history.hasClock;
  return { value: isMarked ? 'UNKNOWN' : (read?.verdict ?? 'UNKNOWN'), isObserved };
}

interface Row extends RecordedChange {
  readonly at: number;
}

/** Records what the triggers record. */
function record(history: History, field: (typeof fields)[number], from: number): Recorded {
  const { createdAt, recordedSince, hasClock } = history;
  const rows: Row[] = [];
  const add = (at: number, row: Omit<RecordedChange, 'occurredAt'>) =>
    void (at >= recordedSince && rows.push({ ...row, at, occurredAt: toTime(at) }));
  const current: Record<(typeof fields)[number], string | null> = {
    STATE: 'OPEN',
    VERDICT: 'UNKNOWN',
    QUALITY_RATING: null,
  };
  const change = (at: number, name: keyof typeof current, newValue: string | null) => {
    const previousValue = current[name];
    current[name] = newValue;
    if (previousValue === newValue) return;
    const kind = name === 'VERDICT' ? 'VERDICT' : 'FIELD';
    add(at, { kind, field: name, previousValue, newValue });
  };
  const values = JSON.stringify({ STATE: 'OPEN', NAME: 'Shop' });
  add(createdAt, { kind: 'ADDED', field: null, previousValue: null, newValue: values });
  let observedAt: number | null = null;
  let staleSince: number | null = null;
  const expire = (until: number) => {
    if (observedAt === null || staleSince !== null || !hasClock) return;
    if (observedAt + lifetime > until) return;
    staleSince = observedAt + lifetime;
    change(staleSince, 'VERDICT', 'UNKNOWN');
  };
  for (const { at, quality, verdict, state } of history.events.toSorted(byTime)) {
    expire(at);
    change(at, 'STATE', state);
    if (quality === null) continue;
    if (observedAt === null) {
      current.QUALITY_RATING = quality;
      const found = JSON.stringify({ QUALITY_RATING: quality });
      add(at, { kind: 'ADDED', field: 'PHONE', previousValue: null, newValue: found });
    } else {
      change(at, 'QUALITY_RATING', quality);
      if (at > observedAt + lifetime) {
        const [previousValue, newValue] = [toTime(observedAt + lifetime), toTime(at)];
        add(at, { kind: 'GAP', field: null, previousValue, newValue });
      }
    }
    change(at, 'VERDICT', verdict);
    [observedAt, staleSince] = [at, null];
  }
  expire(endOfTime);
  const first = rows.findIndex(({ at }) => at > from);
  const known = first === -1 ? [] : rows.slice(first);
  return {
    recordedSince: toTime(recordedSince),
    createdAt: toTime(createdAt),
    isMeta: true,
    observedAt: observedAt === null ? null : toTime(observedAt),
    staleSince: staleSince === null ? null : toTime(staleSince),
    current: current[field],
    changes: known.filter(({ kind, field: of }) => kind === 'ADDED' || of === field),
    gaps: rows
      .filter(({ kind }) => kind === 'GAP')
      .map(({ previousValue, newValue }) => ({ from: previousValue!, to: newValue! })),
  };
}

test('a timeline has the value and the certainty of each moment, for any history', () => {
  fc.assert(
    fc.property(
      histories,
      fc.constantFrom(...fields),
      fc.tuple(
        fc.integer({ min: -9_000, max: endOfTime - 1 }),
        fc.integer({ min: 1, max: endOfTime }),
      ),
      (history, field, [from, length]) => {
        const to = Math.min(endOfTime, from + length);
        const window = { from: new Date(toTime(from)), to: new Date(toTime(to)) };
        const spans = toTimeline(record(history, field, from), field, window);
        expect(spans[0]?.from).toBe(toTime(from));
        expect(spans.at(-1)?.to).toBe(toTime(to));
        for (const [at, span] of spans.slice(1).entries()) {
          const { value, to: end, certainty } = spans[at]!;
          expect(span.from).toBe(end);
          expect([span.value, span.certainty]).not.toEqual([value, certainty]);
        }
        for (const span of spans) {
          const [begin = 0, end = 0] = [span.from, span.to].map(
            (time) => (Date.parse(time) - base) / 1_000,
          );
          const middle = Math.floor((begin + end) / 2);
          for (const second of [begin, Math.min(begin + 1, end - 1), middle, end - 1]) {
            const { value, isObserved } = findMoment(history, field, second);
            const certainty = isObserved ? 'OBSERVED' : 'UNOBSERVED';
            expect([second, span.value, span.certainty]).toEqual([second, value, certainty]);
          }
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test('availability is the sum over all seconds, for any history', () => {
  fc.assert(
    fc.property(histories, (history) => {
      const [from, to] = [20_000, 22_000];
      const window = { from: new Date(toTime(from)), to: new Date(toTime(to)) };
      const spans = toTimeline(record(history, 'VERDICT', from), 'VERDICT', window);
      let [observed, sendable] = [0, 0];
      for (let second = from; second < to; second += 1) {
        const { value, isObserved } = findMoment(history, 'VERDICT', second);
        if (isObserved) observed += 1;
        if (isObserved && value === 'YES') sendable += 1;
      }
      expect(toAvailability(spans)).toEqual({
        sendableShare: observed === 0 ? null : sendable / observed,
        observedShare: observed / (to - from),
      });
    }),
    { numRuns: 100 },
  );
});

const linesOf = (spans: readonly TimelineSpan[]) =>
  spans.map(
    ({ value, from, certainty }) => `${value} ${(Date.parse(from) - base) / 1_000} ${certainty}`,
  );

describe('by example', () => {
  const quiet: Recorded = {
    recordedSince: toTime(0),
    createdAt: toTime(-100),
    isMeta: false,
    observedAt: null,
    staleSince: null,
    current: 'OPEN',
    changes: [],
    gaps: [],
  };
  const window = { from: new Date(toTime(-50)), to: new Date(toTime(100)) };
  const state = (occurredAt: number, previousValue: string, newValue: string): RecordedChange => ({
    kind: 'FIELD',
    field: 'STATE',
    previousValue,
    newValue,
    occurredAt: toTime(occurredAt),
  });

  test('a value that never changed holds since changes were recorded', () => {
    expect(linesOf(toTimeline(quiet, 'STATE', window))).toEqual([
      'null -50 UNOBSERVED',
      'OPEN 0 OBSERVED',
    ]);
  });

  test('of changes whose times are out of order, the last one that was stored counts', () => {
    const changes = [state(60, 'OPEN', 'CLOSE'), state(50, 'CLOSE', 'CONNECTING')];
    expect(linesOf(toTimeline({ ...quiet, changes }, 'STATE', window))).toEqual([
      'null -50 UNOBSERVED',
      'OPEN 0 OBSERVED',
      'CONNECTING 60 OBSERVED',
    ]);
  });

  test('a number whose ids have changed is not observed until its next read', () => {
    const former = toTime(10);
    const changes: readonly RecordedChange[] = [
      { kind: 'ADDED', field: 'PHONE', previousValue: null, newValue: '{}', occurredAt: former },
      { ...state(20, 'CONNECTED', 'CONNECTED'), field: 'META_STATUS', newValue: null },
      { ...state(20, 'OPEN', 'CONNECTING') },
      {
        kind: 'ADDED',
        field: 'PHONE',
        previousValue: null,
        newValue: '{}',
        occurredAt: toTime(40),
      },
    ];
    const number = { ...quiet, isMeta: true, changes };
    const before = ['null -50 UNOBSERVED', 'OPEN 0 UNOBSERVED', 'OPEN 10 OBSERVED'];
    expect(linesOf(toTimeline({ ...number, observedAt: toTime(40) }, 'STATE', window))).toEqual([
      ...before,
      'CONNECTING 20 UNOBSERVED',
      'CONNECTING 40 OBSERVED',
    ]);
    const forgotten = { ...number, changes: changes.slice(0, 3) };
    expect(linesOf(toTimeline(forgotten, 'STATE', window))).toEqual([
      ...before,
      'CONNECTING 20 UNOBSERVED',
    ]);
  });

  test('a number of Meta that was never read is never observed', () => {
    const spans = toTimeline({ ...quiet, isMeta: true, current: 'UNKNOWN' }, 'VERDICT', window);
    expect(linesOf(spans)).toEqual(['null -50 UNOBSERVED', 'UNKNOWN 0 UNOBSERVED']);
    expect(toAvailability(spans)).toEqual({ sendableShare: null, observedShare: 0 });
  });
});
