// Compiles statements once for many executions, each with the name under which PostgreSQL prepares it.

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
  /**
   * Contains a hash of `sql`: processes that share connections through a pooler never use one name for two statements.
   */
  readonly name: string;
  readonly sql: string;
  readonly parameters: readonly string[];
}

/** The selected columns in order, each in PostgreSQL's text format. */
export type TextRow = readonly (string | null)[];

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
