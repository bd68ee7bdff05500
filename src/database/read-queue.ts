// Owns the queue for connections to PostgreSQL of those who read: what is asked for in one turn of the event loop, or while
// all connections are busy, travels in few packets. That spares both sides a good part of the work of a small reading.

import type { Pool } from 'pg';
import { areKnown, isOfStatement, sendPipelined, type PipelinedRead } from './pipelined-reads.ts';
import type { Statement, TextRow } from './statement.ts';

/** Executes the statements in one transaction and answers the rows of the last one; `onSend` is called when they leave. */
export type QueuedRead = (
  statements: readonly Statement[],
  onSend: () => void,
) => Promise<readonly TextRow[]>;

interface Waiting extends PipelinedRead {
  readonly onSend: () => void;
}

/**
 * One that takes long holds up those that travel behind it, even while connections are idle: to have each take an idle one
 * costs a third of the readings a second. What gave many rows the last time travels alone.
 */
const maxTogether = 8;
const manyRows = 250;
/** The largest readings that are told from the others. */
const maxLarge = 1_000;

export function createReadQueue(pool: Pool): QueuedRead {
  const waiting: Waiting[] = [];
  const large = createLarge();
  let [asked, isDue, remembers] = [0, false, true];
  const askForConnections = (): void => {
    // One that is not prepared travels alone.
    while (asked * (remembers ? maxTogether : 1) < waiting.length) void leave();
  };
  const endTurn = (): void => {
    isDue = false;
    askForConnections();
  };
  const leave = async (): Promise<void> => {
    const last = waiting.at(-1);
    asked += 1;
    const client = await pool.connect().catch((error: Error) => error);
    const share = Math.min(Math.ceil(waiting.length / asked), maxTogether);
    asked -= 1;
    if (client instanceof Error) {
      // Those who came later have not waited long enough yet.
      const late = waiting.splice(0, last === undefined ? 0 : waiting.indexOf(last) + 1);
      for (const { reject } of late) reject(client);
    } else {
      const mayShare = ({ statements }: PipelinedRead): boolean =>
        remembers && areKnown(client, statements) && !large.has(statements);
      const trips = waiting.splice(0, countTogether(waiting.slice(0, share), mayShare));
      for (const { onSend } of trips) onSend();
      sendPipelined(client, trips, remembers);
    }
    askForConnections();
  };
  const wait = (trip: Waiting): void => {
    waiting.push(trip);
    if (!isDue) setImmediate(endTurn);
    isDue = true;
  };
  return (statements, onSend) =>
    new Promise((resolve, fail) => {
      const arrive = (rows: readonly TextRow[]): void => {
        large.note(statements, rows.length > manyRows);
        resolve(rows);
      };
      const reject = (error: Error): void => {
        if (!isMisremembered(error)) return fail(error);
        remembers = false;
        wait({ statements, resolve: arrive, reject: fail, onSend });
      };
      wait({ statements, resolve: arrive, reject, onSend });
    });
}

/** Only what the connection knows travels with others, so that none of them depends on the statement of another. */
function countTogether(
  trips: readonly PipelinedRead[],
  mayShare: (trip: PipelinedRead) => boolean,
): number {
  const alone = trips.findIndex((trip) => !mayShare(trip));
  return alone === -1 ? trips.length : Math.max(alone, 1);
}

// What a reading is about are the values of its last statement.
function toKey(statements: readonly Statement[]): string {
  return JSON.stringify(statements.at(-1)?.parameters);
}

/** Remembers which readings were large. */
function createLarge() {
  const known = new Set<string>();
  return {
    has: (statements: readonly Statement[]) => known.size > 0 && known.has(toKey(statements)),
    note(statements: readonly Statement[], isLarge: boolean): void {
      if (isLarge) known.add(toKey(statements));
      else if (known.size > 0) known.delete(toKey(statements));
      for (const first of known) {
        if (known.size <= maxLarge) break;
        known.delete(first);
      }
    },
  };
}

/**
 * A pooler hands connections round among those who prepare statements on them, or a migration has changed what a
 * statement gives. From then on each is sent in full. Nothing of it was executed.
 */
function isMisremembered(error: unknown): boolean {
  // Invalid statement name, duplicate prepared statement, cached plan must not change result type.
  return isOfStatement(error) && ['26000', '42P05', '0A000'].includes(error.code ?? '');
}
