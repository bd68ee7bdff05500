// The route of the fleet: its query parameters and its handler.

import { prices } from '../access/prices.ts';
import { type FleetConditions, type FleetFilter, flagMembers } from '../fleet/filter.ts';
import {
  defaultAccounts,
  defaultPageSize,
  type Fleet,
  type FleetCounts,
  type FleetPage,
  maxPageSize,
} from '../fleet/fleet.ts';
import {
  defaultDirectionOf,
  defaultOrder,
  directions,
  type FleetOrder,
  orderFields,
} from '../fleet/order.ts';
import { connectionStates, providers } from '../numbers/provider.ts';
import { verdicts } from '../numbers/reason.ts';
import { wordsOf } from './fleet-schemas.ts';
import { includable, toIncluded, withIncluded } from './included.ts';
import { type HandlerInput, listProjection, readInclude, toListItem } from './numbers.ts';
import type { QueryParameter } from './openapi.ts';
import { createParameterError, type DataRoute } from './route.ts';
import { isTime } from './time.ts';

const path = '/v1/fleet';

export function createFleetRoute(fleet: Fleet): DataRoute {
  return {
    method: 'GET',
    path,
    operationId: 'listFleet',
    tag: 'Numbers',
    summary: 'Filter, order, page and count the numbers',
    description:
      'A page of the numbers that match all filters, with their stored values, and how many there are on all pages. Nothing is read live. Request the next page with `cursor`, or follow the `Link` header. A number whose sort key does not change during the walk is seen exactly once. On all pages of a walk, the filters, the verdicts and the ages apply at the time of the first page; a walk may take an hour. Other query parameters are refused.',
    query: parameters,
    refusesOthers: true,
    reply: 'FleetPage',
    errors: ['INVALID_CURSOR', 'CURSOR_EXPIRED'],
    handler: (input) => listPage(fleet, input),
    maxPrice: ({ limit }) =>
      prices.fleet + prices.fleetCounts + readLimit(limit) * prices.fleetNode,
    isFixedPrice: true,
    isStored: () => true,
    toHeaders: (value, query) => toLink(value as { readonly next: string | null }, query),
  };
}

async function listPage(fleet: Fleet, { access, query }: HandlerInput) {
  const include = readInclude(query);
  const hasFacets = readList(query['include'])?.includes('facets') === true;
  const { edges, counts, hasNextPage } = await fleet.list(access, {
    filter: readFilter(query),
    order: readOrder(query),
    first: readLimit(query['limit']),
    after: query['cursor'],
    selection: {
      facets: true,
      wabas: hasFacets ? defaultAccounts : null,
      portfolios: hasFacets ? defaultAccounts : null,
      labels: hasFacets ? defaultAccounts : null,
      page: true,
      projection: withIncluded(listProjection, include),
    },
  });
  return {
    data: toItems(edges, include),
    // The total was selected.
    total: counts!.totalCount,
    ...(hasFacets && { facets: toFacets(counts!) }),
    next: hasNextPage ? (edges.at(-1)?.cursor ?? null) : null,
  };
}

function toItems(edges: FleetPage['edges'], include: ReturnType<typeof readInclude>) {
  // They were selected.
  return edges.map(({ node }) => Object.assign(toListItem(node!), toIncluded(node!, include)));
}

function toFacets({ facets, wabas, portfolios, labels }: FleetCounts) {
  return { ...facets, waba: wabas, portfolio: portfolios, label: labels };
}

/** https://www.rfc-editor.org/rfc/rfc8288 */
function toLink({ next }: { readonly next: string | null }, query: HandlerInput['query']) {
  if (next === null) return {};
  const search = new URLSearchParams({ ...query, cursor: next });
  return { link: `<${path}?${search}>; rel="next"` } as const;
}

/** The names of the conditions here, which are those of a number, and in the filter. */
const lists = {
  id: 'ids',
  provider: 'providers',
  state: 'states',
  verdict: 'verdicts',
  replyVerdict: 'replyVerdicts',
  qualityRating: 'qualityRatings',
  metaStatus: 'metaStatuses',
  messagingLimitTier: 'messagingLimitTiers',
  wabaId: 'wabaIds',
  portfolioId: 'portfolioIds',
  label: 'labels',
} as const satisfies Record<string, keyof FleetConditions>;

function readFilter(query: HandlerInput['query']): FleetFilter {
  return { ...readConditions(query, ''), not: readConditions(query, exclusion) };
}

const exclusion = 'not.';

function readConditions(query: HandlerInput['query'], prefix: string): FleetConditions {
  const ofLists = Object.entries(lists).map(([name, member]) => [
    member,
    readList(query[`${prefix}${name}`]),
  ]);
  const ofFlags = flagMembers.map((name) => {
    const value = query[`${prefix}${name}`];
    return [name, value === undefined ? undefined : value === 'true'];
  });
  return {
    ...Object.fromEntries([...ofLists, ...ofFlags]),
    search: query[`${prefix}search`],
    changedSince: readTime(query[`${prefix}changedSince`]),
  };
}

function readList(text: string | undefined): readonly string[] | undefined {
  return text?.split(',');
}

function readTime(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (isTime(text)) return text;
  throw createParameterError('changedSince', 'once, as a time such as 2026-06-30T09:18:33Z');
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return defaultPageSize;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : Infinity;
  if (limit <= maxPageSize) return limit;
  throw createParameterError('limit', `once, as a number from 0 to ${maxPageSize}`);
}

function readOrder({ orderBy, direction }: HandlerInput['query']): FleetOrder {
  // The route has checked both.
  const field = (orderBy ?? defaultOrder.field) as FleetOrder['field'];
  return { field, direction: (direction ?? defaultDirectionOf(field)) as FleetOrder['direction'] };
}

const listsOfText = { isList: true, schema: { type: 'string' } } as const;

const conditions: readonly QueryParameter[] = [
  {
    name: 'search',
    schema: { type: 'string', maxLength: 100 },
    description:
      'Part of the name or of the verified name, without regard to case and accents, or digits of the phone number.',
  },
  { name: 'id', ...listsOfText, description: 'Ids of numbers.' },
  {
    name: 'provider',
    values: providers,
    isList: true,
    description: 'How the number is connected.',
  },
  { name: 'state', values: connectionStates, isList: true, description: 'The connection state.' },
  {
    name: 'verdict',
    values: verdicts,
    isList: true,
    description: 'Whether the number can start conversations.',
  },
  { name: 'replyVerdict', values: verdicts, isList: true, description: 'Whether it can reply.' },
  {
    name: 'qualityRating',
    values: wordsOf('QualityRating'),
    isList: true,
    description: 'The quality rating. UNRECOGNIZED stands for words that this API does not know.',
  },
  {
    name: 'metaStatus',
    values: wordsOf('MetaStatus'),
    isList: true,
    description: 'The status at Meta.',
  },
  {
    name: 'messagingLimitTier',
    values: wordsOf('MessagingLimitTier'),
    isList: true,
    description: 'The messaging limit.',
  },
  { name: 'wabaId', ...listsOfText, description: "Meta's ids of WhatsApp Business accounts." },
  { name: 'portfolioId', ...listsOfText, description: "Meta's ids of business portfolios." },
  { name: 'label', ...listsOfText, description: 'Labels, each `key=value`.' },
  {
    name: 'stale',
    values: ['true', 'false'],
    description:
      'Whether the values that the verdict depends on are more than an hour old, or were never read.',
  },
  {
    name: 'failing',
    values: ['true', 'false'],
    description: 'Whether the last attempt to read any part of the number failed.',
  },
  {
    name: 'restricted',
    values: ['true', 'false'],
    description: 'Whether the status at Meta is RESTRICTED.',
  },
  {
    name: 'changedSince',
    schema: { type: 'string', format: 'date-time' },
    description: 'Numbers whose verdict or connection state has changed at this time or later.',
  },
];

const parameters: readonly QueryParameter[] = [
  ...conditions,
  ...conditions.map((condition) =>
    Object.assign(
      { ...condition },
      {
        name: `${exclusion}${condition.name}`,
        description: `Leaves out the numbers that match all parameters that begin with \`${exclusion}\`. ${condition.description}`,
      },
    ),
  ),
  {
    name: 'orderBy',
    values: orderFields,
    description:
      'ATTENTION, unless given: the worst come first. The other orders are by name, and by the time of creation, of the last change of the verdict, and of the last read.',
  },
  {
    name: 'direction',
    values: directions,
    description: 'ASC for NAME, and DESC for the others, unless given.',
  },
  {
    name: 'limit',
    schema: { type: 'integer', minimum: 0, maximum: maxPageSize, default: defaultPageSize },
    description: 'How many numbers the page has.',
  },
  {
    name: 'cursor',
    schema: { type: 'string' },
    description: 'The `next` of the page before. Send the filters and the order of that page too.',
  },
  {
    name: 'include',
    values: [...includable, 'facets'],
    isList: true,
    description:
      'sendability, freshness and operations: members of each number, as in the list. facets: how many numbers there are of each kind. A facet ignores the parameter that has its name.',
  },
];
