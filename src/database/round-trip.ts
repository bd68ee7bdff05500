// Owns one round trip to PostgreSQL: statements that are sent together and answered together. Up to the sync that ends
// them they are one transaction, which needs neither begin nor commit.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING

import type { Connection, Submittable } from 'pg';
import type { Statement, TextRow } from './statement.ts';

export interface RoundTrip extends Submittable {
  /** Those of the last statement. Rejects when one of them failed, and then nothing of the transaction is left. */
  readonly rows: Promise<readonly TextRow[]>;
}

/** To be submitted to a client of pg, which calls the other members. `named`: to be remembered on that connection. */
export function createRoundTrip(statements: readonly Statement[], named: boolean): RoundTrip {
  const { promise, resolve, reject } = Promise.withResolvers<readonly TextRow[]>();
  const rows: TextRow[] = [];
  let forget = doNothing;
  let completed = 0;
  const listener: Listener = {
    handleDataRow({ fields }) {
      if (completed === statements.length - 1) rows.push(fields);
    },
    handleCommandComplete: () => void (completed += 1),
    handleReadyForQuery: () => resolve(rows),
    handleError(error) {
      forget();
      reject(error);
    },
    handleRowDescription: doNothing,
    handleEmptyQuery: doNothing,
    handlePortalSuspended: doNothing,
    handleCopyInResponse: doNothing,
    handleCopyData: doNothing,
  };
  return {
    ...listener,
    rows: promise,
    submit(connection) {
      // All in one packet.
      connection.stream.cork();
      forget = send(connection, statements, named);
      connection.stream.uncork();
    },
  };
}

/** What a client of pg calls on whatever was submitted to it. */
interface Listener {
  handleRowDescription(): void;
  handleDataRow(message: { readonly fields: TextRow }): void;
  handleCommandComplete(): void;
  handleEmptyQuery(): void;
  handlePortalSuspended(): void;
  handleCopyInResponse(): void;
  handleCopyData(): void;
  handleError(error: Error): void;
  handleReadyForQuery(): void;
}

const doNothing = (): void => undefined;

const knownStatements = new WeakMap<Connection, Set<string>>();

/** Answers how to forget that the connection knows what was new to it: what follows an error is not even looked at. */
function send(
  connection: Connection,
  statements: readonly Statement[],
  named: boolean,
): () => void {
  const known = knownStatements.get(connection) ?? new Set();
  knownStatements.set(connection, known);
  const learned: string[] = [];
  for (const { name, sql, parameters } of statements) {
    const statement = named ? name : '';
    if (!known.has(statement)) {
      // Perhaps it was forgotten by us alone; to close what is not there is no mistake.
      if (named) connection.close({ type: 'S', name: statement }, true);
      connection.parse({ name: statement, text: sql, types: [] }, true);
      if (named) learned.push(statement);
    }
    connection.bind({ statement, values: [...parameters] }, true);
    connection.execute(null, true);
  }
  for (const name of learned) known.add(name);
  connection.sync();
  return () => {
    for (const name of learned) known.delete(name);
  };
}
