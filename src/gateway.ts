// Owns the composition: which parts make a gateway, put together once. How a request reaches its door is
// passage.ts's.

import { AsyncLocalStorage } from 'node:async_hooks';
import { type AccessControl, createAccessControl } from './access/access.ts';
import { createAllowance } from './access/allowance.ts';
import { createLocalCounters, createSharedCounters } from './access/counters.ts';
import { createVerifiedKeys, noVerifiedKeys } from './access/verified.ts';
import { createAnswers, noAnswers } from './answers.ts';
import type { Config } from './config.ts';
import { type Database, openDatabase } from './database.ts';
import { GatewayError } from './errors.ts';
import { toFetchResponse, toPlainRequest } from './exchange.ts';
import { createGraphQLServer } from './graphql/server.ts';
import { createLoad, type Slot } from './load.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import type { WhatsAppNumber } from './numbers/number.ts';
import { createNumbers, type Numbers } from './numbers/numbers.ts';
import { createPassage, type Passage, type RequestRun } from './passage.ts';
import { createGraphClient } from './providers/meta/graph.ts';
import type { GuardOptions } from './providers/meta/guard.ts';
import { createMetaProvider } from './providers/meta/meta.ts';
import { createPilotStatusProvider } from './providers/pilot-status.ts';
import { createRestRouter } from './rest/routes.ts';
import { createVault } from './secrets.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';

export interface Gateway extends Passage, AsyncDisposable {
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
  readonly graph?: Pick<GuardOptions, 'attemptTimeoutMs' | 'circuitPauseMs'>;
  /** Put into the header editor of GraphiQL. */
  readonly graphiqlKey?: string;
}

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
  const now = overrides.now ?? (() => new Date());
  const memory = createMemory(config, database, metrics, now);
  const access = createAccessControl({
    database,
    pepper: config.apiKeyPepper,
    failuresPerMinute: config.keyFailuresPerMinute,
    counters,
    verified: memory.verified,
  });
  const load = createLoad(config);
  metrics.observeLoad(load);
  const numbers = createNumbers({
    database,
    vault: createVault(config.encryptionKeys),
    providers: createProviders(config, overrides, telemetry),
    telemetry,
    now,
    ...(overrides.deadlineMs !== undefined && { deadlineMs: overrides.deadlineMs }),
  });
  const waitFor: WaitFor = (work) => requests.getStore()?.slot.waitFor(work) ?? work();
  const doors = {
    access,
    allowance: createAllowance({ ...config, counters, onRefusal: metrics.requestLimited }),
    answers: memory.answers,
    numbers: toPatient(noteShown(metrics.observeNumbers(numbers), requests), waitFor),
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
  const passage = createPassage({
    doors: new Map([['/graphql', graphql]]),
    rest,
    config,
    telemetry,
    metrics,
    load,
    requests,
  });
  return {
    ...passage,
    fetch: async (request, address) =>
      toFetchResponse(await passage.answer(toPlainRequest(request), address)),
    metrics: config.metrics ? metrics : null,
    ready: () => database.ping(),
    database,
    access,
    numbers,
    telemetry,
    async [Symbol.asyncDispose]() {
      load[Symbol.dispose]();
      memory.answers[Symbol.dispose]();
      memory.verified[Symbol.dispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

type WaitFor = Slot['waitFor'];

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

type Shown = WhatsAppNumber | GatewayError;

/** The same numbers; the request knows whether they were read live for it, and until when they stay as they were shown. */
function noteShown(numbers: Numbers, requests: AsyncLocalStorage<RequestRun>): Numbers {
  const note = async <T extends Shown | readonly Shown[]>(
    reading: Promise<T>,
    isLive: boolean,
  ): Promise<T> => {
    const context = requests.getStore()?.context;
    if (context !== undefined && isLive) context.isLive = true;
    const shown = await reading;
    if (context === undefined) return shown;
    for (const number of [shown].flat()) {
      if (number instanceof GatewayError || number.changesAt === null) continue;
      const { changesAt } = context;
      if (changesAt === null || number.changesAt < changesAt) context.changesAt = number.changesAt;
    }
    return shown;
  };
  return {
    ...numbers,
    list: (...asked) => note(numbers.list(...asked), false),
    get: (...asked) => note(numbers.get(...asked), asked[1].refresh !== null),
    getMany: (...asked) =>
      note(
        numbers.getMany(...asked),
        asked[1].some(({ refresh }) => refresh !== null),
      ),
    getLive: (...asked) => note(numbers.getLive(...asked), true),
    getStatus: (...asked) => note(numbers.getStatus(...asked), true),
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

function createCounters({ rateLimitStore }: Config, database: Database, telemetry: Telemetry) {
  if (rateLimitStore === 'memory') return createLocalCounters();
  return createSharedCounters(database, (error) =>
    telemetry.warned('limits are counted in this process alone, as the database does not answer', {
      cause: String(error),
    }),
  );
}

/** What is kept as long as the database tells of each change. */
function createMemory(
  { answerCacheMb }: Config,
  { changes }: Database,
  metrics: Metrics,
  now: () => Date,
) {
  if (answerCacheMb === 0) return { answers: noAnswers, verified: noVerifiedKeys };
  metrics.observeFeed(changes);
  return {
    answers: createAnswers({
      changes,
      maxBytes: answerCacheMb * 2 ** 20,
      now,
      onRecall: metrics.answerFound,
    }),
    verified: createVerifiedKeys({ changes }),
  };
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
