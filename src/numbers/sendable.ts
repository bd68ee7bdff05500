// The rules that decide whether a number can send, and why: pure functions from evidence to two verdicts with their reasons.
//
// `verdict` is about starting conversations, `replyVerdict` about replies within the customer service window. The scope of
// a reason says which of the two it affects. The rules, in this order:
//  1. An error that is itself a finding (account disabled or locked, number deleted) blocks.
//  2. A connection state other than OPEN blocks. It is the only evidence of a number that is not Meta's, and only if it was
//     observed: once a session engine is configured, the state that was given when the number was added is none. A state
//     that follows from Meta's registration (rule 3) is not a second reason next to it.
//  3. The registration at Meta: the platform must be CLOUD_API, and the status is judged by `statusRules`.
//  4. An entity of health_status that is BLOCKED is judged error by error: errors about calls (SIP) inform, a payment error
//     blocks business-initiated messages, any other error blocks all. LIMITED informs. A template or a flow only informs; an
//     unknown entity that is BLOCKED is inconclusive. The aggregate is ignored: Meta reports BLOCKED there when only calls
//     are blocked.
//  5. A restriction of the account that is in force blocks what it names.
//  6. Evidence that is missing or stale is inconclusive for both verdicts, and so is a refusal after which nothing can be
//     read. Rules 3 and 4 do not block on stale evidence; they are inconclusive then. A state other than OPEN blocks until a
//     newer one is stored, and with it the registration that it follows from.
//  7. Stored ids and digits that do not belong to the number which Meta returns inform; see mismatch.ts.
//  8. A ban or a disconnection that Meta has announced informs; see account-notices.ts.
//  9. An access token that has ended, or ends within 30 days, informs; see token-expiry.ts.
// https://developers.facebook.com/docs/whatsapp/cloud-api/health-status
//
// The verdicts that a read supports are stored with it, see `judgePhone`. A change of rule 3 or 4 increments `rulesVersion`:
// stored verdicts of another version are computed again from the evidence.

import { type AccountNotices, listNoticeReasons } from './account-notices.ts';
import type { MetaPhone } from './meta.ts';
import { listMismatches, type StoredIdentity } from './mismatch.ts';
import {
  judgePhone,
  listHealthReasons,
  listPhoneReasons,
  listRegistrationReasons,
  toConnectionState,
} from './phone-reasons.ts';
import type { ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import {
  blocksStarting,
  compareSeverity,
  type Reason,
  type Sendability,
  toReason,
  toVerdicts,
  type Verdict,
} from './reason.ts';
import { isInForce, type Restriction, toRestrictionReason } from './restriction.ts';
import { listTokenReasons, type TokenEnds } from './token-expiry.ts';

export interface Evidence {
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** False when a session engine is configured and the state is only the one that was given when the number was added. */
  readonly isStateObserved: boolean;
  /** False when the session engine answered that it has no instance of this name. */
  readonly instanceExists: boolean;
  /** The last successful read, whatever its age. */
  readonly phone: MetaPhone | null;
  /** Whether that read, or that of the connection, is too old. */
  readonly stale: boolean;
  /** Why the last attempt failed; null when it succeeded. */
  readonly failure: UpstreamFailure | null;
  /** Why a newer attempt could not be made; null or absent when none was prevented. */
  readonly obstacle?: UpstreamFailure | null;
  /** The restrictions of the account, in force or not. */
  readonly restrictions: readonly Restriction[];
  /** What else Meta has announced of the account; none if absent. */
  readonly notices?: AccountNotices;
  readonly identity: StoredIdentity;
  /** When the access token ends; null or absent when nothing is known. */
  readonly token?: TokenEnds | null;
  /** The last verdict that a read supported by itself; null when none did. */
  readonly lastVerdict: Verdict | null;
  readonly now: Date;
}

export function toSendability(evidence: Evidence): Sendability {
  const reasons = [
    ...listCertainReasons(evidence),
    ...listMetaReasons(evidence),
    ...listMismatches(evidence.identity, evidence.phone),
    ...listTokenReasons(evidence.token ?? null, evidence.now),
    ...listNoticeReasons(evidence.identity.wabaId, evidence.notices ?? {}),
    ...listDoubts(evidence),
  ].toSorted(compareSeverity);
  return { ...toVerdicts(reasons), reasons };
}

/**
 * The boolean of the product page: true while the last verdict that a read supported is YES, whatever its age, and nothing
 * newer contradicts it. The phone may be null when the last verdict is known to come from the same read.
 */
export function isSendable(evidence: Omit<Evidence, 'stale'>): boolean {
  const { provider, state, isStateObserved, phone, lastVerdict } = evidence;
  if (state !== 'OPEN' || !isStateObserved || findRefusal(evidence) !== null) return false;
  if (listCertainReasons(evidence).some(blocksStarting)) return false;
  if (provider !== 'META') return true;
  const verdict = phone === null ? 'UNKNOWN' : judgePhone(phone).verdict;
  return (verdict === 'UNKNOWN' ? lastVerdict : verdict) === 'YES';
}

/** Those that hold whatever the age of the last successful read. */
function listCertainReasons(evidence: Omit<Evidence, 'stale'>): readonly Reason[] {
  const { failure, restrictions, now } = evidence;
  return [
    ...listFindings(failure),
    ...listConnectionReasons(evidence),
    ...restrictions.filter((it) => isInForce(it, now)).map(toRestrictionReason),
  ];
}

// 130497, a restriction to some countries, is none: whether the number may send depends on the recipient.
// https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
const findings: Readonly<Record<number, Pick<Reason, 'entity' | 'text' | 'solution'>>> = {
  33: {
    entity: 'PHONE_NUMBER',
    text: 'Meta says that the number has been deleted.',
    solution: 'Remove the number here, or store the phone number id that replaced it.',
  },
  368: {
    entity: 'WABA',
    text: 'Meta has restricted or disabled the account for a violation of its policies.',
    solution: "Appeal in Meta's Business Support Home.",
  },
  131_031: {
    entity: 'WABA',
    text: 'Meta has locked the account.',
    solution: 'See WhatsApp Manager for how to unlock it.',
  },
};

function listFindings(failure: UpstreamFailure | null): readonly Reason[] {
  // With code 368 Meta also slows down the owner of the access token, which says nothing about the account.
  const code = failure === null || failure.code === 'META_RATE_LIMITED' ? null : failure.metaCode;
  const finding = code === null ? undefined : findings[code];
  if (code === null || finding === undefined) return [];
  const { entity, text, solution } = finding;
  return [toReason(entity, 'error.code', String(code), 'BLOCKS', text, { code, solution })];
}

function listConnectionReasons(evidence: Omit<Evidence, 'stale'>): readonly Reason[] {
  const { provider, state, isStateObserved, instanceExists } = evidence;
  if (state === 'OPEN' || !isStateObserved || followsFromPhone(evidence)) return [];
  const text =
    state === 'CONNECTING' ? 'The number is still connecting.' : 'The number is disconnected.';
  const reason = (more: string, solution: string) => [
    toReason('CONNECTION', 'state', state, 'BLOCKS', more, { solution }),
  ];
  if (!instanceExists) {
    return reason(
      'The session engine has no instance for the number.',
      'Create or start its instance at the session engine and scan the QR code, or store the right name with: number update --instance.',
    );
  }
  return provider === 'META'
    ? reason(text, 'Read the number live; if it stays like this, register it again.')
    : reason(text, 'Connect the number again.');
}

/** Whether the state is the one that Meta's registration implies, so that the reasons of rule 3 explain it. */
function followsFromPhone({ provider, state, phone }: Omit<Evidence, 'stale'>): boolean {
  if (provider !== 'META' || phone === null || state === 'OPEN') return false;
  return toConnectionState(phone) === state;
}

/** Those of the last read of the phone. Stale ones block only as long as the connection state that follows from them. */
function listMetaReasons(evidence: Evidence): readonly Reason[] {
  const { provider, phone, stale } = evidence;
  if (provider !== 'META') return [];
  if (phone === null) {
    const text = 'Meta has never been read successfully for this number.';
    return [toReason('SNAPSHOT', 'observedAt', null, 'INCONCLUSIVE', text)];
  }
  if (!stale) return listPhoneReasons(phone);
  const registration = listRegistrationReasons(phone);
  return [
    ...(followsFromPhone(evidence) ? registration : registration.map(toInconclusive)),
    ...listHealthReasons(phone).map(toInconclusive),
  ];
}

function toInconclusive(reason: Reason): Reason {
  return reason.effect === 'BLOCKS' ? { ...reason, effect: 'INCONCLUSIVE' } : reason;
}

/**
 * The codes of answers that contradict an earlier one, because nothing can be read with them, unless the answer is itself a
 * finding. A failure to reach the upstream contradicts nothing.
 */
const refusals: ReadonlySet<UpstreamFailure['code']> = new Set([
  'META_ACCESS_DENIED',
  'META_NUMBER_MISSING',
  'ENGINE_ACCESS_DENIED',
  // An engine that answers without a state contradicts the one that is stored.
  'ENGINE_INVALID_RESPONSE',
]);

function isRefusal(failure: UpstreamFailure | null): boolean {
  return failure !== null && refusals.has(failure.code) && listFindings(failure).length === 0;
}

/** The newest refusal; null when the last attempt was not refused, and none was prevented since. */
function findRefusal({
  failure,
  obstacle = null,
}: Pick<Evidence, 'failure' | 'obstacle'>): UpstreamFailure | null {
  return [obstacle, failure].find(isRefusal) ?? null;
}

function listDoubts(evidence: Evidence): readonly Reason[] {
  const doubts: Reason[] = [];
  if (evidence.stale) {
    const text = 'The last successful read is missing or too old to rely on; request a live read.';
    doubts.push(toReason('SNAPSHOT', 'stale', 'true', 'INCONCLUSIVE', text));
  }
  const refusal = findRefusal(evidence);
  if (refusal !== null) doubts.push(toFailureReason(refusal));
  return doubts;
}

function toFailureReason({ metaCode, message, solution }: UpstreamFailure): Reason {
  const value = metaCode === null ? null : String(metaCode);
  return toReason('SNAPSHOT', 'error.code', value, 'INCONCLUSIVE', message, {
    code: metaCode,
    solution,
  });
}
