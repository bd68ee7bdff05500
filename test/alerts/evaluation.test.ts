// The rules of alerts over changes, in virtual time: hold times, recoveries, and groups of numbers with one cause.

import { describe, expect, test } from 'vitest';
import { lost, regained, restriction, run, toChange } from './evaluated.ts';

describe('a cause', () => {
  test('becomes an incident when it has lasted for the hold time, and a recovery closes it', () => {
    expect(run([lost(100)], 159)).toEqual([]);
    expect(run([lost(100)], 160)).toEqual(['160 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO']);
    expect(run([lost(100), regained(300)], 1_000)).toEqual([
      '160 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
      '300 LEFT inc_1 wa_1',
      '300 CLOSED inc_1',
      '360 NOTED SENDABLE_REGAINED NUMBER wa_1 NO -> YES',
    ]);
  });

  test('that does not last is no incident, and its end is nothing that was regained', () => {
    expect(run([lost(100), regained(159)], 1_000)).toEqual([]);
  });

  test('that comes back within the hold time of its end was not regained', () => {
    expect(run([lost(100), regained(300), lost(330)], 1_000)).toEqual([
      '160 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
      '300 LEFT inc_1 wa_1',
      '300 CLOSED inc_1',
      '390 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
    ]);
  });

  test('does not end because nothing is known any more', () => {
    const unknown = toChange(300, 'VERDICT', ['NO', 'UNKNOWN']);
    const known = toChange(400, 'VERDICT', ['UNKNOWN', 'NO'], { knownVerdict: 'NO' });
    expect(run([lost(100), unknown, known], 1_000)).toEqual([
      '160 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
    ]);
  });

  test('is nothing that was lost, if the number never could send', () => {
    const isUnknown = toChange(110, 'VERDICT', ['NO', 'UNKNOWN']);
    const first = toChange(100, 'VERDICT', ['UNKNOWN', 'NO'], { knownVerdict: null });
    const again = toChange(120, 'VERDICT', ['UNKNOWN', 'NO'], { knownVerdict: 'NO' });
    const state = toChange(100, 'STATE', ['CONNECTING', 'CLOSE']);
    expect(run([first, state, isUnknown, again], 1_000)).toEqual([]);
    const lostLater = toChange(120, 'VERDICT', ['UNKNOWN', 'NO'], { knownVerdict: 'YES' });
    expect(run([isUnknown, lostLater], 1_000)).toEqual([
      '180 OPENED SENDABLE_LOST NUMBER wa_1 UNKNOWN -> NO',
    ]);
  });

  test('ends with the number', () => {
    const removed = { kind: 'REMOVED', field: null };
    expect(run([lost(100), toChange(200, '', [null, null], removed)], 1_000)).toEqual([
      '160 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
      '200 LEFT inc_1 wa_1',
      '200 CLOSED inc_1',
    ]);
    expect(run([lost(100), toChange(120, '', [null, null], removed)], 1_000)).toEqual([]);
  });

  test('without a hold time is an incident as soon as it is evaluated', () => {
    const banned = toChange(100, 'META_STATUS', ['CONNECTED', 'BANNED'], { numberId: 'wa_1/waba' });
    expect(run([banned], 100)).toEqual([
      '100 OPENED ACCOUNT_BANNED NUMBER wa_1/waba CONNECTED -> BANNED',
    ]);
  });
});

describe.each([
  ['DISCONNECTED', 'STATE', ['OPEN', 'CLOSE'], ['CLOSE', 'OPEN']],
  ['QUALITY_DROPPED', 'QUALITY_RATING', ['GREEN', 'YELLOW'], ['RED', 'GREEN']],
  ['STATUS_CHANGED', 'META_STATUS', ['CONNECTED', 'FLAGGED'], ['FLAGGED', 'CONNECTED']],
] as const)('%s', (rule, field, cause, recovery) => {
  test(`follows from ${field}`, () => {
    const changes = [toChange(100, field, cause), toChange(200, field, recovery)];
    const lines = run(changes, 1_000);
    expect(lines[0]).toBe(`160 OPENED ${rule} NUMBER wa_1 ${cause.join(' -> ')}`);
    expect(lines.at(-1)).toBe('200 CLOSED inc_1');
  });
});

const failing = (seconds: number, code: string, field = 'PHONE') =>
  toChange(seconds, field, [null, code], { kind: 'READ_FAILING' });
const recovered = (seconds: number) =>
  toChange(seconds, 'PHONE', ['META_TIMEOUT', null], { kind: 'READ_RECOVERED' });

describe('a read of Meta', () => {
  test('that finds a number banned is not told as a lost connection and another status too', () => {
    const changes = [
      toChange(100, 'META_STATUS', ['FLAGGED', 'BANNED']),
      toChange(100, 'STATE', ['OPEN', 'CLOSE']),
      toChange(900, 'META_STATUS', ['BANNED', 'FLAGGED']),
      toChange(900, 'STATE', ['CLOSE', 'OPEN']),
    ];
    expect(run(changes, 1_000)).toEqual([
      '160 OPENED ACCOUNT_BANNED NUMBER wa_1 FLAGGED -> BANNED',
      '160 COVERED inc_1 DISCONNECTED wa_1',
      '900 LEFT inc_1 wa_1',
      '900 CLOSED inc_1',
      '960 OPENED STATUS_CHANGED NUMBER wa_1 BANNED -> FLAGGED',
    ]);
  });

  test.each(['GREEN', 'UNKNOWN', null])('that finds the quality %s ends its drop', (value) => {
    const dropped = toChange(100, 'QUALITY_RATING', ['GREEN', 'RED']);
    const lines = run([dropped, toChange(200, 'QUALITY_RATING', ['RED', value])], 1_000);
    expect(lines.at(-1)).toBe('200 CLOSED inc_1');
  });
});

describe('a value that was never better', () => {
  test('is no status that a number has lost, and no quality that has dropped', () => {
    const changes = [
      toChange(100, 'META_STATUS', ['PENDING', 'UNVERIFIED']),
      toChange(200, 'META_STATUS', ['UNVERIFIED', 'PENDING']),
      toChange(300, 'META_STATUS', [null, 'FLAGGED']),
      toChange(400, 'QUALITY_RATING', ['RED', 'YELLOW']),
      toChange(500, 'QUALITY_RATING', [null, 'RED']),
    ];
    expect(run(changes, 1_000)).toEqual([]);
  });

  test('stays part of an incident that is open, and of what may become one', () => {
    const statuses = [
      toChange(100, 'META_STATUS', ['CONNECTED', 'FLAGGED']),
      toChange(130, 'META_STATUS', ['FLAGGED', 'RESTRICTED']),
      toChange(300, 'META_STATUS', ['RESTRICTED', 'UNVERIFIED']),
      toChange(900, 'META_STATUS', ['UNVERIFIED', 'CONNECTED']),
    ];
    expect(run(statuses, 1_000)).toEqual([
      '160 OPENED STATUS_CHANGED NUMBER wa_1 CONNECTED -> RESTRICTED',
      '900 LEFT inc_1 wa_1',
      '900 CLOSED inc_1',
    ]);
    const qualities = [
      toChange(100, 'QUALITY_RATING', ['GREEN', 'RED']),
      toChange(130, 'QUALITY_RATING', ['RED', 'YELLOW']),
      toChange(300, 'QUALITY_RATING', ['YELLOW', 'RED']),
      toChange(400, 'QUALITY_RATING', ['RED', 'YELLOW']),
      toChange(900, 'QUALITY_RATING', ['YELLOW', 'GREEN']),
    ];
    expect(run(qualities, 1_000)).toEqual([
      '160 OPENED QUALITY_DROPPED NUMBER wa_1 GREEN -> YELLOW',
      '900 LEFT inc_1 wa_1',
      '900 CLOSED inc_1',
    ]);
  });

  test.each(['GREEN', 'YELLOW', 'UNKNOWN'])('is not what follows the quality %s', (value) => {
    expect(run([toChange(100, 'QUALITY_RATING', [value, 'RED'])], 1_000)).toEqual([
      `160 OPENED QUALITY_DROPPED NUMBER wa_1 ${value} -> RED`,
    ]);
  });
});

describe('failing reads', () => {
  test('are refusals while the newest failure is one', () => {
    const limited = { kind: 'READ_FAILING' };
    const changes = [
      failing(100, 'META_RATE_LIMITED'),
      toChange(200, 'PHONE', ['META_RATE_LIMITED', 'META_ACCESS_DENIED'], limited),
      toChange(300, 'PHONE', ['META_ACCESS_DENIED', 'META_TIMEOUT'], limited),
      recovered(400),
    ];
    expect(run(changes, 1_000).filter((line) => !line.includes('LEFT'))).toEqual([
      '160 OPENED READS_FAILING NUMBER wa_1 null -> META_RATE_LIMITED',
      '200 CLOSED inc_1',
      '260 OPENED TOKEN_REJECTED NUMBER wa_1 META_RATE_LIMITED -> META_ACCESS_DENIED',
      '300 CLOSED inc_2',
      '360 OPENED READS_FAILING NUMBER wa_1 META_ACCESS_DENIED -> META_TIMEOUT',
      '400 CLOSED inc_3',
    ]);
  });

  test('are no refusals once the account is known to lack the number', () => {
    const known = { kind: 'READ_FAILING' };
    const missing = ['META_ACCESS_DENIED', 'META_NUMBER_MISSING'] as const;
    expect(
      run([failing(100, 'META_ACCESS_DENIED'), toChange(101, 'PHONE', missing, known)], 300),
    ).toEqual(['161 OPENED READS_FAILING NUMBER wa_1 META_ACCESS_DENIED -> META_NUMBER_MISSING']);
  });

  test('are refusals if Meta refuses to read, and otherwise not', () => {
    expect(run([failing(100, 'META_ACCESS_DENIED'), recovered(200)], 300)).toEqual([
      '160 OPENED TOKEN_REJECTED NUMBER wa_1 null -> META_ACCESS_DENIED',
      '200 LEFT inc_1 wa_1',
      '200 CLOSED inc_1',
    ]);
    expect(run([failing(100, 'META_TIMEOUT')], 300)).toEqual([
      '160 OPENED READS_FAILING NUMBER wa_1 null -> META_TIMEOUT',
    ]);
  });

  test('of the profile alone are no incident', () => {
    expect(run([failing(100, 'META_TIMEOUT', 'PROFILE')], 300)).toEqual([]);
  });
});

const limit = (seconds: number, previous: string, value: string) =>
  toChange(seconds, 'MESSAGING_LIMIT_TIER', [previous, value]);

describe('something that happens', () => {
  test('is an incident that is over at once, after the hold time', () => {
    expect(run([limit(100, 'TIER_1K', 'TIER_10K')], 200)).toEqual([
      '160 NOTED LIMIT_CHANGED NUMBER wa_1 TIER_1K -> TIER_10K',
    ]);
  });

  test('is nothing if it is taken back within the hold time', () => {
    const changes = [limit(100, 'TIER_1K', 'TIER_10K'), limit(130, 'TIER_10K', 'TIER_1K')];
    expect(run(changes, 300)).toEqual([]);
  });

  test('without a hold time is told as soon as it is evaluated', () => {
    const security = { kind: 'SECURITY', field: null };
    expect(run([toChange(100, '', [null, 'PIN_RESET_REQUEST'], security)], 100)).toEqual([
      '100 NOTED PIN_RESET_REQUESTED NUMBER wa_1 null -> PIN_RESET_REQUEST',
    ]);
    expect(run([toChange(100, 'NAME_STATUS', ['PENDING_REVIEW', 'DECLINED'])], 100)).toEqual([
      '100 NOTED NAME_DECIDED NUMBER wa_1 PENDING_REVIEW -> DECLINED',
    ]);
  });
});

describe('restrictions of an account', () => {
  test('are one incident, which ends with the last of them', () => {
    const changes = [
      restriction(100, 'A'),
      restriction(101, 'B'),
      restriction(200, 'A', true),
      restriction(300, 'B', true),
    ];
    const kinds = run(changes, 400).map((line) => line.split(' ').slice(0, 4).join(' '));
    expect(kinds).toEqual([
      '160 OPENED RESTRICTED ACCOUNT',
      '161 JOINED inc_1 B',
      '200 LEFT inc_1 A',
      '260 NOTED RESTRICTION_LIFTED ACCOUNT',
      '300 LEFT inc_1 B',
      '300 CLOSED inc_1',
      '360 NOTED RESTRICTION_LIFTED ACCOUNT',
    ]);
  });

  test('end with the account', () => {
    const removed = { numberId: null, wabaId: 'waba', kind: 'REMOVED', field: null };
    const changes = [restriction(100, 'A'), toChange(200, '', [null, null], removed)];
    expect(run(changes, 300).at(-1)).toBe('200 CLOSED inc_1');
  });
});

const routed = (seconds: number, previous: string | null, verdict: string | null) =>
  toChange(seconds, 'ACCOUNT_WEBHOOK', [previous, verdict], { numberId: null, wabaId: 'waba' });

describe('webhooks that do not arrive', () => {
  test.each(['SILENT', 'MISROUTED'])(
    '%s is an incident of the account until one arrives',
    (verdict) => {
      const changes = [
        routed(100, 'UNKNOWN', verdict),
        routed(2_000, verdict, 'UNKNOWN'),
        routed(3_000, 'UNKNOWN', verdict),
        routed(4_000, verdict, 'RECEIVING'),
      ];
      expect(run(changes.slice(0, 1), 159)).toEqual([]);
      expect(run(changes, 9_000)).toEqual([
        `160 OPENED WEBHOOK_SILENT ACCOUNT waba (waba) UNKNOWN -> ${verdict}`,
        '4000 LEFT inc_1 waba',
        '4000 CLOSED inc_1',
      ]);
    },
  );

  test('end with the endpoint of the tenant, and with the account', () => {
    const raised = routed(100, null, 'SILENT');
    expect(run([raised, routed(2_000, 'SILENT', null)], 9_000).at(-1)).toBe('2000 CLOSED inc_1');
    const removed = { numberId: null, wabaId: 'waba', kind: 'REMOVED', field: null };
    expect(run([raised, toChange(2_000, '', [null, null], removed)], 9_000).at(-1)).toBe(
      '2000 CLOSED inc_1',
    );
  });
});

const lose = (...ids: readonly string[]) =>
  run(
    ids.map((id) => lost(100, id)),
    200,
  );

describe('one cause of several numbers', () => {
  const three = ['a/waba/pf/tk', 'b/waba/pf/tk', 'c/waba/pf/tk'] as const;

  test('is one incident of the account, if three of its numbers have it within the hold time', () => {
    const changes = [lost(100, three[0]), lost(130, three[1]), lost(160, three[2])];
    // At 160 the first one is due, before the third change.
    expect(run(changes, 1_000)).toHaveLength(3);
    expect(run([lost(100, three[0]), lost(130, three[1]), lost(159, three[2])], 1_000)).toEqual([
      `160 OPENED SENDABLE_LOST ACCOUNT waba (${three.join(' ')}) YES -> NO`,
    ]);
  });

  test('is the portfolio, or the token, if the numbers are of several accounts', () => {
    expect(lose('a/w1/pf/', 'b/w2/pf/', 'c/w3/pf/')).toEqual([
      '160 OPENED SENDABLE_LOST PORTFOLIO pf (a/w1/pf/ b/w2/pf/ c/w3/pf/) YES -> NO',
    ]);
    expect(lose('a/w1//tk', 'b/w2//tk', 'c/w3//tk')).toEqual([
      '160 OPENED SENDABLE_LOST TOKEN tk (a/w1//tk b/w2//tk c/w3//tk) YES -> NO',
    ]);
    expect(lose('a/w1//', 'b/w2//', 'c/w3//')).toHaveLength(3);
    expect(lose('a/w1//', 'b/w1//')).toHaveLength(2);
  });

  test('is the largest that the numbers have in common', () => {
    const ids = ['a/w1/pf/', 'b/w1/pf/', 'c/w1/pf/', 'd/w2/pf/'];
    expect(
      run(
        ids.map((id) => lost(100, id)),
        200,
      ),
    ).toEqual([`160 OPENED SENDABLE_LOST PORTFOLIO pf (${ids.join(' ')}) YES -> NO`]);
  });

  test('is the token, if Meta refuses to read all its numbers', () => {
    const changes = three.map((numberId) =>
      toChange(100, 'PHONE', [null, 'META_ACCESS_DENIED'], { numberId, kind: 'READ_FAILING' }),
    );
    expect(run(changes, 200)).toEqual([
      `160 OPENED TOKEN_REJECTED TOKEN tk (${three.join(' ')}) null -> META_ACCESS_DENIED`,
    ]);
  });

  test('takes in further numbers, and ends with the last of them', () => {
    const fourth = 'd/waba/pf/tk';
    const changes = [
      ...three.map((id) => lost(100, id)),
      lost(200, fourth),
      ...three.map((id) => regained(300, id)),
      regained(400, fourth),
    ];
    const lines = run(changes, 399 + 1);
    expect(lines.slice(1, 3)).toEqual([`260 JOINED inc_1 ${fourth}`, `300 LEFT inc_1 ${three[0]}`]);
    expect(lines.filter((line) => line.includes('OPENED'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('CLOSED'))).toEqual(['400 CLOSED inc_1']);
  });
});
