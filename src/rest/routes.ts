// Owns the REST edge: the route table, and what all routes share, which is dispatch, query parsing, ETags and the error
// reply. What a route answers is its handler's; how the table is documented is openapi.ts's.

import { createHash } from 'node:crypto';
import type { AccessControl } from '../access/access.ts';
import { type Allowance, prices } from '../access/allowance.ts';
import { type ErrorCode, GatewayError, toGatewayError } from '../errors.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { RequestContext, Telemetry } from '../telemetry.ts';
import { createNumberHandlers, type Handler } from './numbers.ts';
import { type QueryParameter, type RouteDescription, toOpenApi } from './openapi.ts';

export interface RestOptions {
  readonly access: AccessControl;
  readonly allowance: Allowance;
  readonly numbers: Numbers;
  readonly telemetry: Telemetry;
}

/** A row of the route table. A GET is answered to HEAD too. */
export interface Route extends RouteDescription {
  readonly answer: Handler;
  /** What it costs at most beside the request's own point; nothing unless told. */
  readonly price?: (query: Readonly<Record<string, string>>) => number;
}

/**
 * Answers what is not GraphQL's. At the door, in this order: the exact path, the method, the key, the allowance, the query;
 * then the handler. Never rejects; what is thrown becomes an error reply, and a defect is logged with the request id.
 */
export function createRestRouter(
  options: RestOptions,
): (request: Request, context: RequestContext) => Promise<Response> {
  const routes = createRoutes(options);
  const patterns = new Map(routes.map((route) => [route, toPattern(route.path)]));
  return async (request, context) => {
    const response = await answer(options, patterns, request, context).catch((thrown: unknown) =>
      toErrorResponse(toFailure(options.telemetry, request, context, thrown), context.requestId),
    );
    return request.method === 'HEAD' ? new Response(null, response) : response;
  };
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

/** One segment for each `{name}`, everything else to the letter. */
function toPattern(path: string): RegExp {
  const source = path
    .split(/\{\w+\}/)
    .map((text) => text.replace(/[^\w/]/g, String.raw`\$&`))
    .join('([^/]+)');
  return new RegExp(`^${source}$`);
}

async function answer(
  { access: control, allowance }: RestOptions,
  patterns: ReadonlyMap<Route, RegExp>,
  request: Request,
  context: RequestContext,
): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const route = getRoute(patterns, pathname, request.method);
  context.operation = route.operationId;
  const access = await control.authenticate({ headers: request.headers, ...context });
  context.tenantId = access.tenantId;
  const visit = await allowance.enter(access.tenantId);
  context.visit = visit;
  const query = parseQuery(route, searchParams);
  const requested = route.price?.(query) ?? 0;
  await visit.charge(requested);
  const body = await route.answer({
    access,
    id: toId(patterns.get(route)?.exec(pathname)?.[1] ?? ''),
    query,
    signal: request.signal,
  });
  await visit.settle(requested - toActual(requested, body, context));
  return toResponse(request, JSON.stringify(body));
}

/** What it has cost beside the request's own point. */
function toActual(requested: number, body: unknown, { upstreamCalls }: RequestContext): number {
  if (requested === 0) return 0;
  const listed = Array.isArray(body) ? body.length * prices.listedNumber : 0;
  return Math.ceil(prices.number + listed + upstreamCalls * prices.read);
}

function getRoute(patterns: ReadonlyMap<Route, RegExp>, pathname: string, method: string): Route {
  const found = [...patterns].filter(([, pattern]) => pattern.test(pathname));
  if (found.length === 0) {
    throw new GatewayError('NOT_FOUND', 'There is no such route; GET /v1/openapi.json lists all.');
  }
  const asked = method === 'HEAD' ? 'GET' : method;
  const route = found.map(([candidate]) => candidate).find(({ method: it }) => it === asked);
  if (route !== undefined) return route;
  const allow = found.flatMap(([{ method: it }]) => (it === 'GET' ? [it, 'HEAD'] : [it]));
  throw new GatewayError('METHOD_NOT_ALLOWED', `This route answers ${allow.join(' and ')}.`, {
    allow,
  });
}

// What is no percent-encoding is the id of a missing number as it stands.
function toId(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function parseQuery(
  { query = [] }: Route,
  given: URLSearchParams,
): Readonly<Record<string, string>> {
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

function toJsonHeaders(body: string): Readonly<Record<string, string>> {
  return {
    ...cacheHeaders,
    'content-type': 'application/json; charset=utf-8',
    // For HEAD, which has no body to be counted.
    'content-length': String(Buffer.byteLength(body)),
  };
}

function toResponse(request: Request, body: string): Response {
  const etag = `"${createHash('sha256').update(body).digest('base64url')}"`;
  if (hasEtag(request.headers.get('if-none-match') ?? '', etag)) {
    return new Response(null, { status: 304, headers: { ...cacheHeaders, etag } });
  }
  return new Response(body, { headers: { ...toJsonHeaders(body), etag } });
}

// https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2: a list or `*`, compared without regard to weakness.
function hasEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  const given: readonly string[] = ifNoneMatch.match(/"[^"]*"/g) ?? [];
  return given.includes(etag);
}

/** The caller's view of what was thrown. Logs a defect, and the cause of what is not available. */
function toFailure(
  telemetry: Telemetry,
  request: Request,
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
export function toErrorResponse(error: GatewayError, requestId: string): Response {
  const { code, details, retryAfterSeconds, allow } = error;
  const body = JSON.stringify({
    error: error.message,
    code,
    requestId,
    ...(details !== undefined && { details }),
  });
  const headers = new Headers(toJsonHeaders(body));
  if (retryAfterSeconds !== undefined) {
    headers.set('retry-after', String(Math.max(1, Math.ceil(retryAfterSeconds))));
  }
  if (allow !== undefined) headers.set('allow', allow.join(', '));
  return new Response(body, { status: error.status, headers });
}
