// Owns the round trip to PostgreSQL. The statements of a transaction are sent together: up to the sync that ends them they
// are one transaction, which needs neither begin nor commit. Several transactions can be sent together too, each with a
// sync of its own, so that none of them depends on another.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING

import { type Connection, DatabaseError, type PoolClient, type Submittable } from 'pg';
import { startPacket } from './packet.ts';
import type { Statement, TextRow } from './statement.ts';

/** A transaction, and who waits for it. */
export interface PipelinedRead {
  readonly statements: readonly Statement[];
  /** With the rows of the last statement. */
  readonly resolve: (rows: readonly TextRow[]) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Sends the trips in one packet and gives the client back after the last of them. A statement that fails ends its own trip
 * and leaves nothing of it. `named`: the statements are prepared, and remembered by the connection.
 */
export function sendPipelined(
  client: PoolClient,
  trips: readonly PipelinedRead[],
  named: boolean,
): void {
  const travel = (place: number): void => {
    const trip = trips[place];
    if (trip === undefined) return client.release();
    let forget = doNothing;
    const submit = (connection: Connection): void => {
      if (place === 0) forget = sendAll(connection, trips, named);
    };
    const fail = (error: Error): void => {
      forget();
      trip.reject(error);
      if (isOfStatement(error)) return travel(place + 1);
      for (const { reject } of trips.slice(place + 1)) reject(error);
      client.release(true);
    };
    const arrive = (rows: readonly TextRow[]): void => {
      // First the next one, whose answer may be here already.
      travel(place + 1);
      trip.resolve(rows);
    };
    client.query(createListener(trip.statements.length, { submit, arrive, fail }));
  };
  travel(0);
}

/** Whether all these statements are prepared on that connection. */
export function areKnown({ connection }: PoolClient, statements: readonly Statement[]): boolean {
  const known = knownStatements.get(connection);
  return known !== undefined && statements.every(({ name }) => known.has(name));
}

/** Whether it was one statement that failed, and not the connection. */
export function isOfStatement(error: unknown): error is DatabaseError {
  return error instanceof DatabaseError && error.severity === 'ERROR';
}

interface Journey {
  readonly submit: (connection: Connection) => void;
  readonly arrive: (rows: readonly TextRow[]) => void;
  readonly fail: (error: Error) => void;
}

/** What a client of pg calls on whatever was submitted to it. */
function createListener(statements: number, { submit, arrive, fail }: Journey): Submittable {
  const rows: TextRow[] = [];
  let completed = 0;
  const listener = {
    submit,
    handleDataRow({ fields }: { readonly fields: TextRow }) {
      if (completed === statements - 1) rows.push(fields);
    },
    handleCommandComplete: () => void (completed += 1),
    handleReadyForQuery: () => arrive(rows),
    handleError: fail,
    handleRowDescription: doNothing,
    handleEmptyQuery: doNothing,
    handlePortalSuspended: doNothing,
    handleCopyInResponse: doNothing,
    handleCopyData: doNothing,
  };
  return listener;
}

const doNothing = (): void => undefined;

const knownStatements = new WeakMap<Connection, Set<string>>();

/** Answers how to forget what was new to the connection: what follows an error is not even looked at. */
function sendAll(
  connection: Connection,
  trips: readonly PipelinedRead[],
  named: boolean,
): () => void {
  const known = knownStatements.get(connection) ?? new Set();
  knownStatements.set(connection, known);
  const learned: string[] = [];
  const packet = startPacket();
  for (const { statements } of trips) {
    for (const { name, sql, parameters } of statements) {
      const title = named ? name : '';
      if (!named || !known.has(name)) {
        // Perhaps it was forgotten by us alone; to close what is not there is no mistake.
        packet.prepare(title, sql);
        if (named) learned.push(name);
      }
      packet.execute(title, parameters);
    }
    packet.sync();
  }
  // One that was lost meanwhile tells so by itself.
  if (connection.stream.writable) connection.stream.write(packet.toBytes());
  if (learned.length === 0) return doNothing;
  for (const name of learned) known.add(name);
  return () => {
    for (const name of learned) known.delete(name);
  };
}
