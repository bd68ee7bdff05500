// Tests the verdicts of every status, platform, health, restriction, age and failure against tables that were written by hand.

import { describe, expect, test } from 'vitest';
import type { MetaPhone } from '../../src/numbers/meta.ts';
import type { ConnectionState, UpstreamFailure } from '../../src/numbers/provider.ts';
import type { Restriction } from '../../src/numbers/restriction.ts';
import { type Evidence, isSendable, toSendability } from '../../src/numbers/sendable.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';
import {
  connected,
  healthy,
  healthyPhone,
  toBlocked,
  toEntity,
  toErrors,
  toFailure,
  toHealth,
  toRestriction,
} from './evidence.ts';

/**
 * What a read says by itself: `verdict` and `replyVerdict`, each Y, N or U (unknown). XX is NN with a connection state that
 * is not OPEN for the same reason.
 */
const readings = ['YY', 'NY', 'UY', 'UU', 'NU', 'NN', 'XX'] as const;
type Reading = (typeof readings)[number];

/** In the order of the columns of `onCloudApi` and `onUnknownPlatform`. */
const healths: readonly (readonly [name: string, health: MetaPhone['healthStatus']])[] = [
  ['available', toHealth()],
  ['limited', toHealth(toEntity('BUSINESS', 'LIMITED', { errors: toErrors(141_010) }))],
  ['blocked as a whole, with no blocked entity', { ...toHealth()!, canSendMessage: 'BLOCKED' }],
  ['calls blocked', toHealth(toBlocked('PHONE_NUMBER', 138_024, 138_025))],
  ['template blocked', toHealth(toBlocked('MESSAGE_TEMPLATE', 141_002))],
  ['payment', toHealth(toBlocked('WABA', 141_006))],
  ['calls and payment', toHealth(toBlocked('WABA', 138_024, 141_006))],
  ['another error', toHealth(toBlocked('BUSINESS', 141_010))],
  ['payment and another error', toHealth(toBlocked('WABA', 141_006, 141_010))],
  ['no error', toHealth(toBlocked('APP'))],
  ['an error without a code', toHealth(toBlocked('PHONE_NUMBER', 138_024, null))],
  ['missing', null],
  ['of a template alone', { canSendMessage: 'AVAILABLE', entities: [toEntity('FLOW', 'LIMITED')] }],
  ['a new word', toHealth(toEntity('WABA', 'A_WORD_OF_TOMORROW'))],
  ['no word', toHealth(toEntity('WABA', null, { errors: toErrors(141_006) }))],
  ['a new entity blocked', toHealth(toBlocked('AN_ENTITY_OF_TOMORROW', 141_010))],
  ['payment, and a new word', toHealth(toBlocked('WABA', 141_006), toEntity('APP', 'TOMORROW'))],
];

/** By status; a column for each health. */
const onCloudApi: Readonly<Record<string, string>> = {
  // .           avail limit whole calls templ payme cl+pa other pa+ot noerr nocod missi flow  newwo nowor newen pa+nw
  CONNECTED:
    '    YY    YY    YY    YY    YY    NY    NY    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  FLAGGED:
    '      YY    YY    YY    YY    YY    NY    NY    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  RATE_LIMITED:
    ' YY    YY    YY    UY    UY    NY    NY    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  RESTRICTED:
    '   NY    NY    NY    NY    NY    NY    NY    NN    NN    NN    NN    NU    NU    NU    NU    NU    NU',
  BANNED:
    '       XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  DISCONNECTED:
    ' XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  PENDING:
    '      XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  UNVERIFIED:
    '   XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  MIGRATED:
    '     XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  DELETED:
    '      XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX    XX',
  UNKNOWN:
    '      UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  TOMORROW:
    '     UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  missing:
    '      UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
};

/** The platform is missing, or a new word. */
const onUnknownPlatform: typeof onCloudApi = {
  // .           avail limit whole calls templ payme cl+pa other pa+ot noerr nocod missi flow  newwo nowor newen pa+nw
  CONNECTED:
    '    UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  FLAGGED:
    '      UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  RATE_LIMITED:
    ' UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  RESTRICTED:
    '   NU    NU    NU    NU    NU    NU    NU    NN    NN    NN    NN    NU    NU    NU    NU    NU    NU',
  BANNED: onCloudApi['BANNED']!,
  DISCONNECTED: onCloudApi['DISCONNECTED']!,
  PENDING: onCloudApi['PENDING']!,
  UNVERIFIED: onCloudApi['UNVERIFIED']!,
  MIGRATED: onCloudApi['MIGRATED']!,
  DELETED: onCloudApi['DELETED']!,
  UNKNOWN:
    '      UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  TOMORROW:
    '     UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
  missing:
    '      UU    UU    UU    UU    UU    NU    NU    NN    NN    NN    NN    UU    UU    UU    UU    UU    NU',
};

/** By status, whatever the health: the number is registered elsewhere, or nowhere. */
const elsewhere: Readonly<
  Record<'ON_PREMISE' | 'NOT_APPLICABLE', Readonly<Record<string, Reading>>>
> = {
  ON_PREMISE: {
    CONNECTED: 'NN',
    FLAGGED: 'NN',
    RATE_LIMITED: 'NN',
    RESTRICTED: 'NN',
    BANNED: 'XX',
    DISCONNECTED: 'XX',
    PENDING: 'XX',
    UNVERIFIED: 'XX',
    MIGRATED: 'XX',
    DELETED: 'XX',
    UNKNOWN: 'NN',
    TOMORROW: 'NN',
    missing: 'NN',
  },
  NOT_APPLICABLE: {
    CONNECTED: 'NN',
    FLAGGED: 'NN',
    RATE_LIMITED: 'NN',
    RESTRICTED: 'NN',
    BANNED: 'XX',
    DISCONNECTED: 'XX',
    PENDING: 'XX',
    UNVERIFIED: 'XX',
    MIGRATED: 'XX',
    DELETED: 'XX',
    UNKNOWN: 'XX',
    TOMORROW: 'XX',
    missing: 'XX',
  },
};

/** The connection state that is stored with a reading XX. */
const states: Readonly<Record<string, ConnectionState>> = {
  BANNED: 'CLOSE',
  DISCONNECTED: 'CLOSE',
  PENDING: 'CONNECTING',
  UNVERIFIED: 'CLOSE',
  MIGRATED: 'CLOSE',
  DELETED: 'CLOSE',
  UNKNOWN: 'CONNECTING',
  TOMORROW: 'CONNECTING',
  missing: 'CONNECTING',
};

/** In the order of the columns of `verdicts`. */
const restrictions: readonly (readonly (readonly Restriction[])[])[] = [
  // Nothing that matters for sending is in force.
  [
    [],
    [toRestriction('RESTRICTED_ADD_PHONE_NUMBER_ACTION'), toRestriction('RESTRICTED_TOMORROW')],
    [
      toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING', {
        expiresAt: '2026-11-29T12:00:00.000Z',
      }),
    ],
    [
      toRestriction('RESTRICTED_CUSTOMER_INITIATED_MESSAGING', {
        omittedAt: '2026-11-29T10:00:01.000Z',
      }),
    ],
  ],
  // Starting conversations is restricted.
  [
    [toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING')],
    [
      toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING', {
        expiresAt: '2026-11-29T12:00:00.001Z',
      }),
    ],
  ],
  // Replies are restricted.
  [
    [toRestriction('RESTRICTED_CUSTOMER_INITIATED_MESSAGING')],
    [
      toRestriction('RESTRICTED_CUSTOMER_INITIATED_MESSAGING'),
      toRestriction('RESTRICTED_TOMORROW'),
    ],
  ],
  // Both are restricted.
  [
    [
      toRestriction('RESTRICTED_CUSTOMER_INITIATED_MESSAGING'),
      toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING'),
    ],
  ],
];

const failures: Readonly<
  Record<'unrelated' | 'refused' | 'finding', readonly (UpstreamFailure | null)[]>
> = {
  unrelated: [
    null,
    toFailure('META_TIMEOUT'),
    toFailure('META_UNAVAILABLE', 1),
    toFailure('META_RATE_LIMITED', 80_008),
    // The owner of the token is blocked, and not the account.
    toFailure('META_RATE_LIMITED', 368, 1_390_008),
  ],
  refused: [
    // It says where messages may go, and not whether the number sends.
    toFailure('META_ACCESS_DENIED', 130_497),
    toFailure('META_ACCESS_DENIED', 190, 463),
    toFailure('META_ACCESS_DENIED', 200),
    toFailure('META_ACCESS_DENIED', 100, 33),
    toFailure('META_ACCESS_DENIED'),
  ],
  finding: [
    toFailure('META_ACCESS_DENIED', 33),
    toFailure('META_ACCESS_DENIED', 368),
    toFailure('META_UNAVAILABLE', 131_031),
  ],
};

/**
 * `verdict`, `replyVerdict` and `sendable` (+ or -) by what the last read says, its age and the last failure; a column for
 * each kind of restriction. A sendable of ? is true if the last verdict that a read supported before is YES.
 */
const verdicts: Readonly<Record<Reading, Readonly<Record<string, string>>>> = {
  //    nothing starting replies both
  YY: {
    'fresh unrelated': 'YY+  NY-  YN+  NN-',
    'fresh refused': '  UU-  NU-  UN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU+  NU-  UN+  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  NY: {
    'fresh unrelated': 'NY-  NY-  NN-  NN-',
    'fresh refused': '  NU-  NU-  NN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU-  NU-  UN-  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  UY: {
    'fresh unrelated': 'UY?  NY-  UN?  NN-',
    'fresh refused': '  UU-  NU-  UN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU?  NU-  UN?  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  UU: {
    'fresh unrelated': 'UU?  NU-  UN?  NN-',
    'fresh refused': '  UU-  NU-  UN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU?  NU-  UN?  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  NU: {
    'fresh unrelated': 'NU-  NU-  NN-  NN-',
    'fresh refused': '  NU-  NU-  NN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU-  NU-  UN-  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  NN: {
    'fresh unrelated': 'NN-  NN-  NN-  NN-',
    'fresh refused': '  NN-  NN-  NN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'UU-  NU-  UN-  NN-',
    'stale refused': '  UU-  NU-  UN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
  // The connection state holds until a newer one is stored.
  XX: {
    'fresh unrelated': 'NN-  NN-  NN-  NN-',
    'fresh refused': '  NN-  NN-  NN-  NN-',
    'fresh finding': '  NN-  NN-  NN-  NN-',
    'stale unrelated': 'NN-  NN-  NN-  NN-',
    'stale refused': '  NN-  NN-  NN-  NN-',
    'stale finding': '  NN-  NN-  NN-  NN-',
  },
};

function splitCells(row: string): readonly string[] {
  return row.trim().split(/\s+/);
}

/** The phone and state as they are stored after a read, and what the read says by itself. */
interface Read {
  readonly phone: MetaPhone | null;
  readonly state: ConnectionState;
  readonly reading: Reading;
}

function* listReads(): Iterable<Read> {
  for (const word of Object.keys(onCloudApi)) {
    const status = word === 'missing' ? null : word;
    for (const [index, [, healthStatus]] of healths.entries()) {
      const read = (platformType: string | null, reading: Reading): Read => ({
        phone: { ...healthyPhone, status, platformType, healthStatus },
        state: reading === 'XX' ? states[word]! : 'OPEN',
        reading,
      });
      const unknown = splitCells(onUnknownPlatform[word]!)[index] as Reading;
      yield read('CLOUD_API', splitCells(onCloudApi[word]!)[index] as Reading);
      yield read('PLATFORM_OF_TOMORROW', unknown);
      yield read(null, unknown);
      yield read('ON_PREMISE', elsewhere.ON_PREMISE[word]!);
      yield read('NOT_APPLICABLE', elsewhere.NOT_APPLICABLE[word]!);
    }
  }
  yield { phone: null, state: 'OPEN', reading: 'UU' };
}

/** All combinations of one read with an age, a failure, a restriction and a last verdict, each with the expected cell. */
function* listCases({ phone, state, reading }: Read): Iterable<readonly [Evidence, string]> {
  for (const [row, cells] of Object.entries(verdicts[reading])) {
    const [age, kind] = row.split(' ') as ['fresh' | 'stale', keyof typeof failures];
    for (const [column, cell] of splitCells(cells).entries()) {
      for (const failure of failures[kind]) {
        for (const ofKind of restrictions[column]!) {
          const stale = age === 'stale';
          const base = { ...healthy, phone, state, stale, failure, restrictions: ofKind };
          yield [{ ...base, lastVerdict: 'YES' }, cell.replace('?', '+')];
          yield [{ ...base, lastVerdict: 'NO' }, cell.replace('?', '-')];
          yield [base, cell.replace('?', '-')];
        }
      }
    }
  }
}

function judge(evidence: Evidence): string {
  const { verdict, replyVerdict } = toSendability(evidence);
  return `${verdict[0]}${replyVerdict[0]}${isSendable(evidence) ? '+' : '-'}`;
}

describe("a number of Meta's", () => {
  test('the tables cover every status and platform, and each row every health', () => {
    const words = Object.keys(vocabularies.MetaStatus.words);
    expect(new Set(Object.keys(onCloudApi))).toEqual(new Set([...words, 'TOMORROW', 'missing']));
    expect(Object.keys(vocabularies.PlatformType.words)).toEqual([
      'CLOUD_API',
      ...Object.keys(elsewhere),
    ]);
    for (const row of [...Object.values(onCloudApi), ...Object.values(onUnknownPlatform)]) {
      expect(splitCells(row)).toHaveLength(healths.length);
    }
    expect(Object.keys(verdicts)).toEqual(readings);
  });

  test.each(Object.keys(onCloudApi))('with the status %s has the verdicts of the table', (word) => {
    const status = word === 'missing' ? null : word;
    let cases = 0;
    const wrong: unknown[] = [];
    for (const read of listReads()) {
      if (read.phone?.status !== status) continue;
      for (const [evidence, expected] of listCases(read)) {
        cases += 1;
        const is = judge(evidence);
        if (is !== expected) wrong.push({ evidence, is, expected });
      }
    }
    expect(wrong).toEqual([]);
    // 17 healths, 5 platforms, 2 ages, 13 failures, 9 restrictions, 3 last verdicts.
    expect(cases).toBe(17 * 5 * 2 * 13 * 9 * 3);
  });

  test('that was never read has the verdicts of the table', () => {
    for (const [evidence, expected] of listCases({ phone: null, state: 'OPEN', reading: 'UU' })) {
      expect({ evidence, is: judge(evidence) }).toEqual({ evidence, is: expected });
    }
  });

  test.each<[ConnectionState, MetaPhone | null]>([
    ['CLOSE', healthyPhone],
    ['CONNECTING', healthyPhone],
    ['CLOSE', { ...healthyPhone, status: 'PENDING' }],
    ['CLOSE', null],
  ])('with the state %s, which does not follow from its last read, cannot send', (state, phone) => {
    for (const stale of [false, true]) {
      expect(judge({ ...healthy, state, phone, stale, lastVerdict: 'YES' })).toBe('NN-');
    }
  });
});

describe('a number of a session engine', () => {
  const refused = toFailure('ENGINE_ACCESS_DENIED');
  const unusable = toFailure('ENGINE_INVALID_RESPONSE');
  const unreachable = toFailure('UNAVAILABLE');
  const given: Partial<Evidence> = { isStateObserved: false, stale: true };
  const missing: Partial<Evidence> = { instanceExists: false };

  test.each<[string, Partial<Evidence>, open: string, connecting: string, close: string]>([
    ['was read', {}, 'YY+', 'NN-', 'NN-'],
    ['was read long ago', { stale: true }, 'UU+', 'NN-', 'NN-'],
    ['was read, then the engine was unreachable', { failure: unreachable }, 'YY+', 'NN-', 'NN-'],
    ['was read, then the engine refused the key', { failure: refused }, 'UU-', 'NN-', 'NN-'],
    ['was read, then the answer was unusable', { failure: unusable }, 'UU-', 'NN-', 'NN-'],
    ['was only given when it was added', given, 'UU-', 'UU-', 'UU-'],
    [
      'was only given, and the engine refused the key',
      { ...given, failure: refused },
      'UU-',
      'UU-',
      'UU-',
    ],
    [
      'was only given, and the answer was unusable',
      { ...given, failure: unusable },
      'UU-',
      'UU-',
      'UU-',
    ],
    [
      'was only given, and the engine was unreachable',
      { ...given, failure: unreachable },
      'UU-',
      'UU-',
      'UU-',
    ],
    ['is that of a missing instance', missing, 'YY+', 'NN-', 'NN-'],
    ['is that of a missing instance, long ago', { ...missing, stale: true }, 'UU+', 'NN-', 'NN-'],
  ])('whose state %s', (_, more, open, connecting, close) => {
    expect(judge({ ...connected, ...more, state: 'OPEN' })).toBe(open);
    expect(judge({ ...connected, ...more, state: 'CONNECTING' })).toBe(connecting);
    expect(judge({ ...connected, ...more, state: 'CLOSE' })).toBe(close);
  });
});
