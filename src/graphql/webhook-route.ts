// Defines whether Meta's webhooks about the account of a number arrive. One statement reads it for all numbers of an operation.

import type { WebhookRoute, WebhookVerdict } from '../numbers/webhook-route.ts';
import { maskEndpoint, webhookVerdicts } from '../numbers/webhook-route.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { MetaDetailsType } from './meta.ts';

const WebhookVerdictEnum = createEnum<WebhookVerdict>(
  'WebhookVerdict',
  "Whether Meta's webhooks about an account arrive at the gateway.",
  webhookVerdicts,
);

/** Who may configure endpoints may see them. */
function toShown(url: string | null, { access }: GraphQLContext): string | null {
  return access.scopes.includes('operate') ? url : maskEndpoint(url);
}

const masked = 'Without the scope `operate`, the part that names the endpoint is `…`.';

const WebhookRouteType = builder.objectRef<WebhookRoute>('WebhookRoute').implement({
  description:
    "The way of Meta's webhooks about an account. They announce at once what reads find minutes later, and some things, such as restrictions, that nothing else tells.",
  fields: (t) => ({
    expectedUrl: t.string({
      nullable: true,
      description: `The URL to enter at Meta, or in the relay that Meta sends to. ${masked} Null if the tenant has no endpoint, or if the gateway does not know its own URL.`,
      resolve: ({ expectedUrl }, _, context) => toShown(expectedUrl, context),
    }),
    actualUrl: t.string({
      nullable: true,
      description: `The URL to which Meta sends events about accounts, as read from Meta, without its query. It may be that of a relay. ${masked} Null if it is not known.`,
      resolve: ({ actualUrl }, _, context) => toShown(actualUrl, context),
    }),
    lastEventAt: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When the last event about the account arrived; null if there was none, or if it was deleted by its age. Messages and their statuses do not count.',
      resolve: ({ lastEventAt }) => lastEventAt?.toISOString() ?? null,
    }),
    lastEventField: t.exposeString('lastEventField', {
      nullable: true,
      description: "What it was about, in Meta's word, for example `account_update`.",
    }),
    verdict: t.expose('verdict', {
      type: WebhookVerdictEnum,
      description:
        'Whether they arrive. It changes with time, so responses with it are never cached.',
    }),
  }),
});

export function addWebhookRoute(): void {
  builder.objectFields(MetaDetailsType, (t) => ({
    webhook: t.loadable({
      type: WebhookRouteType,
      nullable: true,
      description:
        "Whether Meta's webhooks about the account of the number arrive; null if it has no account.",
      load: async (ids: string[], { access, webhookRoutes }) => {
        const found = await webhookRoutes.findByNumbers(access.tenantId, ids);
        return ids.map((id) => found.get(id) ?? null);
      },
      resolve: ({ numberId }) => numberId,
    }),
  }));
}
