// Owns the connections to a PostgreSQL server, and what is read through them.

import { PostgresDialect } from 'kysely';
import { Pool } from 'pg';
import { toPostgresChannel } from './change-channel.ts';
import { limits } from './door.ts';
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
  return {
    dialect: new PostgresDialect({ pool }),
    read: createRead(pool, options),
    async warm() {
      const clients = Array.from({ length: connections }, () => pool.connect());
      await Promise.allSettled(clients.map(async (client) => (await client).release()));
    },
    openChannel: toPostgresChannel(url),
    release: async () => void (pool.ended || (await pool.end())),
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
