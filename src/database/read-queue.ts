// Owns the queue for connections to PostgreSQL of those who read: what is asked for in one turn of the event loop, or while
// all connections are busy, travels in few packets. That spares both sides a good part of the work of a small reading.

import type { Pool, PoolClient } from 'pg';
import { areKnown, isOfStatement, sendTrips, type Trip } from './round-trip.ts';
import type { Statement, TextRow } from './statement.ts';

/** Executes the statements in one transaction and answers the rows of the last one; `onSend` is called when they leave. */
export type QueuedRead = (
  statements: readonly Statement[],
  onSend: () => void,
) => Promise<readonly TextRow[]>;

interface Waiting extends Trip {
  readonly onSend: () => void;
}

/** A reading that takes long holds up those that travel behind it. */
const mostTogether = 8;

export function createReadQueue(pool: Pool): QueuedRead {
  const waiting: Waiting[] = [];
  let [asked, isDue, remembers] = [0, false, true];
  const askForConnections = (): void => {
    while (asked * mostTogether < waiting.length) void leave();
  };
  const leave = async (): Promise<void> => {
    asked += 1;
    const last = waiting.at(-1);
    const client = await pool.connect().catch((error: Error) => error);
    const share = Math.min(Math.ceil(waiting.length / asked), mostTogether);
    asked -= 1;
    if (client instanceof Error) {
      // Those who came later have not waited long enough yet.
      const late = waiting.splice(0, last === undefined ? 0 : waiting.indexOf(last) + 1);
      for (const { reject } of late) reject(client);
    } else {
      const trips = waiting.splice(0, countReady(waiting.slice(0, share), client, remembers));
      for (const { onSend } of trips) onSend();
      sendTrips(client, trips, remembers);
    }
    askForConnections();
  };
  const endTurn = (): void => {
    isDue = false;
    askForConnections();
  };
  const read: QueuedRead = async (statements, onSend) => {
    const { promise, resolve, reject } = Promise.withResolvers<readonly TextRow[]>();
    waiting.push({ statements, resolve, reject, onSend });
    if (!isDue) setImmediate(endTurn);
    isDue = true;
    return await promise;
  };
  return async (statements, onSend) => {
    try {
      return await read(statements, onSend);
    } catch (error) {
      if (!isMisremembered(error)) throw error;
      remembers = false;
      return await read(statements, onSend);
    }
  };
}

/** Only what the connection knows travels with others, so that none of them depends on the statement of another. */
function countReady(trips: readonly Trip[], client: PoolClient, named: boolean): number {
  const unready = trips.findIndex(({ statements }) => !named || !areKnown(client, statements));
  return unready === -1 ? trips.length : Math.max(unready, 1);
}

/**
 * A pooler hands connections round among those who prepare statements on them, or a migration has changed what a
 * statement gives. From then on each is sent in full. Nothing of it was executed.
 */
function isMisremembered(error: unknown): boolean {
  // Invalid statement name, duplicate prepared statement, cached plan must not change result type.
  return isOfStatement(error) && ['26000', '42P05', '0A000'].includes(error.code ?? '');
}
