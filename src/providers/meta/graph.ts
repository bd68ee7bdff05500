// Sends one read, or one batch of reads, to the Graph API and parses the response.

import { type JsonObject, parseJsonWithIds, toObject } from '../../json.ts';
import {
  type Credentials,
  type ReadOptions,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import {
  createLimitedFetch,
  type LimitedFetchOptions,
  type LimitedResult,
} from '../limited-fetch.ts';
import {
  type ReplyHead,
  isPermissionError,
  isWrongKind,
  parseGraphError,
  toGraphFailure,
} from './graph-error.ts';
import {
  findInvalidInput,
  type GraphOperation,
  toBatchForm,
  toInspectionForm,
  tokenOperation,
  toRelativeUrl,
  toTemplate,
} from './graph-operation.ts';
import type { NodeKind } from './graph-refusals.ts';
import { createQuarantine, type Quarantine } from './quarantine.ts';
import {
  findPauseFailure,
  type GraphUsage,
  maxSpentPercent,
  parseUsage,
  recordPauses,
  toHighestPercent,
  unknownUsage,
} from './usage-budget.ts';

export type GraphResult =
  | { readonly ok: true; readonly json: JsonObject }
  | {
      readonly ok: false;
      /** False when nothing was sent for it. */
      readonly attempted: boolean;
      readonly failure: UpstreamFailure;
      /** The one field that Graph names as missing or denied, which fails the whole operation. */
      readonly refusedField: string | null;
      /** The token lacks a permission for at least one of the fields. */
      readonly lacksPermission: boolean;
      /** What the node is when it is of another kind than was asked for; null otherwise, or when Graph does not say. */
      readonly wrongKind: NodeKind | null;
    };

export type FailedResult = Extract<GraphResult, { readonly ok: false }>;

export interface GraphReply {
  /** One for each operation, in their order. */
  readonly results: readonly GraphResult[];
  readonly usage: GraphUsage;
  /** No complete response came; one operation of the batch may be the cause. */
  readonly broken: boolean;
}

/** Its calls reject only with the reason of their signal; every other failure is a result. */
export interface GraphClient {
  /** One GET. */
  get(
    operation: GraphOperation,
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<GraphReply>;
  /** One POST for at most `maxBatchOperations`. Meta counts each of them, so a batch saves time but no rate limit. */
  batch(
    operations: readonly GraphOperation[],
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<GraphReply>;
  /** What Meta says about the token itself, from debug_token. The token is in the body of the request. */
  inspectToken(credentials: Credentials, options: ReadOptions): Promise<GraphReply>;
}

export interface GraphClientOptions extends LimitedFetchOptions {
  /** May have a path, which is kept. */
  readonly url: URL;
  readonly version: string;
}

export function createGraphClient(options: GraphClientOptions): GraphClient {
  const base = `${options.url.origin}${options.url.pathname.replace(/\/+$/, '')}/${options.version}/`;
  const quarantine = createQuarantine();
  const send = createSender(options, quarantine);
  const findUnsent = (
    operation: GraphOperation,
    credentials: Credentials,
    { pauses }: ReadOptions,
  ): GraphResult | null => {
    const failure =
      findInvalidInput(operation, credentials) ??
      findPauseFailure(pauses, { ...operation, credentials }, maxSpentPercent.oneNumber) ??
      quarantine.find(operation, credentials);
    return failure === null ? null : toUnsent(failure);
  };
  return {
    async get(operation, credentials, reading) {
      const unsent = findUnsent(operation, credentials, reading);
      if (unsent !== null) return toUnsentReply([unsent]);
      const url = new URL(`${base}${toRelativeUrl(operation, credentials)}`);
      const request = { operations: [operation], credentials, options: reading };
      return await send(url, request, toSingleResults);
    },
    async batch(operations, credentials, reading) {
      const unsent = operations.map((it) => findUnsent(it, credentials, reading));
      const sent = operations.filter((_, index) => unsent[index] === null);
      if (sent.length === 0) return toUnsentReply(unsent.filter((it) => it !== null));
      const createForm = () => toBatchForm(sent, credentials);
      const request = { operations: sent, credentials, options: reading, createForm };
      const { results, ...reply } = await send(new URL(base), request, toBatchResults);
      const remaining = results.values();
      return {
        ...reply,
        results: unsent.map((it) => it ?? remaining.next().value ?? noResult),
      };
    },
    async inspectToken(credentials, reading) {
      const unsent = findUnsent(tokenOperation, credentials, reading);
      if (unsent !== null) return toUnsentReply([unsent]);
      const createForm = () => toInspectionForm(credentials);
      const request = { operations: [tokenOperation], credentials, options: reading, createForm };
      return await send(new URL(base), request, toBatchResults);
    },
  };
}

interface GraphRequest {
  readonly operations: readonly GraphOperation[];
  readonly credentials: Credentials;
  readonly options: ReadOptions;
  readonly createForm?: () => URLSearchParams;
}

type ResultParser = (
  json: unknown,
  operations: readonly GraphOperation[],
  reply: ReplyHead,
) => readonly GraphResult[];

type Sender = (url: URL, request: GraphRequest, toResults: ResultParser) => Promise<GraphReply>;

/** Every request to Meta goes through this function. */
function createSender(options: GraphClientOptions, quarantine: Quarantine): Sender {
  const { telemetry } = options;
  const limitedFetch = createLimitedFetch('graph', options);
  const warnOfVersion = createVersionWarning(options);
  return async (url, { operations, credentials, options: reading, ...body }, toResults) => {
    const headers = {
      accept: 'application/json',
      authorization: `Bearer ${credentials.accessToken}`,
    };
    const operation = operations[0]!;
    const { id: subject } = operation;
    const template = body.createForm === undefined ? toTemplate(operation) : '/{version}/';
    const sentAt = Date.now();
    const response = await limitedFetch(url, { headers, ...body, template, subject }, reading);
    const reply = toReply(response, operations, toResults);
    if (response.outcome === 'failed' && !response.attempted) return reply;
    reading.onUpstreamCall(operations.length);
    const backgroundSubject = `${reading.tenantId} ${template} ${subject}`;
    logCall(telemetry, response, reply, reading.isBackground ? backgroundSubject : undefined);
    if (response.outcome === 'answered') warnOfVersion(response.headers);
    const failures = reply.results.map((result) => (result.ok ? null : result.failure));
    for (const metaCode of quarantine.record(operations, credentials, failures, sentAt)) {
      telemetry.tokenQuarantined({ tenantId: reading.tenantId, metaCode });
    }
    const reads = operations.map(({ wabaId }, index) => ({ wabaId, failure: failures[index]! }));
    recordPauses(reading.pauses, credentials, reads, reply.usage);
    return reply;
  };
}

function toReply(
  response: LimitedResult,
  operations: readonly GraphOperation[],
  toResults: ResultParser,
): GraphReply {
  if (response.outcome === 'failed') {
    const { attempted, failure } = response;
    const failed = { ...toFailed(failure), attempted };
    return { results: operations.map(() => failed), usage: unknownUsage, broken: attempted };
  }
  const { status, headers, text } = response;
  const usage = parseUsage(headers);
  const results = toResults(parseJsonWithIds(text), operations, { status, headers, usage });
  return { results, usage, broken: false };
}

function logCall(
  telemetry: Telemetry,
  { status, durationMs }: LimitedResult,
  { results, usage }: GraphReply,
  backgroundSubject: string | undefined,
): void {
  const failure = results.find((result) => !result.ok)?.failure;
  const call = {
    upstream: 'graph',
    operations: results.length,
    outcome: failure?.code ?? 'ok',
    status,
    durationMs,
    fbtraceId: failure?.fbtraceId ?? null,
    usagePercent: toHighestPercent(usage),
  } as const;
  telemetry.upstreamCalled(call, backgroundSubject);
}

// Graph answers a request for a retired version with the oldest live version, and says so only in a header.
function createVersionWarning({ version, telemetry }: GraphClientOptions) {
  const warned = new Set<string>();
  return (headers: Headers): void => {
    const answered = headers.get('facebook-api-version');
    if (answered === null || answered === version || warned.has(answered)) return;
    // The header is untrusted; this also bounds the set.
    if (!/^v\d{1,3}\.\d$/.test(answered)) return;
    warned.add(answered);
    telemetry.warn('Graph answered with another version than the one requested', {
      requested: version,
      answered,
    });
  };
}

function toSingleResults(
  json: unknown,
  operations: readonly GraphOperation[],
  reply: ReplyHead,
): readonly GraphResult[] {
  return operations.map((operation) => toResult(json, operation, reply));
}

/** A response that is not an array fails all operations: Meta refused the batch, or the response is not Graph's. */
function toBatchResults(
  json: unknown,
  operations: readonly GraphOperation[],
  reply: ReplyHead,
): readonly GraphResult[] {
  if (!Array.isArray(json) || !isSuccess(reply.status)) {
    return operations.map((operation) => toErrorResult(json, operation, reply));
  }
  const items: readonly unknown[] = json;
  return operations.map((operation, index) => toItemResult(items[index], operation, reply));
}

function toItemResult(item: unknown, operation: GraphOperation, reply: ReplyHead): GraphResult {
  if (item === null) return noResult;
  const { code, body } = toObject(item) ?? {};
  if (typeof code !== 'number' || typeof body !== 'string') {
    return toResult(null, operation, reply);
  }
  return toResult(parseJsonWithIds(body), operation, { ...reply, status: code });
}

function toResult(json: unknown, operation: GraphOperation, reply: ReplyHead): GraphResult {
  const object = toObject(json);
  if (object !== null && !Object.hasOwn(object, 'error') && isSuccess(reply.status)) {
    return { ok: true, json: object };
  }
  return toErrorResult(json, operation, reply);
}

function toErrorResult(
  json: unknown,
  { block, fields, page }: GraphOperation,
  reply: ReplyHead,
): GraphResult {
  const error = parseGraphError(json);
  const failed = toFailed(toGraphFailure(error, block, reply));
  if (error === null) return failed;
  // Of a page, the nodes that lack a field are of another kind than the one with the edge.
  const isOfNodes = page !== undefined && error.refusedField !== page.edge;
  if (!isOfNodes && isWrongKind(error, block)) return { ...failed, wrongKind: error.nodeKind };
  const lacksPermission = isPermissionError(error);
  const refused = lacksPermission ? error.fieldNames : [error.refusedField];
  // Graph also calls an edge that a node does not have a field, and a permission may have the name of one.
  const names = page === undefined ? fields : [...fields, page.edge];
  const [refusedField = null, ...others] = names.filter((name) => refused.includes(name));
  return { ...failed, refusedField: others.length === 0 ? refusedField : null, lacksPermission };
}

/** Meta answers null for items of a batch that it had no time for, which may be sent again. */
const noResult: GraphResult = toFailed(
  toPlainFailure(
    'META_UNAVAILABLE',
    true,
    'Meta ran out of time before it read this part of the batch.',
    { solution: 'Try again later.' },
  ),
);

function toFailed(failure: UpstreamFailure): FailedResult {
  return {
    ok: false,
    attempted: true,
    failure,
    refusedField: null,
    lacksPermission: false,
    wrongKind: null,
  };
}

export function toUnsent(failure: UpstreamFailure): FailedResult {
  return { ...toFailed(failure), attempted: false };
}

function toUnsentReply(results: readonly GraphResult[]): GraphReply {
  return { results, usage: unknownUsage, broken: false };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299;
}
