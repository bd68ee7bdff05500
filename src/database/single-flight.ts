// Lets callers that request the same read share one: of equal reads one is in flight, and at most one waits for its
// end.

import type { Read } from './pipelined-reads.ts';
import type { Statement, TextRow } from './statement.ts';

type Rows = Promise<readonly TextRow[]>;

interface InFlightRead {
  rows: Rows;
  /** From then on the result may be older than a change that the next caller must see. */
  isSent: boolean;
}

/**
 * A caller that has waited longer than this for a read that fails gets its error, and does not wait for another one.
 */
const maxWaitMs = 1_000;

export function createSingleFlight(read: Read): (statements: readonly Statement[]) => Rows {
  let inFlight = new Map<string, InFlightRead>();
  const start = (key: string, statements: readonly Statement[], previous?: InFlightRead) => {
    const startedAt = performance.now();
    const send = (): Rows => read(statements, () => void (current.isSent = true));
    const sendAfterFailure = (error: unknown): Rows => {
      if (performance.now() - startedAt > maxWaitMs) throw error;
      return send();
    };
    const rows = previous === undefined ? send() : previous.rows.then(send, sendAfterFailure);
    const current: InFlightRead = { rows, isSent: false };
    inFlight.set(key, current);
    const end = (): void => {
      if (inFlight.get(key) === current) inFlight.delete(key);
      // A map that is written all the time keeps deleted rows in memory until the next major garbage collection.
      if (inFlight.size === 0) inFlight = new Map();
      current.rows = noRows;
    };
    // Before the callers continue.
    rows.then(end, end);
    return current;
  };
  return (statements) => {
    const key = toKey(statements);
    const last = inFlight.get(key);
    return (last === undefined || last.isSent ? start(key, statements, last) : last).rows;
  };
}

/** Replaces the rows of a read that has ended, so that they can be collected. */
const noRows: Rows = Promise.resolve([]);

/** Each value follows its length, so that different reads have different keys. */
function toKey(statements: readonly Statement[]): string {
  let key = '';
  for (const { name, parameters } of statements) {
    key += `${name} ${parameters.length} `;
    for (const parameter of parameters) key += `${parameter.length}:${parameter}`;
  }
  return key;
}
