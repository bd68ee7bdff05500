// Translates an error of the Graph API, by its code and not its HTTP status, into a failure with a message of our own.
// https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes

import { toInt, toObject } from '../../json.ts';
import type { MetaBlock } from '../../numbers/meta.ts';
import type { UpstreamFailure } from '../../numbers/provider.ts';
import { parseRetryAfter } from '../limited-fetch.ts';
import { toRegainMinutes, type GraphUsage } from './usage-budget.ts';

/** The parts of Graph's error envelope that are used. Its message is not kept: it may hold ids and tokens. */
export interface GraphError {
  readonly code: number | null;
  readonly subcode: number | null;
  readonly isTransient: boolean;
  readonly fbtraceId: string | null;
  /** A field that the node does not have; it makes the whole request fail. */
  readonly refusedField: string | null;
  /** The two meanings of code 100 that concern the credentials. */
  readonly demand: 'appsecret_proof' | 'permission' | null;
}

/** A response without its body. */
export interface ReplyHead {
  readonly status: number;
  readonly headers: Headers;
  readonly usage: GraphUsage;
}

/** What an error code means, whichever request it answers. */
interface Meaning {
  readonly code: UpstreamFailure['code'];
  readonly transient: boolean;
  readonly message: string;
}

/** Null when the JSON is not Graph's error envelope. */
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

/** Whether a permission is missing; Meta has several codes and messages for it. */
export function isPermissionError({ code, demand }: GraphError): boolean {
  if (code === null) return false;
  return code === 3 || code === 10 || (code >= 200 && code <= 299) || demand === 'permission';
}

/** `error` is null when the response has no error envelope, which makes it invalid. */
export function toGraphFailure(
  error: GraphError | null,
  block: MetaBlock,
  { status, headers, usage }: ReplyHead,
): UpstreamFailure {
  const meaning = toMeaning(error, block, status);
  return {
    ...meaning,
    solution: null,
    retryAt: meaning.code === 'META_RATE_LIMITED' ? toRetryAt(headers, usage) : null,
    metaCode: error?.code ?? null,
    metaSubcode: error?.subcode ?? null,
    fbtraceId: error?.fbtraceId ?? toTraceId(headers.get('x-fb-trace-id')),
  };
}

const throttled: Meaning = {
  code: 'META_RATE_LIMITED',
  transient: true,
  message: 'Meta is throttling reads of this account; try again later.',
};
const unavailable: Meaning = {
  code: 'META_UNAVAILABLE',
  transient: true,
  message: 'Meta reported a temporary error; try again later.',
};
const invalid: Meaning = {
  code: 'META_UNAVAILABLE',
  transient: true,
  message: 'Meta returned an invalid response; try again later.',
};

function toMeaning(error: GraphError | null, block: MetaBlock, status: number): Meaning {
  if (error === null || error.code === null) return status === 429 ? throttled : invalid;
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
      ? "Meta rejected the gateway's request; report the Meta error code to the gateway's operator."
      : "Meta does not have a field that the gateway requests; ask the gateway's operator to check META_GRAPH_VERSION.";
  return { code: 'META_UNAVAILABLE', transient: isTransient, message };
}

function toDenial(message: string): Meaning {
  return { code: 'META_ACCESS_DENIED', transient: false, message };
}

const throttlingCodes: ReadonlySet<number> = new Set([4, 17, 32, 341, 613, 130_429]);

const permissionMessage =
  'The access token lacks a permission; grant it whatsapp_business_management for this account, or store a token that has it.';

const demandMessages = {
  appsecret_proof:
    "The app requires a proof made with its secret, and the proof was missing or wrong; store the app's secret with the access token.",
  permission: permissionMessage,
} as const;

const denialMessages: Readonly<Record<number, string>> = {
  0: 'Meta could not authenticate the access token; store a new one.',
  3: permissionMessage,
  10: permissionMessage,
  33: 'The number was deleted at Meta; remove it here, or store the phone number id that replaced it.',
  102: 'The session of the access token has ended; store a new token.',
  104: 'Meta requires a valid access token; store a new one.',
  368: 'Meta has restricted or disabled the account for violating its policies; appeal in WhatsApp Manager.',
  130_497:
    'Meta has blocked the account from messaging people in certain countries; see WhatsApp Manager.',
  131_005: permissionMessage,
  131_031: 'Meta has locked the account; see WhatsApp Manager for how to unlock it.',
};

// https://developers.facebook.com/docs/graph-api/guides/error-handling
function toTokenMessage(subcode: number | null): string {
  switch (subcode) {
    case 458:
      return 'The app is no longer installed for the owner of the access token; connect it again and store a new token.';
    case 459:
    case 464:
      return 'The owner of the access token must log in to Meta and confirm the account; then store a new token.';
    case 460:
      return 'The owner of the access token has changed their password; store a new token.';
    case 463:
      return 'The access token has expired; store a new one, preferably of a system user, which need not expire.';
    case 467:
      return 'The access token was invalidated; store a new one.';
    case 492:
      return 'The owner of the access token has no role on the business; assign one, or store a new token.';
    default:
      return 'Meta rejected the access token; store a new one.';
  }
}

// Meta answers alike for ids that do not exist, are of another kind or must not be read; the messages name common mistakes.
function toObjectMessage(block: MetaBlock): string {
  return block === 'waba'
    ? "Meta does not know this WhatsApp Business account id, or the token may not read it. Check that it is the account's id, not a phone number id or a business id, and that the token has access to it."
    : 'Meta does not know this phone number id, or the token may not read it. Check that it is the phone number id, not the WhatsApp Business account id or the number itself, and that the token has access to it.';
}

function toDemand(message: string): GraphError['demand'] {
  if (/appsecret_proof/i.test(message)) return 'appsecret_proof';
  return /^(\(#100\) )?need permission/i.test(message) ? 'permission' : null;
}

function toRetryAt(headers: Headers, usage: GraphUsage): string | null {
  const now = new Date();
  const minutes = toRegainMinutes(usage);
  if (minutes === 0) return parseRetryAfter(headers, now);
  return new Date(now.getTime() + minutes * 60_000).toISOString();
}

/** Null for a value that does not look like a trace id: it is untrusted and is logged. */
function toTraceId(value: unknown): string | null {
  return typeof value === 'string' && /^[\w-]{1,64}$/.test(value) ? value : null;
}

function toInteger(value: unknown): number | null {
  return toInt(typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value);
}
