// Owns the wire of the Graph API: one request, one batch, what comes back, and the token that goes only into a header.
// What a code means is in graph-error.ts; which operations travel together, and what to ask next, in rounds.ts.

import { createHmac } from 'node:crypto';
import { parseJson, toObject } from '../../json.ts';
import {
  type Credentials,
  type ReadOptions,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import type { HttpReading } from '../http-read.ts';
import { createLimitedFetch, type LimitedFetchOptions } from './limited-fetch.ts';
import {
  isPermissionError,
  parseGraphError,
  toGraphFailure,
  type FailedReply,
} from './graph-error.ts';
import type { GraphOperation, GraphResult } from './operation.ts';
import { budgetFor, findPause, recordPauses } from './usage-budget.ts';
import { createQuarantine } from './quarantine.ts';
import { parseUsage, toHighestPercent, unknownUsage, type GraphUsage } from './usage.ts';

export interface GraphClient {
  /** One GET. */
  get(
    operation: GraphOperation,
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<GraphReply>;
  /** One POST for at most `maximumBatchOperations`; Meta counts each of them, so it saves time and no budget. */
  batch(
    operations: readonly GraphOperation[],
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<GraphReply>;
}

export interface GraphReply {
  /** One for each operation, in their order. */
  readonly results: readonly GraphResult[];
  readonly usage: GraphUsage;
  /** No reply came, or none that could be read: one operation may have spoiled it for the others. */
  readonly broken: boolean;
}

export interface GraphClientOptions extends LimitedFetchOptions {
  /** May have a path, which is kept. */
  readonly url: URL;
  readonly version: string;
}

/** https://developers.facebook.com/docs/graph-api/batch-requests */
export const maxBatchOperations = 50;

/** Its calls reject only with the reason of their signal; every other trouble is a result. */
export function createGraphClient(options: GraphClientOptions): GraphClient {
  const base = `${options.url.origin}${options.url.pathname.replace(/\/+$/, '')}/${options.version}/`;
  const exchange = createExchange(options);
  const quarantine = createQuarantine();
  const findObstacle = (
    operation: GraphOperation,
    credentials: Credentials,
    { pauses }: ReadOptions,
  ): GraphResult | null => {
    const flaw = findFlaw(operation, credentials);
    if (flaw !== null) return flaw;
    const failure =
      findPause(pauses, operation, budgetFor.oneNumber) ?? quarantine.find(operation, credentials);
    return failure === null ? null : toUnsent(failure);
  };
  const send = async (url: URL, sending: Sending, toResults: ReplyReader): Promise<GraphReply> => {
    const { operations, credentials, options: reading } = sending;
    const sentAt = Date.now();
    const reply = await exchange(url, sending, toResults);
    const { tenantId } = reading;
    for (const metaCode of quarantine.record(operations, credentials, reply.results, sentAt)) {
      options.telemetry.tokenQuarantined({ tenantId, metaCode });
    }
    recordPauses(reading.pauses, operations, reply.results, reply.usage);
    return reply;
  };
  return {
    async get(operation, credentials, reading) {
      const obstacle = findObstacle(operation, credentials, reading);
      if (obstacle !== null) return toUnsentReply([obstacle]);
      const url = new URL(`${base}${toRelativeUrl(operation, credentials)}`);
      const sending = { operations: [operation], credentials, options: reading };
      return await send(url, sending, toSingleResults);
    },
    async batch(operations, credentials, reading) {
      const obstacles = operations.map((it) => findObstacle(it, credentials, reading));
      const clear = operations.filter((_, index) => obstacles[index] === null);
      if (clear.length === 0) return toUnsentReply(obstacles.filter(isPresent));
      const form = toBatchForm(clear, credentials);
      const sending = { operations: clear, credentials, options: reading, form };
      const { results, ...reply } = await send(new URL(base), sending, toBatchResults);
      const answered = results.values();
      return {
        ...reply,
        results: obstacles.map((it) => it ?? answered.next().value ?? noResult),
      };
    },
  };
}

interface Sending {
  readonly operations: readonly GraphOperation[];
  readonly credentials: Credentials;
  readonly options: ReadOptions;
  readonly form?: URLSearchParams;
}

type ReplyReader = (
  json: unknown,
  operations: readonly GraphOperation[],
  reply: FailedReply,
) => readonly GraphResult[];

type Exchange = (url: URL, sending: Sending, toResults: ReplyReader) => Promise<GraphReply>;

/** The one place through which every request goes to Meta. */
function createExchange(options: GraphClientOptions): Exchange {
  const { telemetry } = options;
  const guard = createLimitedFetch(options);
  const warnOfVersion = createVersionWarning(options);
  return async (url, { operations, credentials, options: reading, ...body }, toResults) => {
    const headers = {
      accept: 'application/json',
      authorization: `Bearer ${credentials.accessToken}`,
    };
    const subject = operations[0]?.id ?? '';
    const answer = await guard(url, { headers, ...body, subject }, reading);
    if (answer.outcome === 'unsent') {
      return toUnsentReply(operations.map(() => toUnsent(answer.failure)));
    }
    reading.onUpstreamCall(operations.length);
    if (answer.outcome !== 'answered') {
      const failed = toFailed(toReadingFailure(answer.outcome));
      const results = operations.map(() => failed);
      report(telemetry, answer, results, unknownUsage);
      return { results, usage: unknownUsage, broken: true };
    }
    const usage = parseUsage(answer.headers);
    const { status } = answer;
    const reply = { status, headers: answer.headers, usage };
    const results = toResults(parseJson(answer.text), operations, reply);
    report(telemetry, answer, results, usage);
    warnOfVersion(answer.headers);
    return { results, usage, broken: false };
  };
}

function report(
  telemetry: Telemetry,
  { status, durationMs }: HttpReading,
  results: readonly GraphResult[],
  usage: GraphUsage,
): void {
  const failure = results.find((result) => !result.ok)?.failure;
  telemetry.upstreamCalled({
    upstream: 'graph',
    operations: results.length,
    outcome: failure?.code ?? 'ok',
    status,
    durationMs,
    fbtraceId: failure?.fbtraceId ?? null,
    usagePercent: toHighestPercent(usage),
  });
}

// Graph answers for a version that it has retired with the oldest one that is live, and says so only in a header.
function createVersionWarning({ version, telemetry }: GraphClientOptions) {
  const warned = new Set<string>();
  return (headers: Headers): void => {
    const answered = headers.get('facebook-api-version');
    if (answered === null || answered === version || warned.has(answered)) return;
    if (!/^v\d{1,3}\.\d$/.test(answered)) return;
    warned.add(answered);
    telemetry.warn('Graph answers with another version than the one asked for', {
      asked: version,
      answered,
    });
  };
}

/** What must not come near a URL or a header; null when there is nothing of the kind. */
function findFlaw({ block, id }: GraphOperation, { accessToken }: Credentials): GraphResult | null {
  if (!/^\d{5,20}$/.test(id)) {
    const subject = block === 'waba' ? 'WhatsApp Business account id' : 'phone number id';
    return toFlaw(`The stored ${subject} is not one: Meta's ids are 5 to 20 digits. Correct it.`);
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(accessToken)) {
    return toFlaw('The stored access token has characters that no token has; store it again.');
  }
  return null;
}

function toRelativeUrl({ block, id, fields }: GraphOperation, credentials: Credentials): string {
  const edge = block === 'profile' ? '/whatsapp_business_profile' : '';
  const proof = toProof(credentials);
  return `${id}${edge}?fields=${fields.join(',')}${proof === null ? '' : `&appsecret_proof=${proof}`}`;
}

function toBatchForm(
  operations: readonly GraphOperation[],
  credentials: Credentials,
): URLSearchParams {
  const items = operations.map((operation) => ({
    method: 'GET',
    relative_url: toRelativeUrl(operation, credentials),
  }));
  const proof = toProof(credentials);
  return new URLSearchParams({
    batch: JSON.stringify(items),
    include_headers: 'false',
    ...(proof === null ? {} : { appsecret_proof: proof }),
  });
}

/** https://developers.facebook.com/docs/graph-api/guides/secure-requests */
function toProof({ accessToken, appSecret }: Credentials): string | null {
  return appSecret === null
    ? null
    : createHmac('sha256', appSecret).update(accessToken).digest('hex');
}

function toSingleResults(
  json: unknown,
  operations: readonly GraphOperation[],
  reply: FailedReply,
): readonly GraphResult[] {
  return operations.map((operation) => toResult(json, operation, reply));
}

/** An answer that is not an array fails all operations alike: the batch itself was refused, or the answer is not Graph's. */
function toBatchResults(
  json: unknown,
  operations: readonly GraphOperation[],
  reply: FailedReply,
): readonly GraphResult[] {
  if (!Array.isArray(json) || !isSuccess(reply.status)) {
    return operations.map((operation) => toErrorResult(json, operation, reply));
  }
  const items: readonly unknown[] = json;
  return operations.map((operation, index) => toItemResult(items[index], operation, reply));
}

function toItemResult(item: unknown, operation: GraphOperation, reply: FailedReply): GraphResult {
  if (item === null) return noResult;
  const { code, body } = toObject(item) ?? {};
  if (typeof code !== 'number' || typeof body !== 'string') {
    return toResult(null, operation, reply);
  }
  return toResult(parseJson(body), operation, { ...reply, status: code });
}

function toResult(json: unknown, operation: GraphOperation, reply: FailedReply): GraphResult {
  const object = toObject(json);
  if (object !== null && !Object.hasOwn(object, 'error') && isSuccess(reply.status)) {
    return { ok: true, json: object };
  }
  return toErrorResult(json, operation, reply);
}

function toErrorResult(json: unknown, { block }: GraphOperation, reply: FailedReply): GraphResult {
  const error = parseGraphError(json);
  return {
    ...toFailed(toGraphFailure(error, block, reply)),
    refusedField: error?.refusedField ?? null,
    lacksPermission: error !== null && isPermissionError(error),
  };
}

/** Meta ran out of time before it came to this item of a batch, and means it to be asked again. */
const noResult: GraphResult = toFailed(
  toPlainFailure(
    'META_UNAVAILABLE',
    true,
    'Meta ran out of time before it came to this part; try again later.',
  ),
);

function toReadingFailure(outcome: Exclude<HttpReading['outcome'], 'answered'>): UpstreamFailure {
  switch (outcome) {
    case 'timeout':
    case 'cut short':
      return toPlainFailure(
        'META_TIMEOUT',
        true,
        "Meta's Graph API did not answer in time; try again later.",
      );
    case 'unreachable':
      return toPlainFailure(
        'META_UNAVAILABLE',
        true,
        "Meta's Graph API could not be reached, or broke off its answer; try again later.",
      );
    case 'too large':
      return toPlainFailure(
        'META_UNAVAILABLE',
        true,
        "Meta's Graph API answered with more than the gateway reads; try again later.",
      );
  }
}

function toFailed(failure: UpstreamFailure) {
  return {
    ok: false,
    attempted: true,
    failure,
    refusedField: null,
    lacksPermission: false,
  } as const;
}

function toUnsent(failure: UpstreamFailure): GraphResult {
  return { ...toFailed(failure), attempted: false };
}

function toFlaw(message: string): GraphResult {
  return toUnsent(toPlainFailure('META_ACCESS_DENIED', false, message));
}

function toUnsentReply(results: readonly GraphResult[]): GraphReply {
  return { results, usage: unknownUsage, broken: false };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299;
}

function isPresent<T>(value: T | null): value is T {
  return value !== null;
}
