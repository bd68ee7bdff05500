// Tests the parts of the board's client that are pure: its address, its words, its timelines, its causes, and which changes matter.

import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  flags,
  formatAddress,
  groupings,
  noFilters,
  orders,
  parseAddress,
  qualities,
  toFleetRequest,
  verdicts,
  type View,
} from '../../src/board/client/address.ts';
import { ApiError } from '../../src/board/client/api.ts';
import { findCauses, toClause } from '../../src/board/client/causes.ts';
import { touches } from '../../src/board/client/changes.ts';
import { createLoader } from '../../src/board/client/loader.ts';
import type {
  Change,
  FleetNumber,
  Reason,
  Span,
  Troubled,
} from '../../src/board/client/queries.ts';
import { describeSpans, findSince, formatShare, toRuns } from '../../src/board/client/timeline.ts';
import {
  describeChange,
  explain,
  formatAge,
  formatDuration,
  formatEnd,
  formatLimit,
  formatMoment,
  formatName,
  formatNext,
  formatQuality,
  formatStatus,
} from '../../src/board/client/words.ts';

const parse = (address: string): View => parseAddress(new URL(address, 'http://localhost'));
const nothing = parse('/board');

describe('the address', () => {
  const list = fc.uniqueArray(fc.stringMatching(/^[^,]{1,8}$/, { size: 'small' }), {
    maxLength: 3,
  });
  // A URL resolves the two that mean a folder.
  const id = fc.option(
    fc.string({ minLength: 1, maxLength: 20 }).filter((text) => !/^\.\.?$/.test(text)),
  );
  /** A number or incidents, never both. */
  const opened = fc.oneof(
    fc.record({
      numberId: id,
      incidents: fc.constant<View['incidents']>(null),
      incidentId: fc.constant(null),
    }),
    fc.record({
      numberId: fc.constant(null),
      incidents: fc.constantFrom<View['incidents']>('OPEN', 'CLOSED'),
      incidentId: id,
    }),
  );
  const filters = fc.record({
    verdicts: fc.subarray([...verdicts]),
    qualities: fc.subarray([...qualities]),
    flags: fc.subarray([...flags]),
    accounts: list,
    portfolios: list,
    labels: list.map((values) => values.map((value) => `key=${value}`)),
    search: fc.string({ unit: 'grapheme', maxLength: 30 }),
    order: fc.constantFrom(...(Object.keys(orders) as View['order'][])),
    group: fc.constantFrom('label:team', ...(Object.keys(groupings) as View['group'][])),
    after: fc.option(fc.base64String({ minLength: 4 })),
    before: fc.constant(null),
    isWall: fc.boolean(),
    demo: fc.integer({ min: 1, max: 9 }),
  });
  const views: fc.Arbitrary<View> = fc
    .tuple(filters, opened)
    .map(([rest, open]) => Object.assign({}, rest, open));

  test('holds the whole view', () => {
    fc.assert(
      fc.property(views, (view) => {
        expect(parse(formatAddress(view))).toEqual(view);
      }),
    );
  });

  test('of a filter is short and readable', () => {
    const view: View = { ...nothing, verdicts: ['NO', 'UNKNOWN'], numberId: 'wa_x', order: 'name' };
    expect(formatAddress(nothing)).toBe('/board');
    expect(formatAddress(view)).toBe('/board/numbers/wa_x?verdict=NO,UNKNOWN&order=name');
  });

  test('leaves out what is not known', () => {
    const view = parse('/board?verdict=NO,MAYBE&only=stale,x&order=__proto__&group=x&demo=-4');
    expect(view).toEqual({ ...nothing, verdicts: ['NO'], flags: ['stale'] });
    expect(parse('/board/numbers/%zz').numberId).toBe('%zz');
  });

  test('becomes a filter with the members that are set alone', () => {
    expect(toFleetRequest(parse('/board?quality=RED&only=restricted&q=%20ab%20'))).toEqual({
      filter: { qualityRatings: ['RED'], restricted: true, search: 'ab' },
      orderBy: { field: 'ATTENTION', direction: 'DESC' },
      after: null,
      before: null,
    });
    expect(
      toFleetRequest({ ...parse('/board?verdict=NO&account=1,2'), ...noFilters }).filter,
    ).toEqual({});
  });
});

const reason = (more: Partial<Reason> = {}): Reason => ({
  entity: 'PHONE_NUMBER',
  field: 'status',
  value: null,
  code: null,
  effect: 'INCONCLUSIVE',
  scope: 'ALL',
  text: 'A reason.',
  solution: null,
  ...more,
});

const stale = reason({ entity: 'SNAPSHOT', field: 'stale', text: 'Too old.' });

type Health = FleetNumber['health'];

function health(more: Partial<Health> = {}): Health {
  return {
    qualityRating: null,
    qualityRatingRaw: null,
    messagingLimitTier: null,
    messagingLimitTierRaw: null,
    metaStatus: null,
    metaStatusRaw: null,
    sendability: { verdict: 'UNKNOWN', replyVerdict: 'UNKNOWN', reasons: [] },
    freshness: { observedAt: null, attemptedAt: null, stale: true, nextSyncAt: null, error: null },
    ...more,
  };
}

const verdict = (value: 'YES' | 'NO' | 'UNKNOWN', ...reasons: Reason[]) => ({
  sendability: { verdict: value, replyVerdict: value, reasons },
});

const explainWith = (freshness: Health['freshness']) =>
  explain(health({ ...verdict('UNKNOWN', stale), freshness }))?.text;

describe('words', () => {
  test.each([
    [0, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_599_000, '59 min'],
    [3_600_000, '1 h'],
    [26 * 3_600_000, '26 h'],
    [48 * 3_600_000, '2 d'],
    [41.9 * 86_400_000, '41 d'],
    [729 * 86_400_000, '729 d'],
    [730 * 86_400_000, '2 y'],
  ])('a duration of %i ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  test.each([
    [(3 * 24 + 4) * 3_600_000, 'ends in 3 d 4 h (4 Dec, 14:00 UTC)'],
    [24 * 3_600_000, 'ends in 1 d (4 Dec, 14:00 UTC)'],
    [(4 * 60 + 12) * 60_000, 'ends in 4 h 12 min (4 Dec, 14:00 UTC)'],
    [3_600_000, 'ends in 1 h (4 Dec, 14:00 UTC)'],
    [61_000, 'ends in 1 min (4 Dec, 14:00 UTC)'],
    [40_500, 'ends in 40 s (4 Dec, 14:00 UTC)'],
    [0, 'has ended (4 Dec, 14:00 UTC)'],
  ])('a restriction %i ms before its end %s', (ms, text) => {
    const end = '2026-12-04T14:00:00.000Z';
    expect(formatEnd(end, Date.parse(end) - ms)).toBe(text);
    expect(formatEnd(null, 0)).toBe('without an end that Meta has told');
  });

  test('a moment of another year has its year', () => {
    const now = Date.parse('2026-11-29T12:00:00.000Z');
    expect(formatMoment('2026-11-29T10:30:00.000Z', now)).toMatch(/^\d\d:\d\d$/);
    expect(formatMoment('2026-02-03T12:00:00.000Z', now)).toBe('3 Feb');
    expect(formatMoment('2025-11-29T12:00:00.000Z', now)).toBe('29 Nov 2025');
    expect(formatEnd('2027-01-04T14:00:00.000Z', now)).toBe(
      'ends in 36 d 2 h (4 Jan 2027, 14:00 UTC)',
    );
  });

  test('a number without a name is called by its digits', () => {
    const named = { name: 'Outlet', number: '5511900000121', meta: null };
    expect(formatName(named)).toBe('Outlet');
    expect(formatName({ ...named, name: ' ' })).toBe('+5511900000121');
    expect(formatName({ name: '', number: '', meta: null })).toBe('no number stored');
  });

  test('the next read is in one unit, or due', () => {
    const at = '2026-01-01T00:00:00.000Z';
    expect(formatNext(null, 0)).toBe(null);
    expect(formatNext(at, Date.parse(at) - 150_000)).toBe('next in 2 min');
    expect(formatNext(at, Date.parse(at) + 5_000)).toBe('next read due');
  });

  test('an age is now, or in one unit', () => {
    const at = '2026-01-01T00:00:00.000Z';
    expect(formatAge(null, 0)).toBe('never');
    expect(formatAge(at, Date.parse(at) + 4_000)).toBe('now');
    // The clock of the browser may be behind.
    expect(formatAge(at, Date.parse(at) - 4_000)).toBe('now');
    expect(formatAge(at, Date.parse(at) + 65_000)).toBe('1 min ago');
  });

  test.each([
    ['TIER_100K', null, '100K'],
    ['TIER_250', null, '250'],
    ['TIER_UNLIMITED', null, 'No limit'],
    ['TIER_NOT_SET', null, '—'],
    ['UNTIERED', null, '—'],
    ['UNRECOGNIZED', 'TIER_5M', 'TIER_5M'],
    [null, null, '—'],
  ])('a limit of %s (%s) is %s', (messagingLimitTier, messagingLimitTierRaw, text) => {
    expect(formatLimit(health({ messagingLimitTier, messagingLimitTierRaw }))).toBe(text);
  });

  test.each([
    ['RED', null, 'Red'],
    ['NA', null, 'Not rated'],
    ['UNRECOGNIZED', 'x'.repeat(50), `${'x'.repeat(23)}…`],
  ])('a quality of %s (%s) is %s', (qualityRating, qualityRatingRaw, text) => {
    expect(formatQuality(health({ qualityRating, qualityRatingRaw }))).toBe(text);
  });

  test('the status is that of Meta, or of the connection', () => {
    const number = { state: 'CLOSE', health: health({ metaStatus: 'RATE_LIMITED' }) };
    expect(formatStatus({ ...number, provider: 'META' } as FleetNumber)).toBe('Rate limited');
    expect(formatStatus({ ...number, provider: 'PILOT_STATUS' } as FleetNumber)).toBe(
      'Disconnected',
    );
  });

  test('the main reason is the one that makes the verdict, and a precise one before a general one', () => {
    const blocks = reason({ effect: 'BLOCKS', text: 'Banned.', solution: 'Appeal.' });
    const token = reason({
      entity: 'SNAPSHOT',
      field: 'error.code',
      text: 'The token has expired.',
    });
    expect(explain(health(verdict('NO', stale, blocks)))).toMatchObject({ text: 'Banned.' });
    expect(explain(health(verdict('UNKNOWN', stale, token)))).toMatchObject(token);
    // An old reading says little.
    const old = explain(health(verdict('UNKNOWN', reason({ text: 'No payment.' }), stale)));
    expect(old).toMatchObject({ text: 'The number has never been read.' });
    expect(explain(health(verdict('YES')))).toBeNull();
  });

  test('values that are too old are explained by the last failure, or by their age', () => {
    const error = { code: 'META_TIMEOUT', message: 'Timed out.', metaCode: null, retryAt: null };
    const old = {
      observedAt: '2026-01-01T00:00:00Z',
      attemptedAt: null,
      stale: true,
      nextSyncAt: null,
    };
    expect(explainWith({ ...old, error })).toBe('Timed out.');
    const message = 'No name is stored. Store one.';
    const told = explain(
      health({ ...verdict('UNKNOWN', stale), freshness: { ...old, error: { ...error, message } } }),
    );
    expect(told).toEqual({ text: 'No name is stored.', solution: 'Store one.' });
    expect(explainWith({ ...old, error: null })).toBe('The last reading is too old to rely on.');
    expect(explainWith(null)).toBe('The number has never been read.');
  });

  test.each([
    [{ kind: 'FIELD', field: 'META_STATUS' }, 'Status'],
    [{ kind: 'FIELD', field: 'PROFILE_ABOUT' }, 'Profile about'],
    [{ kind: 'VERDICT', field: 'VERDICT' }, 'Can send'],
    [{ kind: 'ADDED', field: null }, 'Added to the gateway'],
    [{ kind: 'ADDED', field: 'PHONE' }, 'Number read for the first time'],
    [{ kind: 'READ_FAILING', field: 'ACCOUNT' }, 'Reads began to fail: account'],
    [
      { kind: 'GAP', previousValue: '2026-01-01T00:00:00Z', newValue: '2026-01-02T02:00:00Z' },
      'Not observed for 26 h',
    ],
    [{ kind: 'SECURITY', newValue: 'PIN_CHANGED' }, 'Two-step PIN: Pin changed'],
    [{ kind: 'A_NEW_KIND', field: null }, 'A new kind'],
    [{ kind: 'LABELS', newValue: '["team=ops","city=x"]' }, 'Labels team=ops, city=x'],
    [{ kind: 'LABELS', newValue: null }, 'Labels removed'],
    [{ kind: 'MUTE', newValue: null }, 'Alerts are on again'],
    [
      { kind: 'REFRESH', newValue: '{"blocks":["PHONE","PROFILE"],"acceptedCount":1}' },
      'A read was asked for: number, profile',
    ],
    [
      { kind: 'INCIDENT', newValue: '{"rule":"SENDABLE_LOST","state":"OPEN"}' },
      'Incident opened: sendable lost',
    ],
    [
      { kind: 'INCIDENT', previousValue: '{}', newValue: '{"rule":"RESTRICTED","state":"CLOSED"}' },
      'Incident over: restricted',
    ],
    [
      { kind: 'INCIDENT', previousValue: '{}', newValue: '{"rule":"RESTRICTED","state":"OPEN"}' },
      'Incident acknowledged: restricted',
    ],
    [{ kind: 'INCIDENT', newValue: '{"rule":"NAME_DECIDED","state":"CLOSED"}' }, 'Name decided'],
  ])('a change %o is: %s', (change, text) => {
    const blank = { field: null, previousValue: null, newValue: null };
    expect(describeChange({ ...blank, ...change } as Change)).toBe(text);
  });
});

const hour = (value: number) => new Date(value * 3_600_000).toISOString();
const span = (
  value: string | null,
  from: number,
  to: number,
  certainty: Span['certainty'] = 'OBSERVED',
): Span => ({ value, from: hour(from), to: hour(to), certainty });

describe('a timeline', () => {
  const window = { from: 0, to: 10 * 3_600_000, columns: 10 };

  test('is drawn as runs of columns that fill it', () => {
    const spans = [span('YES', 0, 5), span('YES', 5, 8, 'UNOBSERVED'), span('NO', 8, 10)];
    expect(toRuns(spans, window)).toEqual([
      { mark: 'YES', length: 5 },
      { mark: 'GAP', length: 3 },
      { mark: 'NO', length: 2 },
    ]);
  });

  test('shows a short time in which the number could not send', () => {
    const spans = [span('YES', 0, 4.4), span('NO', 4.4, 4.41), span('YES', 4.41, 10)];
    expect(toRuns(spans, window)).toEqual([
      { mark: 'YES', length: 4 },
      { mark: 'NO', length: 1 },
      { mark: 'YES', length: 5 },
    ]);
  });

  test('goes on until the present after it was read, and has what it does not know as a gap', () => {
    expect(toRuns([span('YES', 2, 5)], window)).toEqual([
      { mark: 'GAP', length: 2 },
      { mark: 'YES', length: 8 },
    ]);
    expect(toRuns([], window)).toEqual([{ mark: 'GAP', length: 10 }]);
  });

  test('tells since when the verdict is what it is', () => {
    const spans = [span('YES', 0, 2), span('NO', 2, 4), span('NO', 4, 6, 'UNOBSERVED')];
    expect(findSince(spans, 'NO')).toEqual({ at: hour(2), isAtLeast: false });
    expect(findSince(spans, 'YES')).toBeNull();
    expect(findSince([span('NO', 0, 6)], 'NO')).toEqual({ at: hour(0), isAtLeast: true });
  });

  test('is described in words', () => {
    const spans = [span('YES', 0, 8), span('NO', 8, 9), span('NO', 9, 10, 'UNOBSERVED')];
    expect(describeSpans(spans, 10 * 3_600_000)).toBe(
      'Could send for 88 % of the time observed; observed 90 % of the time.',
    );
    expect(describeSpans([span('YES', 0, 8)], 8 * 3_600_000)).toBe(
      'Could send for 100 % of the time observed.',
    );
    expect(describeSpans([], 0)).toBe('Nothing was observed.');
  });

  test('is never rounded to always or never', () => {
    expect([0, 0.0001, 0.999_99, 1].map(formatShare)).toEqual(['0 %', '1 %', '99 %', '100 %']);
  });
});

const troubled = (id: string, waba: string, more: Partial<Health>): Troubled => ({
  id,
  name: id,
  health: health(more),
  meta: { waba: { id: waba, name: `Account ${waba}` } },
});
describe('causes', () => {
  const token = reason({
    entity: 'SNAPSHOT',
    text: 'The access token has expired. Store a new one.',
  });
  const banned = reason({ text: 'Meta has banned the number.', effect: 'BLOCKS' });

  test('are shared by two or more, the largest first, with their accounts', () => {
    const causes = findCauses([
      troubled('a', '1', verdict('UNKNOWN', token)),
      troubled('b', '2', verdict('NO', banned)),
      troubled('c', '1', verdict('UNKNOWN', stale, token)),
      troubled('d', '1', verdict('UNKNOWN', token)),
      troubled('e', '3', verdict('NO', banned)),
      troubled('f', '3', verdict('NO', reason({ text: 'Alone.', effect: 'BLOCKS' }))),
    ]);
    expect(causes).toEqual([
      {
        verdict: 'UNKNOWN',
        count: 3,
        text: 'the access token has expired',
        accounts: [{ id: '1', name: 'Account 1' }],
        isAge: false,
      },
      {
        verdict: 'NO',
        count: 2,
        text: 'Meta has banned the number',
        accounts: [
          { id: '2', name: 'Account 2' },
          { id: '3', name: 'Account 3' },
        ],
        isAge: false,
      },
    ]);
  });

  test('that nothing was read is one cause, with an old reading and without', () => {
    const old = {
      observedAt: '2026-01-01T00:00:00Z',
      attemptedAt: null,
      stale: true,
      nextSyncAt: null,
      error: null,
    };
    const causes = findCauses([
      troubled('a', '1', verdict('UNKNOWN', stale)),
      troubled('b', '2', { ...verdict('UNKNOWN', stale), freshness: old }),
    ]);
    expect(causes).toMatchObject([
      { count: 2, isAge: true, text: 'nothing was read in the last hour' },
    ]);
  });

  test('become a part of a sentence', () => {
    expect(toClause('There is an error. Add a card.')).toBe('there is an error');
    expect(toClause('Meta gives no reason')).toBe('Meta gives no reason');
  });
});

const change = (more: Partial<Change>): Change => ({
  cursor: 'c',
  numberId: 'other',
  wabaId: null,
  kind: 'FIELD',
  field: null,
  previousValue: null,
  newValue: null,
  source: 'READ',
  occurredAt: hour(0),
  ...more,
});

describe('a change of the feed', () => {
  const shown = new Set(['shown']);

  test.each<[Partial<Change>, string, boolean]>([
    [{ kind: 'ADDED' }, '/board', true],
    [{ kind: 'VERDICT', field: 'VERDICT' }, '/board?verdict=NO', true],
    [{ field: 'QUALITY_RATING' }, '/board', true],
    [{ kind: 'READ_FAILING', field: 'PHONE' }, '/board', true],
    [{ field: 'HEALTH_WABA' }, '/board', false],
    [{ field: 'HEALTH_WABA', numberId: 'shown' }, '/board', true],
    [{ field: 'PROFILE_ABOUT', numberId: 'shown' }, '/board', false],
    [{ field: 'PIN_ENABLED', numberId: 'shown' }, '/board', false],
    [{ kind: 'LABELS' }, '/board', true],
    [{ kind: 'ENDPOINT', numberId: null }, '/board', false],
    [{ kind: 'REFRESH', numberId: 'shown' }, '/board', false],
    [{ field: 'NAME' }, '/board', false],
    [{ field: 'NAME' }, '/board?q=acme', true],
    [{ field: 'NAME' }, '/board?order=name', true],
    [{ field: 'ACCOUNT_CURRENCY', numberId: null, wabaId: '1' }, '/board', false],
    [{ field: 'ACCOUNT_NAME', numberId: null, wabaId: '1' }, '/board', true],
  ])('%o at %s matters: %s', (more, address, expected) => {
    expect(touches(change(more), parse(address), shown)).toBe(expected);
  });
});

describe('a loader', () => {
  let page: EventTarget & { visibilityState: 'visible' | 'hidden' };
  beforeEach(() => {
    vi.useFakeTimers();
    page = Object.assign(new EventTarget(), { visibilityState: 'visible' as const });
    vi.stubGlobal('document', page);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  function setVisibility(state: 'visible' | 'hidden') {
    page.visibilityState = state;
    page.dispatchEvent(new Event('visibilitychange'));
  }

  interface Load {
    readonly startedAt: number;
    readonly signal: AbortSignal;
    readonly end: () => void;
    readonly fail: (error: Error) => void;
  }

  function createTestLoader() {
    const start = performance.now();
    const loads: Load[] = [];
    const failures: string[] = [];
    const loader = createLoader({
      load: (signal) =>
        new Promise((end, fail) => {
          loads.push({ startedAt: performance.now() - start, signal, end, fail });
        }),
      onFailure: ({ code }) => failures.push(code),
    });
    const listTimes = () => loads.map(({ startedAt }) => startedAt);
    return { loader, loads, listTimes, failures };
  }

  test('ends each load before the next one, however often something changes meanwhile', async () => {
    const { loader, loads, listTimes } = createTestLoader();
    loader.start('fleet');
    for (let at = 0; at < 10; at += 1) {
      loader.reload();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await vi.advanceTimersByTimeAsync(300);
    }
    expect([listTimes(), loads[0]!.signal.aborted]).toEqual([[0], false]);
    loads[0]!.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(listTimes()).toEqual([0, 3_000]);
    loads[1]!.end();
    await vi.advanceTimersByTimeAsync(59_000);
    expect(listTimes()).toEqual([0, 3_000]);
  });

  test('loads once a second at most, and again after a minute', async () => {
    const { loader, loads, listTimes } = createTestLoader();
    loader.start('fleet');
    loads[0]!.end();
    await vi.advanceTimersByTimeAsync(400);
    loader.reload();
    loader.reload();
    await vi.advanceTimersByTimeAsync(600);
    expect(listTimes()).toEqual([0, 1_000]);
    loads[1]!.end();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(listTimes()).toEqual([0, 1_000, 61_000]);
  });

  test('tries again after a failure, later each time, or when the gateway says', async () => {
    const { loader, loads, listTimes, failures } = createTestLoader();
    loader.start('fleet');
    loads[0]!.fail(new ApiError('NETWORK', 'Down.'));
    await vi.advanceTimersByTimeAsync(2_000);
    loads[1]!.fail(new Error('A fault of the page.'));
    await vi.advanceTimersByTimeAsync(4_000);
    loads[2]!.fail(new ApiError('RATE_LIMITED', 'Later.', 20));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(listTimes()).toEqual([0, 2_000, 6_000, 26_000]);
    expect(failures).toEqual(['NETWORK', 'INTERNAL', 'RATE_LIMITED']);
    for (let tries = 3; tries < 7; tries += 1) {
      loads.at(-1)!.fail(new ApiError('NETWORK', 'Down.'));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await vi.advanceTimersByTimeAsync(30_000);
    }
    expect(listTimes().slice(4)).toEqual([42_000, 86_000, 116_000, 146_000]);
  });

  test('loads nothing again by itself while the page is hidden, and at once when it is visible', async () => {
    const { loader, loads, listTimes } = createTestLoader();
    loader.start('fleet');
    setVisibility('hidden');
    loads[0]!.fail(new ApiError('NETWORK', 'Down.'));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(listTimes()).toEqual([0]);
    setVisibility('visible');
    await vi.advanceTimersByTimeAsync(0);
    expect(listTimes()).toEqual([0, 100_000]);
    setVisibility('hidden');
    loads[1]!.end();
    await vi.advanceTimersByTimeAsync(100_000);
    expect(listTimes()).toEqual([0, 100_000]);
  });

  test('shares its one query a second with those that wait for a turn', async () => {
    const { loader, loads, listTimes } = createTestLoader();
    const start = performance.now();
    const turns: number[] = [];
    loader.start('fleet');
    loads[0]!.end();
    const walk = async () => {
      for (let at = 0; at < 3; at += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await loader.waitForTurn();
        turns.push(performance.now() - start);
      }
    };
    const walked = walk();
    await vi.advanceTimersByTimeAsync(1_500);
    expect([listTimes(), turns]).toEqual([[0], [1_000]]);
    loader.reload();
    await vi.advanceTimersByTimeAsync(10_000);
    await walked;
    expect([...listTimes().slice(1), ...turns].toSorted((a, b) => a - b)).toEqual([
      1_000, 2_000, 3_000, 4_000,
    ]);
  });

  test('gives up the load of another subject, and of none', async () => {
    const { loader, loads, listTimes } = createTestLoader();
    loader.start('fleet');
    loader.start('other fleet');
    expect([listTimes(), loads[0]!.signal.aborted]).toEqual([[0, 0], true]);
    // It ends late, and means nothing for the other one.
    loader.reload();
    loads[0]!.end();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(listTimes()).toEqual([0, 0]);
    loader.stop();
    loads[1]!.end();
    loader.reload();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([listTimes(), loads[1]!.signal.aborted]).toEqual([[0, 0], true]);
  });
});
