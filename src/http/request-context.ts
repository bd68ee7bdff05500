// What is known of one request, from its arrival to its line in the log, and the meter of what it has caused.

import { randomUUID } from 'node:crypto';
import { boundText, redact } from '../telemetry.ts';
import type { Span } from '../tracing.ts';
import type { OpenStream } from './event-stream.ts';

export interface RequestContext {
  /** Sent with every response and written in every log line of the request. */
  readonly requestId: string;
  /** `performance.now()` at which the request arrived. */
  readonly receivedAt: number;
  /** The address of the client; `unknown` when the request came over no socket. See access/auth-throttle.ts. */
  readonly clientAddress: string;
  readonly meter: RequestMeter;
  /** Null until the API key has been verified. */
  tenantId: string | null;
  /** As `tenantId`; the id under which `key list` shows the key. */
  keyId: string | null;
  /** The path as a template, `/v1/numbers/{id}`. Null until a route is found. */
  route: string | null;
  /** One of a fixed set of names for what was asked, never text of the caller's. Null until it is known. */
  operation: string | null;
  /** The name of the GraphQL operation, made fit for the log by `boundText`. Null when it has none, or is not known yet. */
  operationName: string | null;
  /** Null until the tenant's limits have been checked. */
  admission: RequestAdmission | null;
  /** Null unless the request counts as a stream. */
  stream: OpenStream | null;
  /** Headers of the response to this request, which are not cached with it; names in lower case. */
  readonly responseHeaders: Record<string, string>;
}

/**
 * What a request has caused so far. It travels with `Access` into the core, which counts; the inbound adapters read it to
 * set the price, and to decide whether the response may be cached.
 */
export interface RequestMeter {
  /** Operations sent to upstreams because of this request. Each operation of a batch counts, as it does at Meta. */
  upstreamCalls: number;
  /** Whether the response contains a live read, which is never cached. */
  isLive: boolean;
  /** When the response would first differ although nothing was written; null for never. */
  validUntil: Date | null;
  /** Age of the oldest health data in the response; null when no freshness is selected. */
  snapshotAgeSeconds: number | null;
  /** The span of the request, to which shared work is linked; null without an SDK. See tracing.ts. */
  readonly span: Span | null;
  /** Releases the request's slot among those in flight while `work` is pending; see load-shedding.ts. */
  readonly releaseWhile: ReleaseWhile;
}

export type ReleaseWhile = <T>(work: () => Promise<T>) => Promise<T>;

/** The part of an admission that the pipeline needs; see access/rate-limit.ts. */
export interface RequestAdmission {
  /** Null when there is no limit. */
  readonly rateLimit: {
    readonly limit: number;
    readonly remaining: number;
    readonly resetAt: Date;
    /** Length of the window. */
    readonly seconds: number;
  } | null;
  /** To be called once the request has been answered. */
  leave(): void;
}

export function createRequestContext(
  headers: Pick<Headers, 'get'>,
  clientAddress = 'unknown',
  releaseWhile?: ReleaseWhile,
  span: Span | null = null,
): RequestContext {
  return {
    requestId: readRequestId(headers),
    receivedAt: performance.now(),
    clientAddress,
    meter: createMeter(releaseWhile, span),
    tenantId: null,
    keyId: null,
    route: null,
    operation: null,
    operationName: null,
    admission: null,
    stream: null,
    responseHeaders: {},
  };
}

/** Unless told otherwise, for work that holds no slot, such as a command of an operator. */
export function createMeter(
  releaseWhile: ReleaseWhile = (work) => work(),
  span: Span | null = null,
): RequestMeter {
  return {
    upstreamCalls: 0,
    isLive: false,
    validUntil: null,
    snapshotAgeSeconds: null,
    span,
    releaseWhile,
  };
}

/** Notes that the response is to be recomputed from this moment on; the earliest one counts. */
export function limitValidity(meter: RequestMeter, until: Date): void {
  if (meter.validUntil === null || until < meter.validUntil) meter.validUntil = until;
}

/** The caller's x-request-id when it is safe to log, otherwise a new one. */
export function readRequestId(headers: Pick<Headers, 'get'>): string {
  const given = headers.get('x-request-id') ?? '';
  // An id in the form of a key would put the key into every log line.
  const isSafe = /^[\w.-]{1,64}$/.test(given) && redact(given) === given;
  return isSafe ? given : randomUUID();
}

/**
 * The headers in which programs name themselves: Apollo's, and those of Cosmo, of Hive and of clients that are configured
 * for them. https://www.apollographql.com/docs/graphos/platform/insights/client-segmentation
 */
const clientHeaders = ['apollographql-client', 'graphql-client', 'x-graphql-client'];

/** All headers that `readClient` reads. */
export const clientHeaderNames = clientHeaders.flatMap((prefix) => [
  `${prefix}-name`,
  `${prefix}-version`,
]);

/** The name and the version of the program that sent the request, made fit for the log. */
export function readClient(headers: Pick<Headers, 'get'>) {
  return { clientName: readPart(headers, 'name'), clientVersion: readPart(headers, 'version') };
}

function readPart(headers: Pick<Headers, 'get'>, part: 'name' | 'version'): string | null {
  for (const prefix of clientHeaders) {
    const text = headers.get(`${prefix}-${part}`);
    if (text !== null && text !== '') return boundText(text);
  }
  return null;
}
