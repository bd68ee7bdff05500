// Tests the reasons that a number can or cannot send, and that doubt never gives YES. The verdicts are in the table test.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HealthEntity } from '../../src/numbers/meta-values.ts';
import type { UpstreamFailure } from '../../src/numbers/provider.ts';
import {
  compareSeverity,
  effects,
  messagingScopes,
  toReason,
  toVerdicts,
  type Verdict,
} from '../../src/numbers/reason.ts';
import { isInForce } from '../../src/numbers/restriction.ts';
import { type Evidence, isSendable, toSendability } from '../../src/numbers/sendable.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';
import {
  connected,
  healthy,
  now,
  toBlocked,
  toEntity,
  toFailure,
  toHealth,
  toRestriction,
  withPhone,
} from './evidence.ts';

const reasonsOf = (evidence: Evidence) => toSendability(evidence).reasons;
const withHealth = (...entities: readonly HealthEntity[]) =>
  withPhone({ healthStatus: toHealth(...entities) });

describe('the reasons', () => {
  test('of a number that can send are none', () => {
    expect(toSendability(healthy)).toEqual({ verdict: 'YES', replyVerdict: 'YES', reasons: [] });
    expect(toSendability(connected)).toEqual({ verdict: 'YES', replyVerdict: 'YES', reasons: [] });
  });

  test.each([
    ['FLAGGED', 'INFORMS', 'ALL', 'continues to send'],
    ['RATE_LIMITED', 'INFORMS', 'BUSINESS_INITIATED', 'more slowly'],
    ['RESTRICTED', 'BLOCKS', 'BUSINESS_INITIATED', 'replies still go out'],
    ['BANNED', 'BLOCKS', 'ALL', 'banned'],
    ['DISCONNECTED', 'BLOCKS', 'ALL', 'not connected'],
    ['PENDING', 'BLOCKS', 'ALL', 'has not finished'],
    ['UNVERIFIED', 'BLOCKS', 'ALL', 'not been verified'],
    ['MIGRATED', 'BLOCKS', 'ALL', 'another account'],
    ['DELETED', 'BLOCKS', 'ALL', 'removed'],
  ])('for the status %s: %s %s, with what to do', (status, effect, scope, text) => {
    const [reason, ...others] = reasonsOf(withPhone({ status }));
    expect(others).toEqual([]);
    expect(reason).toMatchObject({
      entity: 'PHONE_NUMBER',
      field: 'status',
      value: status,
      effect,
      scope,
      text: expect.stringContaining(text),
      solution: expect.any(String),
    });
  });

  test.each([null, 'UNKNOWN', 'A_WORD_OF_TOMORROW'])('for the status %s: a doubt', (status) => {
    expect(reasonsOf(withPhone({ status }))).toMatchObject([
      { field: 'status', value: status, effect: 'INCONCLUSIVE', scope: 'ALL' },
    ]);
  });

  test.each([
    ['BANNED', 'CLOSE', "Appeal in Meta's Business Support Home."],
    ['PENDING', 'CONNECTING', 'Finish verification and registration.'],
    ['MIGRATED', 'CLOSE', 'Store the ids that it has there.'],
  ] as const)(
    'for the status %s do not repeat the connection state %s that follows from it',
    (status, state, solution) => {
      for (const stale of [false, true]) {
        const blocking = reasonsOf({ ...withPhone({ status }), state, stale }).filter(
          ({ effect }) => effect === 'BLOCKS',
        );
        expect(blocking).toMatchObject([{ field: 'status', solution }]);
      }
    },
  );

  test.each([
    ['BANNED', "Appeal in Meta's Business Support Home."],
    ['PENDING', 'Finish verification and registration.'],
    ['MIGRATED', 'Store the ids that it has there.'],
  ] as const)(
    'for the status %s and no platform give the advice of the status alone',
    (status, solution) => {
      const blocking = reasonsOf(withPhone({ status, platformType: 'NOT_APPLICABLE' })).filter(
        ({ effect }) => effect === 'BLOCKS',
      );
      expect(blocking).toMatchObject([{ field: 'status', solution }]);
    },
  );

  test('for a used up messaging limit and no platform name both', () => {
    const unregistered = withPhone({ status: 'RESTRICTED', platformType: 'NOT_APPLICABLE' });
    expect(
      reasonsOf(unregistered).map(({ field, effect, scope }) => [field, effect, scope]),
    ).toEqual([
      ['platform_type', 'BLOCKS', 'ALL'],
      ['status', 'BLOCKS', 'BUSINESS_INITIATED'],
    ]);
  });

  test('for a number that is registered nowhere say so once, with what to do', () => {
    const unregistered = withPhone({ status: null, platformType: 'NOT_APPLICABLE' });
    const blocking = reasonsOf({ ...unregistered, state: 'CONNECTING' }).filter(
      ({ effect }) => effect === 'BLOCKS',
    );
    expect(blocking).toMatchObject([
      { field: 'platform_type', text: 'The number is not registered on any platform.' },
    ]);
  });

  test('for a state that other software has written name the connection', () => {
    expect(reasonsOf({ ...healthy, state: 'CLOSE' })).toMatchObject([
      { entity: 'CONNECTION', field: 'state', value: 'CLOSE', effect: 'BLOCKS', scope: 'ALL' },
    ]);
  });

  test('for an instance that the session engine does not have name the instance', () => {
    expect(reasonsOf({ ...connected, state: 'CLOSE', instanceExists: false })).toMatchObject([
      {
        entity: 'CONNECTION',
        text: 'The session engine has no instance for the number.',
        solution:
          'Create or start its instance at the session engine and scan the QR code, or store the right name with: number update --instance.',
      },
    ]);
  });

  test('for a blocked entity are its errors, each with its own effect and scope', () => {
    const blocked = toBlocked('WABA', 138_024, 141_006, 141_010);
    expect(reasonsOf(withHealth({ ...blocked, additionalInfo: ['More.'] }))).toMatchObject([
      { entity: 'WABA', entityId: '1', code: 141_010, effect: 'BLOCKS', scope: 'ALL' },
      { code: 141_006, effect: 'BLOCKS', scope: 'BUSINESS_INITIATED' },
      { code: 138_024, effect: 'INFORMS', scope: 'ALL' },
      { code: null, text: 'More.', effect: 'INFORMS' },
    ]);
  });

  test('for a blocked entity without errors are its additional information', () => {
    const blocked = toEntity('WABA', 'BLOCKED', { additionalInfo: ['Locked.'] });
    expect(reasonsOf(withHealth(blocked))).toMatchObject([{ text: 'Locked.', effect: 'BLOCKS' }]);
  });

  test('for an entity that is only LIMITED inform', () => {
    const errors = [{ code: 141_010, description: 'Not verified.', possibleSolution: 'Verify.' }];
    expect(reasonsOf(withHealth(toEntity('BUSINESS', 'LIMITED', { errors })))).toEqual([
      {
        entity: 'BUSINESS',
        entityId: '1',
        field: 'can_send_message',
        value: 'LIMITED',
        code: 141_010,
        text: 'Not verified.',
        solution: 'Verify.',
        effect: 'INFORMS',
        scope: 'ALL',
      },
    ]);
  });

  test.each([
    ['PHONE_NUMBER', 33],
    ['WABA', 368],
    ['WABA', 131_031],
  ])('for a refusal that is itself the answer are about the %s (%d)', (entity, code) => {
    const failure = toFailure('META_ACCESS_DENIED', code);
    expect(reasonsOf({ ...healthy, failure })).toMatchObject([
      { entity, code, effect: 'BLOCKS', scope: 'ALL', solution: expect.any(String) },
    ]);
  });

  test('for a refusal after which nothing can be read repeat what happened and what to do', () => {
    for (const code of ['META_ACCESS_DENIED', 'ENGINE_ACCESS_DENIED'] as const) {
      const failure = { ...toFailure(code, 190), message: 'Refused.', solution: 'Do this.' };
      expect(reasonsOf({ ...healthy, failure })).toMatchObject([
        { entity: 'SNAPSHOT', code: 190, text: 'Refused.', solution: 'Do this.', scope: 'ALL' },
      ]);
    }
  });

  test('for a restriction name the account and the end', () => {
    const expiresAt = '2026-11-30T00:00:00.000Z';
    const restriction = toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING', { expiresAt });
    expect(reasonsOf({ ...healthy, restrictions: [restriction] })).toMatchObject([
      {
        entity: 'WABA',
        entityId: restriction.wabaId,
        field: 'restriction_type',
        value: restriction.kind,
        text: 'Meta has restricted the account until 30 Nov, 00:00 UTC. The account cannot start conversations.',
        solution: "Request a review in Meta's Business Support Home.",
        effect: 'BLOCKS',
        scope: 'BUSINESS_INITIATED',
      },
    ]);
  });

  test.each([
    [
      'RESTRICTED_CUSTOMER_INITIATED_MESSAGING',
      '2027-01-04T14:05:00.000Z',
      'Meta has restricted the account until 4 Jan 2027, 14:05 UTC. The account cannot reply to customers.',
    ],
    [
      'RESTRICTED_UTILITY_TEMPLATES',
      null,
      'Meta has restricted the account. Utility templates cannot be sent.',
    ],
    ['A_WORD_OF_TOMORROW', null, 'Meta has restricted the account.'],
    ['toString', null, 'Meta has restricted the account.'],
  ])('for the restriction %s until %s give Meta’s advice', (kind, expiresAt, text) => {
    const restriction = toRestriction(kind, { expiresAt, remediation: 'Do this.' });
    expect(reasonsOf({ ...healthy, restrictions: [restriction] })).toMatchObject([
      { text, solution: 'Do this.' },
    ]);
  });

  test('from a stale read stay, and none of them blocks', () => {
    const reasons = reasonsOf({ ...withPhone({ status: 'RESTRICTED' }), stale: true });
    expect(reasons).toMatchObject([
      { field: 'stale', effect: 'INCONCLUSIVE', scope: 'ALL' },
      { field: 'status', value: 'RESTRICTED', effect: 'INCONCLUSIVE' },
    ]);
  });
});

const at = (time: string) => `2026-11-29T${time}.000Z`;

const isOpenAt = (time: string, more: Parameters<typeof toRestriction>[1]) =>
  isInForce(toRestriction('RESTRICTED_BIZ_INITIATED_MESSAGING', more), new Date(at(time)));

describe('a restriction', () => {
  test('with an expiry time ends then', () => {
    const expiresAt = at('11:00:00');
    expect(isOpenAt('10:59:59', { expiresAt })).toBe(true);
    expect(isOpenAt('11:00:00', { expiresAt })).toBe(false);
  });

  test.each([
    ['ends with a newer update that leaves it out', '10:00:01', false],
    ['is not ended by an older update that arrives later', '09:59:59', true],
    ['is not ended by an update of the same time', '10:00:00', true],
  ])('reported at ten %s', (_, omittedAt, expected) => {
    expect(isOpenAt('12:00:00', { reportedAt: at('10:00:00'), omittedAt: at(omittedAt) })).toBe(
      expected,
    );
    const expiresAt = at('23:00:00');
    expect(
      isOpenAt('12:00:00', { reportedAt: at('10:00:00'), omittedAt: at(omittedAt), expiresAt }),
    ).toBe(expected);
  });

  test.each([
    ['one read', '10:05:00', '10:05:00', true],
    ['two reads within 15 minutes', '10:05:00', '10:19:59', true],
    ['two reads 15 minutes apart', '10:05:00', '10:20:00', false],
    ['two reads, the first from before the report', '09:50:00', '10:20:00', true],
  ])('without an expiry time, after %s of an available account', (_, from, to, expected) => {
    const reads = { availableFrom: at(from), availableTo: at(to) };
    expect(isOpenAt('12:00:00', { reportedAt: at('10:00:00'), ...reads })).toBe(expected);
    const expiresAt = at('23:00:00');
    expect(isOpenAt('12:00:00', { reportedAt: at('10:00:00'), ...reads, expiresAt })).toBe(true);
  });
});

const word = (...words: readonly string[]) =>
  fc.constantFrom<string | null>(...words, 'A_WORD_OF_TOMORROW', null);

const anyEntity: fc.Arbitrary<HealthEntity> = fc.record({
  entityType: fc.constantFrom('PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP', 'FLOW', 'OTHER'),
  id: fc.constantFrom('1', null),
  canSendMessage: word('AVAILABLE', 'LIMITED', 'BLOCKED'),
  additionalInfo: fc.constantFrom([], ['x']),
  errors: fc.array(
    fc.record({
      code: fc.constantFrom(138_024, 141_006, 141_010, null),
      description: fc.constant(null),
      possibleSolution: fc.constant(null),
    }),
    { maxLength: 3 },
  ),
});

const anyPhone = fc
  .record({
    status: word(...Object.keys(vocabularies.MetaStatus.words)),
    platformType: word(...Object.keys(vocabularies.PlatformType.words)),
    healthStatus: fc.option(
      fc.record({
        canSendMessage: word('BLOCKED'),
        entities: fc.array(anyEntity, { maxLength: 5 }),
      }),
    ),
  })
  .map((more) => withPhone(more).phone);

const anyRestriction = fc
  .record({
    kind: fc.constantFrom(
      'RESTRICTED_BIZ_INITIATED_MESSAGING',
      'RESTRICTED_CUSTOMER_INITIATED_MESSAGING',
      'RESTRICTED_TOMORROW',
    ),
    expiresAt: fc.constantFrom(null, '2026-11-29T11:00:00.000Z', '2026-11-29T13:00:00.000Z'),
  })
  .map(({ kind, expiresAt }) => toRestriction(kind, { expiresAt }));

const anyFailure: fc.Arbitrary<UpstreamFailure> = fc
  .tuple(
    fc.constantFrom<UpstreamFailure['code'][]>(
      'META_ACCESS_DENIED',
      'META_TIMEOUT',
      'META_UNAVAILABLE',
      'ENGINE_ACCESS_DENIED',
      'ENGINE_INVALID_RESPONSE',
    ),
    fc.constantFrom(null, 33, 190, 200, 368, 130_497),
  )
  .map(([code, metaCode]) => toFailure(code, metaCode));

const anyObstacle: fc.Arbitrary<UpstreamFailure | null> = fc.option(anyFailure);

const anyEvidence: fc.Arbitrary<Evidence> = fc.record({
  provider: fc.constantFrom('META', 'PILOT_STATUS'),
  state: fc.constantFrom('OPEN', 'CONNECTING', 'CLOSE'),
  isStateObserved: fc.boolean(),
  instanceExists: fc.boolean(),
  phone: fc.option(anyPhone),
  stale: fc.boolean(),
  lastVerdict: fc.constantFrom('YES', 'NO', null),
  failure: fc.option(anyFailure),
  obstacle: anyObstacle,
  restrictions: fc.array(anyRestriction, { maxLength: 2 }),
  identity: fc.record({
    number: fc.constantFrom(null, '5511999999999', '15550967852'),
    wabaId: fc.constantFrom(null, '1', '2'),
  }),
  now: fc.constant(now),
});

function forAny(check: (evidence: Evidence) => void): void {
  fc.assert(fc.property(anyEvidence, check), { numRuns: 3_000 });
}

const ranks: Readonly<Record<Verdict, number>> = { NO: 0, UNKNOWN: 1, YES: 2 };

/** Whether anything is better with the first evidence than with the second. */
function isBetter(one: Evidence, other: Evidence): boolean {
  const [ofOne, ofOther] = [toSendability(one), toSendability(other)];
  return (
    ranks[ofOne.verdict] > ranks[ofOther.verdict] ||
    ranks[ofOne.replyVerdict] > ranks[ofOther.replyVerdict] ||
    (isSendable(one) && !isSendable(other))
  );
}

describe('for any evidence', () => {
  test('ageing turns no verdict into YES, and leaves sendable as it is', () => {
    forAny((evidence) => {
      const fresh = { ...evidence, stale: false };
      const stale = toSendability({ ...evidence, stale: true });
      expect([stale.verdict, stale.replyVerdict]).not.toContain('YES');
      expect(isSendable({ ...evidence, stale: true } as Evidence)).toBe(isSendable(fresh));
    });
  });

  test('a refusal that leaves the verdicts open makes sendable false', () => {
    forAny((evidence) => {
      const { reasons } = toSendability(evidence);
      fc.pre(reasons.some((it) => it.entity === 'SNAPSHOT' && it.field === 'error.code'));
      expect(isSendable(evidence)).toBe(false);
    });
  });

  test('a reason of one scope never changes the verdict of the other', () => {
    forAny((evidence) => {
      const { reasons } = toSendability(evidence);
      const { verdict, replyVerdict } = toVerdicts(reasons);
      for (const effect of effects) {
        const add = (scope: (typeof messagingScopes)[number]) =>
          toVerdicts([...reasons, toReason('WABA', 'x', null, effect, 'x', { scope })]);
        expect(add('REPLIES').verdict).toBe(verdict);
        expect(add('BUSINESS_INITIATED').replyVerdict).toBe(replyVerdict);
      }
    });
  });

  test('a restriction of replies never changes the verdict, nor one of the start the verdict on replies', () => {
    forAny((evidence) => {
      const before = toSendability(evidence);
      const add = (kind: string) =>
        toSendability({
          ...evidence,
          restrictions: [...evidence.restrictions, toRestriction(kind)],
        });
      const replies = add('RESTRICTED_CUSTOMER_INITIATED_MESSAGING');
      expect([replies.verdict, replies.replyVerdict]).toEqual([before.verdict, 'NO']);
      const starting = add('RESTRICTED_BIZ_INITIATED_MESSAGING');
      expect([starting.verdict, starting.replyVerdict]).toEqual(['NO', before.replyVerdict]);
    });
  });

  test('evidence that blocks never improves anything', () => {
    forAny((evidence) => {
      for (const kind of [
        'RESTRICTED_BIZ_INITIATED_MESSAGING',
        'RESTRICTED_CUSTOMER_INITIATED_MESSAGING',
      ]) {
        const restrictions = [...evidence.restrictions, toRestriction(kind)];
        expect(isBetter({ ...evidence, restrictions }, evidence)).toBe(false);
      }
      for (const metaCode of [33, 368, 131_031]) {
        const failure = toFailure('META_ACCESS_DENIED', metaCode);
        expect(isBetter({ ...evidence, failure }, evidence)).toBe(false);
      }
      for (const state of ['CONNECTING', 'CLOSE'] as const) {
        expect(evidence.state === 'OPEN' && isBetter({ ...evidence, state }, evidence)).toBe(false);
      }
    });
  });

  test('an entity that is blocked never improves anything', () => {
    fc.assert(
      fc.property(anyEvidence, anyEntity, (evidence, { entityType, errors }) => {
        // Without health, an entity is also the evidence that was missing.
        const health = evidence.phone?.healthStatus ?? null;
        fc.pre(health !== null && health.entities.some((it) => it.entityType === 'APP'));
        const blocked = { ...toBlocked(entityType), errors };
        const healthStatus = { ...health, entities: [...health.entities, blocked] };
        const phone = { ...evidence.phone!, healthStatus };
        expect(isBetter({ ...evidence, phone }, evidence)).toBe(false);
      }),
      { numRuns: 3_000 },
    );
  });

  test('missing evidence never gives YES', () => {
    forAny((evidence) => {
      fc.pre(evidence.provider === 'META' && evidence.phone === null);
      const { verdict, replyVerdict } = toSendability(evidence);
      expect([verdict, replyVerdict]).not.toContain('YES');
    });
  });

  test('an unknown status or platform never gives YES', () => {
    forAny((evidence) => {
      fc.pre(evidence.provider === 'META');
      const text = JSON.stringify([evidence.phone?.status, evidence.phone?.platformType]);
      fc.pre(/TOMORROW|null|UNKNOWN/.test(text));
      const { verdict, replyVerdict } = toSendability(evidence);
      expect([verdict, replyVerdict]).not.toContain('YES');
    });
  });

  test('YES is sendable', () => {
    forAny((evidence) => {
      const { verdict } = toSendability(evidence);
      const observed = evidence.stale || evidence.isStateObserved;
      expect(verdict !== 'YES' || !observed || isSendable(evidence)).toBe(true);
    });
  });

  test('the reasons are sorted by severity, and explain the verdicts', () => {
    forAny((evidence) => {
      const { verdict, replyVerdict, reasons } = toSendability(evidence);
      expect(reasons).toEqual(reasons.toSorted(compareSeverity));
      for (const [is, other] of [
        [verdict, 'REPLIES'],
        [replyVerdict, 'BUSINESS_INITIATED'],
      ]) {
        const found = reasons.filter(({ scope }) => scope !== other).map(({ effect }) => effect);
        const first = found[0] ?? 'INFORMS';
        expect({ BLOCKS: 'NO', INCONCLUSIVE: 'UNKNOWN', INFORMS: 'YES' }[first]).toBe(is);
      }
    });
  });
});
