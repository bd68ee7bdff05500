// Owns the sharing of readings that have not begun: whoever asks for the same meanwhile has the same answer, which is as
// new as one of their own would be.

import type { Statement, TextRow } from './statement.ts';

type Rows = Promise<readonly TextRow[]>;

/** `read` calls `onSend` when the reading begins; who asks after that has another one. */
export function createSharedRead(
  read: (statements: readonly Statement[], onSend: () => void) => Rows,
): (statements: readonly Statement[]) => Rows {
  const waiting = new Map<string, Rows>();
  return (statements) => {
    const key = JSON.stringify(statements.map(({ name, parameters }) => [name, parameters]));
    const found = waiting.get(key);
    if (found !== undefined) return found;
    const close = (): void => {
      if (waiting.get(key) === rows) waiting.delete(key);
    };
    const rows = read(statements, () => close()).finally(close);
    waiting.set(key, rows);
    return rows;
  };
}
