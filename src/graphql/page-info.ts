// Defines the page info of connections.

import { builder } from './builder.ts';

/** What a page must have. */
interface Page {
  readonly edges: readonly { readonly cursor: string }[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

export const PageInfoType = builder.objectRef<Page>('PageInfo').implement({
  description: 'Where the page is in the whole list. It follows the Relay specification.',
  fields: (t) => ({
    hasNextPage: t.exposeBoolean('hasNextPage', {
      description: 'Whether more follow; request them with `after: endCursor`.',
    }),
    hasPreviousPage: t.exposeBoolean('hasPreviousPage', {
      description:
        'Whether any come before; a fleet has them with `last` and `before: startCursor`.',
    }),
    startCursor: t.string({
      nullable: true,
      description: 'The cursor of the first item of the page; null if the page is empty.',
      resolve: (page) => page.edges[0]?.cursor ?? null,
    }),
    endCursor: t.string({
      nullable: true,
      description: 'The cursor of the last item of the page; null if the page is empty.',
      resolve: (page) => page.edges.at(-1)?.cursor ?? null,
    }),
  }),
});
