// Owns the composition: which parts make a gateway, put together once. How a request reaches its door is
// passage.ts's.

import { type AccessControl, createAccessControl } from './access/access.ts';
import { createRateLimiter } from './access/rate-limit.ts';
import { createLocalCounters, createSharedCounters } from './access/counters.ts';
import { createKeyCache, disabledKeyCache } from './access/key-cache.ts';
import { createResponseCache, disabledResponseCache } from './http/response-cache.ts';
import type { Config } from './config.ts';
import { type Database, openDatabase } from './database/database.ts';
import { toFetchResponse, fromFetchRequest } from './http/message.ts';
import { toRefusal } from './graphql/response.ts';
import { createGraphQLServer } from './graphql/server.ts';
import { createLoadShedder } from './http/load-shedding.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createNumbers, type Numbers } from './numbers/numbers.ts';
import { createPipeline, type Pipeline, type PipelineOptions } from './http/pipeline.ts';
import { createGraphClient } from './providers/meta/graph.ts';
import type { LimitedFetchOptions } from './providers/meta/limited-fetch.ts';
import { createMetaProvider } from './providers/meta/meta.ts';
import { createPilotStatusProvider } from './providers/pilot-status.ts';
import { createRestRouter, toErrorResponse } from './rest/routes.ts';
import { createVault } from './secrets.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';

export interface Gateway extends Pipeline, AsyncDisposable {
  /** As `answer`, for whoever has a Request and wants a Response. */
  fetch(request: Request, address?: string): Promise<Response>;
  /** Null when metrics are off. */
  readonly metrics: Metrics | null;
  /** Throws UNAVAILABLE while the database does not answer. */
  ready(): Promise<void>;
  readonly database: Database;
  readonly access: AccessControl;
  readonly numbers: Numbers;
  readonly telemetry: Telemetry;
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
  readonly graph?: Pick<LimitedFetchOptions, 'attemptTimeoutMs' | 'circuitPauseMs'>;
  /** Put into the header editor of GraphiQL. */
  readonly graphiqlKey?: string;
}

/** Opens the database and changes nothing in it: migrating is a step of its own. `config` must hold both secrets. */
export async function createGateway(
  config: Config,
  overrides: GatewayOverrides = {},
): Promise<Gateway> {
  const ground = await openGround(config, overrides);
  const core = createCore(ground);
  const load = createLoadShedder(config);
  ground.metrics.observeLoad(load);
  const pipeline = createPipeline({ ...ground, ...createDoors(ground, core), load });
  const { database, telemetry, metrics } = ground;
  const { access, numbers, memory } = core;
  return {
    ...pipeline,
    fetch: async (request, address) =>
      toFetchResponse(await pipeline.answer(fromFetchRequest(request), address)),
    metrics: config.metrics ? metrics : null,
    ready: () => database.ping(),
    database,
    access,
    numbers,
    telemetry,
    async [Symbol.asyncDispose]() {
      load[Symbol.dispose]();
      memory.responseCache[Symbol.dispose]();
      memory.verified[Symbol.dispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** What everything else stands on. */
interface Ground {
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  readonly now: () => Date;
  readonly metrics: Metrics;
  readonly telemetry: Telemetry;
  readonly database: Database;
}

async function openGround(config: Config, overrides: GatewayOverrides): Promise<Ground> {
  const metrics = createMetrics();
  const telemetry = metrics.observeTelemetry(
    overrides.telemetry ?? createTelemetry({ level: config.logLevel }),
  );
  const database = overrides.database ?? (await openConfiguredDatabase(config, telemetry, metrics));
  const now = overrides.now ?? (() => new Date());
  return { config, overrides, now, metrics, telemetry, database };
}

type Core = ReturnType<typeof createCore>;

/** Who may ask, what is known of numbers, and what both keep in memory. */
function createCore(ground: Ground) {
  const { config, overrides, now, telemetry, database } = ground;
  const counters = createCounters(ground);
  const memory = createMemory(ground);
  const access = createAccessControl({
    database,
    pepper: config.apiKeyPepper,
    failuresPerMinute: config.keyFailuresPerMinute,
    counters,
    verified: memory.verified,
  });
  const numbers = createNumbers({
    database,
    vault: createVault(config.encryptionKeys),
    providers: createProviders(ground),
    telemetry,
    now,
    ...(overrides.deadlineMs !== undefined && { deadlineMs: overrides.deadlineMs }),
  });
  return { counters, memory, access, numbers };
}

function createDoors(
  { config, overrides, metrics, telemetry }: Ground,
  { counters, memory, access, numbers }: Core,
): Pick<PipelineOptions, 'doors' | 'rest'> {
  const shared = {
    access,
    rateLimiter: createRateLimiter({ ...config, counters, onRefusal: metrics.requestLimited }),
    responseCache: memory.responseCache,
    numbers: metrics.observeNumbers(numbers),
    telemetry,
  };
  const graphql = createGraphQLServer({
    ...shared,
    limits: config.graphqlLimits,
    graphiql: config.graphiql ? { apiKey: overrides.graphiqlKey ?? null } : null,
    suggestions: config.mode === 'demo',
  });
  return {
    doors: new Map([['/graphql', { answer: graphql, refuse: toRefusal }]]),
    rest: { answer: createRestRouter(shared), refuse: toErrorResponse },
  };
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
      changeFeed: {
        onLost: (cause) =>
          telemetry.warned('the database does not tell of changes, so every answer is read', {
            cause: cause.message,
          }),
      },
    },
  );
}

function createCounters({ config, database, telemetry }: Ground) {
  if (config.rateLimitStore === 'memory') return createLocalCounters();
  return createSharedCounters(database, (error) =>
    telemetry.warned('limits are counted in this process alone, as the database does not answer', {
      cause: String(error),
    }),
  );
}

/** What is kept as long as the database tells of each change. */
function createMemory({ config: { answerCacheMb }, database: { changes }, metrics, now }: Ground) {
  if (answerCacheMb === 0)
    return { responseCache: disabledResponseCache, verified: disabledKeyCache };
  metrics.observeFeed(changes);
  return {
    responseCache: createResponseCache({
      changes,
      maxBytes: answerCacheMb * 2 ** 20,
      now,
      onRecall: metrics.answerFound,
    }),
    verified: createKeyCache({ changes }),
  };
}

function createProviders({ config, overrides, telemetry }: Ground) {
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
