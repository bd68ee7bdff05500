// Defines Query.viewer: whose data the API key reads, and what the key allows.

import type { Access } from '../access/access.ts';
import { type KeyScope, keyScopes } from '../access/key.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import type { QueryFields } from './queries.ts';

const KeyScopeEnum = createEnum<Uppercase<KeyScope>>('KeyScope', 'What an API key allows.', {
  READ: keyScopes.read,
  OPERATE: keyScopes.operate,
  WEBHOOKS: keyScopes.webhooks,
});

const ViewerType = builder.objectRef<Access>('Viewer').implement({
  description: 'The API key of this request.',
  fields: (t) => ({
    tenantName: t.string({
      description: 'The name of the tenant that the key belongs to.',
      resolve: async ({ tenantId }, _args, { tenants }: GraphQLContext) =>
        (await tenants.getTenant(tenantId)).name,
    }),
    scopes: t.field({
      type: [KeyScopeEnum],
      description: 'What the key allows.',
      resolve: ({ scopes }) => scopes.map((scope) => scope.toUpperCase() as Uppercase<KeyScope>),
    }),
    numberId: t.exposeID('numberId', {
      nullable: true,
      description:
        'The number that the key is bound to; null for a key of the whole tenant. Such a key reads all numbers, and changes this number alone.',
    }),
  }),
});

export function toViewerQueries(t: QueryFields) {
  return {
    viewer: t.field({
      type: ViewerType,
      description: 'Whose data the API key of this request reads, and what the key allows.',
      resolve: (_root, _args, { access }) => access,
    }),
  };
}
