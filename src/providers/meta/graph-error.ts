// Translates an error of the Graph API, by its code and not its HTTP status, into a failure with a message of our own.

import { toInt, toObject } from '../../json.ts';
import { isUnknownId, type UpstreamFailure } from '../../numbers/provider.ts';
import { parseRetryAfter } from '../limited-fetch.ts';
import {
  findMeaning,
  findNodeKind,
  findTopic,
  invalidResponse,
  type Meaning,
  type GraphNode,
  type NodeKind,
  rejected,
  throttled,
  type Topic,
  topicMeanings,
  toWrongKindMeaning,
  unknownField,
  unknownObjects,
} from './graph-refusals.ts';
import { toRegainMinutes, type GraphUsage } from './usage-budget.ts';

/** The parts of Graph's error envelope that are used. Its message is not kept: it may hold ids and tokens. */
export interface GraphError {
  readonly code: number | null;
  readonly subcode: number | null;
  readonly isTransient: boolean;
  readonly fbtraceId: string | null;
  /** A field that the node does not have; it makes the whole request fail. */
  readonly refusedField: string | null;
  /** Words of the message that have the form of a field. Of a missing permission they may name the field that needs it. */
  readonly fieldNames: readonly string[];
  /** What the node is that does not have the field; null when Graph does not say, or in a word that is not known. */
  readonly nodeKind: NodeKind | null;
  readonly topic: Topic | null;
}

/** A response without its body. */
export interface ReplyHead {
  readonly status: number;
  readonly headers: Headers;
  readonly usage: GraphUsage;
}

/** Null when the JSON is not Graph's error envelope. */
export function parseGraphError(json: unknown): GraphError | null {
  const error = toObject(toObject(json)?.['error']);
  if (error === null) return null;
  const message = typeof error['message'] === 'string' ? error['message'] : '';
  const code = toInteger(error['code']);
  const nodeType = /on node type \((\w{1,100})\)/.exec(message)?.[1];
  return {
    code,
    subcode: toInteger(error['error_subcode']),
    isTransient: error['is_transient'] === true,
    fbtraceId: toTraceId(error['fbtrace_id']),
    refusedField: findRefusedField(message),
    fieldNames: message.match(/\b[a-z]{1,40}(?:_[a-z]{1,40}){1,6}\b/g) ?? [],
    nodeKind: nodeType === undefined ? null : findNodeKind(nodeType),
    topic: findTopic(code, message),
  };
}

/** Meta has a wording for fields that a node never had, one for those of later versions, and one for removed ones. */
function findRefusedField(message: string): string | null {
  const found =
    /nonexisting field \((\w{1,100})\)/.exec(message) ??
    /^\(#100\) Unknown fields?: (\w{1,100})/.exec(message) ??
    /^\(#12\) (\w{1,100}) field is deprecated/.exec(message);
  return found?.[1] ?? null;
}

/** Whether a permission is missing; Meta has several codes and messages for it. */
export function isPermissionError({ code, topic }: GraphError): boolean {
  if (topic !== null || code === null) return topic === 'permission missing';
  return code === 3 || code === 10 || (code >= 200 && code <= 299);
}

/** Whether the id that was read belongs to another kind of node than was asked for. */
export function isWrongKind({ nodeKind }: GraphError, node: GraphNode): boolean {
  const expected = node === 'profile' ? 'phone' : node;
  return nodeKind !== null && expected !== 'token' && nodeKind !== expected;
}

/** `error` is null when the response has no error envelope, which makes it invalid. */
export function toGraphFailure(
  error: GraphError | null,
  node: GraphNode,
  { status, headers, usage }: ReplyHead,
): UpstreamFailure {
  const meaning = toMeaning(error, node, status);
  return {
    ...meaning,
    retryAt: meaning.code === 'META_RATE_LIMITED' ? toRetryAt(headers, usage) : null,
    metaCode: error?.code ?? null,
    metaSubcode: error?.subcode ?? null,
    fbtraceId: error?.fbtraceId ?? toTraceId(headers.get('x-fb-trace-id')),
  };
}

function toMeaning(error: GraphError | null, node: GraphNode, status: number): Meaning {
  if (error === null || error.code === null) return status === 429 ? throttled : invalidResponse;
  const { code, subcode, isTransient, nodeKind, topic } = error;
  // The meaning of 33 is that of a phone's node.
  const isPhone = node === 'phone' || node === 'profile';
  if (isUnknownId(code, subcode) || (code === 33 && !isPhone)) return unknownObjects[node];
  if (topic !== null) return topicMeanings[topic];
  if (nodeKind !== null && isWrongKind(error, node)) return toWrongKindMeaning(node, nodeKind);
  if (error.refusedField !== null) return unknownField;
  return findMeaning(code, subcode) ?? rejected(isTransient);
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
  return toInt(typeof value === 'string' && /^-?\d{1,9}$/.test(value) ? Number(value) : value);
}
