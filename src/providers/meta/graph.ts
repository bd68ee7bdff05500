// Owns the wire of the Graph API: one request, one batch, what comes back, and the token that goes only into a header.
// What a code means is in graph-error.ts; which operations travel together, and what to ask next, in rounds.ts.

import { createHmac } from 'node:crypto';
import { toObject, type MetaBlock } from '../../numbers/meta.ts';
import type { Credentials, UpstreamFailure } from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import { readHttp, type HttpReading } from '../http-read.ts';
import {
  parseGraphError,
  toGraphFailure,
  toPlainFailure,
  type FailedReply,
} from './graph-error.ts';
import { parseUsage, toHighestPercent, unknownUsage, type GraphUsage } from './usage.ts';

export interface GraphClient {
  /** One GET. */
  get(
    operation: GraphOperation,
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<GraphReply>;
  /** One POST for at most `maximumBatchOperations`; Meta counts each of them, so it saves time and no budget. */
  batch(
    operations: readonly GraphOperation[],
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<GraphReply>;
}

export interface GraphOperation {
  /** Chooses node or edge, and the words of a failure. */
  readonly block: MetaBlock;
  /** Of the phone number, or of the WABA. */
  readonly id: string;
  /** Graph's names, at least one. */
  readonly fields: readonly string[];
}

export type GraphObject = Readonly<Record<string, unknown>>;

export type GraphResult =
  | { readonly ok: true; readonly json: GraphObject }
  | {
      readonly ok: false;
      /** False when nothing was sent for it. */
      readonly attempted: boolean;
      readonly failure: UpstreamFailure;
      /** The field that the node does not have, where that is what failed the whole operation. */
      readonly refusedField: string | null;
      /** Meta ran out of time before it came to this item of a batch, and means it to be asked again. */
      readonly unanswered: boolean;
    };

export interface GraphReply {
  /** One for each operation, in their order. */
  readonly results: readonly GraphResult[];
  readonly usage: GraphUsage;
}

export interface GraphClientOptions {
  /** May have a path, which is kept. */
  readonly url: URL;
  readonly version: string;
  readonly fetch: typeof globalThis.fetch;
  readonly telemetry: Telemetry;
  /** For each HTTP request, its reply included; 3,000 unless told. */
  readonly attemptTimeoutMs?: number;
}

/** https://developers.facebook.com/docs/graph-api/batch-requests */
export const maximumBatchOperations = 50;

/** Its calls reject only with the reason of their signal; every other trouble is a result. */
export function createGraphClient(options: GraphClientOptions): GraphClient {
  const base = `${options.url.origin}${options.url.pathname.replace(/\/+$/, '')}/${options.version}/`;
  const exchange = createExchange(options);
  return {
    async get(operation, credentials, signal) {
      const flaw = findFlaw(operation, credentials);
      if (flaw !== null) return { results: [flaw], usage: unknownUsage };
      const url = new URL(`${base}${toRelativeUrl(operation, credentials)}`);
      return exchange(url, { operations: [operation], credentials, signal }, toSingleResults);
    },
    async batch(operations, credentials, signal) {
      const flaws = operations.map((operation) => findFlaw(operation, credentials));
      const sound = operations.filter((_, index) => flaws[index] === null);
      if (sound.length === 0) return { results: flaws.filter(isPresent), usage: unknownUsage };
      const form = toBatchForm(sound, credentials);
      const sending = { operations: sound, credentials, signal, form };
      const { results, usage } = await exchange(new URL(base), sending, toBatchResults);
      const answered = results.values();
      return { results: flaws.map((flaw) => flaw ?? answered.next().value ?? noResult), usage };
    },
  };
}

interface Sending {
  readonly operations: readonly GraphOperation[];
  readonly credentials: Credentials;
  readonly signal: AbortSignal;
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
  const { fetch, telemetry, attemptTimeoutMs: timeoutMs = 3_000 } = options;
  const warnOfVersion = createVersionWarning(options);
  return async (url, { operations, credentials, signal, ...body }, toResults) => {
    const headers = {
      accept: 'application/json',
      authorization: `Bearer ${credentials.accessToken}`,
    };
    const reading = await readHttp(url, { fetch, headers, ...body, timeoutMs, signal });
    if (reading.outcome !== 'answered') {
      const failed = toFailed(toReadingFailure(reading.outcome));
      const results = operations.map(() => failed);
      report(telemetry, reading, results, unknownUsage);
      return { results, usage: unknownUsage };
    }
    const usage = parseUsage(reading.headers);
    const { status } = reading;
    const reply = { status, headers: reading.headers, usage };
    const results = toResults(parseJson(reading.text), operations, reply);
    report(telemetry, reading, results, usage);
    warnOfVersion(reading.headers);
    return { results, usage };
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
    telemetry.warned('Graph answers with another version than the one asked for', {
      asked: version,
      answered,
    });
  };
}

/** What must not come near a URL or a header; null when there is nothing of the kind. */
function findFlaw({ block, id }: GraphOperation, { accessToken }: Credentials): GraphResult | null {
  if (!/^\d{5,20}$/.test(id)) {
    const subject = block === 'waba' ? 'WhatsApp Business account id' : 'phone number id';
    return toUnsent(`The stored ${subject} is not one: Meta's ids are 5 to 20 digits. Correct it.`);
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(accessToken)) {
    return toUnsent('The stored access token has characters that no token has; store it again.');
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
  return toFailed(toGraphFailure(error, block, reply), error?.refusedField ?? null);
}

const noResult: GraphResult = {
  ...toFailed(
    toPlainFailure(
      'META_UNAVAILABLE',
      true,
      'Meta ran out of time before it came to this part; try again later.',
    ),
  ),
  unanswered: true,
};

function toReadingFailure(outcome: Exclude<HttpReading['outcome'], 'answered'>): UpstreamFailure {
  switch (outcome) {
    case 'timeout':
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

function toFailed(failure: UpstreamFailure, refusedField: string | null = null) {
  return { ok: false, attempted: true, failure, refusedField, unanswered: false } as const;
}

function toUnsent(message: string): GraphResult {
  return { ...toFailed(toPlainFailure('META_ACCESS_DENIED', false, message)), attempted: false };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299;
}

function isPresent<T>(value: T | null): value is T {
  return value !== null;
}

/** Undefined for what is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
