// What the board shows, as its address holds it: filters, order, grouping, page, the open number or incident. Pure.

import type { FleetFilter, FleetRequest } from './queries.ts';

export const verdicts = ['NO', 'UNKNOWN', 'YES'] as const;
export const qualities = ['RED', 'YELLOW', 'GREEN'] as const;
export const flags = ['restricted', 'stale', 'failing'] as const;

/** The orders, by their names in the address. */
export const orders = {
  attention: { field: 'ATTENTION', direction: 'DESC', label: 'Worst first' },
  changed: { field: 'VERDICT_CHANGED_AT', direction: 'DESC', label: 'Changed last' },
  oldest: { field: 'OBSERVED_AT', direction: 'ASC', label: 'Oldest reading' },
  name: { field: 'NAME', direction: 'ASC', label: 'Name' },
  added: { field: 'CREATED_AT', direction: 'DESC', label: 'Added last' },
} as const;

export const groupings = {
  none: 'No groups',
  account: 'By account',
  portfolio: 'By portfolio',
} as const;

export type Flag = (typeof flags)[number];
export type Order = keyof typeof orders;
/** `label:` is followed by the key of a label. */
export type Grouping = keyof typeof groupings | `label:${string}`;

export interface View {
  readonly verdicts: readonly string[];
  readonly qualities: readonly string[];
  readonly flags: readonly Flag[];
  readonly accounts: readonly string[];
  readonly portfolios: readonly string[];
  /** Each as `key=value`. */
  readonly labels: readonly string[];
  readonly search: string;
  readonly order: Order;
  readonly group: Grouping;
  /** Cursors; at most one is not null. */
  readonly after: string | null;
  readonly before: string | null;
  /** The open number. */
  readonly numberId: string | null;
  /** Whether the incidents are shown in the place of the numbers: those that last, or those that are over. */
  readonly incidents: 'OPEN' | 'CLOSED' | null;
  /** The open incident, if incidents are shown. */
  readonly incidentId: string | null;
  /** For a screen on the wall. */
  readonly isWall: boolean;
  /** Which of the demo's keys, beginning with 1. */
  readonly demo: number;
}

const numberPath = /^\/board\/numbers\/([^/]+)\/?$/;
const incidentPath = /^\/board\/incidents(?:\/([^/]+))?\/?$/;

export function parseAddress({ pathname, search }: Pick<URL, 'pathname' | 'search'>): View {
  const query = new URLSearchParams(search);
  const list = (name: string) => [...new Set((query.get(name) ?? '').split(',').filter(Boolean))];
  const known = <Value extends string>(name: string, values: readonly Value[]) =>
    values.filter((value) => list(name).includes(value));
  const numberId = numberPath.exec(pathname)?.[1];
  const incidents = incidentPath.exec(pathname);
  const incidentId = incidents?.[1];
  const before = query.get('before');
  return {
    verdicts: known('verdict', verdicts),
    qualities: known('quality', qualities),
    flags: known('only', flags),
    accounts: list('account'),
    portfolios: list('portfolio'),
    labels: list('label'),
    search: (query.get('q') ?? '').slice(0, maxSearchLength),
    order: oneOf(orders, query.get('order'), 'attention'),
    group: parseGroup(query.get('group')),
    after: before === null ? query.get('after') : null,
    before,
    numberId: numberId === undefined ? null : decode(numberId),
    incidents: incidents === null ? null : query.get('state') === 'closed' ? 'CLOSED' : 'OPEN',
    incidentId: incidentId === undefined ? null : decode(incidentId),
    isWall: query.get('wall') === '1',
    demo: Math.max(1, Math.trunc(Number(query.get('demo')) || 1)),
  };
}

function parseGroup(text: string | null): Grouping {
  return text?.startsWith('label:') === true && text.length > 'label:'.length
    ? (text as Grouping)
    : oneOf(groupings, text, 'none');
}

/** That of FleetFilter. */
export const maxSearchLength = 100;

function oneOf<Name extends string>(
  known: Readonly<Record<Name, unknown>>,
  name: string | null,
  otherwise: Name,
): Name {
  return name !== null && Object.hasOwn(known, name) ? (name as Name) : otherwise;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function formatAddress(view: View): string {
  const { order, group, demo } = view;
  const parts: readonly (readonly [name: string, value: string])[] = [
    ['verdict', view.verdicts.join(',')],
    ['quality', view.qualities.join(',')],
    ['only', view.flags.join(',')],
    ['account', view.accounts.join(',')],
    ['portfolio', view.portfolios.join(',')],
    ['label', view.labels.join(',')],
    ['q', view.search],
    ['order', order === 'attention' ? '' : order],
    ['group', group === 'none' ? '' : group],
    ['after', view.after ?? ''],
    ['before', view.before ?? ''],
    ['state', view.incidents === 'CLOSED' ? 'closed' : ''],
    ['wall', view.isWall ? '1' : ''],
    ['demo', demo === 1 ? '' : String(demo)],
  ];
  const query = parts
    .filter(([, value]) => value !== '')
    // These need no escape, and read better without.
    .map(
      ([name, value]) =>
        `${name}=${encodeURIComponent(value).replaceAll(/%(2C|3A|3D)/g, decodeURIComponent)}`,
    )
    .join('&');
  const path = formatPath(view);
  return query === '' ? path : `${path}?${query}`;
}

function formatPath({ numberId, incidents, incidentId }: View): string {
  if (incidents !== null)
    return `/board/incidents${incidentId === null ? '' : `/${encodeURIComponent(incidentId)}`}`;
  return numberId === null ? '/board' : `/board/numbers/${encodeURIComponent(numberId)}`;
}

/** Of what the list of numbers shows: the address without the open number and the incidents. */
export function toListAddress(view: View): string {
  return formatAddress({ ...view, numberId: null, incidents: null });
}

/** The page of the fleet that the view shows. */
export function toFleetRequest(view: View): FleetRequest {
  const { field, direction } = orders[view.order];
  const { after, before } = view;
  return { filter: toFilter(view), orderBy: { field, direction }, after, before };
}

/** The filter of the numbers that the view shows, on all pages. */
export function toFilter(view: View): FleetFilter {
  const lists = {
    verdicts: view.verdicts,
    qualityRatings: view.qualities,
    wabaIds: view.accounts,
    portfolioIds: view.portfolios,
    labels: view.labels,
  };
  const search = view.search.trim();
  return {
    ...Object.fromEntries(Object.entries(lists).filter(([, values]) => values.length > 0)),
    ...Object.fromEntries(view.flags.map((flag) => [flag, true])),
    ...(search !== '' && { search }),
  };
}

/** Whether any filter is set. */
export function isFiltered(view: View): boolean {
  return Object.keys(toFilter(view)).length > 0;
}

export const noFilters = {
  verdicts: [],
  qualities: [],
  flags: [],
  accounts: [],
  portfolios: [],
  labels: [],
  search: '',
  after: null,
  before: null,
} as const;
