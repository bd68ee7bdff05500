// The environment of the model test: two gateways on one database, simulated upstreams, processes that can die at any time,
// and time that passes on demand.

import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { type Database, openDatabase } from '../../src/database/database.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import { createTestSimulator, type TestSimulator } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { type DatabaseKind, openTestDatabase, openTestPostgresUrl } from '../harness.ts';

/** The deadline of a refresh; a lease lasts two seconds longer. */
const deadlineMs = 60_000;

/** The time after which an abandoned lease has expired. */
export const leaseIsOverAfterMs = 80_000;

export interface ModelStage extends AsyncDisposable {
  readonly simulator: TestSimulator;
  /** To the database they are two processes. */
  readonly processes: readonly GatewayProcess[];
  /** Replaces the process. Nothing that it has begun ends or reaches the database. */
  crash(index: number): Promise<void>;
  /**
   * Lets time pass by moving all stored times into the past. What a process keeps in memory does not age.
   */
  passTime(ms: number): Promise<void>;
  /** The time of the database in milliseconds. */
  readTime(): Promise<number>;
  /** As `readTime` after `settle`. Until the next call, the gateways compute ages from this time. */
  beginStep(): Promise<number>;
  /** Resolves when all processes have been notified of everything that was committed before. */
  settle(): Promise<void>;
  /** Runs a statement as other software or an operator would, not through the gateways. */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly Row[]>;
}

export interface GatewayProcess {
  readonly gateway: Gateway;
  /** Holds the next responses of the upstreams, with their present content, until they are delivered. */
  holdResponses(count: number): HeldResponses;
  /** Resolves the next time the process waits for a lease that another one holds. */
  untilWaiting(): Promise<void>;
}

export interface HeldResponses {
  /** Resolves when so many responses are held. */
  readonly arrived: Promise<void>;
  deliver(): void;
}

interface RunningProcess extends GatewayProcess {
  kill(): Promise<void>;
}

export async function openModelStage(kind: DatabaseKind): Promise<ModelStage> {
  const made = new AsyncDisposableStack();
  const { connect, query } = made.use(await openStore(kind));
  const simulator = made.use(createTestSimulator());
  const environment = {
    DATABASE_URL: 'postgres://localhost/unused',
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
    // Reads in the background are for tests that ask for them.
    SYNC: 'off',
    SESSION_ENGINE_URL: 'http://127.0.0.1:1',
    SESSION_ENGINE_KEY: randomBytes(32).toString('base64'),
  };
  const clock = { now: 0 };
  const start = async () =>
    await startProcess(environment, await connect(), simulator, () => new Date(clock.now));
  const readTime = async () => {
    const text = `select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as ms`;
    const [row] = await query<{ ms: number }>(text);
    return row?.ms ?? 0;
  };
  const processes = [await start(), await start()];
  const settle = async () => {
    await Promise.all(processes.map(({ gateway }) => gateway.database.changes.catchUp()));
  };
  made.defer(async () => {
    for (const process of processes) await process.kill(); // oxlint-disable-line no-await-in-loop -- in turn
  });
  return {
    simulator,
    processes,
    query,
    async crash(index) {
      const [dead] = processes.splice(index, 1, await start());
      await dead?.kill();
    },
    passTime: async (ms) => void (await query(toPassing(ms))),
    readTime,
    async beginStep() {
      await settle();
      return (clock.now = await readTime());
    },
    settle,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

interface ProcessState {
  ended: boolean;
  held: Holding | null;
  onWait(): void;
}

async function startProcess(
  environment: Readonly<Record<string, string>>,
  database: Database,
  simulator: TestSimulator,
  now: () => Date,
): Promise<RunningProcess> {
  const state: ProcessState = { ended: false, held: null, onWait: () => undefined };
  const gateway = await createGateway(parseConfig(readEnvironment(environment)), {
    database: createMortalDatabase(database, state),
    fetch: async (...asked) => {
      const { held } = state;
      const response = await simulator.fetch(...asked);
      await held?.wait();
      return response;
    },
    now,
    deadlineMs,
    graph: { attemptTimeoutMs: deadlineMs },
    telemetry: createTelemetry({ level: 'silent' }),
  });
  return {
    gateway,
    holdResponses(count) {
      const holding = createHolding(count, () => (state.held = null));
      state.held = holding;
      return holding;
    },
    untilWaiting() {
      const { promise, resolve } = Promise.withResolvers<void>();
      state.onWait = resolve;
      return promise;
    },
    async kill() {
      state.ended = true;
      await gateway[Symbol.asyncDispose]();
    },
  };
}

interface Holding extends HeldResponses {
  wait(): Promise<void>;
}

function createHolding(count: number, onFull: () => void): Holding {
  const arrived = Promise.withResolvers<void>();
  const delivered = Promise.withResolvers<void>();
  let waiting = 0;
  return {
    arrived: arrived.promise,
    deliver: delivered.resolve,
    async wait() {
      waiting += 1;
      if (waiting === count) {
        onFull();
        arrived.resolve();
      }
      await delivered.promise;
    },
  };
}

/** The database for a process that can die: from then on no statement is sent and no result arrives. */
function createMortalDatabase(database: Database, state: ProcessState): Database {
  const whileAlive = async <T>(work: () => Promise<T>): Promise<T> => {
    if (!state.ended) {
      const result = await work();
      if (!state.ended) return result;
    }
    return await new Promise<never>(() => undefined);
  };
  return {
    ...database,
    withTenant: (tenantId, work) => whileAlive(() => database.withTenant(tenantId, work)),
    readTenant: (tenantId, statement) => whileAlive(() => database.readTenant(tenantId, statement)),
    acrossTenants: (work) => whileAlive(() => database.acrossTenants(work)),
    callAcrossTenants(statement) {
      if (statement.name.startsWith('dead_holders')) state.onWait();
      return whileAlive(() => database.callAcrossTenants(statement));
    },
  };
}

interface Store extends AsyncDisposable {
  /** A connection of one process, whose disposal closes no other one. */
  connect(): Promise<Database>;
  readonly query: ModelStage['query'];
}

async function openStore(kind: DatabaseKind): Promise<Store> {
  const made = new AsyncDisposableStack();
  if (kind === 'PGlite') {
    const database = made.use(await openTestDatabase(kind));
    return {
      connect: async () => ({ ...database, [Symbol.asyncDispose]: async () => undefined }),
      query: database.query,
      [Symbol.asyncDispose]: () => made.disposeAsync(),
    };
  }
  const { url, ownerUrl } = made.use(await openTestPostgresUrl());
  const owner = made.adopt(new Client({ connectionString: ownerUrl }), (it) => it.end());
  await owner.connect();
  return {
    connect: () => openDatabase({ kind: 'postgres', url }, { connections: 4 }),
    query: async (text, values = []) => (await owner.query(text, [...values])).rows as never,
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

// Passing time is no change of a key, so the audit log does not record it.
function toPassing(ms: number): string {
  return `do $time$
    declare stored record;
    begin
      alter table api_key disable trigger audit_key;
      for stored in
        select table_name, string_agg(format('%1$I = %1$I - interval ''${ms} ms''', column_name), ', ') as changes
        from information_schema.columns
        where table_schema = 'public' and data_type = 'timestamp with time zone'
          -- A process that lives renews its row there all the time.
          and table_name <> 'lease_holder'
        group by table_name
      loop
        execute format('update %I set %s', stored.table_name, stored.changes);
      end loop;
      alter table api_key enable trigger audit_key;
    end $time$`;
}
