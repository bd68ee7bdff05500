// Owns the schema builder: what a resolver is given, the scalars, and how one of our word lists becomes an enum. It knows
// no type of the domain.

import SchemaBuilder from '@pothos/core';
import DataloaderPlugin from '@pothos/plugin-dataloader';
import type { Access } from '../access/access.ts';
import type { HttpRequest } from '../http/message.ts';
import type { Numbers } from '../numbers/numbers.ts';

/** One for each request: DataLoaders are kept by it, so that what one request asks for travels together. */
export interface GraphQLContext {
  readonly access: Access;
  readonly numbers: Numbers;
  /** Its signal is aborted when the caller has gone. */
  readonly request: Pick<HttpRequest, 'headers' | 'signal'>;
  /**
   * The tenant's numbers, once they were asked for. Not in a WeakMap by the context: what that holds outlives the young
   * generation.
   */
  list: ReturnType<Numbers['list']> | null;
  /** How many fields ask for them. */
  lists: number;
}

interface BuilderTypes {
  Context: GraphQLContext;
  Scalars: {
    ID: { Input: string; Output: string };
    /** ISO 8601. */
    DateTime: { Input: never; Output: string };
  };
  DefaultFieldNullability: false;
}

export const builder = new SchemaBuilder<BuilderTypes>({
  plugins: [DataloaderPlugin],
  defaultFieldNullability: false,
});

const isoLength = new Date(0).toISOString().length;

builder.scalarType('DateTime', {
  description: 'A moment in UTC, ISO 8601 with milliseconds, for example 2026-06-30T09:18:33.000Z.',
  specifiedByURL: 'https://scalars.graphql.org/andimarek/date-time.html',
  // Nearly all are in the one form of this length already, and need not be taken apart and put together again.
  serialize: (value) => (value.length === isoLength ? value : new Date(value).toISOString()),
});

/** An enum whose values and their descriptions are the entries of `words`, in their order. */
export function createEnum<Word extends string>(
  name: string,
  description: string,
  words: Readonly<Record<Word, string>>,
) {
  const entries = Object.entries<string>(words).map(([value, meaning]) => [
    value,
    { value, description: meaning },
  ]);
  // The keys of the entries are those of `words`.
  const values = Object.fromEntries(entries) as Record<Word, { value: Word; description: string }>;
  return builder.enumType(name, { description, values });
}
