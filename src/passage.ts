// Owns the way of every request to its door and back: its id, its place among those under way, CORS, the rate headers and
// its line in the log. What a request means is its door's.

import { randomUUID } from 'node:crypto';
import { createSourceFinder } from './access/source.ts';
import type { Config } from './config.ts';
import { GatewayError } from './errors.ts';
import {
  type PlainHeaders,
  type PlainRequest,
  type PlainResponse,
  toSentHeaders,
} from './exchange.ts';
import type { Load } from './load.ts';
import type { Metrics } from './metrics.ts';
import { andThen, orElse, type Soon } from './soon.ts';
import { type RequestContext, type Telemetry, toRequestContext, toRequestId } from './telemetry.ts';

/** Who answers at a path. */
export interface Door {
  answer(request: PlainRequest, context: RequestContext): Soon<PlainResponse>;
  /**
   * Its answer to this error, for a request of which nothing more is known than its header `accept`. Without
   * x-request-id, as `answer`.
   */
  refuse(error: GatewayError, requestId: string, accept: string | null): PlainResponse;
}

export interface PassageOptions {
  /** By their exact path. */
  readonly doors: ReadonlyMap<string, Door>;
  /** Answers at all other paths. */
  readonly rest: Door;
  readonly config: Pick<Config, 'corsOrigins' | 'trustedProxies'>;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly load: Load;
}

export interface Passage {
  /** Answers a request to any of the doors; never throws. `address` is that of the socket it came over. */
  answer(request: PlainRequest, address?: string): Soon<PlainResponse>;
  /** Answers with this error what no door should see, like any other request. */
  refuse(error: GatewayError, request: PlainRequest, address?: string): Soon<PlainResponse>;
  /** The answer, with this status, to what is too broken to be a request. */
  refuseBroken(error: GatewayError, status: number): PlainResponse;
  /** The refusal of what would be too much right now, made at next to no cost; null when there is room. */
  shed(request: Pick<PlainRequest, 'path' | 'headers'>): PlainResponse | null;
}

export function createPassage(options: PassageOptions): Passage {
  const { doors, rest } = options;
  const findDoor = (path: string) => doors.get(path) ?? rest;
  const pass = createPass(options);
  return {
    answer: (request, address) => pass(findDoor(request.path), request, address),
    refuse(error, request, address) {
      const door = findDoor(request.path);
      const answer: Door['answer'] = (_, { requestId }) =>
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

type Pass = (door: Door, request: PlainRequest, address?: string) => Soon<PlainResponse>;

function createPass({ config, telemetry, load }: PassageOptions): Pass {
  const { corsOrigins, trustedProxies } = config;
  const findSource = createSourceFinder(trustedProxies);
  const ask = (door: Door, request: PlainRequest, context: RequestContext): Soon<PlainResponse> =>
    corsOrigins.length > 0 && isPreflight(request)
      ? toPreflight(request, corsOrigins)
      : door.answer(request, context);
  const conclude = (
    request: PlainRequest,
    context: RequestContext,
    response: PlainResponse,
  ): PlainResponse => {
    context.visit?.leave();
    telemetry.requestAnswered({
      requestId: context.requestId,
      method: request.method,
      path: request.path,
      status: response.status,
      durationMs: Math.round(performance.now() - context.askedAt),
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
    const context = toRequestContext(headers, findSource(address, headers), slot.waitFor);
    const answered = orElse(
      () => ask(door, request, context),
      (thrown) => {
        telemetry.requestFailed(context.requestId, thrown);
        return toDefect(door, request, context);
      },
    );
    return andThen(answered, (response) => {
      slot.end();
      return conclude(request, context, response);
    });
  };
}

// Each door answers its own errors; this is for a defect in a door itself.
function toDefect(door: Door, request: PlainRequest, { requestId }: RequestContext): PlainResponse {
  const error = new GatewayError('INTERNAL', 'Something went wrong on our side.');
  return door.refuse(error, requestId, request.headers.get('accept'));
}

function withoutBody({ status, headers, body }: PlainResponse): PlainResponse {
  return { status, headers: toSentHeaders(headers, body), body: null };
}

function shed(
  { config, load, metrics }: PassageOptions,
  door: Door,
  { headers: asked }: Pick<PlainRequest, 'headers'>,
): PlainResponse | null {
  const overload = load.findOverload();
  if (overload === null) return null;
  metrics.requestShed(overload.reason);
  const requestId = toRequestId(asked);
  const { status, headers, body } = door.refuse(overload.error, requestId, asked.get('accept'));
  const sent = { ...headers, 'x-request-id': requestId };
  if (config.corsOrigins.length > 0) addCorsHeaders(sent, asked, config.corsOrigins);
  return { status, headers: sent, body };
}

type Headers = Record<string, string>;

// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
function addRateHeaders(headers: Headers, { visit }: RequestContext): void {
  const standing = visit?.standing ?? null;
  if (standing === null) return;
  const { limit, remaining, resetAt, seconds } = standing;
  const resetSeconds = Math.max(0, Math.ceil((resetAt.getTime() - Date.now()) / 1_000));
  headers['ratelimit-policy'] = `"points";q=${limit};w=${seconds}`;
  headers['ratelimit'] = `"points";r=${remaining};t=${resetSeconds}`;
}

function isPreflight({ method, headers }: PlainRequest): boolean {
  return method === 'OPTIONS' && headers.get('access-control-request-method') !== null;
}

function toPreflight({ headers }: PlainRequest, origins: readonly string[]): PlainResponse {
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
function addCorsHeaders(headers: Headers, asked: PlainHeaders, origins: readonly string[]): void {
  const origin = findOrigin(asked, origins);
  if (origin !== null) {
    headers['access-control-allow-origin'] = origin;
    headers['access-control-expose-headers'] =
      'etag, ratelimit, ratelimit-policy, retry-after, x-request-id';
  }
  const { vary } = headers;
  headers['vary'] = vary === undefined ? 'origin' : `${vary}, origin`;
}

function findOrigin(headers: PlainHeaders, origins: readonly string[]): string | null {
  const origin = headers.get('origin');
  return origin !== null && origins.includes(origin) ? origin : null;
}
