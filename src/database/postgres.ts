// Owns the connections to a PostgreSQL server, and what is read through them.

import { PostgresDialect } from 'kysely';
import { DatabaseError, Pool } from 'pg';
import { toPostgresChannel } from './change-channel.ts';
import { limits } from './door.ts';
import type { Driver, Read } from './driver.ts';
import { createRoundTrip } from './round-trip.ts';
import type { Statement, TextRow } from './statement.ts';

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
  const pool = new Pool({
    connectionString: url,
    application_name: 'numbers-gateway',
    max: options.connections ?? 10,
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
    openChannel: toPostgresChannel(url),
    release: async () => void (pool.ended || (await pool.end())),
  };
}

function createRead(pool: Pool, { onStatement }: PostgresOptions): Read {
  let remembers = true;
  return async (_kysely, statements, onSend) => {
    const named = remembers;
    const send = (isNamed: boolean) =>
      sendThrough(pool, statements, isNamed, () => {
        onSend();
        for (const { sql } of statements) onStatement?.(sql);
      });
    try {
      return await send(named);
    } catch (error) {
      if (!named || !isMisremembered(error)) throw error;
      remembers = false;
      return await send(false);
    }
  };
}

async function sendThrough(
  pool: Pool,
  statements: readonly Statement[],
  named: boolean,
  onSend: () => void,
): Promise<readonly TextRow[]> {
  const client = await pool.connect();
  onSend();
  const trip = createRoundTrip(statements, named);
  client.query(trip);
  try {
    const rows = await trip.rows;
    client.release();
    return rows;
  } catch (error) {
    // A statement that failed leaves nothing behind; what ends a connection does.
    const isOfStatement = error instanceof DatabaseError && error.severity === 'ERROR';
    client.release(!isOfStatement);
    throw error;
  }
}

/**
 * A pooler hands connections round among those who prepare statements on them, or a migration has changed what a
 * statement gives. From then on each is sent in full. Nothing of it was executed.
 */
function isMisremembered(error: unknown): boolean {
  // Invalid statement name, duplicate prepared statement, cached plan must not change result type.
  return error instanceof DatabaseError && ['26000', '42P05', '0A000'].includes(error.code ?? '');
}
