// Tests when a number can send: each rule, each case that was observed in production, and that doubt never gives YES.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type HealthEntity,
  type HealthStatus,
  type MetaPhone,
  toMetaBlock,
} from '../../src/numbers/meta.ts';
import type { UpstreamFailure } from '../../src/numbers/provider.ts';
import { type Evidence, toSendability } from '../../src/numbers/sendable.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';

const toEntity = (
  entityType: string,
  canSendMessage: string | null,
  more: Partial<HealthEntity> = {},
): HealthEntity => ({
  entityType,
  id: '1',
  canSendMessage,
  additionalInfo: [],
  errors: [],
  ...more,
});

const toError = (code: number | null) => ({ code, description: null, possibleSolution: null });

const healthyEntities = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'].map((type) =>
  toEntity(type, 'AVAILABLE'),
);

const toHealth = (...entities: readonly HealthEntity[]): HealthStatus => ({
  canSendMessage: 'AVAILABLE',
  entities: [
    ...healthyEntities.filter((it) => entities.every((own) => own.entityType !== it.entityType)),
    ...entities,
  ],
});

const phone: MetaPhone = {
  ...toMetaBlock('phone', {}),
  status: 'CONNECTED',
  platformType: 'CLOUD_API',
  healthStatus: toHealth(),
};

const meta: Evidence = {
  provider: 'META',
  state: 'OPEN',
  phone,
  stale: false,
  failure: null,
  lastVerdict: null,
};
const other: Evidence = {
  provider: 'PILOT_STATUS',
  state: 'OPEN',
  phone: null,
  stale: false,
  failure: null,
  lastVerdict: null,
};

const toFailure = (
  code: UpstreamFailure['code'],
  metaCode: number | null = null,
): UpstreamFailure => ({
  code,
  message: 'It did not work.',
  solution: 'Do something.',
  transient: true,
  retryAt: null,
  metaCode,
  metaSubcode: null,
  fbtraceId: null,
});

const withPhone = (more: Partial<MetaPhone>): Evidence => ({
  ...meta,
  phone: { ...phone, ...more },
});
const withEntity = (...entity: Parameters<typeof toEntity>): Evidence =>
  withPhone({ healthStatus: toHealth(toEntity(...entity)) });

const verdictOf = (evidence: Evidence) => toSendability(evidence).sendability.verdict;

describe('a number that is not at Meta', () => {
  test.each([
    ['OPEN', 'YES'],
    ['CONNECTING', 'NO'],
    ['CLOSE', 'NO'],
  ] as const)('in the state %s: %s', (state, verdict) => {
    expect(verdictOf({ ...other, state })).toBe(verdict);
  });

  test('needs no read of Meta', () => {
    expect(toSendability(other)).toEqual({
      sendable: true,
      sendability: { verdict: 'YES', reasons: [] },
    });
  });

  test('is UNKNOWN once its state is too old', () => {
    expect(verdictOf({ ...other, stale: true })).toBe('UNKNOWN');
  });
});

describe('a Meta number', () => {
  test('that is connected, on the Cloud API and healthy can send, with no reason against it', () => {
    expect(toSendability(meta)).toEqual({
      sendable: true,
      sendability: { verdict: 'YES', reasons: [] },
    });
  });

  test.each(['CONNECTING', 'CLOSE'] as const)(
    'in the state %s may not, however healthy',
    (state) => {
      expect(toSendability({ ...meta, state })).toMatchObject({
        sendable: false,
        sendability: {
          verdict: 'NO',
          reasons: [{ entity: 'CONNECTION', field: 'state', value: state, effect: 'BLOCKS' }],
        },
      });
    },
  );

  test.each<(string | null)[]>([
    ...Object.keys(vocabularies.MetaStatus.words).map((word) => [
      word,
      { CONNECTED: 'YES', UNKNOWN: 'UNKNOWN' }[word] ?? 'NO',
    ]),
    ['A_WORD_OF_TOMORROW', 'UNKNOWN'],
    [null, 'UNKNOWN'],
  ])('with the status %s: %s', (status, verdict) => {
    expect(verdictOf(withPhone({ status: status ?? null }))).toBe(verdict);
  });

  test.each<(string | null)[]>([
    ['CLOUD_API', 'YES'],
    ['ON_PREMISE', 'NO'],
    ['NOT_APPLICABLE', 'NO'],
    ['A_WORD_OF_TOMORROW', 'UNKNOWN'],
    [null, 'UNKNOWN'],
  ])('on the platform %s: %s', (platformType, verdict) => {
    expect(verdictOf(withPhone({ platformType: platformType ?? null }))).toBe(verdict);
  });

  test('that was never read is UNKNOWN', () => {
    expect(toSendability({ ...meta, phone: null })).toMatchObject({
      sendable: false,
      sendability: { verdict: 'UNKNOWN', reasons: [{ entity: 'SNAPSHOT' }] },
    });
  });
});

describe("Meta's health status", () => {
  test.each(
    ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'].flatMap((entityType) => [
      [entityType, 'AVAILABLE', 'YES'],
      [entityType, 'LIMITED', 'YES'],
      [entityType, 'BLOCKED', 'NO'],
      [entityType, 'A_WORD_OF_TOMORROW', 'UNKNOWN'],
      [entityType, null, 'UNKNOWN'],
    ]),
  )('%s %s: %s', (entityType, word, verdict) => {
    expect(verdictOf(withEntity(entityType as string, word as string | null))).toBe(verdict);
  });

  test.each([
    ['is missing', null],
    ['has no entities', { canSendMessage: 'AVAILABLE', entities: [] }],
    [
      'speaks of a template alone',
      { canSendMessage: 'AVAILABLE', entities: [toEntity('MESSAGE_TEMPLATE', 'AVAILABLE')] },
    ],
  ])('that %s leaves the question open', (_, healthStatus) => {
    expect(verdictOf(withPhone({ healthStatus: healthStatus as HealthStatus }))).toBe('UNKNOWN');
  });

  test('that is BLOCKED as a whole without a blocked entity blocks nothing', () => {
    expect(
      verdictOf(withPhone({ healthStatus: { ...toHealth(), canSendMessage: 'BLOCKED' } })),
    ).toBe('YES');
  });

  test.each([138_024, 138_025])('blocks nothing for calls alone (%d)', (code) => {
    const errors = [toError(code)];
    expect(verdictOf(withEntity('PHONE_NUMBER', 'BLOCKED', { errors }))).toBe('YES');
    expect(verdictOf(withEntity('PHONE_NUMBER', 'LIMITED', { errors }))).toBe('YES');
  });

  test.each([
    ['calls and something else', [toError(138_024), toError(141_006)]],
    ['calls and something without a code', [toError(138_024), toError(null)]],
    ['no reason at all', []],
  ])('blocks for %s', (_, errors) => {
    expect(verdictOf(withEntity('PHONE_NUMBER', 'BLOCKED', { errors }))).toBe('NO');
  });

  test('with errors on an entity that is only LIMITED informs and blocks nothing', () => {
    const errors = [{ code: 141_010, description: 'Not verified.', possibleSolution: 'Verify.' }];
    expect(toSendability(withEntity('BUSINESS', 'LIMITED', { errors }))).toMatchObject({
      sendable: true,
      sendability: {
        verdict: 'YES',
        reasons: [
          {
            entity: 'BUSINESS',
            entityId: '1',
            field: 'can_send_message',
            value: 'LIMITED',
            code: 141_010,
            text: 'Not verified.',
            solution: 'Verify.',
            effect: 'INFORMS',
          },
        ],
      },
    });
  });

  test('with additional information informs', () => {
    const additionalInfo = ['Your display name has not been approved yet.'];
    const { sendability } = toSendability(
      withEntity('PHONE_NUMBER', 'LIMITED', { additionalInfo }),
    );
    expect(sendability.reasons).toMatchObject([{ text: additionalInfo[0], effect: 'INFORMS' }]);
  });

  test('blocked by the payment method says that templates are concerned', () => {
    const errors = [toError(141_006)];
    const { sendability } = toSendability(withEntity('WABA', 'BLOCKED', { errors }));
    expect(sendability).toMatchObject({
      verdict: 'NO',
      reasons: [{ entity: 'WABA', code: 141_006, text: expect.stringContaining('templates') }],
    });
  });

  test.each(['MESSAGE_TEMPLATE', 'FLOW'])('of a blocked %s says nothing of the number', (type) => {
    expect(verdictOf(withEntity(type, 'BLOCKED'))).toBe('YES');
  });

  test('of a blocked entity of an unknown type is inconclusive', () => {
    expect(verdictOf(withEntity('ENTITY_OF_TOMORROW', 'BLOCKED'))).toBe('UNKNOWN');
    expect(verdictOf(withEntity('ENTITY_OF_TOMORROW', 'AVAILABLE'))).toBe('YES');
  });

  test('that blocks takes precedence over one that is not understood', () => {
    const entities = [toEntity('WABA', 'A_WORD_OF_TOMORROW'), toEntity('APP', 'BLOCKED')];
    expect(verdictOf(withPhone({ healthStatus: toHealth(...entities) }))).toBe('NO');
  });
});

describe('an attempt that failed', () => {
  test.each([
    [33, 'PHONE_NUMBER'],
    [368, 'WABA'],
    [131_031, 'WABA'],
  ])('with Meta code %d is a finding that blocks, whatever was read before', (code, entity) => {
    const failure = toFailure('META_ACCESS_DENIED', code);
    for (const evidence of [meta, { ...meta, stale: true }, { ...meta, phone: null }]) {
      expect(toSendability({ ...evidence, failure })).toMatchObject({
        sendable: false,
        sendability: {
          verdict: 'NO',
          reasons: expect.arrayContaining([
            expect.objectContaining({ entity, code, effect: 'BLOCKS' }),
          ]),
        },
      });
    }
  });

  test('with a restriction to certain countries informs', () => {
    const failure = toFailure('META_UNAVAILABLE', 130_497);
    expect(toSendability({ ...meta, failure })).toMatchObject({
      sendable: true,
      sendability: { verdict: 'YES', reasons: [{ code: 130_497, effect: 'INFORMS' }] },
    });
  });

  test('for a dead token is inconclusive, and sendable stays as it was', () => {
    const failure = toFailure('META_ACCESS_DENIED', 190);
    expect(toSendability({ ...meta, failure })).toMatchObject({
      sendable: true,
      sendability: { verdict: 'UNKNOWN', reasons: [{ entity: 'SNAPSHOT', code: 190 }] },
    });
  });

  test.each(['META_TIMEOUT', 'META_UNAVAILABLE', 'META_RATE_LIMITED'] as const)(
    'by %s changes nothing while the last reading is fresh',
    (code) => {
      expect(toSendability({ ...meta, failure: toFailure(code) })).toEqual(toSendability(meta));
    },
  );
});

describe('a stale read', () => {
  test('supports neither YES nor NO, and sendable stays as it was', () => {
    expect(toSendability({ ...meta, stale: true })).toMatchObject({
      sendable: true,
      sendability: { verdict: 'UNKNOWN' },
    });
    const banned = { ...withPhone({ status: 'BANNED' }), stale: true };
    expect(toSendability(banned)).toMatchObject({
      sendable: false,
      sendability: { verdict: 'UNKNOWN' },
    });
  });

  test('is still listed among the reasons', () => {
    const { reasons } = toSendability({
      ...withPhone({ status: 'BANNED' }),
      stale: true,
    }).sendability;
    expect(reasons.map(({ field }) => field)).toEqual(['status', 'stale']);
  });

  test('of a number that is closed still gives NO', () => {
    expect(verdictOf({ ...meta, state: 'CLOSE', stale: true })).toBe('NO');
  });
});

const word = (...words: readonly string[]) =>
  fc.constantFrom<string | null>(...words, 'A_WORD_OF_TOMORROW', null);

const entities = fc.array(
  fc.record({
    entityType: fc.constantFrom('PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP', 'FLOW', 'OTHER'),
    id: fc.constantFrom('1', null),
    canSendMessage: word('AVAILABLE', 'LIMITED', 'BLOCKED'),
    additionalInfo: fc.constantFrom([], ['x']),
    errors: fc.array(fc.constantFrom(138_024, 141_006, 141_010, null).map(toError), {
      maxLength: 3,
    }),
  }),
  { maxLength: 5 },
);

const evidences: fc.Arbitrary<Evidence> = fc.record({
  provider: fc.constantFrom('META', 'PILOT_STATUS'),
  state: fc.constantFrom('OPEN', 'CONNECTING', 'CLOSE'),
  phone: fc.option(
    fc
      .record({
        status: word(...Object.keys(vocabularies.MetaStatus.words)),
        platformType: word('CLOUD_API', 'ON_PREMISE'),
        healthStatus: fc.option(fc.record({ canSendMessage: word('BLOCKED'), entities })),
      })
      .map((more) => withPhone(more).phone),
  ),
  stale: fc.boolean(),
  lastVerdict: fc.constantFrom('YES', 'NO', null),
  failure: fc.option(
    fc
      .tuple(
        fc.constantFrom('META_ACCESS_DENIED', 'META_TIMEOUT', 'META_UNAVAILABLE'),
        fc.constantFrom(null, 33, 190, 200, 368, 130_497),
      )
      .map(([code, metaCode]) => toFailure(code as UpstreamFailure['code'], metaCode)),
  ),
});

function forAny(check: (evidence: Evidence) => void): void {
  fc.assert(fc.property(evidences, check), { numRuns: 2_000 });
}

describe('for any evidence', () => {
  test('stale or missing evidence never gives YES', () => {
    forAny((evidence) => {
      const absent = evidence.provider === 'META' && evidence.phone === null;
      fc.pre(evidence.stale || absent);
      expect(verdictOf(evidence)).not.toBe('YES');
    });
  });

  test('an unknown value never gives YES', () => {
    forAny((evidence) => {
      fc.pre(evidence.provider === 'META');
      const text = JSON.stringify([evidence.phone?.status, evidence.phone?.platformType]);
      fc.pre(text.includes('TOMORROW') || text.includes('null'));
      expect(verdictOf(evidence)).not.toBe('YES');
    });
  });

  test('sendable follows from the read alone, or from the last read that supported a verdict', () => {
    forAny((evidence) => {
      const { sendable } = toSendability(evidence);
      const isFinding = [33, 368, 130_497].includes(evidence.failure?.metaCode ?? 0);
      const fresh = { ...evidence, stale: false, failure: isFinding ? evidence.failure : null };
      const verdict = verdictOf(fresh);
      expect((verdict === 'UNKNOWN' ? evidence.lastVerdict : verdict) === 'YES').toBe(sendable);
    });
  });

  test('YES is sendable', () => {
    forAny((evidence) => {
      const { sendable, sendability } = toSendability(evidence);
      expect(sendable || sendability.verdict !== 'YES').toBe(true);
    });
  });

  test('a verdict other than YES has a reason, and YES has none against it', () => {
    forAny((evidence) => {
      const { verdict, reasons } = toSendability(evidence).sendability;
      const found = reasons.map(({ effect }) => effect);
      const holds = {
        NO: found.includes('BLOCKS'),
        UNKNOWN: found.includes('INCONCLUSIVE'),
        YES: found.every((effect) => effect === 'INFORMS'),
      };
      expect(holds[verdict]).toBe(true);
    });
  });

  test('a connection that is not open gives NO', () => {
    forAny((evidence) => {
      fc.pre(evidence.state !== 'OPEN');
      expect(toSendability(evidence)).toMatchObject({
        sendable: false,
        sendability: { verdict: 'NO' },
      });
    });
  });
});
