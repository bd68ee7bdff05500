// Owns the composition: which parts make a gateway, put together once. Every door is reached through its `fetch`.

import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { type AccessControl, createAccessControl } from './access/access.ts';
import { createAllowance } from './access/allowance.ts';
import { createLocalCounters, createSharedCounters } from './access/counters.ts';
import { createSourceFinder } from './access/source.ts';
import type { Config } from './config.ts';
import { type Database, openDatabase } from './database.ts';
import { GatewayError } from './errors.ts';
import { createGraphQLServer } from './graphql/server.ts';
import { refuse as refuseGraphQL } from './graphql/response.ts';
import { createLoad, type Load, type Slot } from './load.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createNumbers, type Numbers } from './numbers/numbers.ts';
import { createGraphClient } from './providers/meta/graph.ts';
import type { GuardOptions } from './providers/meta/guard.ts';
import { createMetaProvider } from './providers/meta/meta.ts';
import { createPilotStatusProvider } from './providers/pilot-status.ts';
import { createRestRouter, toErrorResponse } from './rest/routes.ts';
import { createVault } from './secrets.ts';
import {
  createTelemetry,
  type RequestContext,
  type Telemetry,
  toRequestContext,
} from './telemetry.ts';

export interface Gateway extends AsyncDisposable {
  /** Answers a request to any of the doors; never rejects. `address` is that of the socket it came over. */
  fetch(request: Request, address?: string): Promise<Response>;
  /** The answer to what is too broken to be a Request, or comes too late to be one; in the form of the path's door. */
  refuse(error: GatewayError, path?: string): Response;
  /** The refusal of what would be too much right now, made at next to no cost; null when there is room. */
  shed(path?: string): PlainResponse | null;
  /** Null when metrics are off. */
  readonly metrics: Metrics | null;
  /** Throws UNAVAILABLE while the database does not answer. */
  ready(): Promise<void>;
  readonly database: Database;
  readonly access: AccessControl;
  readonly numbers: Numbers;
  readonly telemetry: Telemetry;
}

/** What needs no more than one write. */
export interface PlainResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a demo or a test puts in the place of the real thing. */
export interface GatewayOverrides {
  /** Disposed with the gateway. */
  readonly database?: Database;
  /** How upstreams are reached. */
  readonly fetch?: typeof globalThis.fetch;
  readonly now?: () => Date;
  readonly telemetry?: Telemetry;
  /** Milliseconds that a live reading may take. */
  readonly deadlineMs?: number;
  /** How patient a request to Meta is. */
  readonly graph?: Pick<GuardOptions, 'attemptTimeoutMs' | 'circuitPauseMs'>;
  /** Put into the header editor of GraphiQL. */
  readonly graphiqlKey?: string;
}

type Door = (request: Request, context: RequestContext) => Promise<Response>;

/** Opens the database and changes nothing in it: migrating is a step of its own. `config` must hold both secrets. */
export async function createGateway(
  config: Config,
  overrides: GatewayOverrides = {},
): Promise<Gateway> {
  const metrics = createMetrics();
  const requests = new AsyncLocalStorage<RequestRun>();
  const telemetry = countCalls(
    metrics.observeTelemetry(overrides.telemetry ?? createTelemetry({ level: config.logLevel })),
    requests,
  );
  const database = overrides.database ?? (await openConfiguredDatabase(config, telemetry, metrics));
  const counters = createCounters(config, database, telemetry);
  const access = createAccessControl({
    database,
    pepper: config.apiKeyPepper,
    failuresPerMinute: config.keyFailuresPerMinute,
    counters,
  });
  const load = createLoad(config);
  metrics.observeLoad(load);
  const numbers = createNumbers({
    database,
    vault: createVault(config.encryptionKeys),
    providers: createProviders(config, overrides, telemetry),
    telemetry,
    now: overrides.now ?? (() => new Date()),
    ...(overrides.deadlineMs !== undefined && { deadlineMs: overrides.deadlineMs }),
  });
  const waitFor: WaitFor = (work) => requests.getStore()?.slot.waitFor(work) ?? work();
  const doors = {
    access,
    allowance: createAllowance({ ...config, counters, onRefusal: metrics.requestLimited }),
    numbers: toPatient(metrics.observeNumbers(numbers), waitFor),
    telemetry,
  };
  const graphql = createGraphQLServer({
    ...doors,
    limits: config.graphqlLimits,
    waitFor,
    graphiql: config.graphiql ? { apiKey: overrides.graphiqlKey ?? null } : null,
    suggestions: config.mode === 'demo',
  });
  const rest = createRestRouter(doors);
  const edge = { config, telemetry, metrics, load, requests };
  return {
    fetch: createFetch({ '/graphql': graphql }, rest, edge),
    refuse(error, path) {
      const { requestId } = toRequestContext(new Headers());
      return toRefusal(error, requestId, path);
    },
    shed: (path) => shed(edge, path),
    metrics: config.metrics ? metrics : null,
    ready: () => database.ping(),
    database,
    access,
    numbers,
    telemetry,
    async [Symbol.asyncDispose]() {
      load[Symbol.dispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** A request for which something is being done. */
interface RequestRun {
  readonly context: RequestContext;
  readonly slot: Slot;
}

type WaitFor = Slot['waitFor'];

/** What the way of every request is made of. */
interface Edge {
  readonly config: Config;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly load: Load;
  readonly requests: AsyncLocalStorage<RequestRun>;
}

/** The same telemetry, which lets the request that caused a call upstream know of it. */
function countCalls(telemetry: Telemetry, requests: AsyncLocalStorage<RequestRun>): Telemetry {
  return {
    ...telemetry,
    upstreamCalled(call) {
      const run = requests.getStore();
      if (run !== undefined) run.context.upstreamCalls += call.operations;
      telemetry.upstreamCalled(call);
    },
  };
}

function shed({ load, metrics }: Edge, path: string | undefined): PlainResponse | null {
  const overload = load.findOverload();
  if (overload === null) return null;
  metrics.requestShed(overload.reason);
  const { code, message: error, status, retryAfterSeconds = 1 } = overload.error;
  const requestId = randomUUID();
  const ofGraphQL = { errors: [{ message: error, extensions: { code, requestId } }] };
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'retry-after': String(retryAfterSeconds),
      'x-request-id': requestId,
    },
    body: JSON.stringify(path === '/graphql' ? ofGraphQL : { error, code, requestId }),
  };
}

/** The same numbers; whoever waits for a live reading is not under way meanwhile. */
function toPatient(numbers: Numbers, waitFor: WaitFor): Numbers {
  return {
    ...numbers,
    getMany(access, requests, signal) {
      const read = () => numbers.getMany(access, requests, signal);
      return requests.some(({ refresh }) => refresh !== null) ? waitFor(read) : read();
    },
    getLive: (...asked) => waitFor(() => numbers.getLive(...asked)),
    getStatus: (...asked) => waitFor(() => numbers.getStatus(...asked)),
  };
}

function toRefusal(error: GatewayError, requestId: string, path = ''): Response {
  const response =
    path === '/graphql' ? refuseGraphQL(error, requestId) : toErrorResponse(error, requestId);
  response.headers.set('x-request-id', requestId);
  return response;
}

async function openConfiguredDatabase(
  config: Config,
  telemetry: Telemetry,
  metrics: Metrics,
): Promise<Database> {
  return await openDatabase(
    config.databaseUrl === null
      ? { kind: 'embedded', directory: config.dataDirectory }
      : { kind: 'postgres', url: config.databaseUrl },
    {
      onPool: metrics.observePool,
      onConnectionLost: (error) =>
        telemetry.warned('a database connection was lost', { cause: error.message }),
    },
  );
}

function createCounters({ rateLimitStore }: Config, database: Database, telemetry: Telemetry) {
  if (rateLimitStore === 'memory') return createLocalCounters();
  return createSharedCounters(database, (error) =>
    telemetry.warned('limits are counted in this process alone, as the database does not answer', {
      cause: String(error),
    }),
  );
}

function createProviders(config: Config, overrides: GatewayOverrides, telemetry: Telemetry) {
  const { fetch = globalThis.fetch } = overrides;
  const graph = createGraphClient({
    url: config.metaGraphUrl,
    version: config.metaGraphVersion,
    fetch,
    telemetry,
    ...overrides.graph,
  });
  return {
    META: createMetaProvider({ graph, telemetry }),
    PILOT_STATUS: createPilotStatusProvider({
      sessionEngine: config.sessionEngine,
      fetch,
      telemetry,
    }),
  };
}

function createFetch(
  doors: Readonly<Record<string, Door>>,
  rest: Door,
  edge: Edge,
): Gateway['fetch'] {
  const { telemetry, load, requests } = edge;
  const { corsOrigins, trustedProxies } = edge.config;
  const findSource = createSourceFinder(trustedProxies);
  return async (request, address) => {
    const context = toRequestContext(request.headers, findSource(address, request.headers));
    const { pathname } = new URL(request.url);
    const door = doors[pathname] ?? rest;
    const cors = toCorsHeaders(request.headers, corsOrigins);
    const slot = load.begin();
    const response =
      corsOrigins.length > 0 && isPreflight(request)
        ? new Response(null, { status: 204, headers: cors === null ? {} : preflightHeaders })
        : await requests.run({ context, slot }, () => answer(door, request, context, telemetry));
    slot.end();
    context.visit?.leave();
    const headers = new Headers(response.headers);
    for (const [name, value] of toRateHeaders(context)) headers.set(name, value);
    for (const [name, value] of Object.entries(cors ?? {})) headers.set(name, value);
    if (corsOrigins.length > 0) headers.append('vary', 'origin');
    headers.set('x-request-id', context.requestId);
    telemetry.requestAnswered({
      requestId: context.requestId,
      method: request.method,
      path: pathname,
      status: response.status,
      durationMs: Math.round(performance.now() - context.askedAt),
      tenantId: context.tenantId,
      operation: context.operation,
    });
    return new Response(response.body, { status: response.status, headers });
  };
}

// Each door answers its own errors; this is for a defect in a door itself.
async function answer(
  door: Door,
  request: Request,
  context: RequestContext,
  telemetry: Telemetry,
): Promise<Response> {
  try {
    return await door(request, context);
  } catch (error) {
    telemetry.requestFailed(context.requestId, error);
    return toErrorResponse(
      new GatewayError('INTERNAL', 'Something went wrong on our side.'),
      context.requestId,
    );
  }
}

// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
function toRateHeaders({ visit }: RequestContext): readonly (readonly [string, string])[] {
  const standing = visit?.standing ?? null;
  if (standing === null) return [];
  const { limit, remaining, resetAt, seconds } = standing;
  const resetSeconds = Math.max(0, Math.ceil((resetAt.getTime() - Date.now()) / 1_000));
  return [
    ['ratelimit-policy', `"points";q=${limit};w=${seconds}`],
    ['ratelimit', `"points";r=${remaining};t=${resetSeconds}`],
  ];
}

const preflightHeaders = {
  'access-control-allow-methods': 'GET, HEAD, POST',
  'access-control-allow-headers':
    'content-type, if-none-match, x-api-key, x-include-cost, x-request-id',
  'access-control-max-age': '600',
};

function isPreflight(request: Request): boolean {
  return request.method === 'OPTIONS' && request.headers.has('access-control-request-method');
}

// Keys travel in a header that a page sets itself, so no cookies and no credentials are allowed.
function toCorsHeaders(
  headers: Headers,
  origins: readonly string[],
): Readonly<Record<string, string>> | null {
  const origin = headers.get('origin');
  if (origin === null || !origins.includes(origin)) return null;
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'etag, ratelimit, ratelimit-policy, retry-after, x-request-id',
  };
}
