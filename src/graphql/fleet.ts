// Defines the fleet: its connection with totals and facets, and the inputs that filter and order it.

import type { GraphQLResolveInfo } from 'graphql';
import type { FleetConditions, FleetFilter } from '../fleet/filter.ts';
import {
  defaultPageSize,
  type FleetEdge,
  type FleetPage,
  type FleetRequest,
  maxPageSize,
} from '../fleet/fleet.ts';
import {
  defaultOrder,
  type FleetOrder,
  type FleetOrderField,
  type OrderDirection,
} from '../fleet/order.ts';
import type { VocabularyName } from '../numbers/vocabulary.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { FleetFacetsType } from './fleet-facets.ts';
import { fleetSelectionOf } from './fleet-selection.ts';
import { findVocabularyEnum } from './meta.ts';
import { ConnectionStateEnum, ProviderEnum, VerdictEnum, WhatsAppNumberType } from './number.ts';
import { PageInfoType } from './page-info.ts';
import type { QueryFields } from './queries.ts';

const OrderFieldEnum = createEnum<FleetOrderField>(
  'FleetOrderField',
  'What the numbers of a fleet are ordered by. Numbers that are equal in it are ordered by their ids.',
  {
    ATTENTION:
      'How much a number needs attention. DESC begins with the worst: banned or disabled; then those that cannot send; restricted ones; quality RED; failing reads; FLAGGED or quality YELLOW; the rest. Among equals, the one whose values are the oldest comes first.',
    NAME: 'The name, without regard to case and accents.',
    CREATED_AT: 'When the number was added.',
    VERDICT_CHANGED_AT: 'When the verdict, or the connection state, last changed.',
    OBSERVED_AT:
      'When the values that the verdict depends on were last read from WhatsApp. A number that was never read counts as the oldest.',
  },
);

const DirectionEnum = createEnum<OrderDirection>('OrderDirection', 'The direction of an order.', {
  ASC: 'From the lowest value to the highest, or from the oldest to the newest.',
  DESC: 'From the highest value to the lowest, or from the newest to the oldest.',
});

const FleetOrderInput = builder.inputType('FleetOrder', {
  description: 'How the numbers of a fleet are ordered.',
  fields: (t) => ({
    field: t.field({ type: OrderFieldEnum, required: true, description: 'What to order by.' }),
    direction: t.field({ type: DirectionEnum, required: true, description: 'The direction.' }),
  }),
});

type InputFields = PothosSchemaTypes.InputFieldBuilder<
  typeof builder.$inferSchemaTypes,
  'InputObject'
>;

function toConditionFields(t: InputFields) {
  const wordsOf = (name: VocabularyName, description: string) =>
    t.field({ type: [findVocabularyEnum(name)], description });
  return {
    search: t.string({
      description:
        'Part of the name or of the verified name, without regard to case and accents, or digits of the phone number; at most 100 characters.',
    }),
    ids: t.idList({
      description: 'The ids of the numbers; at most 1,000 in this list and in every other one.',
    }),
    providers: t.field({ type: [ProviderEnum], description: 'How the number is connected.' }),
    states: t.field({ type: [ConnectionStateEnum], description: 'The connection state.' }),
    verdicts: t.field({
      type: [VerdictEnum],
      description:
        'Whether the number can start conversations: `health { sendability { verdict } }`.',
    }),
    replyVerdicts: t.field({
      type: [VerdictEnum],
      description: 'Whether the number can reply: `health { sendability { replyVerdict } }`.',
    }),
    qualityRatings: wordsOf('QualityRating', 'The quality rating in `health`.'),
    metaStatuses: wordsOf('MetaStatus', 'The status at Meta in `health`.'),
    messagingLimitTiers: wordsOf('MessagingLimitTier', 'The messaging limit in `health`.'),
    wabaIds: t.idList({ description: "Meta's ids of WhatsApp Business accounts." }),
    portfolioIds: t.idList({ description: "Meta's ids of business portfolios; see `portfolio`." }),
    labels: t.stringList({
      description: 'Labels of numbers, each as `key=value`; see `labels` of a number.',
    }),
    stale: t.boolean({
      description:
        'Whether the values that the verdict depends on are more than an hour old, or were never read.',
    }),
    failing: t.boolean({
      description: 'Whether the last attempt to read any part of the number failed.',
    }),
    restricted: t.boolean({
      description: 'Whether the status at Meta is RESTRICTED.',
    }),
    changedSince: t.field({
      type: 'DateTime',
      description:
        'Numbers whose verdict or connection state has changed at this time or later. A verdict also changes when the values that it depends on become too old.',
    }),
  };
}

const FleetExclusionInput = builder.inputType('FleetExclusion', {
  description:
    'Leaves out the numbers that match all of these members. With no members, no number is left out.',
  fields: toConditionFields,
});

export const FleetFilterInput = builder.inputType('FleetFilter', {
  description:
    'Selects numbers that match all of its members. A list matches any of its values, and an empty list matches no number. Members that are null do not filter.',
  fields: (t) => ({
    ...toConditionFields(t),
    not: t.field({
      type: FleetExclusionInput,
      description: 'Numbers to leave out: those that match all of its members.',
    }),
  }),
});

const FleetEdgeType = builder.objectRef<FleetEdge>('FleetEdge').implement({
  description: 'A number of the page, with its cursor.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', {
      description: 'Where the number is in the order, for `after` or `before`.',
    }),
    node: t.field({
      type: WhatsAppNumberType,
      description: 'The number.',
      // It is read when the field is selected.
      resolve: (edge) => edge.node!,
    }),
  }),
});

const FleetConnectionType = builder.objectRef<FleetPage>('FleetConnection').implement({
  description: 'A page of the numbers that match the filter, and what they have in total.',
  fields: (t) => ({
    totalCount: t.int({
      description: 'How many numbers match the filter, on all pages.',
      // It is counted when it or the facets are selected.
      resolve: (page) => page.counts!.totalCount,
    }),
    facets: t.field({
      type: FleetFacetsType,
      description: 'How many numbers there are of each kind, on all pages.',
      resolve: (page) => page.counts!,
    }),
    nodes: t.field({
      type: [WhatsAppNumberType],
      description: 'The numbers of the page.',
      resolve: (page) => page.edges.map((edge) => edge.node!),
    }),
    edges: t.expose('edges', {
      type: [FleetEdgeType],
      description: 'The numbers of the page, each with its cursor.',
    }),
    pageInfo: t.field({
      type: PageInfoType,
      description: 'Whether there are more pages, and how to get them.',
      resolve: (page) => page,
    }),
    feedCursor: t.string({
      description:
        'Where to continue with `changes`: every change up to this cursor is in this answer. It is read in the same snapshot. To load a fleet and then keep it up to date, take that of the first page, and apply every change after it.',
      // It is read when the field is selected.
      resolve: (page) => page.feedCursor!,
    }),
    asOf: t.expose('asOf', {
      type: 'DateTime',
      description:
        'The time at which the filter, the order, the verdicts and the ages of this page apply. All pages that are requested with the cursors of a page have its time.',
    }),
  }),
});

export function toFleetQueries(t: QueryFields) {
  return {
    fleet: t.field({
      type: FleetConnectionType,
      description:
        'The numbers of the tenant with their stored values, filtered, ordered and in pages, with totals and facets. Nothing is read from WhatsApp. A number whose sort key does not change during the walk is seen exactly once. A walk over all pages may take an hour.',
      args: {
        filter: t.arg({ type: FleetFilterInput, description: 'Which numbers; all if it is null.' }),
        orderBy: t.arg({
          type: FleetOrderInput,
          defaultValue: defaultOrder,
          description: 'The order of the numbers.',
        }),
        first: t.arg.int({
          description: `How many numbers to return from the beginning, or after the cursor \`after\`; ${defaultPageSize} unless given, at most ${maxPageSize}.`,
        }),
        after: t.arg.string({ description: 'The cursor of the number before the page.' }),
        last: t.arg.int({
          description: `How many numbers to return from the end, or before the cursor \`before\`; at most ${maxPageSize}. Not together with \`first\`.`,
        }),
        before: t.arg.string({ description: 'The cursor of the number after the page.' }),
      },
      resolve: resolveFleet,
    }),
  };
}

type FleetArguments = Pick<FleetRequest, 'first' | 'after' | 'last' | 'before'> & {
  readonly filter?: (FleetConditions & Pick<FleetFilter, 'not'>) | null | undefined;
  readonly orderBy?: FleetOrder | null | undefined;
};

async function resolveFleet(
  _root: unknown,
  { filter, orderBy, ...window }: FleetArguments,
  { fleet, access }: GraphQLContext,
  info: GraphQLResolveInfo,
): Promise<FleetPage> {
  return await fleet.list(access, {
    ...window,
    filter: filter ?? {},
    order: orderBy ?? defaultOrder,
    selection: fleetSelectionOf(info),
  });
}
