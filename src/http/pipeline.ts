// Owns the way of every request to its door and back: its id, its place among those under way, CORS, the rate headers and
// its line in the log. What a request means is its door's.

import { randomUUID } from 'node:crypto';
import { createClientAddressResolver } from '../access/client-address.ts';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import {
  type HttpHeaders,
  type HttpRequest,
  type HttpResponse,
  withContentLength,
} from './message.ts';
import type { LoadShedder } from './load-shedding.ts';
import type { Metrics } from '../metrics.ts';
import { chain, recover, type MaybePromise } from '../maybe-promise.ts';
import { type RequestContext, createRequestContext, readRequestId } from './request-context.ts';
import type { Telemetry } from '../telemetry.ts';

/** Who answers at a path. */
export interface Endpoint {
  answer(request: HttpRequest, context: RequestContext): MaybePromise<HttpResponse>;
  /**
   * Its answer to this error, for a request of which nothing more is known than its header `accept`. Without
   * x-request-id, as `answer`.
   */
  refuse(error: GatewayError, requestId: string, accept: string | null): HttpResponse;
}

export interface PipelineOptions {
  /** By their exact path. */
  readonly doors: ReadonlyMap<string, Endpoint>;
  /** Answers at all other paths. */
  readonly rest: Endpoint;
  readonly config: Pick<Config, 'corsOrigins' | 'trustedProxies'>;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly load: LoadShedder;
}

export interface Pipeline {
  /** Answers a request to any of the doors; never throws. `address` is that of the socket it came over. */
  answer(request: HttpRequest, address?: string): MaybePromise<HttpResponse>;
  /** Answers with this error what no door should see, like any other request. */
  refuse(error: GatewayError, request: HttpRequest, address?: string): MaybePromise<HttpResponse>;
  /** The answer, with this status, to what is too broken to be a request. */
  refuseBroken(error: GatewayError, status: number): HttpResponse;
  /** The refusal of what would be too much right now, made at next to no cost; null when there is room. */
  shed(request: Pick<HttpRequest, 'path' | 'headers'>): HttpResponse | null;
}

export function createPipeline(options: PipelineOptions): Pipeline {
  const { doors, rest } = options;
  const findDoor = (path: string) => doors.get(path) ?? rest;
  const pass = createPass(options);
  return {
    answer: (request, address) => pass(findDoor(request.path), request, address),
    refuse(error, request, address) {
      const door = findDoor(request.path);
      const answer: Endpoint['answer'] = (_, { requestId }) =>
        door.refuse(error, requestId, request.headers.get('accept'));
      return pass({ ...door, answer }, request, address);
    },
    refuseBroken(error, status) {
      const requestId = randomUUID();
      // None of what was sent: whatever could not be taken apart may hold a key in any place.
      const asked = { method: null, path: null, tenantId: null, keyId: null };
      options.telemetry.requestAnswered({ requestId, ...asked, status, durationMs: 0 });
      const { headers, body } = rest.refuse(error, requestId, null);
      return { status, headers: { ...headers, 'x-request-id': requestId }, body };
    },
    shed: (request) => shed(options, findDoor(request.path), request),
  };
}

type Pass = (door: Endpoint, request: HttpRequest, address?: string) => MaybePromise<HttpResponse>;

function createPass({ config, telemetry, load }: PipelineOptions): Pass {
  const { corsOrigins, trustedProxies } = config;
  const findSource = createClientAddressResolver(trustedProxies);
  const ask = (
    door: Endpoint,
    request: HttpRequest,
    context: RequestContext,
  ): MaybePromise<HttpResponse> =>
    corsOrigins.length > 0 && isPreflight(request)
      ? toPreflight(request, corsOrigins)
      : door.answer(request, context);
  const conclude = (
    request: HttpRequest,
    context: RequestContext,
    response: HttpResponse,
  ): HttpResponse => {
    context.admission?.leave();
    telemetry.requestAnswered({
      requestId: context.requestId,
      method: request.method,
      path: request.path,
      status: response.status,
      durationMs: Math.round(performance.now() - context.receivedAt),
      tenantId: context.tenantId,
      keyId: context.keyId,
      operation: context.operation,
    });
    const { status, headers, body } = request.method === 'HEAD' ? withoutBody(response) : response;
    const sent = { ...headers, 'x-request-id': context.requestId };
    addRateHeaders(sent, context);
    if (corsOrigins.length > 0) addCorsHeaders(sent, request.headers, corsOrigins);
    return { status, headers: sent, body };
  };
  return (door, request, address) => {
    const { headers } = request;
    const slot = load.begin();
    const context = createRequestContext(headers, findSource(address, headers), slot.releaseWhile);
    const answered = recover(
      () => ask(door, request, context),
      (thrown) => {
        telemetry.requestFailed(context.requestId, thrown);
        return toDefect(door, request, context);
      },
    );
    return chain(answered, (response) => {
      slot.end();
      return conclude(request, context, response);
    });
  };
}

// Each door answers its own errors; this is for a defect in a door itself.
function toDefect(
  door: Endpoint,
  request: HttpRequest,
  { requestId }: RequestContext,
): HttpResponse {
  const error = new GatewayError('INTERNAL', 'Something went wrong on our side.');
  return door.refuse(error, requestId, request.headers.get('accept'));
}

function withoutBody({ status, headers, body }: HttpResponse): HttpResponse {
  return { status, headers: withContentLength(headers, body), body: null };
}

function shed(
  { config, load, metrics }: PipelineOptions,
  door: Endpoint,
  { headers: asked }: Pick<HttpRequest, 'headers'>,
): HttpResponse | null {
  const overload = load.findOverload();
  if (overload === null) return null;
  metrics.requestShed(overload.reason);
  const requestId = readRequestId(asked);
  const { status, headers, body } = door.refuse(overload.error, requestId, asked.get('accept'));
  const sent = { ...headers, 'x-request-id': requestId };
  if (config.corsOrigins.length > 0) addCorsHeaders(sent, asked, config.corsOrigins);
  return { status, headers: sent, body };
}

type Headers = Record<string, string>;

// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
function addRateHeaders(headers: Headers, { admission }: RequestContext): void {
  const standing = admission?.standing ?? null;
  if (standing === null) return;
  const { limit, remaining, resetAt, seconds } = standing;
  const resetSeconds = Math.max(0, Math.ceil((resetAt.getTime() - Date.now()) / 1_000));
  headers['ratelimit-policy'] = `"points";q=${limit};w=${seconds}`;
  headers['ratelimit'] = `"points";r=${remaining};t=${resetSeconds}`;
}

function isPreflight({ method, headers }: HttpRequest): boolean {
  return method === 'OPTIONS' && headers.get('access-control-request-method') !== null;
}

function toPreflight({ headers }: HttpRequest, origins: readonly string[]): HttpResponse {
  const allowed = findOrigin(headers, origins) !== null;
  return { status: 204, headers: allowed ? preflightHeaders : {}, body: null };
}

const preflightHeaders = {
  'access-control-allow-methods': 'GET, HEAD, POST',
  'access-control-allow-headers':
    'content-type, if-none-match, x-api-key, x-include-cost, x-request-id',
  'access-control-max-age': '600',
};

// Keys travel in a header that a page sets itself, so no cookies and no credentials are allowed.
function addCorsHeaders(headers: Headers, asked: HttpHeaders, origins: readonly string[]): void {
  const origin = findOrigin(asked, origins);
  if (origin !== null) {
    headers['access-control-allow-origin'] = origin;
    headers['access-control-expose-headers'] =
      'etag, ratelimit, ratelimit-policy, retry-after, x-request-id';
  }
  const { vary } = headers;
  headers['vary'] = vary === undefined ? 'origin' : `${vary}, origin`;
}

function findOrigin(headers: HttpHeaders, origins: readonly string[]): string | null {
  const origin = headers.get('origin');
  return origin !== null && origins.includes(origin) ? origin : null;
}
