// Connects to a PostgreSQL server: a pool of connections for statements, and one connection that listens to
// notifications.

import { Socket } from 'node:net';
import { type Dialect, PostgresDialect } from 'kysely';
import { Client, Pool, type PoolClient } from 'pg';
import {
  changesChannel,
  createHeartbeatChannelName,
  type ListenToNotifications,
} from './change-feed.ts';
import {
  createPipelinedReads,
  type PipelinedReadOptions,
  type PipelinedReads,
} from './pipelined-reads.ts';
import type { Read } from './statement.ts';
import { limits } from './tenant-transaction.ts';

/** What each kind of database provides. */
export interface Driver {
  /** For everything but `read`. */
  readonly dialect: Dialect;
  readonly read: Read;
  /** Runs `work` without the time limit after which a connection that does not answer is closed. */
  withoutTimeLimit<T>(work: () => Promise<T>): Promise<T>;
  /** Opens all connections of the pool. Never rejects. */
  warm(): Promise<void>;
  readonly listenToNotifications: ListenToNotifications;
  release(): Promise<void>;
}

export interface PostgresOptions extends PipelinedReadOptions {
  /** Called with each statement that is executed. */
  readonly onStatement?: (sql: string) => void;
  /** Called when an idle connection is lost. The pool replaces it. */
  readonly onConnectionLost?: (error: Error) => void;
  /** Called once, with an object whose members always have their present values. */
  readonly onPool?: (pool: PoolState) => void;
  /** The size of the pool. */
  readonly connections?: number;
}

export interface PoolState extends Pick<Pool, 'totalCount' | 'idleCount' | 'waitingCount'> {
  /** False for a minute after `onPreparedStatementsOff`. */
  readonly usesPreparedStatements: boolean;
}

const keepAlive = {
  keepAlive: true,
  // Firewalls and NATs forget connections that are idle.
  keepAliveInitialDelayMillis: 10_000,
};

/** Connects lazily. */
export function openPostgres(url: string, options: PostgresOptions): Driver {
  const { connections = 10 } = options;
  const pool = new Pool({
    connectionString: url,
    application_name: 'numbers-gateway',
    max: connections,
    ...keepAlive,
    // The default is to wait forever.
    connectionTimeoutMillis: 500,
    // A new connection has to log in and to prepare its statements; an idle one costs little.
    idleTimeoutMillis: 300_000,
    ...limits,
  });
  const reads = createPipelinedReads(pool, options);
  options.onPool?.(toPoolState(pool, reads));
  // Without a listener, an error of an idle connection ends the process.
  pool.on('error', (error) => options.onConnectionLost?.(error));
  // An error of a connection in use makes its statement fail, which is enough.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const { withoutTimeLimit, destroy } = closeUnresponsive(pool);
  return {
    dialect: new PostgresDialect({ pool }),
    read: logStatements(reads.read, options),
    withoutTimeLimit,
    async warm() {
      const clients = Array.from({ length: connections }, () => pool.connect());
      await Promise.allSettled(clients.map(async (client) => (await client).release()));
    },
    listenToNotifications: createPostgresListener(url),
    async release() {
      if (!pool.ended) await pool.end();
      // A server that has vanished does not close its side.
      setTimeout(destroy, closeTimeoutMs).unref();
    },
  };
}

const closeTimeoutMs = 1_000;

function toPoolState(pool: Pool, reads: PipelinedReads): PoolState {
  return {
    get totalCount() {
      return pool.totalCount;
    },
    get idleCount() {
      return pool.idleCount;
    },
    get waitingCount() {
      return pool.waitingCount;
    },
    get usesPreparedStatements() {
      return reads.usesPreparedStatements;
    },
  };
}

function logStatements(read: Read, { onStatement }: PostgresOptions): Read {
  if (onStatement === undefined) return read;
  return (statements, onSend) =>
    read(statements, () => {
      onSend();
      for (const { sql } of statements) onStatement(sql);
    });
}

/** The server ends every statement before that, so a connection that is still silent has lost its server. */
const unresponsiveAfterMs = limits.statement_timeout + 1_000;

/**
 * Closes connections in use from which nothing is received. TCP would wait for a quarter of an hour, and so would every
 * caller that shares the read.
 */
function closeUnresponsive(pool: Pool): Pick<Driver, 'withoutTimeLimit'> & { destroy(): void } {
  const open = new Set<PoolClient>();
  const inUse = new Set<PoolClient>();
  let unlimited = 0;
  pool.on('connect', (client) => {
    const { stream } = client.connection;
    open.add(client);
    stream.once('close', () => open.delete(client));
    if (!(stream instanceof Socket)) return;
    stream.setTimeout(unresponsiveAfterMs);
    stream.on('timeout', () => {
      // The timer of an idle socket fires once and is not restarted by the next write.
      stream.setTimeout(unresponsiveAfterMs);
      // A statement that is sent in the same turn of the event loop has not waited.
      if (!inUse.has(client)) return;
      const { bytesRead } = stream;
      // If the event loop was blocked, an answer may be waiting in the socket, and is read first.
      setImmediate(() => {
        if (unlimited > 0 || !inUse.has(client) || stream.bytesRead > bytesRead) return;
        stream.destroy(
          new Error(`Connection terminated: no answer within ${unresponsiveAfterMs} ms`),
        );
      });
    });
  });
  pool.on('acquire', (client) => inUse.add(client));
  pool.on('release', (_error, client) => inUse.delete(client));
  return {
    destroy: () => open.forEach(({ connection }) => connection.stream.destroy()),
    async withoutTimeLimit(work) {
      unlimited += 1;
      try {
        return await work();
      } finally {
        unlimited -= 1;
      }
    },
  };
}

/** Rejects when a connection pooler stands between the gateway and PostgreSQL, as that loses notifications. */
export function createPostgresListener(url: string): ListenToNotifications {
  return async ({ onChange, onHeartbeat, onLost }) => {
    const heartbeatChannel = createHeartbeatChannelName();
    await using failed = new AsyncDisposableStack();
    const client = failed.adopt(createListeningClient(url), closeClient);
    let isClosed = false;
    const reportLoss = (cause = new Error('The connection has ended.')): void => {
      if (!isClosed) onLost(cause);
    };
    client.on('error', reportLoss).on('end', reportLoss);
    client.on('notification', ({ channel, payload = '' }) => {
      if (channel === heartbeatChannel) onHeartbeat(payload);
      else onChange(payload);
    });
    await client.connect();
    assertNoPooler(client, (await client.query('select pg_backend_pid() as process')).rows);
    // Heartbeats need not be written to disk.
    await client.query(
      `set synchronous_commit = off; listen ${changesChannel}; listen ${heartbeatChannel}`,
    );
    failed.move();
    return {
      async sendHeartbeat(message) {
        const query = {
          name: 'send_heartbeat',
          text: `select pg_notify('${heartbeatChannel}', $1), pg_backend_pid() as process`,
          values: [message],
        };
        assertNoPooler(client, (await client.query(query)).rows);
      },
      async [Symbol.asyncDispose]() {
        isClosed = true;
        await closeClient(client);
      },
    };
  };
}

function createListeningClient(url: string): Client {
  return new Client({
    connectionString: url,
    application_name: 'numbers-gateway changes',
    ...keepAlive,
    connectionTimeoutMillis: 2_000,
    // Longer than the time limit of a heartbeat, whose error says more.
    query_timeout: 2_500,
  });
}

/**
 * Behind a pooler that shares connections, notifications reach the client that has the connection at that moment, and a
 * client that hears itself has missed those that came while it was idle. A pooler tells its clients a process id of its
 * own.
 */
function assertNoPooler(client: Client, rows: readonly { readonly process: number }[]): void {
  // A member of the class that its types leave out.
  const { processID } = client as Client & { readonly processID: number | null };
  if (rows[0]?.process === processID) return;
  throw new Error(
    'DATABASE_URL leads to a connection pooler, which does not pass on notifications; connect to PostgreSQL directly.',
  );
}

async function closeClient(client: Client): Promise<void> {
  // A server that has vanished does not close its side.
  const timer = setTimeout(() => client.connection.stream.destroy(), closeTimeoutMs);
  await client.end();
  clearTimeout(timer);
}
