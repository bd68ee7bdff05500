// Owns the schema as a whole: what can be asked at its root, made executable.

import { GraphQLSchema } from 'graphql';
import { builder } from './builder.ts';
import { toNumberQueries } from './number.ts';

builder.queryType({
  description: 'What can be asked. Everything is about the tenant of the API key.',
  fields: toNumberQueries,
});

export const schema = new GraphQLSchema({
  ...builder.toSchema({ sortSchema: false }).toConfig(),
  description:
    'The WhatsApp numbers of a tenant: connection, health, and what Meta knows about them. Send the API key in the header `x-api-key`.',
  // Without a list, types come in the order in which the root leads to them, which is the best one to read.
  types: [],
});
