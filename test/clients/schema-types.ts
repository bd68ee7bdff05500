// What the served schema says about its types, by introspection. The cache settings in README.md are compared with it.

import { buildClientSchema, getIntrospectionQuery, isObjectType } from 'graphql';
import type { GraphQLSchema, IntrospectionQuery } from 'graphql';
import { inject } from 'vitest';

export async function loadSchema(): Promise<GraphQLSchema> {
  const response = await fetch(`${inject('gatewayUrl')}/graphql`, {
    method: 'POST',
    headers: { 'x-api-key': inject('gatewayKey'), 'content-type': 'application/json' },
    body: JSON.stringify({ query: getIntrospectionQuery() }),
  });
  const { data } = (await response.json()) as { data: IntrospectionQuery };
  return buildClientSchema(data);
}

/** The object types, except Query, without an id of their own that is never null. A count has the id of what it counts. */
export function listTypesWithoutId(schema: GraphQLSchema): readonly string[] {
  return Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter(({ name }) => !name.startsWith('__') && name !== 'Query')
    .filter((type) => String(type.getFields()['id']?.type) !== 'ID!' || type.name.endsWith('Count'))
    .map(({ name }) => name)
    .toSorted();
}
