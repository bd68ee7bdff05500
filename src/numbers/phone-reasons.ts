// What a read of a phone number at Meta says about sending: its registration, and its health entity by entity.

import type { HealthEntity, HealthError, HealthStatus } from './meta-values.ts';
import type { MetaPhone } from './meta.ts';
import type { ConnectionState } from './provider.ts';
import {
  type Effect,
  type MessagingScope,
  type Reason,
  toReason,
  toVerdicts,
  type Verdicts,
} from './reason.ts';
import { toWord, type vocabularies } from './vocabulary.ts';

/** The version of the rules that stored verdicts depend on. Verdicts without a version are from the first edition. */
export const rulesVersion = 2;

/** The verdicts that a read of the phone supports by itself. */
export function judgePhone(phone: MetaPhone): Verdicts {
  return toVerdicts(listPhoneReasons(phone));
}

/** The connection state that follows from Meta's status, or from the platform if the status says nothing; null when none does. */
export function toConnectionState({
  status,
  platformType,
}: Pick<MetaPhone, 'status' | 'platformType'>): ConnectionState | null {
  const rule = findStatusRule(status);
  if (rule !== undefined) return rule.state;
  return toWord('PlatformType', platformType) === 'NOT_APPLICABLE' ? 'CONNECTING' : null;
}

export function listPhoneReasons(phone: MetaPhone): readonly Reason[] {
  return [...listRegistrationReasons(phone), ...listHealthReasons(phone)];
}

export function listRegistrationReasons(phone: MetaPhone): readonly Reason[] {
  return [...listStatusReasons(phone), ...listPlatformReasons(phone)];
}

function listPlatformReasons({ status, platformType }: MetaPhone): readonly Reason[] {
  const word = toWord('PlatformType', platformType);
  if (word === 'CLOUD_API') return [];
  // A number that is banned, deleted, migrated or not verified is registered nowhere, and its status says what to do.
  const rule = findStatusRule(status);
  if (word === 'NOT_APPLICABLE' && rule?.effect === 'BLOCKS' && rule.scope === 'ALL') return [];
  if (word === null || word === 'UNRECOGNIZED') {
    const text = 'Meta does not say on which platform the number is registered.';
    return [toReason('PHONE_NUMBER', 'platform_type', platformType, 'INCONCLUSIVE', text)];
  }
  const text =
    word === 'NOT_APPLICABLE'
      ? 'The number is not registered on any platform.'
      : 'The number is not registered on the Cloud API.';
  const solution = 'Register the number on the Cloud API.';
  return [toReason('PHONE_NUMBER', 'platform_type', platformType, 'BLOCKS', text, { solution })];
}

interface StatusRule {
  /** Null for the status of a number without problems. */
  readonly effect: Effect | null;
  readonly scope: MessagingScope;
  readonly text: string;
  readonly solution: string | null;
  /** The connection state that follows. */
  readonly state: ConnectionState;
}

type StatusWord = Exclude<keyof typeof vocabularies.MetaStatus.words, 'UNKNOWN'>;

const statusRules: Readonly<Record<StatusWord, StatusRule>> = {
  CONNECTED: { effect: null, scope: 'ALL', text: '', solution: null, state: 'OPEN' },
  FLAGGED: {
    effect: 'INFORMS',
    scope: 'ALL',
    text: 'The quality of the messages is low. The number continues to send; since October 2025 Meta no longer lowers the limit for this.',
    solution: 'Send only what people expect, and make it easy to opt out.',
    state: 'OPEN',
  },
  // Inconclusive unless the health says that nothing is blocked.
  RATE_LIMITED: {
    effect: 'INFORMS',
    scope: 'BUSINESS_INITIATED',
    text: 'The number was asked to send faster than Meta allows, so it sends more slowly than asked.',
    solution: 'Send fewer messages at a time.',
    state: 'OPEN',
  },
  RESTRICTED: {
    effect: 'BLOCKS',
    scope: 'BUSINESS_INITIATED',
    text: 'The messaging limit is used up: no conversation can be started, and replies still go out.',
    solution: 'Wait; the limit reopens within 24 hours.',
    state: 'OPEN',
  },
  BANNED: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'Meta has banned the number.',
    solution: "Appeal in Meta's Business Support Home.",
    state: 'CLOSE',
  },
  DISCONNECTED: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'The number is not connected to the WhatsApp network.',
    solution: 'Register the number again.',
    state: 'CLOSE',
  },
  PENDING: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'The registration of the number has not finished.',
    solution: 'Finish verification and registration.',
    state: 'CONNECTING',
  },
  UNVERIFIED: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'The ownership of the number has not been verified.',
    solution: 'Finish verification and registration.',
    state: 'CLOSE',
  },
  MIGRATED: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'The number has moved to another account.',
    solution: 'Store the ids that it has there.',
    state: 'CLOSE',
  },
  DELETED: {
    effect: 'BLOCKS',
    scope: 'ALL',
    text: 'The number has been removed from its account.',
    solution: 'Remove the number here, or store the ids that replaced it.',
    state: 'CLOSE',
  },
};

/** Undefined for a status that says nothing: a missing one, UNKNOWN, or a word that is not in the vocabulary. */
function findStatusRule(status: string | null): StatusRule | undefined {
  const word = toWord('MetaStatus', status);
  return word !== null && Object.hasOwn(statusRules, word)
    ? statusRules[word as StatusWord]
    : undefined;
}

function listStatusReasons({ status, healthStatus }: MetaPhone): readonly Reason[] {
  const rule = findStatusRule(status);
  if (rule === undefined) {
    const text = "Meta's status of the number is missing or not understood.";
    return [toReason('PHONE_NUMBER', 'status', status, 'INCONCLUSIVE', text)];
  }
  const { effect, scope, text, solution } = rule;
  if (effect === null) return [];
  const isUnsettled = rule === statusRules.RATE_LIMITED && !isFreeOfBlocks(healthStatus);
  return [
    toReason('PHONE_NUMBER', 'status', status, isUnsettled ? 'INCONCLUSIVE' : effect, text, {
      scope,
      solution,
    }),
  ];
}

function isFreeOfBlocks(health: MetaPhone['healthStatus']): boolean {
  return coversSending(health) && health.entities.every((it) => it.canSendMessage !== 'BLOCKED');
}

const sendingEntities: ReadonlySet<string> = new Set(['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP']);
/** These concern one message, and not the number. */
const messageEntities: ReadonlySet<string> = new Set(['MESSAGE_TEMPLATE', 'FLOW']);

/** Whether an entity that sends messages is among those of the health status. */
function coversSending(health: MetaPhone['healthStatus']): health is HealthStatus {
  return health?.entities.some(({ entityType }) => sendingEntities.has(entityType)) ?? false;
}

export function listHealthReasons({ healthStatus }: MetaPhone): readonly Reason[] {
  if (!coversSending(healthStatus)) {
    const text = 'Meta gave no health status for the number.';
    return [toReason('PHONE_NUMBER', 'health_status', null, 'INCONCLUSIVE', text)];
  }
  return healthStatus.entities.flatMap(listEntityReasons);
}

// 138024 SIP is not enabled, 138025 the app has no SIP server: both are about calls.
const callErrors: ReadonlySet<number | null> = new Set([138_024, 138_025]);
// Observed: numbers that were blocked for their payment method could still reply to people who had written first.
const paymentError = 141_006;

/** One for each error and each additional information, or one for the entity itself. */
function listEntityReasons(entity: HealthEntity): readonly Reason[] {
  const { entityType, id, canSendMessage, errors, additionalInfo } = entity;
  const reason = (effect: Effect, text: string, more: Parameters<typeof toReason>[5] = {}) =>
    toReason(entityType, 'can_send_message', canSendMessage, effect, text, {
      entityId: id,
      ...more,
    });
  const effect = toEntityEffect(entity);
  const isBlocked = canSendMessage === 'BLOCKED';
  const ofErrors = errors.map((error) => {
    const { code, possibleSolution } = error;
    const isAboutCalls = isBlocked && callErrors.has(code);
    return reason(isAboutCalls ? 'INFORMS' : effect, toErrorText(error, isBlocked), {
      code,
      solution: possibleSolution,
      scope: code === paymentError && isWordKnown(canSendMessage) ? 'BUSINESS_INITIATED' : 'ALL',
    });
  });
  // The errors of a blocked entity say why it is blocked.
  const effectOfInfo = isBlocked && errors.length > 0 ? 'INFORMS' : effect;
  const ofInfo = additionalInfo.map((text) => reason(effectOfInfo, text));
  const said = [...ofErrors, ...ofInfo];
  if (said.length > 0 || canSendMessage === 'AVAILABLE') return said;
  const text =
    effect === 'INCONCLUSIVE'
      ? 'Meta does not say, or not in words that we know, whether messages can be sent.'
      : `Meta says ${canSendMessage} and gives no reason.`;
  return [reason(effect, text)];
}

/** The effect of an entity, and of each of its errors but those about calls. */
function toEntityEffect({ entityType, canSendMessage }: HealthEntity): Effect {
  if (messageEntities.has(entityType)) return 'INFORMS';
  switch (canSendMessage) {
    case 'AVAILABLE':
    case 'LIMITED':
      return 'INFORMS';
    case 'BLOCKED':
      // Whether messages pass through an unknown entity is not known.
      return sendingEntities.has(entityType) ? 'BLOCKS' : 'INCONCLUSIVE';
    default:
      return 'INCONCLUSIVE';
  }
}

function isWordKnown(canSendMessage: string | null): boolean {
  return ['AVAILABLE', 'LIMITED', 'BLOCKED'].includes(canSendMessage ?? '');
}

function toErrorText({ code, description }: HealthError, isBlocked: boolean): string {
  const text = description ?? 'Meta gives no description.';
  return isBlocked && code === paymentError
    ? `${text} Business-initiated messages (templates) are blocked; replies may still go out.`
    : text;
}
