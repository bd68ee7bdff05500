// Owns statements that are made once and asked often: what stands for a value until there is one, and the name under
// which PostgreSQL remembers the statement.

import { createHash } from 'node:crypto';
import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
} from 'kysely';
import type { Tables } from './tables.ts';

export interface Statement {
  /** Follows from `sql`: whatever process prepared it on a shared connection, one name never means two statements. */
  readonly name: string;
  readonly sql: string;
  readonly parameters: readonly string[];
}

/** The columns in the order in which they were selected, each as PostgreSQL writes it. No two may have one name. */
export type TextRow = readonly (string | null)[];

/** Builds statements, and cannot execute any. */
export const queries = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (database) => new PostgresIntrospector(database),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
});

/**
 * Compiles the statement that `build` makes, once; what comes back puts the values in. All values travel as text, and
 * so do all columns: what is shown as it is stored is never decoded.
 */
export function prepare<const Parameter extends string>(
  title: string,
  parameters: readonly Parameter[],
  build: (values: Readonly<Record<Parameter, string>>) => Compilable | RawBuilder<unknown>,
): (values: Readonly<Record<Parameter, string>>) => Statement {
  const places = new Map<unknown, Parameter>(
    parameters.map((parameter) => [Object.freeze({ parameter }), parameter]),
  );
  // The builder takes any object for a value that it need not look at, and hands it back as a parameter.
  const standIns = Object.fromEntries(
    places.entries().map(([standIn, parameter]) => [parameter, standIn]),
  ) as Record<Parameter, string>;
  const compiled = build(standIns).compile(queries);
  const hash = createHash('sha256').update(compiled.sql).digest('base64url').slice(0, 16);
  const name = `${title}_${hash}`;
  const slots = compiled.parameters.map((value) => ({
    parameter: places.get(value),
    known: String(value),
  }));
  return (values) => ({
    name,
    sql: compiled.sql,
    parameters: slots.map(({ parameter, known }) =>
      parameter === undefined ? known : values[parameter],
    ),
  });
}

/** The value of a parameter that is cast to `text[]`. */
export function toTextArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`).join(',')}}`;
}
