// Owns what an error of the Graph API means to us: its code decides, not the HTTP status, and the sentence is ours.
// Meta's own message is read for what it names and then dropped: it may hold ids and tokens.
// https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes

import { toInt, toObject } from '../../json.ts';
import type { MetaBlock } from '../../numbers/meta.ts';
import type { UpstreamFailure } from '../../numbers/provider.ts';
import { toRetryAt } from '../http-read.ts';
import { toRegainMinutes, type GraphUsage } from './usage.ts';

/** The members of Graph's error envelope that decide something. */
export interface GraphError {
  readonly code: number | null;
  readonly subcode: number | null;
  readonly isTransient: boolean;
  readonly fbtraceId: string | null;
  /** The field that the node does not have: it alone has failed the whole request. */
  readonly refusedField: string | null;
  /** Code 100 means many things; these two are about the credentials. */
  readonly demand: 'appsecret_proof' | 'permission' | null;
}

/** The reply that an error came with, or that was unusable. */
export interface FailedReply {
  readonly status: number;
  readonly headers: Headers;
  readonly usage: GraphUsage;
}

/** What a failure says, before it is known where and when it happened. */
interface Meaning {
  readonly code: UpstreamFailure['code'];
  readonly transient: boolean;
  readonly message: string;
}

/** Null for what is not Graph's error envelope. */
export function parseGraphError(json: unknown): GraphError | null {
  const error = toObject(toObject(json)?.['error']);
  if (error === null) return null;
  const message = typeof error['message'] === 'string' ? error['message'] : '';
  const code = toInteger(error['code']);
  return {
    code,
    subcode: toInteger(error['error_subcode']),
    isTransient: error['is_transient'] === true,
    fbtraceId: toTraceId(error['fbtrace_id']),
    refusedField: /nonexisting field \((\w{1,100})\)/.exec(message)?.[1] ?? null,
    demand: code === 100 ? toDemand(message) : null,
  };
}

/** Whether a permission is missing: Meta has several codes and wordings for it. */
export function isPermissionError({ code, demand }: GraphError): boolean {
  if (code === null) return false;
  return code === 3 || code === 10 || (code >= 200 && code <= 299) || demand === 'permission';
}

/** The failure that a reply stands for; `error` is null when it had no error envelope, so that it is unusable. */
export function toGraphFailure(
  error: GraphError | null,
  block: MetaBlock,
  { status, headers, usage }: FailedReply,
): UpstreamFailure {
  const meaning = toMeaning(error, block, status);
  return {
    ...meaning,
    retryAt: meaning.code === 'META_RATE_LIMITED' ? toRegainTime(headers, usage) : null,
    metaCode: error?.code ?? null,
    metaSubcode: error?.subcode ?? null,
    fbtraceId: error?.fbtraceId ?? toTraceId(headers.get('x-fb-trace-id')),
  };
}

const throttled: Meaning = {
  code: 'META_RATE_LIMITED',
  transient: true,
  message: 'Meta throttles reads of this account; wait until it reads again.',
};
const unavailable: Meaning = {
  code: 'META_UNAVAILABLE',
  transient: true,
  message: "Meta's Graph API has a passing trouble; try again later.",
};
const unusable: Meaning = {
  code: 'META_UNAVAILABLE',
  transient: true,
  message: "Meta's Graph API answered with something unusable; try again later.",
};

function toMeaning(error: GraphError | null, block: MetaBlock, status: number): Meaning {
  if (error === null || error.code === null) return status === 429 ? throttled : unusable;
  const { code, subcode, isTransient } = error;
  if (code === 190) return toDenial(toTokenMessage(subcode));
  if (code === 100 && subcode === 33) return toDenial(toObjectMessage(block));
  if (error.demand !== null) return toDenial(demandMessages[error.demand]);
  if (throttlingCodes.has(code) || (code >= 80_000 && code <= 80_099)) return throttled;
  if (code === 1 || code === 2 || code === 131_016 || code === 131_057) return unavailable;
  if (code >= 200 && code <= 299) return toDenial(permissionMessage);
  const denial = code === 803 ? toObjectMessage(block) : denialMessages[code];
  if (denial !== undefined) return toDenial(denial);
  const message =
    error.refusedField === null
      ? 'Meta did not accept the request of the gateway; its operator finds the code in the details.'
      : "Meta no longer has a field that the gateway asks for; the gateway's Graph version may have to change.";
  return { code: 'META_UNAVAILABLE', transient: isTransient, message };
}

function toDenial(message: string): Meaning {
  return { code: 'META_ACCESS_DENIED', transient: false, message };
}

const throttlingCodes: ReadonlySet<number> = new Set([4, 17, 32, 341, 613, 130_429]);

const permissionMessage =
  'The access token lacks a permission; give it whatsapp_business_management for this account, or store a token that has it.';

const demandMessages = {
  appsecret_proof:
    "The app demands a proof made with its secret, and none, or a wrong one, was sent; store the app's secret with the access token.",
  permission: permissionMessage,
} as const;

const denialMessages: Readonly<Record<number, string>> = {
  0: 'Meta could not authenticate the access token; store a new one.',
  3: permissionMessage,
  10: permissionMessage,
  33: 'Meta says that the number has been deleted; remove it here, or store the phone number id that replaced it.',
  102: 'The session behind the access token has ended; store a new token.',
  104: 'Meta demands an access token that it accepts; store a new one.',
  368: 'Meta has restricted or disabled the account for a violation of its policies; see WhatsApp Manager for the appeal.',
  130_497:
    'Meta keeps the account from messaging people in certain countries; see WhatsApp Manager.',
  131_005: permissionMessage,
  131_031: 'Meta has locked the account; see WhatsApp Manager for what it wants.',
};

// https://developers.facebook.com/docs/graph-api/guides/error-handling
function toTokenMessage(subcode: number | null): string {
  switch (subcode) {
    case 458:
      return 'The app is no longer installed for the owner of the access token; connect it again and store a new token.';
    case 459:
    case 464:
      return 'Meta wants the owner of the access token to log in and confirm the account; then store a new token.';
    case 460:
      return 'The owner of the access token has changed the password; store a new token.';
    case 463:
      return "The access token has expired; store a new one, best a system user's, which need not expire.";
    case 467:
      return 'The access token has been made invalid; store a new one.';
    case 492:
      return 'The owner of the access token has no role on the business any more; give it one, or store a new token.';
    default:
      return 'Meta does not accept the access token; store a new one.';
  }
}

// Missing, of another kind and invisible look the same to us; these are the mix-ups that people report.
function toObjectMessage(block: MetaBlock): string {
  return block === 'waba'
    ? "Meta does not know this WhatsApp Business account id, or does not show it to the token. Check that it is the account's id, not a phone number id or a business id, and that the token may read it."
    : 'Meta does not know this phone number id, or does not show it to the token. Check that it is the phone number id, not the WhatsApp Business account id or the number itself, and that the token may read it.';
}

function toDemand(message: string): GraphError['demand'] {
  if (/appsecret_proof/i.test(message)) return 'appsecret_proof';
  return /^(\(#100\) )?need permission/i.test(message) ? 'permission' : null;
}

function toRegainTime(headers: Headers, usage: GraphUsage): string | null {
  const now = new Date();
  const minutes = toRegainMinutes(usage);
  if (minutes === 0) return toRetryAt(headers, now);
  return new Date(now.getTime() + minutes * 60_000).toISOString();
}

/** Null for what does not look like a trace id, so that nothing else comes in under its name. */
function toTraceId(value: unknown): string | null {
  return typeof value === 'string' && /^[\w-]{1,64}$/.test(value) ? value : null;
}

function toInteger(value: unknown): number | null {
  return toInt(typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value);
}
