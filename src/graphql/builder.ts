// Creates the schema builder, with the context of resolvers, the scalars, and a function for enums.

import SchemaBuilder from '@pothos/core';
import DataloaderPlugin from '@pothos/plugin-dataloader';
import { GraphQLError } from 'graphql';
import type { Access, AccessControl } from '../access/access.ts';
import type { Incidents } from '../alerts/incidents.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Operations } from '../fleet/operations.ts';
import type { History } from '../history/history.ts';
import type { OpenStream } from '../http/event-stream.ts';
import type { HttpRequest } from '../http/message.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { Sync } from '../sync/sync.ts';
import type { WebhookRoutes } from '../numbers/webhook-route.ts';

/** A new object for each operation, by which the plugin keeps its DataLoaders. */
export interface GraphQLContext {
  readonly access: Access;
  readonly numbers: Numbers;
  readonly fleet: Fleet;
  readonly history: History;
  readonly operations: Operations;
  readonly sync: Pick<Sync, 'report'>;
  readonly incidents: Incidents;
  readonly webhookRoutes: WebhookRoutes;
  readonly tenants: Pick<AccessControl, 'getTenant'>;
  /** Of a subscription: its source must end when one of the two signals is aborted. Null otherwise. */
  readonly stream: OpenStream | null;
  /** Its signal is aborted when the caller has disconnected. */
  readonly request: Pick<HttpRequest, 'method' | 'headers' | 'signal'>;
  /** The list that all `numbers` fields of the operation share; null until the first one is resolved. */
  sharedList: ReturnType<Numbers['list']> | null;
  /** How many `numbers` fields have been resolved. */
  listFields: number;
  /** Points that mutations have charged while they ran; see `chargeMore`. */
  morePoints: number;
  /** Charges for what a price cannot know in advance. Throws RATE_LIMITED. */
  readonly chargeMore: (context: GraphQLContext, points: number) => Promise<void>;
}

interface BuilderTypes {
  Context: GraphQLContext;
  Scalars: {
    ID: { Input: string; Output: string };
    /** ISO 8601. */
    DateTime: { Input: string; Output: string };
  };
  DefaultFieldNullability: false;
}

export const builder = new SchemaBuilder<BuilderTypes>({
  plugins: [DataloaderPlugin],
  defaultFieldNullability: false,
});

const isoLength = new Date(0).toISOString().length;

builder.scalarType('DateTime', {
  description:
    'Date and time in UTC, in ISO 8601 with milliseconds, for example 2026-06-30T09:18:33.000Z.',
  specifiedByURL: 'https://scalars.graphql.org/andimarek/date-time.html',
  parseValue: parseDateTime,
  // A value of this length is in this format already.
  serialize: (value) => (value.length === isoLength ? value : new Date(value).toISOString()),
});

const isoFormat = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/** In any time zone; returned in UTC. */
function parseDateTime(value: unknown): string {
  const time = typeof value === 'string' && isoFormat.test(value) ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(time)) return new Date(time).toISOString();
  throw new GraphQLError(
    'DateTime needs a text in ISO 8601 with a time zone, for example 2026-06-30T09:18:33Z.',
  );
}

/** Creates an enum. `words` has the description of each value, in the order of the values. */
export function createEnum<Word extends string>(
  name: string,
  description: string,
  words: Readonly<Record<Word, string>>,
) {
  const entries = Object.entries<string>(words).map(([value, meaning]) => [
    value,
    { value, description: meaning },
  ]);
  // The entries have the keys of `words`.
  const values = Object.fromEntries(entries) as Record<Word, { value: Word; description: string }>;
  return builder.enumType(name, { description, values });
}
