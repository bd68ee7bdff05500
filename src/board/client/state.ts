// What the page knows: the signals that the views read, and that the other modules write.

import { computed, signal } from '@preact/signals';
import { formatAddress, parseAddress, toListAddress, type View } from './address.ts';
import type { ApiError, Cost } from './api.ts';
import type { Cause } from './causes.ts';
import { readTime } from './clock.ts';
import type { Incident, LateAccount } from './incident-queries.ts';
import { demoKeys, findDemoKey, readStoredKey, removeStoredKey, storeKey } from './keys.ts';
import type { FleetPage, NumberDetail, Span } from './queries.ts';

export const view = signal<View>(parseAddress(location));

/** In this order: what was entered, then what the demo has. Null asks for one. */
export const enteredKey = signal<string | null>(readStoredKey());
const demoKey = computed(() => findDemoKey(view.value.demo));
export const key = computed(() => enteredKey.value ?? demoKey.value?.key ?? null);
/** Why the last key was refused. */
export const keyProblem = signal<string | null>(null);

export function enterKey(entered: string): void {
  storeKey(entered);
  keyProblem.value = null;
  enteredKey.value = entered;
}

/** Asks for another key. */
export function forgetKey({ code }: Pick<ApiError, 'code'>): void {
  removeStoredKey();
  keyProblem.value =
    code === 'FORBIDDEN'
      ? 'The last key was refused: it does not allow reading. Enter one with the scope read.'
      : 'The last key was refused: it is unknown, expired or revoked.';
  enteredKey.value = demoKeys.length > 0 ? '' : null;
  // Nothing of one key's tenant is shown to the next.
  fleet.value = null;
  fleetError.value = null;
  causes.value = [];
  strips.value = new Map();
  openNumber.value = null;
  incidents.value = null;
  incidentsError.value = null;
  lateAccounts.value = [];
}

/** Milliseconds, a second at a time, while the page is visible. */
export const now = signal(readTime());

export interface Loaded {
  readonly data: FleetPage;
  /** The address of the view that it belongs to, without the open number. */
  readonly address: string;
}

export const fleet = signal<Loaded | null>(null);
const demoName = computed(() =>
  enteredKey.value === null ? (demoKey.value?.tenantName ?? null) : null,
);

/** The tenant of the key; null before it is known. */
export const tenantName = computed(() => fleet.value?.data.viewer.tenantName ?? demoName.value);

/** Whether the key can mute and label a number, and have it read; null stands for all numbers. */
export function canOperate(numberId: string | null): boolean {
  const viewer = fleet.value?.data.viewer;
  return (
    viewer?.scopes.includes('OPERATE') === true &&
    (viewer.numberId === null || viewer.numberId === numberId)
  );
}

export const fleetError = signal<ApiError | null>(null);
/** Whether a fleet for another view than the one that is shown is on its way. */
export const isLoading = signal(false);

export const causes = signal<readonly Cause[]>([]);

export interface Strip {
  readonly spans: readonly Span[];
  /** When it was read, in milliseconds. */
  readonly readAt: number;
}

export const strips = signal<ReadonlyMap<string, Strip>>(new Map());

export interface Live {
  readonly status: 'connecting' | 'live' | 'lost' | 'paused';
  /** When the last event came, or before that, when the board began to wait for one. In milliseconds; null before that too. */
  readonly liveAt: number | null;
}

export const live = signal<Live>({ status: 'connecting', liveAt: null });

/** Silence after which the board says that it is not live. A sign of life comes every 15 seconds. */
export const maxSilenceMs = 35_000;

/** Since when the board is not live, in milliseconds; null while it is. */
export const notLiveSince = computed(() => {
  const { liveAt, status } = live.value;
  if (liveAt === null || status === 'paused') return null;
  return now.value - liveAt > maxSilenceMs ? liveAt : null;
});

export interface OpenNumber {
  readonly id: string;
  readonly data: NumberDetail | null;
  readonly error: ApiError | null;
  /** How far a read that the user asked for has come. */
  readonly refresh:
    'none' | 'running' | { readonly cost: Cost | null; readonly error: ApiError | null };
}

export const openNumber = signal<OpenNumber | null>(null);

export const isHelpOpen = signal(false);

/** Of what the list shows. */
export const listAddress = computed(() => toListAddress(view.value));

export interface Incidents {
  readonly state: 'OPEN' | 'CLOSED';
  readonly totalCount: number;
  readonly nodes: readonly Incident[];
  /** Null when there are no more. */
  readonly next: string | null;
  /** The open one if it is not among them: its address was followed. `incident` is null for one that does not exist. */
  readonly linked: { readonly id: string; readonly incident: Incident | null } | null;
}

export const incidents = signal<Incidents | null>(null);
/** The open incident; null for one that does not exist, and undefined before it is known, or when none is open. */
export function findOpenIncident(): Incident | null | undefined {
  const { incidentId } = view.value;
  const loaded = incidents.value;
  if (incidentId === null || loaded === null) return undefined;
  const { nodes, linked } = loaded;
  const listed = nodes.find(({ id }) => id === incidentId);
  return listed ?? (linked?.id === incidentId ? linked.incident : undefined);
}

export const incidentsError = signal<ApiError | null>(null);

/** The accounts that are read less often in the background than planned. */
export const lateAccounts = signal<readonly LateAccount[]>([]);

/** What is changed without a look at other numbers. */
const samePage = ['numberId', 'incidents', 'incidentId', 'after', 'before'] as const;

/** Changes the view and the address of the page. A new filter or order begins at the first page. */
export function navigate(change: Partial<View>, { isReplaced = false } = {}): void {
  const isOtherPage = samePage.some((name) => name in change);
  const next = { ...view.value, ...(isOtherPage ? {} : { after: null, before: null }), ...change };
  const address = formatAddress(next);
  if (address === location.pathname + location.search) return;
  history[isReplaced ? 'replaceState' : 'pushState'](null, '', address);
  view.value = next;
}
