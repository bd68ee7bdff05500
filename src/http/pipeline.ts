// What happens to every request, in this order, from its arrival to its line in the log. Read this file first.

import { hash, randomUUID } from 'node:crypto';
import { type AccessControl, assertScope } from '../access/access.ts';
import { createClientAddressResolver } from '../access/auth-throttle.ts';
import type { RateLimiter } from '../access/rate-limit.ts';
import { isBoardPath } from '../board/board.ts';
import type { Config } from '../config.ts';
import { GatewayError, toGatewayError } from '../errors.ts';
import { chain, type MaybePromise, recover } from '../maybe-promise.ts';
import type { Metrics } from '../metrics.ts';
import type { Telemetry } from '../telemetry.ts';
import { bindToSpan, endRequestSpan, startRequestSpan, traceIdOf } from '../tracing.ts';
import { compress, compressOnce, type ContentCoding, negotiateCoding } from './compression.ts';
import { addCorsHeaders, isPreflight, toPreflightResponse } from './cors.ts';
import type { Call, Endpoint, KeyedRoute } from './endpoint.ts';
import { type EndedStream, EventStream, type OpenStream } from './event-stream.ts';
import type { LoadShedder } from './load-shedding.ts';
import {
  createUrlTooLongError,
  type HeaderReader,
  type HttpRequest,
  type HttpResponse,
  maxUrlLength,
  withContentLength,
} from './message.ts';
import {
  createRequestContext,
  readClient,
  readRequestId,
  type RequestContext,
} from './request-context.ts';
import type { ComputedResponse, ResponseCache } from './response-cache.ts';
import type { Streams } from './streams.ts';

export interface PipelineOptions {
  readonly graphql: Endpoint;
  /** Also responds at unknown paths. */
  readonly rest: Endpoint;
  /** Meta's webhooks. */
  readonly webhooks: Endpoint;
  /** The page for people; null if there is none. */
  readonly board: Endpoint | null;
  readonly access: Pick<AccessControl, 'authenticate'>;
  readonly rateLimiter: RateLimiter;
  readonly responseCache: ResponseCache;
  readonly load: LoadShedder;
  readonly streams: Pick<Streams, 'open'>;
  readonly config: Pick<Config, 'corsOrigins' | 'trustedProxies' | 'trustsTraceParent'>;
  readonly telemetry: Telemetry;
  readonly metrics: Pick<Metrics, 'requestShed' | 'snapshotReturned'>;
}

export interface Pipeline {
  /** Never throws. `address` is that of the socket. */
  handle(request: HttpRequest, address?: string): MaybePromise<HttpResponse>;
  /** Responds with an error that the server has found, and otherwise as `handle`. */
  reject(error: GatewayError, request: HttpRequest, address?: string): MaybePromise<HttpResponse>;
  /** The response to bytes that are no HTTP request. Of `request`, there is what could be read; '' for the path if unknown. */
  rejectMalformed(
    error: GatewayError,
    status: number,
    request: { readonly path: string; readonly headers: HeaderReader },
  ): HttpResponse;
  /** The refusal of a request that the process is too busy for; null when it may begin. Costs next to nothing. */
  shed(request: Pick<HttpRequest, 'path' | 'headers'>): HttpResponse | null;
}

export function createPipeline(options: PipelineOptions): Pipeline {
  const { load, config, telemetry } = options;
  const resolveAddress = createClientAddressResolver(config.trustedProxies);
  const findEndpoint = createFindEndpoint(options);

  const run = (
    request: HttpRequest,
    address: string | undefined,
    work: (endpoint: Endpoint, context: RequestContext) => MaybePromise<HttpResponse>,
  ): MaybePromise<HttpResponse> => {
    // 1. The server has already called `shed`. The request takes a slot, and gets an id, the client's address, a meter, and
    // a span if there is an SDK of OpenTelemetry.
    const slot = load.begin();
    const clientAddress = resolveAddress(address, request.headers);
    const { headers } = request;
    const span = startRequestSpan(request.method, headers, config.trustsTraceParent);
    const context = createRequestContext(headers, clientAddress, slot.releaseWhile, span);
    const traced = span === null ? work : bindToSpan(span, work);
    const endpoint = findEndpoint(request.path);
    const responded = recover(
      // 2. to 9. See `respond` below.
      () => traced(endpoint, context),
      // An error of any step becomes a response in the form of the API.
      (thrown) => respondWithError(endpoint, thrown, request, context, telemetry),
    );
    return chain(responded, (response) => {
      // 10. The slot is freed, the request is logged and counted, and the headers that every response has are added.
      slot.end();
      if (context.stream === null) context.admission?.leave();
      const sent = addCommonHeaders(response, request, context, config.corsOrigins);
      const report = (ended: EndedStream | null): void =>
        reportRequest(options, request, context, response.status, ended);
      if (context.stream === null) report(null);
      else reportAtEnd(context.stream, sent, report);
      return sent;
    });
  };

  return {
    handle: (request, address) =>
      run(request, address, (endpoint, context) => respond(options, endpoint, request, context)),
    reject: (error, request, address) =>
      run(request, address, () => {
        throw error;
      }),
    rejectMalformed: (error, status, { path, headers }) =>
      rejectMalformed(options, findEndpoint(path), error, status, headers),
    shed: ({ path, headers }) => shed(options, findEndpoint(path), headers),
  };
}

function createFindEndpoint({ graphql, rest, webhooks, board }: PipelineOptions) {
  return (path: string): Endpoint => {
    if (path === '/graphql') return graphql;
    if (board !== null && isBoardPath(path)) return board;
    return path.startsWith('/v1/webhooks/meta/') ? webhooks : rest;
  };
}

function respond(
  options: PipelineOptions,
  endpoint: Endpoint,
  request: HttpRequest,
  context: RequestContext,
): MaybePromise<HttpResponse> {
  const { access: accessControl, rateLimiter, responseCache, config } = options;
  const { receivedAt, clientAddress, meter } = context;
  // 2. CORS preflights carry no key.
  if (config.corsOrigins.length > 0 && isPreflight(request)) {
    return toPreflightResponse(request, config.corsOrigins);
  }
  // 3. The path, the method, the content type and the length of the URL.
  const route = endpoint.match(request);
  context.route = route.path;
  context.operation = route.operation;
  const coding = negotiateCoding(request.headers.get('accept-encoding'));
  if (!route.needsKey) {
    return chain(route.respond(request, context), (response) =>
      compressOnce(response, coding).then((compressed) => toConditional(request, compressed)),
    );
  }

  // Not of public ones: GraphiQL writes its document into the address of its page.
  if (request.path.length + request.search.length > maxUrlLength) throw createUrlTooLongError();

  // 4. The API key: its form, then the key cache, then the database; and its scopes.
  const { headers } = request;
  const authenticate = () =>
    accessControl.authenticate({ headers, receivedAt, clientAddress, meter });
  return chain(authenticate(), (access) => {
    context.tenantId = access.tenantId;
    context.keyId = access.keyId;
    assertScope(access, route.scope);
    // 5. The tenant's limits: requests in flight, and points in the current window.
    return chain(rateLimiter.admit(access.tenantId, context), (admission) =>
      // 6. The body, at most 100 kB.
      chain(readBody(route, request, context, authenticate), (body) => {
        const openStream = () => options.streams.open({ request, context, access, admission });
        const call: Call = { request, context, access, admission, body, openStream };
        // 7. and 8. The response cache, or the API.
        const responded = lookUpOrCompute(responseCache, route, call, coding);
        // 9. A response that the client already has is answered with 304.
        return chain(responded, (response) => toConditional(request, response));
      }),
    );
  });
}

/** A stream is reported when it ends, and a long poll when it has been answered. */
function reportAtEnd(
  stream: OpenStream,
  { body }: HttpResponse,
  report: (ended: EndedStream) => void,
): void {
  if (!(body instanceof EventStream)) stream.end('completed');
  void stream.ended.then(report);
}

/**
 * The API parses what was sent. Unless the response is cached, GraphQL then validates, limits, charges and executes, and REST
 * charges and calls the core. The body is compressed before it is cached.
 */
function lookUpOrCompute(
  responseCache: ResponseCache,
  route: KeyedRoute,
  call: Call,
  coding: ContentCoding,
): MaybePromise<HttpResponse> {
  const { cacheKey, compute } = route.prepare(call);
  let hasEtag = ['GET', 'HEAD'].includes(call.request.method);
  const computeEncoded = async (): Promise<ComputedResponse> => {
    const { response, isCacheable } = await compute();
    if (!isCacheable) hasEtag = false;
    return { response: await compress(response, coding), isCacheable };
  };
  const { tenantId, numberId, scopes } = call.access;
  const key = { tenantId, numberId, request: `${coding} ${scopes.join()} ${cacheKey}` };
  const responded =
    cacheKey === null
      ? computeEncoded().then(({ response }) => response)
      : responseCache.getOrCompute(key, call, computeEncoded);
  // After the cache, because GET and POST share responses.
  return chain(responded, (response) => (hasEtag ? addEtag(response) : response));
}

/** By the bodies in the response cache. */
const etags = new WeakMap<Buffer, string>();

function addEtag(response: HttpResponse): HttpResponse {
  const { status, headers, body } = response;
  if (status !== 200 || headers['etag'] !== undefined) return response;
  if (body === null || body instanceof EventStream) return response;
  const known = typeof body === 'string' ? undefined : etags.get(body);
  const etag = known ?? `"${hash('sha256', body, 'base64url')}"`;
  if (typeof body !== 'string') etags.set(body, etag);
  return { status, headers: { ...headers, etag }, body };
}

/** A key may be revoked while a slow body arrives, so it is verified again after this time. */
const maxBodyMs = 500;

function readBody(
  { readsBody }: KeyedRoute,
  request: HttpRequest,
  { receivedAt, meter }: RequestContext,
  authenticate: () => MaybePromise<unknown>,
): MaybePromise<string> {
  if (!readsBody) return '';
  return meter
    .releaseWhile(() => request.text())
    .then((body) =>
      performance.now() - receivedAt > maxBodyMs ? chain(authenticate(), () => body) : body,
    );
}

// https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
function toConditional(request: HttpRequest, response: HttpResponse): HttpResponse {
  const { etag } = response.headers;
  const ifNoneMatch = request.headers.get('if-none-match');
  if (etag === undefined || ifNoneMatch === null || !matchesEtag(ifNoneMatch, etag))
    return response;
  const { 'content-type': _type, 'content-encoding': _coding, ...headers } = response.headers;
  return { status: 304, headers, body: null };
}

/** A list or `*`, compared without regard to weakness. */
function matchesEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  const given: readonly string[] = ifNoneMatch.match(/"[^"]*"/g) ?? [];
  return given.includes(etag.replace(/^W\//, ''));
}

/** Logs defects, and the causes of UNAVAILABLE. Tells the caller nothing of an error that is not ours. */
function respondWithError(
  endpoint: Endpoint,
  thrown: unknown,
  { headers, signal }: HttpRequest,
  { requestId }: RequestContext,
  telemetry: Telemetry,
): HttpResponse {
  const error = signal.aborted
    ? new GatewayError('UNAVAILABLE', 'The client disconnected.', { retryAfterSeconds: 1 })
    : toGatewayError(thrown);
  const isDefect = error.code === 'INTERNAL';
  if (isDefect || (error.code === 'UNAVAILABLE' && error.cause !== undefined)) {
    telemetry.requestFailed(requestId, thrown);
  }
  return endpoint.toErrorResponse(error, requestId, headers.get('accept'));
}

function reportRequest(
  { telemetry, metrics }: PipelineOptions,
  { method, path, headers }: HttpRequest,
  context: RequestContext,
  status: number,
  ended: EndedStream | null,
): void {
  const { requestId, receivedAt, tenantId, keyId, operation, operationName, meter } = context;
  if (meter.snapshotAgeSeconds !== null) metrics.snapshotReturned(meter.snapshotAgeSeconds);
  if (ended?.reason === 'failed') telemetry.requestFailed(requestId, ended.cause);
  const durationMs = Math.round(performance.now() - receivedAt);
  telemetry.requestCompleted({
    requestId,
    method,
    path,
    status,
    durationMs,
    tenantId,
    keyId,
    operation,
    operationName,
    ...readClient(headers),
    ...(ended !== null && { streamEnd: ended.reason }),
    ...(meter.span !== null && { trace_id: traceIdOf(meter.span) }),
  });
  if (meter.span !== null) endRequestSpan(meter.span, method, status, context);
}

function addCommonHeaders(
  response: HttpResponse,
  request: HttpRequest,
  context: RequestContext,
  corsOrigins: readonly string[],
): HttpResponse {
  const isHead = request.method === 'HEAD';
  const { status, headers, body } = isHead ? withoutBody(response) : response;
  const { requestId, responseHeaders } = context;
  const sent: Record<string, string> = {
    ...headers,
    ...responseHeaders,
    'x-request-id': requestId,
  };
  // https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
  if (status === 401) sent['www-authenticate'] = 'Bearer';
  addRateLimitHeaders(sent, context);
  if (corsOrigins.length > 0) addCorsHeaders(sent, request.headers, corsOrigins);
  return { status, headers: sent, body };
}

function withoutBody({ status, headers, body }: HttpResponse): HttpResponse {
  return { status, headers: withContentLength(headers, body), body: null };
}

// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
function addRateLimitHeaders(headers: Record<string, string>, { admission }: RequestContext): void {
  const rateLimit = admission?.rateLimit ?? null;
  if (rateLimit === null) return;
  const { limit, remaining, resetAt, seconds } = rateLimit;
  const resetSeconds = Math.max(0, Math.ceil((resetAt.getTime() - Date.now()) / 1_000));
  headers['ratelimit-policy'] = `"points";q=${limit};w=${seconds}`;
  headers['ratelimit'] = `"points";r=${remaining};t=${resetSeconds}`;
}

function shed(
  options: PipelineOptions,
  endpoint: Endpoint,
  requestHeaders: HeaderReader,
): HttpResponse | null {
  const { load, metrics } = options;
  const overload = load.findOverload();
  if (overload === null) return null;
  metrics.requestShed(overload.reason);
  return toRefusal(
    options,
    endpoint,
    overload.error,
    readRequestId(requestHeaders),
    requestHeaders,
  );
}

function rejectMalformed(
  options: PipelineOptions,
  endpoint: Endpoint,
  error: GatewayError,
  status: number,
  requestHeaders: HeaderReader,
): HttpResponse {
  const requestId = randomUUID();
  // Nothing of what was sent is logged: any part of a malformed request may hold a key.
  const unknown = { method: null, path: null, tenantId: null, keyId: null };
  options.telemetry.requestCompleted({ requestId, ...unknown, status, durationMs: 0 });
  return { ...toRefusal(options, endpoint, error, requestId, requestHeaders), status };
}

/** The response to a request that does not enter the pipeline. */
function toRefusal(
  { config }: PipelineOptions,
  endpoint: Endpoint,
  error: GatewayError,
  requestId: string,
  requestHeaders: HeaderReader,
): HttpResponse {
  const accept = requestHeaders.get('accept');
  const { status, headers, body } = endpoint.toErrorResponse(error, requestId, accept);
  const sent = { ...headers, 'x-request-id': requestId };
  if (config.corsOrigins.length > 0) addCorsHeaders(sent, requestHeaders, config.corsOrigins);
  return { status, headers: sent, body };
}
