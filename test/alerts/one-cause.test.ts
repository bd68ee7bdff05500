// One incident per cause: rules that explain others, limits of portfolios, several accounts, and a session engine.

import { describe, expect, test } from 'vitest';
import { evaluate } from '../../src/alerts/evaluation.ts';
import type { EvaluatedChange } from '../../src/alerts/evaluation-state.ts';
import type { Signal } from '../../src/alerts/signals.ts';
import {
  belongingOf,
  createIds,
  createState,
  lost,
  regained,
  restriction,
  run,
  toChange,
  toLine,
} from './evaluated.ts';

const tier = (seconds: number, numberId: string, values: readonly [string, string]) =>
  toChange(seconds, 'MESSAGING_LIMIT_TIER', values, { numberId });
const ofAccount = (seconds: number, wabaId: string, values: readonly [string, string]) =>
  toChange(seconds, 'ACCOUNT_MESSAGING_LIMIT_TIER', values, { numberId: null, wabaId });
const noted = (seconds: number, subject: string, [from, to]: readonly [string, string]) =>
  `${seconds} NOTED LIMIT_CHANGED ${subject} (${subject.split(' ')[1]}) ${from} -> ${to}`;

describe('a messaging limit', () => {
  const raised = ['TIER_1K', 'TIER_10K'] as const;

  test('that changes is told once for a portfolio, however many numbers and accounts report it, and when', () => {
    const changes = [
      tier(100, 'a/p-t/p/t', raised),
      tier(100, 'b/p-t/p/t', raised),
      tier(350, 'c/p-u/p/u', raised),
      ofAccount(500, 'p-t', raised),
      ofAccount(20_000, 'p-u', raised),
      tier(20_100, 'd/q-t/q/t', raised),
    ];
    expect(run(changes, 30_000)).toEqual([
      noted(160, 'PORTFOLIO p', raised),
      noted(20_160, 'PORTFOLIO q', raised),
    ]);
  });

  test('is told again when it changes again, also to a former value, or after a day', () => {
    const [lowered, day] = [['TIER_10K', 'TIER_1K'] as const, 86_400];
    const changes = [
      tier(100, 'a/p-t/p/t', raised),
      tier(1_000, 'a/p-t/p/t', lowered),
      tier(2_000, 'a/p-t/p/t', raised),
      // Between them, it was not observed.
      tier(2_001 + day, 'b/p-t/p/t', raised),
    ];
    expect(run(changes, 2 * day)).toEqual([
      noted(160, 'PORTFOLIO p', raised),
      noted(1_060, 'PORTFOLIO p', lowered),
      noted(2_060, 'PORTFOLIO p', raised),
      noted(2_061 + day, 'PORTFOLIO p', raised),
    ]);
  });

  test('is that of the account, or of the number, where nothing else is known', () => {
    expect(run([tier(100, 'a/waba//', raised), ofAccount(110, 'waba', raised)], 300)).toEqual([
      noted(160, 'ACCOUNT waba', raised),
    ]);
    expect(run([tier(100, 'a', raised)], 300)).toEqual([
      '160 NOTED LIMIT_CHANGED NUMBER a TIER_1K -> TIER_10K',
    ]);
  });
});

const statusOf = (seconds: number, from: string, to: string, numberId = 'wa_1') =>
  toChange(seconds, 'META_STATUS', [from, to], { numberId });
const stateOf = (seconds: number, from: string, to: string, numberId = 'wa_1') =>
  toChange(seconds, 'STATE', [from, to], { numberId });

describe('what a cause explains', () => {
  test('is covered by its incident, and closed with it', () => {
    const changes = [
      statusOf(100, 'CONNECTED', 'BANNED'),
      stateOf(100, 'OPEN', 'CLOSE'),
      lost(100),
      statusOf(900, 'BANNED', 'CONNECTED'),
      stateOf(900, 'CLOSE', 'OPEN'),
      regained(901),
    ];
    expect(run(changes, 2_000)).toEqual([
      '160 OPENED ACCOUNT_BANNED NUMBER wa_1 CONNECTED -> BANNED',
      '160 COVERED inc_1 DISCONNECTED wa_1',
      '160 COVERED inc_1 SENDABLE_LOST wa_1',
      '900 LEFT inc_1 wa_1',
      '900 CLOSED inc_1',
      '961 NOTED SENDABLE_REGAINED NUMBER wa_1 NO -> YES',
    ]);
  });

  test('is an incident of its own when it outlasts the cause', () => {
    const changes = [stateOf(100, 'OPEN', 'CLOSE'), lost(100.001), stateOf(900, 'CLOSE', 'OPEN')];
    expect(run(changes, 2_000)).toEqual([
      '160 OPENED DISCONNECTED NUMBER wa_1 OPEN -> CLOSE',
      '160.001 COVERED inc_1 SENDABLE_LOST wa_1',
      '900 LEFT inc_1 wa_1',
      '900 CLOSED inc_1',
      '960 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
    ]);
  });

  test('waits for a cause that is observed later, and no longer than for its hold time', () => {
    const flapping = Array.from({ length: 20 }, (_, at) =>
      at % 2 === 0
        ? stateOf(150 + 30 * at, 'OPEN', 'CLOSE')
        : stateOf(150 + 30 * at, 'CLOSE', 'OPEN'),
    );
    expect(run([lost(100), stateOf(150, 'OPEN', 'CLOSE')], 1_000)).toEqual([
      '210 OPENED DISCONNECTED NUMBER wa_1 OPEN -> CLOSE',
      '210 COVERED inc_1 SENDABLE_LOST wa_1',
    ]);
    expect(run([lost(100), ...flapping], 2_000)).toEqual([
      '210 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
    ]);
  });

  test('gives its severity to the incident of the status', () => {
    const effects = evaluate(
      createState(),
      [lost(100), stateOf(100, 'OPEN', 'CLOSE'), statusOf(100, 'CONNECTED', 'DISCONNECTED')],
      1_000_000,
      { belongingOf, createId: createIds() },
    );
    expect(effects.map(toLine)).toEqual([
      '160 OPENED STATUS_CHANGED NUMBER wa_1 CONNECTED -> DISCONNECTED',
      '160 COVERED inc_1 SENDABLE_LOST wa_1',
      '160 COVERED inc_1 DISCONNECTED wa_1',
    ]);
    expect(effects[0]).toMatchObject({ incident: { severity: 'CRITICAL' } });
  });

  test('does not hide what is lost later, for another reason than the status', () => {
    const changes = [
      statusOf(100, 'CONNECTED', 'FLAGGED'),
      statusOf(5_000, 'FLAGGED', 'RESTRICTED'),
      lost(5_000),
    ];
    expect(run(changes, 6_000)).toEqual([
      '160 OPENED STATUS_CHANGED NUMBER wa_1 CONNECTED -> FLAGGED',
      '5060 OPENED SENDABLE_LOST NUMBER wa_1 YES -> NO',
    ]);
  });

  test('is not hidden by an incident that was told as less severe', () => {
    const flagged = ['a', 'b', 'c'].map((it) =>
      statusOf(100, 'CONNECTED', 'FLAGGED', `${it}/waba//`),
    );
    const changes = [
      ...flagged,
      statusOf(5_000, 'CONNECTED', 'UNVERIFIED', 'd/waba//'),
      lost(5_000, 'd/waba//'),
    ];
    expect(run(changes, 6_000).slice(1)).toEqual([
      '5060 JOINED inc_1 d/waba//',
      '5060 OPENED SENDABLE_LOST NUMBER d/waba// YES -> NO',
    ]);
  });

  test('is a restriction of the account, if it is one from starting conversations', () => {
    const losses = ['a/waba//', 'b/waba//'].map((it) => lost(100, it));
    const blocking = restriction(100, 'RESTRICTED_BIZ_INITIATED_MESSAGING');
    const other = restriction(100, 'RESTRICTED_ADD_PHONE_NUMBER_ACTION');
    expect(run([blocking, ...losses], 1_000).slice(1)).toEqual([
      '160 COVERED inc_1 SENDABLE_LOST a/waba//',
      '160 COVERED inc_1 SENDABLE_LOST b/waba//',
    ]);
    expect(run([other, ...losses], 1_000).slice(1)).toEqual([
      '160 OPENED SENDABLE_LOST NUMBER a/waba// YES -> NO',
      '160 OPENED SENDABLE_LOST NUMBER b/waba// YES -> NO',
    ]);
  });

  test('does not count for a group of others', () => {
    const [one, two, three] = ['a/waba//', 'b/waba//', 'c/waba//'] as const;
    const changes = [
      stateOf(100, 'OPEN', 'CLOSE', three),
      ...[one, two, three].map((it) => lost(100, it)),
    ];
    expect(run(changes, 1_000)).toEqual([
      `160 OPENED DISCONNECTED NUMBER ${three} OPEN -> CLOSE`,
      `160 OPENED SENDABLE_LOST NUMBER ${one} YES -> NO`,
      `160 OPENED SENDABLE_LOST NUMBER ${two} YES -> NO`,
      `160 COVERED inc_1 SENDABLE_LOST ${three}`,
    ]);
  });
});

describe('a session engine', () => {
  test('that loses three of its numbers is one incident, of lost connections and of what follows from them', () => {
    const ids = ['a////engine', 'b////engine', 'c////engine'];
    const changes = ids.flatMap((numberId) => [
      toChange(100, 'STATE', ['OPEN', 'CLOSE'], { numberId }),
      lost(100, numberId),
    ]);
    expect(run(changes, 1_000)).toEqual([
      `160 OPENED DISCONNECTED ENGINE engine (${ids.join(' ')}) OPEN -> CLOSE`,
      ...ids.map((id) => `160 COVERED inc_1 SENDABLE_LOST ${id}`),
    ]);
  });

  test('that cannot be reached is one incident', () => {
    const ids = ['a////engine', 'b////engine', 'c////engine'];
    const changes = ids.map((numberId) =>
      toChange(100, 'CONNECTION', [null, 'UNAVAILABLE'], { numberId, kind: 'READ_FAILING' }),
    );
    expect(run(changes, 1_000)).toEqual([
      `160 OPENED READS_FAILING ENGINE engine (${ids.join(' ')}) null -> UNAVAILABLE`,
    ]);
  });
});

const silent = (seconds: number, wabaId: string) =>
  toChange(seconds, 'ACCOUNT_WEBHOOK', ['RECEIVING', 'SILENT'], { numberId: null, wabaId });
const receiving = (seconds: number, wabaId: string) =>
  toChange(seconds, 'ACCOUNT_WEBHOOK', ['SILENT', 'RECEIVING'], { numberId: null, wabaId });

describe('accounts whose webhooks do not arrive', () => {
  test('are one incident of the portfolio or the token if there are three, which a fourth one joins', () => {
    const changes = [
      ...['p-t', 'p-u', 'p-v'].map((it) => silent(100, it)),
      silent(1_000, 'p-w'),
      ...['p-t', 'p-u', 'p-v', 'p-w'].map((it) => receiving(2_000, it)),
    ];
    const lines = run(changes, 3_000);
    expect(lines.slice(0, 2)).toEqual([
      '160 OPENED WEBHOOK_SILENT PORTFOLIO p (p-t p-u p-v) RECEIVING -> SILENT',
      '1060 JOINED inc_1 p-w',
    ]);
    expect(lines.at(-1)).toBe('2000 CLOSED inc_1');
    expect(
      run(
        ['p-t', 'q-t', 'r-t'].map((it) => silent(100, it)),
        1_000,
      ),
    ).toEqual(['160 OPENED WEBHOOK_SILENT TOKEN t (p-t q-t r-t) RECEIVING -> SILENT']);
    expect(
      run(
        ['p-t', 'p-u'].map((it) => silent(100, it)),
        1_000,
      ),
    ).toHaveLength(2);
  });
});

const ban = (seconds: number, ...ids: readonly string[]) =>
  ids.map((it) => statusOf(seconds, 'CONNECTED', 'BANNED', it));

describe('what has no hold time', () => {
  const ids = ['a', 'b', 'c', 'd', 'e'].map((it) => `${it}/waba//`);
  const disabled: Signal = {
    kind: 'RAISE',
    rule: 'ACCOUNT_BANNED',
    scope: 'ACCOUNT',
    subject: 'waba',
    member: 'waba',
    previousValue: null,
    newValue: 'DISABLE',
  };

  /** The account is disabled at this time, or never. */
  function createEvaluator(disabledAt = Infinity) {
    const state = createState();
    const createId = createIds();
    return (changes: readonly EvaluatedChange[], seconds: number) => {
      const listObserved = () => (seconds === disabledAt ? [disabled] : []);
      const options = { belongingOf, createId, listObserved };
      return evaluate(state, changes, seconds * 1_000, options).map(toLine);
    };
  }

  test('is one incident of numbers that are read at once, which waits for nothing else', () => {
    const [members, value] = [ids.join(' '), 'CONNECTED -> BANNED'];
    const evaluateAt = createEvaluator();
    expect(evaluateAt(ban(100, ...ids), 101)).toEqual([
      `101 OPENED ACCOUNT_BANNED ACCOUNT waba (${members}) ${value}`,
    ]);
    // Of what waits for its evaluation, all that is a minute apart.
    const late = [...ban(100, ...ids.slice(0, 2)), ...ban(150, ...ids.slice(2))];
    expect(run(late, 1_000)).toEqual([
      `160 OPENED ACCOUNT_BANNED ACCOUNT waba (${members}) ${value}`,
    ]);
    expect(run([...ban(100, ids[0]!), ...ban(161, ids[1]!)], 1_000)).toEqual([
      `160 OPENED ACCOUNT_BANNED NUMBER ${ids[0]} ${value}`,
      `221 OPENED ACCOUNT_BANNED NUMBER ${ids[1]} ${value}`,
    ]);
  });

  test.each([2, 5])(
    'is one incident of the account with %i numbers, if it is disabled',
    (count) => {
      const numbers = ids.slice(0, count);
      expect(createEvaluator(101)(ban(100, ...numbers), 101)).toEqual([
        '101 OPENED ACCOUNT_BANNED ACCOUNT waba (waba) null -> DISABLE',
        ...numbers.map((it) => `101 JOINED inc_1 ${it}`),
      ]);
    },
  );

  test('takes in the incidents of single numbers once a third one follows within a minute', () => {
    const [one, two, three] = ids as [string, string, string];
    const evaluateAt = createEvaluator();
    expect(evaluateAt(ban(100, one, two), 101)).toHaveLength(2);
    expect(evaluateAt(ban(160, three), 161)).toEqual([
      `161 LEFT inc_1 ${one}`,
      '161 CLOSED inc_1',
      `161 LEFT inc_2 ${two}`,
      '161 CLOSED inc_2',
      `161 OPENED ACCOUNT_BANNED ACCOUNT waba (${one} ${two} ${three}) CONNECTED -> BANNED`,
    ]);
    const later = createEvaluator();
    later(ban(100, one, two), 101);
    expect(later(ban(162, three), 162)).toEqual([
      `162 OPENED ACCOUNT_BANNED NUMBER ${three} CONNECTED -> BANNED`,
    ]);
  });

  test('takes in those of single numbers when the account is disabled', () => {
    const [one, two] = ids as [string, string];
    const evaluateAt = createEvaluator(5_000);
    evaluateAt([...ban(100, one), lost(100, one)], 101);
    evaluateAt(ban(900, two), 901);
    expect(evaluateAt([], 5_000)).toEqual([
      '5000 LEFT inc_1 a/waba//',
      '5000 CLOSED inc_1',
      '5000 LEFT inc_2 b/waba//',
      '5000 CLOSED inc_2',
      '5000 OPENED ACCOUNT_BANNED ACCOUNT waba (a/waba// b/waba// waba) null -> DISABLE',
    ]);
    expect(evaluateAt([], 6_000)).toEqual(['5060 COVERED inc_3 SENDABLE_LOST a/waba//']);
  });

  test('is a request to reset the PIN of several numbers, told once', () => {
    const security = { kind: 'SECURITY', field: null };
    const changes = ids.map((numberId) =>
      toChange(100, '', [null, 'PIN_RESET_REQUEST'], { ...security, numberId }),
    );
    expect(run(changes, 101)).toEqual([
      `101 NOTED PIN_RESET_REQUESTED ACCOUNT waba (${ids.join(' ')}) null -> PIN_RESET_REQUEST`,
    ]);
  });
});
