// Owns the connections to a PostgreSQL server, and what is read through them.

import { Socket } from 'node:net';
import { PostgresDialect } from 'kysely';
import { Pool, type PoolClient } from 'pg';
import { toPostgresChannel } from './change-channel.ts';
import { limits } from './tenant-transaction.ts';
import type { Driver, Read } from './driver.ts';
import { createReadQueue } from './read-queue.ts';

export interface PostgresOptions {
  /** Called with each statement that is executed. */
  readonly onStatement?: (sql: string) => void;
  /** An idle connection was lost. The pool replaces it. */
  readonly onConnectionLost?: (error: Error) => void;
  readonly onPool?: (pool: Pick<Pool, 'totalCount' | 'idleCount' | 'waitingCount'>) => void;
  /** Most connections to PostgreSQL at once. */
  readonly connections?: number;
}

/** Connects lazily. */
export function openPostgres(url: string, options: PostgresOptions): Driver {
  const { connections = 10 } = options;
  const pool = new Pool({
    connectionString: url,
    application_name: 'numbers-gateway',
    max: connections,
    keepAlive: true,
    // What stands in between forgets connections that are idle.
    keepAliveInitialDelayMillis: 10_000,
    // The pool's own default is to wait for ever.
    connectionTimeoutMillis: 500,
    // One that is logged in and has its statements prepared is worth more than the little that it holds.
    idleTimeoutMillis: 300_000,
    ...limits,
  });
  options.onPool?.(pool);
  // Without a listener an idle connection that the server ends takes the process with it.
  pool.on('error', (error) => options.onConnectionLost?.(error));
  // The same for one that is in use: its next statement tells.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const { waitFor, destroy } = giveUpSilent(pool);
  return {
    dialect: new PostgresDialect({ pool }),
    read: createRead(pool, options),
    waitFor,
    async warm() {
      const clients = Array.from({ length: connections }, () => pool.connect());
      await Promise.allSettled(clients.map(async (client) => (await client).release()));
    },
    openChannel: toPostgresChannel(url),
    async release() {
      if (!pool.ended) await pool.end();
      // A server that has vanished does not answer a farewell.
      setTimeout(destroy, leaveWithinMs).unref();
    },
  };
}

function createRead(pool: Pool, { onStatement }: PostgresOptions): Read {
  const read = createReadQueue(pool);
  if (onStatement === undefined) return (_kysely, ...asked) => read(...asked);
  return (_kysely, statements, onSend) =>
    read(statements, () => {
      onSend();
      for (const { sql } of statements) onStatement(sql);
    });
}

/** By then the server has ended every statement, so whoever is silent still is not there any more. */
const silentAfterMs = limits.statement_timeout + 1_000;

const leaveWithinMs = 1_000;

/**
 * Ends connections from which somebody awaits an answer that does not come. TCP would wait for a quarter of an hour, and
 * all who ask for the same would wait with it.
 */
function giveUpSilent(pool: Pool): Pick<Driver, 'waitFor'> & { destroy(): void } {
  const open = new Set<PoolClient>();
  const taken = new Set<PoolClient>();
  let patient = 0;
  pool.on('connect', (client) => {
    const { stream } = client.connection;
    open.add(client);
    stream.once('close', () => open.delete(client));
    if (!(stream instanceof Socket)) return;
    stream.setTimeout(silentAfterMs);
    stream.on('timeout', () => {
      const { bytesRead } = stream;
      // Once it has fired, as it does while nobody asks, nothing that is written sets it again.
      stream.setTimeout(silentAfterMs);
      // What came while the event loop stood still is read first.
      setImmediate(() => {
        if (patient > 0 || !taken.has(client) || stream.bytesRead > bytesRead) return;
        stream.destroy(new Error(`Connection terminated: silent for ${silentAfterMs} ms`));
      });
    });
  });
  pool.on('acquire', (client) => taken.add(client));
  pool.on('release', (_error, client) => taken.delete(client));
  return {
    destroy: () => open.forEach(({ connection }) => connection.stream.destroy()),
    async waitFor(work) {
      patient += 1;
      try {
        return await work();
      } finally {
        patient -= 1;
      }
    },
  };
}
