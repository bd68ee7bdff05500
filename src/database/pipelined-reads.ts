// Executes reads on PostgreSQL connections, pipelined: reads that are requested in the same turn of the event loop, or
// while all connections are busy, share a round trip.
//
// The statements of a read are sent together and end with a Sync message. PostgreSQL executes them as one transaction,
// which needs neither BEGIN nor COMMIT. Each read has a Sync of its own, so a read that fails does not affect the
// others. https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING

import { LRUCache } from 'lru-cache';
import { type Connection, DatabaseError, type Pool, type PoolClient, type Submittable } from 'pg';
import type { Read, Statement, TextRow } from './statement.ts';

export interface PipelinedReadOptions {
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
  /**
   * Called when PostgreSQL reports that a prepared statement is missing, exists already or has another result. Prepared
   * statements and shared round trips are then off for one minute. Nothing was executed, and no read fails for it.
   */
  readonly onPreparedStatementsOff?: (cause: Error) => void;
}

export interface PipelinedReads {
  readonly read: Read;
  readonly usesPreparedStatements: boolean;
}

interface PipelinedRead {
  readonly statements: readonly Statement[];
  readonly onSend: () => void;
  readonly resolve: (rows: readonly TextRow[]) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A slow read delays the reads behind it, even while other connections are idle. Sharing is worth that: without it a
 * third fewer reads a second are answered, see test/bench/README.md.
 */
const maxReadsPerRoundTrip = 8;
/** A read that returned more rows than this has a round trip of its own the next time. */
const maxSharedRows = 250;
const maxLargeReads = 1_000;
const maxLargeReadChars = 1_000_000;
/** PostgreSQL keeps the plan of each prepared statement in the memory of the connection. */
const maxPreparedStatements = 200;
const preparedStatementsOffMs = 60_000;

export function createPipelinedReads(pool: Pool, options: PipelinedReadOptions): PipelinedReads {
  const prepared = createPreparedStatements(options);
  const large = createLargeReads();
  const enqueue = createQueue(pool, prepared, large.has);
  return {
    get usesPreparedStatements() {
      return prepared.isOn();
    },
    read: (statements, onSend) =>
      new Promise((resolve, reject) => {
        const complete = (rows: readonly TextRow[]): void => {
          large.note(statements, rows.length > maxSharedRows);
          resolve(rows);
        };
        const retry = (error: Error): void => {
          if (!isPreparedStatementError(error)) return reject(error);
          prepared.turnOff(error);
          enqueue({ statements, onSend, resolve: complete, reject });
        };
        enqueue({ statements, onSend, resolve: complete, reject: retry });
      }),
  };
}

function createQueue(
  pool: Pool,
  prepared: PreparedStatements,
  isLarge: (statements: readonly Statement[]) => boolean,
): (read: PipelinedRead) => void {
  const queue: PipelinedRead[] = [];
  let [connecting, isScheduled] = [0, false];
  const requestConnections = (): void => {
    const readsPerConnection = prepared.isOn() ? maxReadsPerRoundTrip : 1;
    while (connecting * readsPerConnection < queue.length) void sendNext();
  };
  const sendNext = async (): Promise<void> => {
    const last = queue.at(-1);
    connecting += 1;
    const client = await pool.connect().catch((error: Error) => error);
    const share = Math.min(Math.ceil(queue.length / connecting), maxReadsPerRoundTrip);
    connecting -= 1;
    if (client instanceof Error) {
      // Reads that were requested later have not reached the time limit yet.
      const expired = queue.splice(0, last === undefined ? 0 : queue.indexOf(last) + 1);
      for (const { reject } of expired) reject(client);
    } else {
      const names = prepared.isOn() ? prepared.of(client.connection) : null;
      const mayShare = ({ statements }: PipelinedRead): boolean =>
        names !== null && names.haveAll(statements) && !isLarge(statements);
      const reads = queue.splice(0, countShared(queue.slice(0, share), mayShare));
      for (const { onSend } of reads) onSend();
      sendReads(client, reads, names);
    }
    requestConnections();
  };
  return (read) => {
    queue.push(read);
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      requestConnections();
    });
  };
}

/** Only statements that the connection has prepared share a round trip, so that no read depends on another one's. */
function countShared(
  reads: readonly PipelinedRead[],
  mayShare: (read: PipelinedRead) => boolean,
): number {
  const alone = reads.findIndex((read) => !mayShare(read));
  return alone === -1 ? reads.length : Math.max(alone, 1);
}

/**
 * Sends the reads in one write, and releases the client after the last result. Without `names` the statements are not
 * prepared.
 */
function sendReads(
  client: PoolClient,
  reads: readonly PipelinedRead[],
  names: PreparedNames | null,
): void {
  let parsed: readonly Statement[] = [];
  const receive = (index: number): void => {
    const read = reads[index];
    if (read === undefined) return client.release();
    const fail = (error: Error): void => {
      names?.doubt(parsed);
      read.reject(error);
      if (isStatementError(error)) return receive(index + 1);
      for (const { reject } of reads.slice(index + 1)) reject(error);
      client.release(true);
    };
    const complete = (rows: readonly TextRow[]): void => {
      // The next result may already be there, so its listener comes first.
      receive(index + 1);
      read.resolve(rows);
    };
    const submit = (connection: Connection): void => {
      if (index === 0) parsed = writeReads(connection, reads, names);
    };
    client.query(createSubmittable(read.statements.length, { submit, complete, fail }));
  };
  receive(0);
}

/** What pg calls while it receives the results of `statements` statements. */
function createSubmittable(
  statements: number,
  {
    submit,
    complete,
    fail,
  }: {
    readonly submit: (connection: Connection) => void;
    readonly complete: (rows: readonly TextRow[]) => void;
    readonly fail: (error: Error) => void;
  },
): Submittable {
  const rows: TextRow[] = [];
  let completed = 0;
  const submittable = {
    submit,
    handleDataRow({ fields }: { readonly fields: TextRow }) {
      if (completed === statements - 1) rows.push(fields);
    },
    handleCommandComplete: () => void (completed += 1),
    handleReadyForQuery: () => complete(rows),
    handleError: fail,
    handleRowDescription: doNothing,
    handleEmptyQuery: doNothing,
    handlePortalSuspended: doNothing,
    handleCopyInResponse: doNothing,
    handleCopyData: doNothing,
  };
  return submittable;
}

const doNothing = (): void => undefined;

/** pg ignores this parameter of its methods, which its types require. */
const more = true;

/** Returns the statements that it had parsed. There are none if there is more than one read, see `countShared`. */
function writeReads(
  connection: Connection,
  reads: readonly PipelinedRead[],
  names: PreparedNames | null,
): readonly Statement[] {
  const parsed: Statement[] = [];
  connection.stream.cork();
  for (const { statements } of reads) {
    const unknown = statements.filter((statement) => !(names?.isPrepared(statement) ?? false));
    const added = unknown.filter(isKept);
    // First, since PostgreSQL skips everything that follows an error.
    for (const name of names?.add(added) ?? []) connection.close({ type: 'S', name }, more);
    for (const statement of statements) {
      const name = names === null || !isKept(statement) ? '' : statement.name;
      if (unknown.includes(statement)) {
        connection.parse({ name, text: statement.sql, types: [] }, more);
      }
      connection.bind({ statement: name, values: [...statement.parameters] }, more);
      connection.execute(null, more);
    }
    connection.sync();
    parsed.push(...added);
  }
  connection.stream.uncork();
  return parsed;
}

/** Others are sent without a name, and parsed each time. */
function isKept({ isPrepared }: Statement): boolean {
  return isPrepared !== false;
}

type PreparedStatements = ReturnType<typeof createPreparedStatements>;
type PreparedNames = ReturnType<PreparedStatements['of']>;

/** The names of the statements that each connection has prepared, and whether names are used at all. */
function createPreparedStatements({
  clock = () => performance.now(),
  onPreparedStatementsOff,
}: PipelinedReadOptions) {
  const byConnection = new WeakMap<Connection, ReturnType<typeof createPreparedNames>>();
  let offUntil = -Infinity;
  // A name counts as prepared if that was done since prepared statements were turned on.
  let generation = 0;
  const isOn = (): boolean => clock() >= offUntil;
  return {
    isOn,
    turnOff(cause: Error): void {
      if (!isOn()) return;
      offUntil = clock() + preparedStatementsOffMs;
      generation += 1;
      onPreparedStatementsOff?.(cause);
    },
    of(connection: Connection) {
      const known = byConnection.get(connection) ?? createPreparedNames(() => generation);
      byConnection.set(connection, known);
      return known;
    },
  };
}

/** The statements that one connection has prepared, or may have: those of failed reads. */
function createPreparedNames(getGeneration: () => number) {
  const evicted: string[] = [];
  const generations = new LRUCache<string, number>({
    max: maxPreparedStatements,
    dispose: (_, name, reason) => void (reason === 'evict' && evicted.push(name)),
  });
  const isCurrent = (generation: number | undefined) => generation === getGeneration();
  return {
    haveAll: (statements: readonly Statement[]): boolean =>
      statements.every((it) => isKept(it) && isCurrent(generations.peek(it.name))),
    isPrepared: (statement: Statement): boolean =>
      isKept(statement) && isCurrent(generations.get(statement.name)),
    /**
     * Returns the names to close: those that are evicted, and the new ones, which may exist although they are unknown.
     */
    add(statements: readonly Statement[]): readonly string[] {
      for (const { name } of statements) generations.set(name, getGeneration());
      return [...evicted.splice(0), ...statements.map(({ name }) => name)];
    },
    /** After an error it is unknown which of the statements were prepared. */
    doubt(statements: readonly Statement[]): void {
      for (const { name } of statements) generations.set(name, -1);
    },
  };
}

// The values of its last statement tell what a read is about.
function toKey(statements: readonly Statement[]): string {
  return JSON.stringify(statements.at(-1)?.parameters);
}

/** Remembers which reads returned many rows. */
function createLargeReads() {
  const keys = new LRUCache<string, true>({
    max: maxLargeReads,
    maxSize: maxLargeReadChars,
    sizeCalculation: (_, key) => key.length,
  });
  return {
    has: (statements: readonly Statement[]): boolean =>
      keys.size > 0 && keys.has(toKey(statements)),
    note(statements: readonly Statement[], isLarge: boolean): void {
      if (isLarge) keys.set(toKey(statements), true);
      else if (keys.size > 0) keys.delete(toKey(statements));
    },
  };
}

/** Whether one statement failed, and not the connection. */
function isStatementError(error: unknown): error is DatabaseError {
  return error instanceof DatabaseError && error.severity === 'ERROR';
}

/**
 * Invalid statement name, duplicate prepared statement, cached plan must not change result type. The first two come
 * from a pooler that shares connections between clients, the last one from a migration.
 */
const preparedStatementErrors: ReadonlySet<string | undefined> = new Set([
  '26000',
  '42P05',
  '0A000',
]);

function isPreparedStatementError(error: Error): boolean {
  return isStatementError(error) && preparedStatementErrors.has(error.code);
}
