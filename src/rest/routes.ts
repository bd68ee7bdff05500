// The REST endpoint: the route table, and what all routes share: dispatch, prices and the error reply.

import { hash } from 'node:crypto';
import { prices, toListPrice } from '../access/prices.ts';
import { limitMore, limitToWindow } from '../access/rate-limit.ts';
import { type ErrorCode, GatewayError } from '../errors.ts';
import type { Incidents } from '../alerts/incidents.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Operations } from '../fleet/operations.ts';
import type { Call, Endpoint, KeyedRoute } from '../http/endpoint.ts';
import type { History } from '../history/history.ts';
import { eventStreamHeaders } from '../http/event-stream.ts';
import { assertJson, type HttpRequest, type HttpResponse } from '../http/message.ts';
import { negotiate } from '../http/negotiation.ts';
import type { RequestMeter } from '../http/request-context.ts';
import type { ComputedResponse } from '../http/response-cache.ts';
import { type JsonObject, parseJson, toObject } from '../json.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { Sync } from '../sync/sync.ts';
import { createChangesRoute } from './changes.ts';
import { includable } from './included.ts';
import { createFleetRoute } from './fleet.ts';
import { createIncidentRoutes } from './incidents.ts';
import { createNumberHandlers, type HandlerInput } from './numbers.ts';
import { type QueryParameter, toOpenApi } from './openapi.ts';
import { createRefreshRoute, createUpdateRoute } from './operations.ts';
import { parseQuery } from './parameters.ts';
import { type DataRoute, type EventHandler, type RestRoute, variesByMediaType } from './route.ts';
import { createSyncRoute } from './sync.ts';

export interface RestEndpointOptions {
  readonly numbers: Numbers;
  readonly fleet: Fleet;
  readonly history: History;
  readonly operations: Operations;
  readonly sync: Pick<Sync, 'report'>;
  readonly incidents: Incidents;
  /** See `Config.publicUrl`. */
  readonly publicUrl: string | null;
}

export function createRestEndpoint(options: RestEndpointOptions): Endpoint {
  const paths = groupByPath(createRoutes(options));
  return {
    match(request) {
      const { route, id } = findRoute(paths, request);
      if (route.body !== undefined) assertJson(request, 'body');
      if (!route.isPublic) return toKeyedRoute(route, id);
      const { path, operationId: operation, response: respond } = route;
      return { needsKey: false, path, operation, respond };
    },
    toErrorResponse,
  };
}

function toKeyedRoute(route: DataRoute, id: string): KeyedRoute {
  const { operationId, path } = route;
  return {
    needsKey: true,
    scope: route.scope ?? 'read',
    path,
    operation: operationId,
    readsBody: route.body !== undefined,
    prepare(call) {
      const { responseHeaders: headers } = call.context;
      const query = parseQuery(route, call.request.search, headers);
      const isStored = route.isStored?.(query) === true;
      const body = route.body === undefined ? {} : parseBody(call.body);
      return {
        // The id is the caller's text, so it comes last.
        cacheKey: isStored ? `${operationId} ${JSON.stringify(query)} ${id}` : null,
        async compute() {
          const { access, admission, request, openStream } = call;
          const { signal } = request;
          const chargeMore = (points: number) => admission.charge(limitMore(points, admission));
          const input = { access, id, query, body, headers, signal, openStream, chargeMore };
          if (route.eventHandler !== undefined && prefersEvents(request)) {
            return await respondWithEvents(route.eventHandler, route, input, call);
          }
          const value = await charge(route, input, call, () => route.handler(input));
          return {
            response: toJsonResponse(value, route, route.toHeaders?.(value, query)),
            isCacheable: true,
          };
        },
      };
    },
  };
}

function parseBody(text: string): JsonObject {
  const body = toObject(parseJson(text));
  if (body !== null) return body;
  throw new GatewayError('INVALID_REQUEST', 'The body must be a JSON object.');
}

function prefersEvents({ headers }: HttpRequest): boolean {
  const accept = headers.get('accept') ?? '';
  const offers = ['application/json', 'text/event-stream'] as const;
  // By its name: who sends text/* may not expect a response without end.
  return (
    /\btext\/event-stream\b/i.test(accept) && negotiate(accept, offers) === 'text/event-stream'
  );
}

async function respondWithEvents(
  handler: EventHandler,
  route: DataRoute,
  input: HandlerInput,
  call: Call,
): Promise<ComputedResponse> {
  // Empty before the first event that has an id.
  const lastEventId = call.request.headers.get('last-event-id') || null;
  const body = await charge(route, input, call, () => handler({ ...input, lastEventId }));
  const headers = { ...eventStreamHeaders, vary: variesByMediaType };
  return { response: { status: 200, headers, body }, isCacheable: false };
}

/** Charges the highest price first, and gives back what was not used: also after an error, which may have read nothing. */
async function charge<T>(
  { maxPrice, isFixedPrice }: DataRoute,
  input: HandlerInput,
  { admission, context: { meter } }: Call,
  handle: () => Promise<T>,
): Promise<T> {
  const { request, list } = prices;
  const price = request + Math.ceil(maxPrice?.(input.query, input.access) ?? 0);
  const requested = limitToWindow(price, request + list, admission) - request;
  await admission.charge(requested);
  const settle = (value: unknown) =>
    isFixedPrice || admission.settle(requested - toActualPrice(requested, value, meter));
  try {
    const value = await handle();
    settle(value);
    return value;
  } catch (error) {
    // Reads of a client that has disconnected may still be running, and are counted only when they end.
    if (!input.signal.aborted) settle(null);
    throw error;
  }
}

function toActualPrice(requested: number, value: unknown, { upstreamCalls }: RequestMeter): number {
  if (requested === 0) return 0;
  const listed = Array.isArray(value) ? value.length * prices.listedNumber : 0;
  return Math.ceil(prices.number + listed + upstreamCalls * prices.read);
}

function createRoutes({
  numbers,
  fleet,
  history,
  operations,
  sync,
  incidents,
  publicUrl,
}: RestEndpointOptions): readonly RestRoute[] {
  const routes: readonly RestRoute[] = [
    // Before the paths with an id, which match its path too.
    createRefreshRoute(operations),
    ...createNumberRoutes(numbers),
    createUpdateRoute(operations, numbers),
    createFleetRoute(fleet),
    createChangesRoute(history),
    createSyncRoute(sync),
    ...createIncidentRoutes(incidents),
    {
      isPublic: true,
      method: 'GET',
      path: '/v1/openapi.json',
      operationId: 'getOpenApi',
      tag: 'Description',
      summary: 'This document',
      description: 'The OpenAPI 3.1 description of this API. It needs no key.',
      reply: 'OpenApiDocument',
      errors: [],
      response: () => response,
    },
  ];
  const { headers, ...document } = toJsonResponse(toOpenApi(routes, publicUrl), { method: 'GET' });
  const response = { ...document, headers: { ...headers, ...publicHeaders } };
  return routes;
}

/** Shared caches may keep the response, and have to revalidate it. */
const publicHeaders = { 'cache-control': 'no-cache', vary: 'accept-encoding' };

function createNumberRoutes(numbers: Numbers): readonly DataRoute[] {
  const { listNumbers, getNumber, getNumberStatus } = createNumberHandlers(numbers);
  return [
    {
      method: 'GET',
      path: '/v1/numbers',
      operationId: 'listNumbers',
      tag: 'Numbers',
      summary: 'List all numbers',
      description:
        "All numbers of the key's tenant, ordered by creation, then by id. Nothing is read live; request the status of a number to check its connection.",
      query: [include],
      reply: 'NumberList',
      errors: [],
      handler: listNumbers,
      maxPrice: (_query, { tenantId }) => toListPrice(numbers.estimateListSize(tenantId)),
      isStored: () => true,
    },
    {
      method: 'GET',
      path: '/v1/numbers/{id}',
      operationId: 'getNumber',
      tag: 'Numbers',
      summary: 'Full detail of one number',
      description:
        "A number, its health, and for a Meta number the last snapshot from Meta's Graph API. With `refresh`, responds with 200 when at least one part could be read; the other parts keep their last good values.",
      query: [refresh, include],
      reply: 'NumberDetail',
      errors: liveReadErrors,
      handler: getNumber,
      maxPrice: (query) => prices.number + (query['refresh'] === undefined ? 0 : 3 * prices.read),
      isStored: (query) => query['refresh'] === undefined,
    },
    {
      method: 'GET',
      path: '/v1/numbers/{id}/status',
      operationId: 'getNumberStatus',
      tag: 'Numbers',
      summary: 'Live connection state of one number',
      description:
        'The current connection state: read from Meta, or from the session engine if one is configured, otherwise the stored state.',
      query: [include],
      reply: 'NumberStatus',
      errors: liveReadErrors,
      handler: getNumberStatus,
      maxPrice: () => prices.number + prices.read,
    },
  ];
}

const refresh: QueryParameter = {
  name: 'refresh',
  values: ['1', 'true'],
  description:
    'Reads the number live and stores the result. If absent, the last snapshot is returned.',
};

const include: QueryParameter = {
  name: 'include',
  values: includable,
  isList: true,
  description:
    'Adds members to each number, after the others. sendability: whether it can send now, and why. freshness: how old each part of it is, and why the last attempt to read it failed. operations: its labels, and until when its alerts are silent.',
};

const liveReadErrors: readonly ErrorCode[] = [
  'NUMBER_NOT_FOUND',
  'META_UNAVAILABLE',
  'META_ACCESS_DENIED',
  'META_NUMBER_MISSING',
  'META_TIMEOUT',
  'META_RATE_LIMITED',
  'ENGINE_ACCESS_DENIED',
  'ENGINE_INVALID_RESPONSE',
];

/** The rows of one path by method, and the pattern of the path. */
interface PathRoutes {
  readonly routes: ReadonlyMap<string, RestRoute>;
  readonly pattern: RegExp;
  readonly allow: readonly string[];
}

function groupByPath(routes: readonly RestRoute[]): readonly PathRoutes[] {
  return [...Map.groupBy(routes, ({ path }) => path)].map(([path, ofPath]) => {
    const byMethod = new Map<string, RestRoute>(ofPath.map((route) => [route.method, route]));
    const get = byMethod.get('GET');
    if (get !== undefined) byMethod.set('HEAD', get);
    return { routes: byMethod, pattern: toPattern(path), allow: [...byMethod.keys()] };
  });
}

/** Each `{name}` matches one segment, everything else matches exactly. */
function toPattern(path: string): RegExp {
  const source = path
    .split(/\{\w+\}/)
    .map((text) => text.replace(/[^\w/]/g, String.raw`\$&`))
    .join('([^/]+)');
  return new RegExp(`^${source}$`);
}

function findRoute(
  paths: readonly PathRoutes[],
  { path, method }: HttpRequest,
): { readonly route: RestRoute; readonly id: string } {
  for (const { routes, pattern, allow } of paths) {
    const match = pattern.exec(path);
    if (match === null) continue;
    const route = routes.get(method);
    if (route !== undefined) return { route, id: decodeSegment(match[1] ?? '') };
    const message = `The methods of this route are ${allow.join(' and ')}.`;
    throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow });
  }
  throw new GatewayError('NOT_FOUND', 'There is no such route; GET /v1/openapi.json lists all.');
}

/** A segment that is not valid percent-encoding is kept as it is: it is the id of no number. */
function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

const jsonHeaders = {
  // A response belongs to a key, and has to be revalidated before it is reused. This includes live reads: revalidating one reads
  // again, so no caller gets an old one. (In GraphQL they are `no-store` and have no ETag; see graphql/response.ts.)
  'cache-control': 'private, no-cache',
  vary: 'x-api-key, authorization, accept-encoding',
  'content-type': 'application/json; charset=utf-8',
};

function toJsonResponse(
  value: unknown,
  { method, status = 200 }: Pick<RestRoute, 'method' | 'status'>,
  headers: Readonly<Record<string, string>> = {},
): HttpResponse {
  const body = JSON.stringify(value);
  const etag = method === 'GET' ? { etag: `"${hash('sha256', body, 'base64url')}"` } : {};
  return { status, headers: { ...jsonHeaders, ...headers, ...etag }, body };
}

/** The form of all errors of REST. */
function toErrorResponse(error: GatewayError, requestId: string): HttpResponse {
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
