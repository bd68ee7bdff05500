// The stage of the model test: two gateways on one database, upstreams that are simulated, processes that die in the
// middle of things, and time that goes by when it is told to.

import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { type Database, openDatabase } from '../../src/database/database.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import { createTestSimulator, type TestSimulator } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { type DatabaseKind, openTestDatabase, openTestPostgresUrl } from '../harness.ts';

/** What the gateway may take for one reading; a lease lasts two seconds longer. */
const deadlineMs = 60_000;

/** After which a lease that somebody left behind has ended. */
export const leaseIsOverAfterMs = 80_000;

export interface ModelStage extends AsyncDisposable {
  readonly simulator: TestSimulator;
  /** Two processes, as far as the database can tell. */
  readonly processes: readonly GatewayProcess[];
  /** In the place of the process: nothing that was under way there will ever end or reach the database. */
  crash(index: number): Promise<void>;
  /**
   * Lets time go by for all clocks at once: it moves whatever is stored into the past. What a process remembers for itself
   * is as young as before.
   */
  passTime(ms: number): Promise<void>;
  /** The time of the database in milliseconds. */
  readTime(): Promise<number>;
  /** As `readTime` once all is settled, and until the next call the gateways reckon ages from this moment. */
  beginStep(): Promise<number>;
  /** Resolves when all processes have been told of all that was committed until now, by whomever. */
  settle(): Promise<void>;
  /** One statement past the gateways, as other software or an operator would run it. */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly Row[]>;
}

export interface GatewayProcess {
  readonly gateway: Gateway;
  /** Keeps back the next answers of the upstreams, which are those of now, until they are delivered. */
  holdAnswers(count: number): HeldAnswers;
  /** Resolves the next time the process waits for a lease that another one holds. */
  untilWaiting(): Promise<void>;
}

export interface HeldAnswers {
  /** Fulfilled when so many answers wait. */
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

interface Life {
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
  const life: Life = { ended: false, held: null, onWait: () => undefined };
  const gateway = await createGateway(parseConfig(readEnvironment(environment)), {
    database: toMortal(database, life),
    fetch: async (...asked) => {
      const { held } = life;
      const answer = await simulator.fetch(...asked);
      await held?.wait();
      return answer;
    },
    now,
    deadlineMs,
    graph: { attemptTimeoutMs: deadlineMs },
    telemetry: createTelemetry({ level: 'silent' }),
  });
  return {
    gateway,
    holdAnswers(count) {
      const holding = createHolding(count, () => (life.held = null));
      life.held = holding;
      return holding;
    },
    untilWaiting() {
      const { promise, resolve } = Promise.withResolvers<void>();
      life.onWait = resolve;
      return promise;
    },
    async kill() {
      life.ended = true;
      await gateway[Symbol.asyncDispose]();
    },
  };
}

interface Holding extends HeldAnswers {
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

/** The same database for a process that may die: from then on nothing of it gets through, and nothing comes back. */
function toMortal(database: Database, life: Life): Database {
  const whileAlive = async <T>(work: () => Promise<T>): Promise<T> => {
    if (!life.ended) {
      const result = await work();
      if (!life.ended) return result;
    }
    return await new Promise<never>(() => undefined);
  };
  return {
    ...database,
    withTenant: (tenantId, work) => whileAlive(() => database.withTenant(tenantId, work)),
    readTenant: (tenantId, statement) => whileAlive(() => database.readTenant(tenantId, statement)),
    acrossTenants: (work) => whileAlive(() => database.acrossTenants(work)),
    callAcrossTenants(statement) {
      if (statement.name.startsWith('dead_holders')) life.onWait();
      return whileAlive(() => database.callAcrossTenants(statement));
    },
  };
}

interface Store extends AsyncDisposable {
  /** As one process does: disposing it closes nobody else's. */
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

// Time is no change of a key, so it leaves no trace in the audit.
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
