// The use case of the fleet: a page of the tenant's numbers in an order, with totals and facets over all that match.

import type { Access } from '../access/access.ts';
import type { Database } from '../database/database.ts';
import { encodeCursor as encodeFeedCursor } from '../history/cursor.ts';
import { limitValidity } from '../http/request-context.ts';
import { staleAfterSeconds, type WhatsAppNumber } from '../numbers/number.ts';
import type { StoredNumber } from '../numbers/stored-number.ts';
import { createConversion, type NumbersOptions } from '../numbers/numbers.ts';
import type { Projection } from '../numbers/projection.ts';
import { traceRead } from '../tracing.ts';
import { type Cursor, decodeCursor, encodeCursor, type Walk } from './cursor.ts';
import {
  type AccountCount,
  countFacets,
  countTotal,
  type FleetFacets,
  type PortfolioCount,
  type Summary,
  type WordCount,
} from './facets.ts';
import { createInvalid, type FleetFilter, hashFilter, normalizeFilter } from './filter.ts';
import { type FleetRows, readFleet } from './fleet-queries.ts';
import type { FleetOrder } from './order.ts';
import type { Counted, PageRequest } from './read-shape.ts';

export interface FleetRequest {
  readonly filter: FleetFilter;
  readonly order: FleetOrder;
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly last?: number | null | undefined;
  readonly before?: string | null | undefined;
  readonly selection: FleetSelection;
}

/** What is read. */
export interface FleetSelection extends Counted {
  /** Whether the numbers of the page are read, or their cursors. */
  readonly page: boolean;
  /** What is read of the numbers; null for their cursors alone. */
  readonly projection: Projection | null;
}

export interface FleetEdge {
  readonly cursor: string;
  /** Null without a projection. */
  readonly node: WhatsAppNumber | null;
}

export interface FleetPage {
  /** ISO 8601: the moment at which the page was judged. */
  readonly asOf: string;
  /** Null unless it was selected. */
  readonly counts: FleetCounts | null;
  /** Of the last change that the page shows; null unless it was selected. */
  readonly feedCursor: string | null;
  readonly edges: readonly FleetEdge[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

export interface FleetCounts {
  readonly totalCount: number;
  readonly facets: FleetFacets;
  /** Empty unless they were selected. */
  readonly wabas: readonly AccountCount[];
  readonly portfolios: readonly PortfolioCount[];
  readonly labels: readonly WordCount[];
}

export interface Fleet {
  /**
   * Throws INVALID_REQUEST for limits that are exceeded, and INVALID_CURSOR or CURSOR_EXPIRED. A walk over all pages visits
   * a number whose sort key does not change exactly once.
   */
  list(access: Access, request: FleetRequest): Promise<FleetPage>;
}

export type FleetOptions = Pick<NumbersOptions, 'providers' | 'now' | 'sync'> & {
  readonly database: Database;
};

export const defaultPageSize = 50;
export const maxPageSize = 200;
/** Accounts, portfolios and labels of a facet, unless the caller asks for another number of them. */
export const defaultAccounts = 20;
export const maxAccounts = 100;

/** The cursors of a response that is served again must not expire before they are used. */
const maxValidityMs = 600_000;

export function createFleet(options: FleetOptions): Fleet {
  return {
    list: (access, request) => traceRead('list fleet', () => listFleet(options, access, request)),
  };
}

async function listFleet(
  options: FleetOptions,
  { tenantId, meter }: Access,
  request: FleetRequest,
): Promise<FleetPage> {
  const { order, selection } = request;
  const now = options.now();
  const { limit, isBackward, cursor: text } = toWindow(request);
  const filter = normalizeFilter(request.filter);
  const ofWalk = { order, filter: hashFilter(filter) };
  const cursor: Cursor | null = text === null ? null : decodeCursor(text, ofWalk, now);
  const walk = { ...ofWalk, asOf: cursor?.asOf ?? now };
  const page: PageRequest | null = selection.page
    ? { limit: limit + 1, isBackward, keys: cursor?.keys ?? null, projection: selection.projection }
    : null;
  const read = await readFleet(options.database, tenantId, {
    filter,
    order,
    asOf: walk.asOf,
    page,
    counted: selection,
    connectionsAreRead: options.providers.PILOT_STATUS.blocks.length > 0,
    now,
  });
  limitValidity(meter, new Date(walk.asOf.getTime() + maxValidityMs));
  const expiresAt = toExpiry(read.summary);
  if (expiresAt !== null) limitValidity(meter, expiresAt);
  const { projection } = selection;
  const { feedPosition } = read.summary;
  const convert =
    projection && createConversion({ ...options, now: () => walk.asOf }, projection, meter);
  return {
    asOf: walk.asOf.toISOString(),
    feedCursor: feedPosition === undefined ? null : encodeFeedCursor(feedPosition),
    counts: selection.facets ? toCounts(read.summary, filter) : null,
    ...toEdges(read, walk, { limit, isBackward, isFirst: cursor === null }, convert),
  };
}

interface Window {
  readonly limit: number;
  readonly isBackward: boolean;
  readonly cursor: string | null;
}

function toWindow({ first, after, last, before }: FleetRequest): Window {
  if (isGiven(first) && isGiven(last)) throw createInvalid('Send first or last, not both.');
  if (isGiven(after) && isGiven(before)) throw createInvalid('Send after or before, not both.');
  const isBackward = isGiven(last);
  if (isBackward ? isGiven(after) : isGiven(before)) {
    throw createInvalid('Send after with first, and before with last.');
  }
  const limit = (isBackward ? last : first) ?? defaultPageSize;
  if (!Number.isInteger(limit) || limit < 0 || limit > maxPageSize) {
    throw createInvalid(`A page has from 0 to ${maxPageSize} numbers.`);
  }
  return { limit, isBackward, cursor: (isBackward ? before : after) ?? null };
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined;
}

function toExpiry({ nextObservedAt }: Summary): Date | null {
  if (nextObservedAt === null) return null;
  return new Date(Date.parse(nextObservedAt) + (staleAfterSeconds + 1) * 1_000);
}

function toCounts(summary: Summary, filter: ReturnType<typeof normalizeFilter>): FleetCounts {
  const buckets = summary.buckets ?? [];
  return {
    totalCount: countTotal(buckets, filter),
    facets: countFacets(buckets, filter),
    wabas: summary.wabas ?? [],
    portfolios: summary.portfolios ?? [],
    labels: summary.labels ?? [],
  };
}

function toEdges(
  { rows }: FleetRows,
  walk: Walk,
  { limit, isBackward, isFirst }: Omit<Window, 'cursor'> & { readonly isFirst: boolean },
  convert: ((stored: StoredNumber) => WhatsAppNumber) | null,
): Pick<FleetPage, 'edges' | 'hasNextPage' | 'hasPreviousPage'> {
  const ofPage = rows.slice(0, limit);
  const edges = ofPage.map(({ keys, stored }) => ({
    cursor: encodeCursor(walk, keys),
    node: stored === null || convert === null ? null : convert(stored),
  }));
  const hasMore = rows.length > limit;
  return {
    edges: isBackward ? edges.toReversed() : edges,
    // The number of the cursor itself is on the other side of the page.
    hasNextPage: isBackward ? !isFirst : hasMore,
    hasPreviousPage: isBackward ? hasMore : !isFirst,
  };
}
