// The composition: creates every part of a gateway, once. How a request passes through them is http/pipeline.ts's.

import { type AccessControl, createAccessControl } from './access/access.ts';
import { createKeyWatch } from './access/key-watch.ts';
import { createKeyCache, disabledKeyCache } from './access/key.ts';
import { createLocalCounters, createSharedCounters } from './access/counters.ts';
import { createRateLimiter } from './access/rate-limit.ts';
import { type AlertOverrides, createAlerts } from './alerts/alerts.ts';
import type { AlertEndpoints } from './alerts/endpoints.ts';
import { createIncidents, type Incidents } from './alerts/incidents.ts';
import { type BoardKey, createBoard } from './board/board.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Config } from './config.ts';
import { type Database, openDatabase } from './database/database.ts';
import { createFleet, type Fleet } from './fleet/fleet.ts';
import { createOperations, type Operations } from './fleet/operations.ts';
import { createOnboarding, type Onboarding, type OnboardingOptions } from './fleet/onboarding.ts';
import type { GraphiqlKeys } from './graphql/graphiql.ts';
import { schema } from './graphql/schema.ts';
import { createGraphQLEndpoint } from './graphql/server.ts';
import { createHistory, type History } from './history/history.ts';
import { createLoadShedder } from './http/load-shedding.ts';
import { fromFetchRequest, toFetchResponse } from './http/message.ts';
import { createPipeline, type Pipeline } from './http/pipeline.ts';
import { createResponseCache, disabledResponseCache } from './http/response-cache.ts';
import { createStreams, type Streams } from './http/streams.ts';
import { startJobs } from './jobs.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createDescribeNumbers } from './numbers/description.ts';
import { createNumbers, type Numbers, type NumbersOptions } from './numbers/numbers.ts';
import { createAccountReader } from './providers/meta/account-reader.ts';
import { createGraphClient } from './providers/meta/graph.ts';
import type { LimitedFetchOptions } from './providers/limited-fetch.ts';
import { createMetaProvider } from './providers/meta/meta.ts';
import { createPilotStatusProvider } from './providers/pilot-status.ts';
import { createRestEndpoint } from './rest/routes.ts';
import { createVault, type Vault } from './secrets.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';
import { createSync, type Sync } from './sync/sync.ts';
import { createWebhookEndpoint } from './webhooks/endpoint.ts';
import { createRoutes, type Routes } from './webhooks/routes.ts';
import { createWebhooks, type Webhooks } from './webhooks/webhooks.ts';

export interface Gateway extends Pipeline, AsyncDisposable {
  /** As `handle`, for callers that have a Request and want a Response. */
  fetch(request: Request, address?: string): Promise<Response>;
  /** Null when metrics are off. */
  readonly metrics: Metrics | null;
  /** Throws UNAVAILABLE while the database does not answer. */
  ready(): Promise<void>;
  readonly streams: Pick<Streams, 'count' | 'drain'>;
  readonly database: Database;
  readonly access: AccessControl;
  readonly numbers: Numbers;
  readonly fleet: Fleet;
  readonly history: History;
  readonly operations: Operations;
  readonly incidents: Incidents;
  /** For operators. */
  readonly onboarding: Onboarding;
  readonly webhooks: Webhooks;
  readonly webhookRoutes: Routes;
  /** For operators. */
  readonly alertEndpoints: AlertEndpoints;
  readonly sync: Sync;
  readonly telemetry: Telemetry;
  /**
   * Starts the jobs of the process that serves, until the gateway is disposed of: the status of numbers is kept up, what
   * time changes is recorded, ended restrictions are closed, webhooks that do not arrive are recorded, old changes and events are deleted, and numbers are counted by
   * verdict for the metrics.
   */
  startJobs(): void;
}

/** Replacements that the demo and the tests provide. */
export interface GatewayOverrides extends Partial<Clock> {
  /** Disposed with the gateway. */
  readonly database?: Database;
  /** Sends the requests to upstreams. */
  readonly fetch?: typeof globalThis.fetch;
  readonly telemetry?: Telemetry;
  /** Milliseconds that a live read may take. */
  readonly deadlineMs?: number;
  /** Milliseconds from one look at what sync has to read to the next. */
  readonly syncPollMs?: number;
  /** Timeouts of requests to Meta. */
  readonly graph?: Pick<LimitedFetchOptions, 'attemptTimeoutMs' | 'circuitPauseMs'>;
  /** How alerts are sent. */
  readonly alerts?: AlertOverrides;
  /** Put into the header editor of GraphiQL. */
  readonly graphiqlKeys?: GraphiqlKeys;
  /** Put into the board, for callers on this machine. */
  readonly boardKeys?: readonly BoardKey[];
}

/** Opens the database without migrating it. `config` must hold both secrets. */
export async function createGateway(
  config: Config,
  overrides: GatewayOverrides = {},
): Promise<Gateway> {
  const foundation = await createFoundation(config, overrides);
  const { database, telemetry, metrics } = foundation;
  const core = createCore(foundation);
  const running = new AsyncDisposableStack();
  const load = createLoadShedder(config);
  metrics.observeLoad(load);
  running.use(core.sync);
  const streams = running.use(createConfiguredStreams(foundation));
  const pipeline = createPipeline({
    ...foundation,
    ...core,
    ...createEndpoints(foundation, core),
    responseCache: createConfiguredResponseCache(foundation),
    load,
    streams,
  });
  return {
    ...core,
    ...pipeline,
    fetch: async (request, address) =>
      toFetchResponse(await pipeline.handle(fromFetchRequest(request), address)),
    metrics: config.metrics ? metrics : null,
    ready: () => database.ping(),
    streams,
    database,
    telemetry,
    startJobs() {
      running.use(startJobs({ ...foundation, ...core }));
      core.sync.start();
    },
    async [Symbol.asyncDispose]() {
      load[Symbol.dispose]();
      await running.disposeAsync();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** What every other part needs. */
interface Foundation extends Clock {
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  readonly metrics: Metrics;
  readonly telemetry: Telemetry;
  readonly database: Database;
}

async function createFoundation(config: Config, overrides: GatewayOverrides): Promise<Foundation> {
  const metrics = createMetrics();
  const telemetry = overrides.telemetry ?? createTelemetry({ level: config.logLevel });
  telemetry.subscribe(metrics.listener);
  const database = overrides.database ?? (await openConfiguredDatabase(config, telemetry, metrics));
  const { now, startTimer } = { ...systemClock, ...overrides };
  // Caches are valid only while changes are announced.
  if (config.answerCacheMb > 0) {
    database.changes.open();
    metrics.observeFeed(database.changes);
  }
  return { config, overrides, now, startTimer, metrics, telemetry, database };
}

function createCore(foundation: Foundation) {
  const { config, now, metrics, database } = foundation;
  const counters = createCounters(foundation);
  const access = createAccessControl({
    database,
    pepper: config.apiKeyPepper,
    maxFailuresPerMinute: config.keyFailuresPerMinute,
    counters,
    keyCache: config.answerCacheMb === 0 ? disabledKeyCache : createKeyCache(database),
  });
  const rateLimiter = createRateLimiter({
    ...config,
    counters,
    onRefusal: metrics.requestLimited,
  });
  const { reader, ...providers } = createProviders(foundation);
  const vault = createVault(config.encryptionKeys);
  const { numbers, sync } = createNumbersAndSync(foundation, { vault, reader, providers });
  const alerts = createConfiguredAlerts(foundation, vault, numbers);
  const history = createHistory({ database, now });
  return {
    access,
    ...alerts,
    sync,
    rateLimiter,
    numbers,
    fleet: createFleet({ database, providers, now, sync: config.sync }),
    history,
    operations: createOperations({
      database,
      providers,
      history,
      now,
      sync,
    }),
    incidents: createIncidents({ database, now }),
    onboarding: createOnboarding({ database, vault, reader, numbers }),
    ...createConfiguredWebhooks(foundation, { vault, sync }),
  };
}

function createConfiguredWebhooks(
  { config, metrics, database, now }: Foundation,
  { vault, sync }: Pick<OnboardingOptions, 'vault'> & { readonly sync: Sync },
) {
  return {
    webhooks: createWebhooks({
      database,
      vault,
      pepper: config.apiKeyPepper,
      now,
      onReceived: metrics.metaEventReceived,
      sync,
    }),
    webhookRoutes: createRoutes({
      database,
      vault,
      now,
      publicUrl: config.publicUrl,
      retentionDays: config.metaEventRetentionDays,
    }),
  };
}

function createConfiguredAlerts(
  { config, overrides, database, now }: Foundation,
  vault: Vault,
  numbers: Pick<Numbers, 'getMany'>,
) {
  const { allowsLocalHttp = config.mode === 'demo', ...sender } = overrides.alerts ?? {};
  return createAlerts({
    database,
    vault,
    now,
    targets: { ...config.alertTargets, allowsLocalHttp },
    sender,
    describeNumbers: createDescribeNumbers(numbers),
    publicUrl: config.publicUrl,
  });
}

function createNumbersAndSync(
  { config, overrides, now, startTimer, metrics, telemetry, database }: Foundation,
  {
    vault,
    reader,
    providers,
  }: Pick<OnboardingOptions, 'vault' | 'reader'> & Pick<NumbersOptions, 'providers'>,
) {
  const options = {
    database,
    vault,
    providers,
    telemetry,
    now,
    sync: config.sync,
    ...(overrides.deadlineMs !== undefined && { deadlineMs: overrides.deadlineMs }),
  };
  const background = createNumbers({ ...options, isBackground: true });
  const sync = createSync({
    database,
    vault,
    reader,
    numbers: background,
    onboarding: createOnboarding({ database, vault, reader, numbers: background }),
    settings: config.sync,
    readsEngine: config.sessionEngine !== null,
    now,
    startTimer,
    pollMs: overrides.syncPollMs,
    onRead: metrics.syncRead,
    onFailure: (error) =>
      telemetry.warn('numbers are not read in the background', { cause: String(error) }),
  });
  return { numbers: createNumbers({ ...options, onTokenRefused: sync.tokenRefused }), sync };
}

function createEndpoints(
  { config, overrides, telemetry }: Foundation,
  core: ReturnType<typeof createCore>,
) {
  const { access, webhooks } = core;
  const graphql = createGraphQLEndpoint({
    ...core,
    schema,
    tenants: access,
    telemetry,
    limits: config.graphqlLimits,
    graphiql: config.graphiql ? { keys: overrides.graphiqlKeys ?? null } : null,
    persistedQueries: config.persistedQueries,
    suggestions: config.mode === 'demo',
  });
  const rest = createRestEndpoint({ ...core, publicUrl: config.publicUrl });
  const { toErrorResponse } = rest;
  return {
    graphql,
    rest,
    webhooks: createWebhookEndpoint({ webhooks, access, toErrorResponse }),
    board: config.board
      ? { ...createBoard({ keys: overrides.boardKeys ?? [] }), toErrorResponse }
      : null,
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
        telemetry.warn('a database connection was lost', { cause: error.message }),
      onPreparedStatementsOff: (cause) =>
        telemetry.warn('prepared statements are off for one minute, so reads are slower', {
          cause: cause.message,
        }),
      changeFeed: {
        onLost: (cause) =>
          telemetry.warn('the change feed is lost; caches are off until it is back', {
            cause: cause.message,
          }),
      },
    },
  );
}

function createConfiguredStreams({ config, database, telemetry, metrics }: Foundation) {
  const keyWatch = createKeyWatch({
    database,
    onFailure: (error) =>
      telemetry.warn('the keys of open streams are not verified until the database answers', {
        cause: String(error),
      }),
  });
  const streams = createStreams({
    limits: config.streamLimits,
    keyWatch,
    onRefusal: () => metrics.requestLimited('streams'),
  });
  metrics.observeStreams(streams);
  return streams;
}

function createCounters({ config, database, telemetry }: Foundation) {
  if (config.rateLimitStore === 'memory') return createLocalCounters();
  return createSharedCounters(database, (error) =>
    telemetry.warn(
      'the database does not count rate limits; this process counts them by itself until it does',
      { cause: String(error) },
    ),
  );
}

function createConfiguredResponseCache({
  config: { answerCacheMb },
  database: { changes },
  metrics,
  now,
}: Foundation) {
  if (answerCacheMb === 0) return disabledResponseCache;
  const maxBytes = answerCacheMb * 2 ** 20;
  return createResponseCache({ changes, maxBytes, now, onLookup: metrics.responseServed });
}

function createProviders({ config, overrides, telemetry }: Foundation) {
  const { fetch = globalThis.fetch } = overrides;
  const graph = createGraphClient({
    url: config.metaGraphUrl,
    version: config.metaGraphVersion,
    fetch,
    telemetry,
    ...overrides.graph,
  });
  return {
    reader: createAccountReader({ graph, telemetry }),
    META: createMetaProvider({ graph, telemetry }),
    PILOT_STATUS: createPilotStatusProvider({
      sessionEngine: config.sessionEngine,
      fetch,
      telemetry,
    }),
  };
}
