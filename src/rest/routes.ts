// Owns the REST edge: the route table, and what all routes share, which is dispatch, query parsing, ETags and the error
// reply. What a route answers is its handler's; how the table is documented is openapi.ts's.

import { hash } from 'node:crypto';
import type { AccessControl } from '../access/access.ts';
import { type RateLimiter, prices, type Admission } from '../access/rate-limit.ts';
import { admit } from '../access/admission.ts';
import { type ResponseCache, type ComputedResponse, getOrCompute } from '../http/response-cache.ts';
import { type ErrorCode, GatewayError, toGatewayError } from '../errors.ts';
import type { HttpRequest, HttpResponse } from '../http/message.ts';
import type { Numbers } from '../numbers/numbers.ts';
import { chain, recover, type MaybePromise } from '../maybe-promise.ts';
import type { RequestContext } from '../http/request-context.ts';
import type { Telemetry } from '../telemetry.ts';
import { createNumberHandlers, type Handler, type Question } from './numbers.ts';
import { type QueryParameter, type RouteDescription, toOpenApi } from './openapi.ts';

export interface RestOptions {
  readonly access: AccessControl;
  readonly rateLimiter: RateLimiter;
  /** Those that are kept in memory. */
  readonly responseCache: ResponseCache;
  readonly numbers: Numbers;
  readonly telemetry: Telemetry;
}

/** A row of the route table. A GET is answered to HEAD too. */
export interface Route extends RouteDescription {
  readonly answer: Handler;
  /** What it costs at most beside the request's own point; nothing unless told. */
  readonly price?: (query: Question['query']) => number;
  /** Whether it only shows what is stored, so that its answer may be kept until that changes; no unless told. */
  readonly isStored?: (query: Readonly<Record<string, string>>) => boolean;
}

/**
 * Answers what is not GraphQL's. At the door, in this order: the exact path, the method, the key, the allowance, the query;
 * then the handler. Never throws; what is thrown becomes an error reply, and a defect is logged with the request id.
 */
export function createRestRouter(
  options: RestOptions,
): (request: HttpRequest, context: RequestContext) => MaybePromise<HttpResponse> {
  const places = toPlaces(createRoutes(options));
  return (request, context) =>
    recover(
      () => answer(options, places, request, context),
      (thrown) => {
        const error = toFailure(options.telemetry, request, context, thrown);
        return toErrorResponse(error, context.requestId);
      },
    );
}

function createRoutes(options: RestOptions): readonly Route[] {
  const routes: readonly Route[] = [
    ...createNumberRoutes(options),
    {
      method: 'GET',
      path: '/v1/openapi.json',
      operationId: 'getOpenApi',
      summary: 'This document',
      description: 'The OpenAPI 3.1 description of this API.',
      reply: 'OpenApiDocument',
      errors: [],
      answer: async () => document,
    },
  ];
  const document = toOpenApi(routes);
  return routes;
}

function createNumberRoutes({ numbers }: Pick<RestOptions, 'numbers'>): readonly Route[] {
  const { listNumbers, getNumber, getNumberStatus } = createNumberHandlers(numbers);
  return [
    {
      method: 'GET',
      path: '/v1/numbers',
      operationId: 'listNumbers',
      summary: 'List all numbers',
      description:
        "The numbers of the key's tenant, by creation, then id. Nothing is read live; ask for the status of a number to check its connection.",
      reply: 'NumberList',
      errors: [],
      answer: listNumbers,
      price: () => prices.list,
      isStored: () => true,
    },
    {
      method: 'GET',
      path: '/v1/numbers/{id}',
      operationId: 'getNumber',
      summary: 'Full detail of one number',
      description:
        "What is known of a number, its health, and for one of Meta's what the Graph API said last. A live reading answers 200 when at least one part could be read; the others keep their last good values.",
      query: [refresh],
      reply: 'NumberDetail',
      errors: ofLiveReading,
      answer: getNumber,
      price: (query) => prices.number + (query['refresh'] === undefined ? 0 : 3 * prices.read),
      isStored: (query) => query['refresh'] === undefined,
    },
    {
      method: 'GET',
      path: '/v1/numbers/{id}/status',
      operationId: 'getNumberStatus',
      summary: 'Live connection state of one number',
      description:
        'The connection state as it is now: from Meta, or from the session engine where there is one, otherwise as stored.',
      reply: 'NumberStatus',
      errors: ofLiveReading,
      answer: getNumberStatus,
      price: () => prices.number + prices.read,
    },
  ];
}

const refresh: QueryParameter = {
  name: 'refresh',
  values: ['1', 'true'],
  description: 'Reads the number live and stores what was read. Left out: the last snapshot.',
};

const ofLiveReading: readonly ErrorCode[] = [
  'NUMBER_NOT_FOUND',
  'META_UNAVAILABLE',
  'META_ACCESS_DENIED',
  'META_TIMEOUT',
  'META_RATE_LIMITED',
];

/** The routes of one path by their method, and what a path must look like to be theirs. */
interface Place {
  readonly routes: ReadonlyMap<string, Route>;
  readonly pattern: RegExp;
  readonly allow: readonly string[];
}

function toPlaces(routes: readonly Route[]): readonly Place[] {
  return [...Map.groupBy(routes, ({ path }) => path)].map(([path, ofPath]) => {
    const byMethod = new Map<string, Route>(ofPath.map((route) => [route.method, route]));
    const get = byMethod.get('GET');
    if (get !== undefined) byMethod.set('HEAD', get);
    return { routes: byMethod, pattern: toPattern(path), allow: [...byMethod.keys()] };
  });
}

/** One segment for each `{name}`, everything else to the letter. */
function toPattern(path: string): RegExp {
  const source = path
    .split(/\{\w+\}/)
    .map((text) => text.replace(/[^\w/]/g, String.raw`\$&`))
    .join('([^/]+)');
  return new RegExp(`^${source}$`);
}

function answer(
  options: RestOptions,
  places: readonly Place[],
  request: HttpRequest,
  context: RequestContext,
): MaybePromise<HttpResponse> {
  const { route, id } = getRoute(places, request);
  context.operation = route.operationId;
  return chain(admit(options, request, context), ({ access, admission }) => {
    const query = parseQuery(route, request.search);
    const { tenantId, numberId } = access;
    const isStored = route.isStored?.(query) === true;
    const question = {
      tenantId,
      numberId,
      request: `${route.operationId} ${id}`,
      isShared: always,
    };
    const read = async (): Promise<ComputedResponse> => {
      const asked = { access, id, query, signal: request.signal };
      const body = await answerForPoints(route, asked, admission, context);
      return { response: toResponse(JSON.stringify(body)), isCacheable: true };
    };
    const answered = getOrCompute(
      options.responseCache,
      isStored ? question : null,
      { admission, context },
      read,
    );
    return chain(answered, (response) => toConditional(request, response));
  });
}

const always = () => true;

/** What comes of it, for what that costs: also when it fails, since a refusal may have read nothing. */
async function answerForPoints(
  route: Route,
  asked: Question,
  admission: Admission,
  context: RequestContext,
): Promise<unknown> {
  const requested = route.price?.(asked.query) ?? 0;
  await admission.charge(requested);
  const settle = (body: unknown) =>
    admission.settle(requested - toActual(requested, body, context));
  try {
    const body = await route.answer(asked);
    settle(body);
    return body;
  } catch (error) {
    // A read is counted when it ends: what is still read for a caller who has gone would otherwise be free.
    if (!asked.signal.aborted) settle(null);
    throw error;
  }
}

/** What it has cost beside the request's own point. */
function toActual(
  requested: number,
  body: unknown,
  { meter: { upstreamCalls } }: RequestContext,
): number {
  if (requested === 0) return 0;
  const listed = Array.isArray(body) ? body.length * prices.listedNumber : 0;
  return Math.ceil(prices.number + listed + upstreamCalls * prices.read);
}

function getRoute(
  places: readonly Place[],
  { path, method }: HttpRequest,
): { readonly route: Route; readonly id: string } {
  for (const { routes, pattern, allow } of places) {
    const found = pattern.exec(path);
    if (found === null) continue;
    const route = routes.get(method);
    if (route !== undefined) return { route, id: toId(found[1] ?? '') };
    const message = `This route answers ${allow.join(' and ')}.`;
    throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow });
  }
  throw new GatewayError('NOT_FOUND', 'There is no such route; GET /v1/openapi.json lists all.');
}

// What is no percent-encoding is the id of a missing number as it stands.
function toId(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function parseQuery({ query = [] }: Route, search: string): Readonly<Record<string, string>> {
  if (search === '' || query.length === 0) return {};
  const given = new URLSearchParams(search);
  const entries = query.flatMap(({ name, values }) => {
    const [value, ...others] = given.getAll(name);
    if (value === undefined) return [];
    if (values.includes(value) && others.length === 0) return [[name, value]];
    const allowed = values.map((it) => `${name}=${it}`).join(' or ');
    throw new GatewayError(
      'INVALID_REQUEST',
      `The query parameter ${name} is given once, as ${allowed}, or left out.`,
    );
  });
  return Object.fromEntries(entries);
}

/** An answer belongs to a key, and is asked for again before it is used again. */
const cacheHeaders = { 'cache-control': 'private, no-cache', vary: 'x-api-key' };
const jsonHeaders = { ...cacheHeaders, 'content-type': 'application/json; charset=utf-8' };

function toResponse(body: string): HttpResponse {
  const etag = `"${hash('sha256', body, 'base64url')}"`;
  return { status: 200, headers: { ...jsonHeaders, etag }, body };
}

function toConditional(request: HttpRequest, response: HttpResponse): HttpResponse {
  const { etag = '' } = response.headers;
  if (!hasEtag(request.headers.get('if-none-match') ?? '', etag)) return response;
  return { status: 304, headers: { ...cacheHeaders, etag }, body: null };
}

// https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2: a list or `*`, compared without regard to weakness.
function hasEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch === '') return false;
  if (ifNoneMatch.trim() === '*') return true;
  const given: readonly string[] = ifNoneMatch.match(/"[^"]*"/g) ?? [];
  return given.includes(etag);
}

/** The caller's view of what was thrown. Logs a defect, and the cause of what is not available. */
function toFailure(
  telemetry: Telemetry,
  request: HttpRequest,
  { requestId }: RequestContext,
  thrown: unknown,
): GatewayError {
  if (request.signal.aborted) {
    return new GatewayError('UNAVAILABLE', 'The caller has gone.', { retryAfterSeconds: 1 });
  }
  const error = toGatewayError(thrown);
  if (error.code === 'INTERNAL' || (error.code === 'UNAVAILABLE' && error.cause !== undefined)) {
    telemetry.requestFailed(requestId, thrown);
  }
  return error;
}

/** The reply of REST to an error, for all routes and for none. Without x-request-id, which the gateway adds. */
export function toErrorResponse(error: GatewayError, requestId: string): HttpResponse {
  const { code, details, retryAfterSeconds: wait, allow } = error;
  const body = JSON.stringify({
    error: error.message,
    code,
    requestId,
    ...(details !== undefined && { details }),
  });
  const headers = {
    ...jsonHeaders,
    ...(wait !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(wait))) }),
    ...(allow !== undefined && { allow: allow.join(', ') }),
  };
  return { status: error.status, headers, body };
}
