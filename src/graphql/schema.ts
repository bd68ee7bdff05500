// Builds the executable schema.

import { GraphQLSchema } from 'graphql';
import { builder } from './builder.ts';
import { toChangeQueries, toChangeSubscriptions } from './change.ts';
import { toFleetQueries } from './fleet.ts';
import { addHistoryFields } from './history.ts';
import { toNodeQueries, toNumberQueries } from './queries.ts';

addHistoryFields();

builder.queryType({
  description: 'Reads data of the tenant that the API key belongs to.',
  fields: (t) => ({
    ...toNumberQueries(t),
    ...toFleetQueries(t),
    ...toChangeQueries(t),
    ...toNodeQueries(t),
  }),
});

builder.subscriptionType({
  description: 'Streams data of the tenant that the API key belongs to, as Server-Sent Events.',
  fields: toChangeSubscriptions,
});

export const schema = new GraphQLSchema({
  ...builder.toSchema({ sortSchema: false }).toConfig(),
  description:
    'The WhatsApp numbers of one tenant: whether they are connected, whether they can send messages, and what Meta reports about them. Send the API key in the header `x-api-key`, or as `Authorization: Bearer`.',
  // Without a list, the schema has its types in the order in which the root refers to them.
  types: [],
});
