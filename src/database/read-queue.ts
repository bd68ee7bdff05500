// Owns the queue for connections to PostgreSQL of those who read: whoever comes while others wait travels with them, in
// one packet. That spares both sides a good part of the work of a small reading.

import type { Pool, PoolClient } from 'pg';
import { areKnown, isOfStatement, sendTrips, type Trip } from './round-trip.ts';
import type { Statement, TextRow } from './statement.ts';

interface Waiting extends Trip {
  readonly onSend: () => void;
}

/** A reading that takes long holds up those that travel behind it. */
const mostTogether = 8;

/** Executes the statements in one transaction and answers the rows of the last one; `onSend` is called when they leave. */
export type QueuedRead = (
  statements: readonly Statement[],
  onSend: () => void,
) => Promise<readonly TextRow[]>;

export function createReadQueue(pool: Pool): QueuedRead {
  const waiting: Waiting[] = [];
  let asked = 0;
  let remembers = true;
  const ask = async (): Promise<void> => {
    asked += 1;
    const last = waiting.at(-1);
    const client = await pool.connect().catch((error: Error) => error);
    asked -= 1;
    if (client instanceof Error) {
      // Those who came later have not waited long enough yet.
      const late = waiting.splice(0, last === undefined ? 0 : waiting.indexOf(last) + 1);
      for (const { reject } of late) reject(client);
      return askMore();
    }
    const trips = takeTrips(waiting, client, remembers);
    askMore();
    if (trips.length === 0) return client.release();
    for (const { onSend } of trips) onSend();
    sendTrips(client, trips, remembers);
  };
  const askMore = (): void => {
    if (asked * mostTogether < waiting.length) void ask();
  };
  const send = async (
    statements: readonly Statement[],
    onSend: () => void,
  ): Promise<readonly TextRow[]> => {
    const { promise, resolve, reject } = Promise.withResolvers<readonly TextRow[]>();
    waiting.push({ statements, resolve, reject, onSend });
    askMore();
    return await promise;
  };
  return async (statements, onSend) => {
    try {
      return await send(statements, onSend);
    } catch (error) {
      if (!isMisremembered(error)) throw error;
      remembers = false;
      return await send(statements, onSend);
    }
  };
}

/** Only what the connection knows travels with others, so that none of them depends on the statement of another. */
function takeTrips(waiting: Waiting[], client: PoolClient, named: boolean): readonly Waiting[] {
  const isReady = ({ statements }: Trip): boolean => named && areKnown(client, statements);
  const unready = waiting.findIndex((trip) => !isReady(trip));
  const ready = unready === -1 ? waiting.length : unready;
  return waiting.splice(0, Math.min(Math.max(ready, 1), mostTogether));
}

/**
 * A pooler hands connections round among those who prepare statements on them, or a migration has changed what a
 * statement gives. From then on each is sent in full. Nothing of it was executed.
 */
function isMisremembered(error: unknown): boolean {
  // Invalid statement name, duplicate prepared statement, cached plan must not change result type.
  return isOfStatement(error) && ['26000', '42P05', '0A000'].includes(error.code ?? '');
}
