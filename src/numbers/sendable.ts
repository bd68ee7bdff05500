// The rules that decide whether a number can send, and why: pure functions from evidence to a verdict with its reasons.
//
// The rules, in this order:
//  1. A connection state other than OPEN blocks. It is the only rule for a number that is not Meta's.
//  2. Meta's status must be CONNECTED and the platform CLOUD_API. Another known value blocks; a missing or unknown one is
//     inconclusive.
//  3. An entity of health_status that is BLOCKED blocks, unless all of its errors are about calls (SIP). LIMITED informs.
//     A template or a flow only informs; an unknown entity that is BLOCKED is inconclusive. The aggregate is ignored: Meta
//     reports BLOCKED there when only calls are blocked.
//  4. An error that is itself a finding (account disabled or locked, number deleted) blocks.
//  5. Evidence that is missing or stale is inconclusive, and so is evidence that cannot be refreshed because the token is
//     dead or lacks a permission.
// https://developers.facebook.com/docs/whatsapp/cloud-api/health-status
//
// The verdict that a read supports is stored with it. A change of rule 2 or 3 needs a migration that sets the stored
// verdicts to null: they are then computed from the evidence until the next read.

import type { HealthEntity, MetaPhone } from './meta.ts';
import type { ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import { toWord } from './vocabulary.ts';

/** YES: it can send. NO: something blocks it. UNKNOWN: the evidence is missing, stale or not understood. */
export const verdicts = ['YES', 'NO', 'UNKNOWN'] as const;
export type Verdict = (typeof verdicts)[number];

/** BLOCKS makes the verdict NO. INCONCLUSIVE makes it UNKNOWN unless something blocks. INFORMS changes nothing. */
export const effects = ['BLOCKS', 'INCONCLUSIVE', 'INFORMS'] as const;
export type Effect = (typeof effects)[number];

/** One piece of evidence and what it does to the verdict. */
export interface Reason {
  /** CONNECTION, SNAPSHOT, or Meta's entity type: PHONE_NUMBER, WABA, BUSINESS, APP, … */
  readonly entity: string;
  readonly entityId: string | null;
  /** The field of the evidence, in the spelling of its source. */
  readonly field: string;
  /** The value of the field, in the spelling of its source. */
  readonly value: string | null;
  /** Meta's error code. */
  readonly code: number | null;
  readonly text: string;
  /** What to do about it. */
  readonly solution: string | null;
  readonly effect: Effect;
}

export interface Sendability {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
}

export interface Evidence {
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** The last successful read, whatever its age. */
  readonly phone: MetaPhone | null;
  /** Whether that read, or that of the connection, is too old. */
  readonly stale: boolean;
  /** Why the last attempt failed; null when it succeeded. */
  readonly failure: UpstreamFailure | null;
  /** The last verdict that a read supported by itself; null when none did. */
  readonly lastVerdict: Verdict | null;
}

/** `sendable` is true when the last verdict that evidence supported is YES, whatever its age. */
export function toSendability(evidence: Evidence): {
  readonly sendable: boolean;
  readonly sendability: Sendability;
} {
  // These hold whatever the age of the last successful read.
  const certain = [...toConnectionReasons(evidence.state), ...toFindings(evidence.failure)];
  const read = evidence.provider === 'META' ? toMetaReasons(evidence.phone) : [];
  const doubts = toDoubts(evidence);
  // Stale evidence supports neither YES nor NO. The connection state holds until a newer one is stored.
  const current = evidence.stale ? [...certain, ...doubts] : [...certain, ...read, ...doubts];
  return {
    sendable: isSendable(evidence),
    sendability: { verdict: toVerdict(current), reasons: [...certain, ...read, ...doubts] },
  };
}

/**
 * Computes `sendable` alone. The phone may be null when the last verdict is known, because a verdict is stored with the
 * read that supports it.
 */
export function isSendable({
  provider,
  state,
  phone,
  failure,
  lastVerdict,
}: Omit<Evidence, 'stale'>): boolean {
  if (toConnectionReasons(state).some(isBlocking) || toFindings(failure).some(isBlocking)) {
    return false;
  }
  if (provider !== 'META') return true;
  const supported = phone === null ? null : toSupportedVerdict(phone);
  return (supported ?? lastVerdict) === 'YES';
}

/** The verdict that a read of the phone supports by itself; null when it lacks the evidence. */
export function toSupportedVerdict(phone: MetaPhone): Exclude<Verdict, 'UNKNOWN'> | null {
  const verdict = toVerdict(toMetaReasons(phone));
  return verdict === 'UNKNOWN' ? null : verdict;
}

function isBlocking({ effect }: Reason): boolean {
  return effect === 'BLOCKS';
}

function toVerdict(reasons: readonly Reason[]): Verdict {
  if (reasons.some(isBlocking)) return 'NO';
  return reasons.some((reason) => reason.effect === 'INCONCLUSIVE') ? 'UNKNOWN' : 'YES';
}

function toConnectionReasons(state: ConnectionState): readonly Reason[] {
  if (state === 'OPEN') return [];
  const text =
    state === 'CONNECTING' ? 'The number is still connecting.' : 'The number is disconnected.';
  return [
    toReason('CONNECTION', 'state', state, 'BLOCKS', text, {
      solution: 'Connect the number again.',
    }),
  ];
}

function toMetaReasons(phone: MetaPhone | null): readonly Reason[] {
  if (phone === null) {
    const text = 'Meta has never been read successfully for this number.';
    return [toReason('SNAPSHOT', 'observedAt', null, 'INCONCLUSIVE', text)];
  }
  return [...toStatusReasons(phone), ...toPlatformReasons(phone), ...toHealthReasons(phone)];
}

function toStatusReasons({ status }: MetaPhone): readonly Reason[] {
  const word = toWord('MetaStatus', status);
  if (word === 'CONNECTED') return [];
  const effect =
    word === null || word === 'UNKNOWN' || word === 'UNRECOGNIZED' ? 'INCONCLUSIVE' : 'BLOCKS';
  const text =
    effect === 'BLOCKS'
      ? `Meta's status of the number is ${status}, not CONNECTED.`
      : "Meta's status of the number is missing or not understood.";
  return [toReason('PHONE_NUMBER', 'status', status, effect, text)];
}

function toPlatformReasons({ platformType }: MetaPhone): readonly Reason[] {
  const word = toWord('PlatformType', platformType);
  if (word === 'CLOUD_API') return [];
  const effect = word === null || word === 'UNRECOGNIZED' ? 'INCONCLUSIVE' : 'BLOCKS';
  const text =
    effect === 'BLOCKS'
      ? 'The number is not registered on the Cloud API.'
      : 'Meta does not say on which platform the number is registered.';
  const solution = effect === 'BLOCKS' ? 'Register the number on the Cloud API.' : null;
  return [toReason('PHONE_NUMBER', 'platform_type', platformType, effect, text, { solution })];
}

function toHealthReasons({ healthStatus }: MetaPhone): readonly Reason[] {
  if (!healthStatus?.entities.some((entity) => sendingEntities.has(entity.entityType))) {
    const text = 'Meta gave no health status for the number.';
    return [toReason('PHONE_NUMBER', 'health_status', null, 'INCONCLUSIVE', text)];
  }
  return healthStatus.entities.flatMap(toEntityReasons);
}

// 138024 SIP is not enabled, 138025 the app has no SIP server: both are about calls.
const callErrors: ReadonlySet<number | null> = new Set([138_024, 138_025]);
const sendingEntities: ReadonlySet<string> = new Set(['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP']);
/** These concern one message, and not the number. */
const messageEntities: ReadonlySet<string> = new Set(['MESSAGE_TEMPLATE', 'FLOW']);

function toEntityReasons(entity: HealthEntity): readonly Reason[] {
  const effect = toEntityEffect(entity);
  const reason = (text: string, code: number | null = null, solution: string | null = null) =>
    toReason(entity.entityType, 'can_send_message', entity.canSendMessage, effect, text, {
      entityId: entity.id,
      code,
      solution,
    });
  const said = [
    ...entity.errors.map((error) =>
      reason(toErrorText(error.code, error.description), error.code, error.possibleSolution),
    ),
    ...entity.additionalInfo.map((text) => reason(text)),
  ];
  if (said.length > 0 || entity.canSendMessage === 'AVAILABLE') return said;
  const text =
    effect === 'INCONCLUSIVE'
      ? 'Meta does not say, or not in words that we know, whether messages can be sent.'
      : `Meta says ${entity.canSendMessage} and gives no reason.`;
  return [reason(text)];
}

function toEntityEffect({ entityType, canSendMessage, errors }: HealthEntity): Effect {
  if (messageEntities.has(entityType)) return 'INFORMS';
  switch (canSendMessage) {
    case 'AVAILABLE':
    case 'LIMITED':
      return 'INFORMS';
    case 'BLOCKED':
      if (errors.length > 0 && errors.every((error) => callErrors.has(error.code)))
        return 'INFORMS';
      // Whether messages pass through an unknown entity is not known.
      return sendingEntities.has(entityType) ? 'BLOCKS' : 'INCONCLUSIVE';
    default:
      return 'INCONCLUSIVE';
  }
}

function toErrorText(code: number | null, description: string | null): string {
  const text = description ?? 'Meta gives no description.';
  // Observed: numbers that were blocked for their payment method could still reply to people who had written first.
  return code === 141_006
    ? `${text} Business-initiated messages (templates) are blocked; replies may still go out.`
    : text;
}

// https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
const findingTexts: Readonly<Record<number, string>> = {
  33: 'Meta says that the number has been deleted.',
  368: 'Meta has restricted or disabled the account for a violation of its policies.',
  130_497: 'Meta keeps the account from messaging people in certain countries.',
  131_031: 'Meta has locked the account.',
};

function toFindings(failure: UpstreamFailure | null): readonly Reason[] {
  const code = failure?.metaCode ?? null;
  const text = code === null ? undefined : findingTexts[code];
  if (code === null || text === undefined) return [];
  const entity = code === 33 ? 'PHONE_NUMBER' : 'WABA';
  // Messages to other countries still go out.
  const effect = code === 130_497 ? 'INFORMS' : 'BLOCKS';
  return [toReason(entity, 'error.code', String(code), effect, text, { code })];
}

function toDoubts({ stale, failure }: Evidence): readonly Reason[] {
  const doubts: Reason[] = [];
  if (stale) {
    const text = 'The last successful read is missing or too old to rely on; request a live read.';
    doubts.push(toReason('SNAPSHOT', 'stale', 'true', 'INCONCLUSIVE', text));
  }
  if (failure?.code === 'META_ACCESS_DENIED' && toFindings(failure).length === 0) {
    doubts.push(
      toReason(
        'SNAPSHOT',
        'error.code',
        failure.metaCode === null ? null : String(failure.metaCode),
        'INCONCLUSIVE',
        failure.message,
        {
          code: failure.metaCode,
          solution: 'Store a working access token for the number.',
        },
      ),
    );
  }
  return doubts;
}

function toReason(
  entity: string,
  field: string,
  value: string | null,
  effect: Effect,
  text: string,
  more: Partial<Pick<Reason, 'entityId' | 'code' | 'solution'>> = {},
): Reason {
  return {
    entity,
    entityId: more.entityId ?? null,
    field,
    value,
    code: more.code ?? null,
    text,
    solution: more.solution ?? null,
    effect,
  };
}
