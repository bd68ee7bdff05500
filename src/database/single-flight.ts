// Owns the sharing of readings: whoever asks for what is about to be read has the same answer, which is as new as one of
// their own would be. So a crowd with one question takes one connection.

import type { Statement, TextRow } from './statement.ts';

type Rows = Promise<readonly TextRow[]>;

interface Reading {
  rows: Rows;
  /** From then on the database may have answered, and who asks later must be told what is true later. */
  isSent: boolean;
}

/** Whoever has waited that long for a reading that failed has its error, and not the time of another one. */
const patienceMs = 1_000;

/**
 * Of the same statements with the same values one is under way at a time, and one more waits for its end. `read` calls
 * `onSend` when it begins.
 */
export function createSingleFlight(
  read: (statements: readonly Statement[], onSend: () => void) => Rows,
): (statements: readonly Statement[]) => Rows {
  let readings = new Map<string, Reading>();
  const begin = (key: string, statements: readonly Statement[], before?: Reading): Reading => {
    const start = (): Rows => read(statements, () => void (reading.isSent = true));
    const end = (): void => {
      if (readings.get(key) === reading) readings.delete(key);
      if (readings.size === 0) readings = new Map();
      reading.rows = none;
    };
    const begunAt = performance.now();
    const startAfter = (error: unknown): Rows => {
      if (performance.now() - begunAt > patienceMs) throw error;
      return start();
    };
    const rows = before === undefined ? start() : before.rows.then(start, startAfter);
    const reading = { rows, isSent: false };
    readings.set(key, reading);
    // Before whoever asked goes on.
    rows.then(end, end);
    return reading;
  };
  return (statements) => {
    const key = toKey(statements);
    const last = readings.get(key);
    return (last === undefined || last.isSent ? begin(key, statements, last) : last).rows;
  };
}

/**
 * What stands in a reading that has ended. A map that is written all the time leaves old tables behind, which hold what was
 * in them until the next major collection; so whenever it is empty, a new one takes its place.
 */
const none: Rows = Promise.resolve([]);

/** Each value with its length before it, so that no two readings look alike. */
function toKey(statements: readonly Statement[]): string {
  let key = '';
  for (const { name, parameters } of statements) {
    key += `${name} ${parameters.length} `;
    for (const parameter of parameters) key += `${parameter.length}:${parameter}`;
  }
  return key;
}
