// What a caller reads of a fleet, and its shape: what the text of the statement depends on.

import type { Projection } from '../numbers/projection.ts';
import { type NumberSelection, selectNumbers } from '../numbers/selection-queries.ts';
import type { Member, NormalFilter } from './filter.ts';
import { listMembers } from './filter-queries.ts';
import { type FleetOrder, isAscending } from './order.ts';

export interface Counted {
  /** Whether the buckets are counted, for totals and facets. */
  readonly facets: boolean;
  /** How many accounts; null when they are not counted. */
  readonly wabas: number | null;
  readonly portfolios: number | null;
  /** How many labels; null or absent when they are not counted. */
  readonly labels?: number | null;
  /** Whether the place in the feed of changes is read; false if absent. */
  readonly feedPosition?: boolean;
}

export interface PageRequest {
  readonly limit: number;
  /** From the end of the order towards its beginning. */
  readonly isBackward: boolean;
  /** The keys of the number before the page, in the direction of the page; null for the first page. */
  readonly keys: readonly string[] | null;
  /** What is read of the numbers; null for their keys alone. */
  readonly projection: Projection | null;
}

export interface FleetRead {
  readonly tenantId: string;
  readonly filter: NormalFilter;
  readonly order: FleetOrder;
  readonly asOf: Date;
  /** Null when no number is read. */
  readonly page: PageRequest | null;
  readonly counted: Counted;
  /** Whether a session engine is configured. */
  readonly connectionsAreRead: boolean;
  /** The remaining lifetime of keys counts from it. */
  readonly now: Date;
}

export interface Shape {
  readonly order: FleetOrder;
  readonly is: readonly Member[];
  readonly not: readonly Member[];
  readonly page: { readonly isAscending: boolean; readonly hasKeys: boolean } | null;
  readonly selection: NumberSelection | null;
  readonly counted: { readonly [Part in keyof Counted]-?: boolean };
  readonly connectionsAreRead: boolean;
}

export function toShape({ filter, order, page, counted, connectionsAreRead }: FleetRead): Shape {
  return {
    order,
    is: listMembers(filter.is),
    not: listMembers(filter.not),
    page: page && {
      isAscending: isAscending(order) !== page.isBackward,
      hasKeys: page.keys !== null,
    },
    selection: selectionOf(page),
    counted: {
      facets: counted.facets,
      wabas: counted.wabas !== null,
      portfolios: counted.portfolios !== null,
      labels: (counted.labels ?? null) !== null,
      feedPosition: counted.feedPosition === true,
    },
    connectionsAreRead,
  };
}

export function selectionOf(page: PageRequest | null): NumberSelection | null {
  return page?.projection ? selectNumbers(page.projection) : null;
}
