// Compiles statements once for many executions, each with the name under which PostgreSQL prepares it, and lets callers
// that request the same read share one.

import { createHash } from 'node:crypto';
import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  sql,
} from 'kysely';
import type { Tables } from './tables.ts';

export interface Statement {
  /**
   * Contains a hash of `sql`: processes that share connections through a pooler never use one name for two statements.
   */
  readonly name: string;
  /** False for one that is too rare to be kept on the connections. */
  readonly isPrepared?: false;
  readonly sql: string;
  readonly parameters: readonly string[];
}

/** The selected columns in order, each in PostgreSQL's text format. */
export type TextRow = readonly (string | null)[];

/**
 * Executes the statements in one transaction and resolves with the rows of the last one. Calls `onSend` when the
 * statements are sent: from then on PostgreSQL may have taken the snapshot that it reads from.
 */
export type Read = (
  statements: readonly Statement[],
  onSend: () => void,
) => Promise<readonly TextRow[]>;

/** Builds statements and cannot execute them. */
export const queries = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (database) => new PostgresIntrospector(database),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
});

/**
 * Compiles the statement that `build` returns, and returns a function that adds the values. Values and columns are sent
 * as text, so `build` casts parameters that are not text, and columns to text.
 */
export function prepare<const Parameter extends string>(
  title: string,
  parameters: readonly Parameter[],
  build: (values: Readonly<Record<Parameter, string>>) => Compilable | RawBuilder<unknown>,
): (values: Readonly<Record<Parameter, string>>) => Statement {
  const byPlaceholder = new Map<unknown, Parameter>(
    parameters.map((parameter) => [Object.freeze({ parameter }), parameter]),
  );
  // Kysely passes an object through as the value of a parameter.
  const placeholders = Object.fromEntries(
    byPlaceholder.entries().map(([placeholder, parameter]) => [parameter, placeholder]),
  ) as Record<Parameter, string>;
  const compiled = build(placeholders).compile(queries);
  const hash = createHash('sha256').update(compiled.sql).digest('base64url').slice(0, 16);
  const name = `${title}_${hash}`;
  const slots = compiled.parameters.map((value) => ({
    parameter: byPlaceholder.get(value),
    constant: String(value),
  }));
  return (values) => ({
    name,
    sql: compiled.sql,
    parameters: slots.map(({ parameter, constant }) =>
      parameter === undefined ? constant : values[parameter],
    ),
  });
}

/** Returns the value of a parameter that is cast to `text[]`. */
export function toTextArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`).join(',')}}`;
}

const firstTime = Date.parse('0001-01-01T00:00:00Z');
const lastTime = Date.parse('9999-12-31T00:00:00Z');

/** A time as a parameter. ISO 8601 has years that PostgreSQL does not parse; nothing stored is outside of these limits. */
export function toTimeText(ms: number): string {
  return new Date(Math.min(Math.max(ms, firstTime), lastTime)).toISOString();
}

/** A `timestamptz` as a column: ISO 8601 in UTC, with milliseconds. */
export function selectTime(time: RawBuilder<unknown>): RawBuilder<string> {
  return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}

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

/** Of equal reads one is in flight, and at most one waits for its end. */
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
