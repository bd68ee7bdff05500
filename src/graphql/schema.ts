// Builds the executable schema.

import { GraphQLSchema } from 'graphql';
import { addAnnouncedFields } from './account-notices.ts';
import { builder } from './builder.ts';
import { toChangeQueries, toChangeSubscriptions } from './change.ts';
import { toFleetQueries } from './fleet.ts';
import { addHistoryFields } from './history.ts';
import { addIncidentField, toIncidentMutations, toIncidentQueries } from './incidents.ts';
import { toOperationMutations } from './operations.ts';
import { toNodeQueries, toNumberQueries } from './queries.ts';
import { toSyncQueries } from './sync.ts';
import { toViewerQueries } from './viewer.ts';
import { addWebhookRoute } from './webhook-route.ts';

addAnnouncedFields();
addWebhookRoute();
addHistoryFields();
addIncidentField();

builder.queryType({
  description: 'Reads data of the tenant that the API key belongs to.',
  fields: (t) => ({
    ...toNumberQueries(t),
    ...toFleetQueries(t),
    ...toChangeQueries(t),
    ...toIncidentQueries(t),
    ...toNodeQueries(t),
    ...toSyncQueries(t),
    ...toViewerQueries(t),
  }),
});

builder.mutationType({
  description:
    'Changes what operators note about the numbers and the incidents of the tenant; nothing changes at Meta. Needs an API key with the scope `operate`; a key that is bound to a number changes this number alone, and the incidents that are about nothing else. Every mutation may be repeated: what is so already is not changed again. What it changes is in `changes`, with the key as its actor. Mutations are sent with POST.',
  fields: (t) => ({ ...toOperationMutations(t), ...toIncidentMutations(t) }),
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
