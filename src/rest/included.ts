// The members that the query parameter `include` adds to a number: their JSON, with the members of GraphQL, and their schemas.

import type { Freshness, WhatsAppNumber } from '../numbers/number.ts';
import type { Projection } from '../numbers/projection.ts';
import { toFailureText, type UpstreamFailure } from '../numbers/provider.ts';
import {
  blocksStarting,
  effects,
  messagingScopes,
  type Reason,
  type Sendability,
  verdicts,
} from '../numbers/reason.ts';
import { operationProperties } from './operation-schemas.ts';
import {
  type Json,
  toNullable,
  toNullableText,
  toNullableTime,
  toObject,
  toText,
} from './json-schema.ts';

/** In the order in which they follow the documented members. */
export const includable = ['sendability', 'freshness', 'operations'] as const;
export type Includable = (typeof includable)[number];

/** The projection that also selects the included members. */
export function withIncluded(projection: Projection, include: readonly Includable[]): Projection {
  return {
    ...projection,
    ...(include.includes('sendability') && { health: 'everything' }),
    ...(include.includes('freshness') && { freshness: true, ages: true, nextReads: true }),
  };
}

export function toIncluded(number: WhatsAppNumber, include: readonly Includable[]) {
  return {
    ...(include.includes('sendability') && {
      sendability: toSendabilityJson(number.health.sendability),
    }),
    ...(include.includes('freshness') && { freshness: toFreshnessOfNumber(number) }),
    ...(include.includes('operations') && toOperationsJson(number)),
  };
}

/** What operators have noted about the number. */
export function toOperationsJson({ labels, mutedUntil, muteNote }: WhatsAppNumber) {
  return { labels, mutedUntil, muteNote };
}

export function toSendabilityJson({ verdict, replyVerdict, reasons }: Sendability) {
  return { verdict, replyVerdict, reasons: reasons.map(toReasonJson) };
}

function toReasonJson(reason: Reason) {
  const { entity, entityId, field, value, code, text, solution, effect, scope } = reason;
  const blocks = blocksStarting(reason);
  return { entity, entityId, field, value, code, text, solution, effect, scope, blocks };
}

function toFreshnessOfNumber({ freshness }: WhatsAppNumber) {
  const { connection, phone = null, profile = null, waba = null } = freshness;
  if (connection !== undefined) return { state: toFreshnessJson(connection) };
  // Health is derived from what is read of the phone.
  const ofPhone = toFreshnessJson(phone);
  return {
    phone: ofPhone,
    health: ofPhone,
    profile: toFreshnessJson(profile),
    waba: toFreshnessJson(waba),
  };
}

function toFreshnessJson(freshness: Freshness | null) {
  if (freshness === null) return null;
  const { observedAt, attemptedAt, ageSeconds, source, stale, error, nextSyncAt } = freshness;
  return {
    observedAt,
    attemptedAt,
    ageSeconds,
    source,
    stale,
    error: error && toErrorJson(error),
    nextSyncAt,
  };
}

function toErrorJson(failure: UpstreamFailure) {
  const { code, transient, retryAt, metaCode, metaSubcode, fbtraceId } = failure;
  const message = toFailureText(failure);
  return { code, message, transient, retryAt, metaCode, metaSubcode, fbtraceId };
}

/**
 * How the read of each part ended: `phone=LIVE, profile=META_TIMEOUT, waba=LIVE`, or `state=LIVE` for a number of a session
 * engine. Null when nothing provides any part.
 */
export function toRefreshHeader({ freshness }: WhatsAppNumber): string | null {
  const outcomes = Object.entries(freshness).flatMap(([block, part]) => {
    const outcome = part?.source === 'LIVE' ? 'LIVE' : part?.error?.code;
    return outcome === undefined ? [] : [`${block === 'connection' ? 'state' : block}=${outcome}`];
  });
  return outcomes.length === 0 ? null : outcomes.join(', ');
}

/** By name, for `components.schemas`. */
export function toIncludedSchemas(): Json {
  return {
    Sendability: toObject('Whether the number can send messages now, and why.', {
      verdict: {
        type: 'string',
        enum: verdicts,
        description: 'Whether it can start conversations, with template messages.',
      },
      replyVerdict: {
        type: 'string',
        enum: verdicts,
        description:
          'Whether it can reply to a customer within 24 hours of the last message of the customer.',
      },
      reasons: { type: 'array', items: { $ref: '#/components/schemas/Reason' } },
    }),
    Reason: toReasonSchema(),
    NumberFreshness: {
      description: 'How old each part of the number is. A part that was never requested is null.',
      anyOf: [
        toObject('Of a Meta number.', {
          phone: toNullable('Freshness'),
          health: toNullable('Freshness'),
          profile: toNullable('Freshness'),
          waba: toNullable('Freshness'),
        }),
        toObject('Of any other number.', { state: toNullable('Freshness') }),
      ],
    },
    Freshness: toFreshnessSchema(),
    UpstreamFailure: toObject(
      'Why the last attempt to read new values failed. The values are those of the last successful read.',
      {
        code: toText('An error code of this API, such as META_ACCESS_DENIED.'),
        message: toText('What happened and what to do about it, in English.'),
        ...failureDetails,
      },
    ),
  };
}

/** What the upstream (Meta or the session engine) reported about a failure. */
export const failureDetails: Json = {
  transient: { type: 'boolean', description: 'Whether the same request may succeed later.' },
  retryAt: toNullableTime('When the upstream allows the next attempt.'),
  metaCode: { type: ['integer', 'null'], description: "Meta's error code." },
  metaSubcode: { type: ['integer', 'null'], description: "Meta's error subcode." },
  fbtraceId: toNullableText("Meta's trace id, to be given to Meta's support."),
};

/** The included members of a number, which are optional. */
export const includedProperties: Json = {
  sendability: { $ref: '#/components/schemas/Sendability' },
  freshness: { $ref: '#/components/schemas/NumberFreshness' },
  ...operationProperties,
};

function toReasonSchema(): Json {
  return toObject('A fact that affects whether the number can send, or a warning.', {
    entity: toText(
      'What the reason is about: PHONE_NUMBER, WABA, BUSINESS, APP, CONNECTION (the connection state), SNAPSHOT (what is stored), TOKEN (the access token), or another word.',
    ),
    entityId: toNullableText("Meta's id of the entity."),
    field: toText('The field that the reason comes from.'),
    value: toNullableText('The value of the field, unchanged.'),
    code: { type: ['integer', 'null'], description: "Meta's error code." },
    text: toText('The reason as a sentence in English.'),
    solution: toNullableText('What to do about it.'),
    effect: {
      type: 'string',
      enum: effects,
      description:
        'How it affects the verdicts that its scope names. BLOCKS: the verdict is NO. INCONCLUSIVE: it is UNKNOWN, unless another reason blocks. INFORMS: it is not affected.',
    },
    scope: {
      type: 'string',
      enum: messagingScopes,
      description:
        'Which messages the effect applies to. ALL: both verdicts. BUSINESS_INITIATED: messages that start a conversation, so `verdict` alone. REPLIES: `replyVerdict` alone.',
    },
    blocks: {
      type: 'boolean',
      description:
        'Whether this reason alone makes `verdict` NO: its `effect` is BLOCKS and its `scope` is not REPLIES.',
    },
  });
}

function toFreshnessSchema(): Json {
  return toObject('How old values are, and whether the last attempt to read new ones succeeded.', {
    observedAt: toNullableTime('When they were read; null if no read has succeeded yet.'),
    attemptedAt: toNullableTime('When the last attempt was made, successful or not.'),
    ageSeconds: { type: ['integer', 'null'], description: 'Whole seconds since `observedAt`.' },
    source: {
      type: 'string',
      enum: ['LIVE', 'SNAPSHOT'],
      description: 'LIVE: read for this request. SNAPSHOT: stored by an earlier read.',
    },
    stale: { type: 'boolean', description: 'Whether they are more than an hour old, or missing.' },
    error: toNullable('UpstreamFailure'),
    nextSyncAt: toNullableTime(
      'When they are read next without being asked for; in the past while they are due, null if nothing is planned.',
    ),
  });
}
