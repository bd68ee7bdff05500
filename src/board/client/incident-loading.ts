// Loads the incidents while they are shown, and again when the live feed says that one has changed.

import { computed, effect } from '@preact/signals';
import type { ApiError } from './api.ts';
import { type Incident, readIncident, readIncidents } from './incident-queries.ts';
import { createLoader } from './loader.ts';
import {
  findOpenIncident,
  forgetKey,
  type Incidents,
  incidents,
  incidentsError,
  key,
  view,
} from './state.ts';

const loader = createLoader({ load, onFailure: handleFailure });
/** How many pages are shown. */
let pages = 1;

export function startIncidentLoading(): void {
  const shown = computed(() => view.value.incidents);
  effect(() => {
    const state = shown.value;
    if (state === null || key.value === null || key.value === '') return loader.stop();
    if (incidents.peek()?.state !== state) incidents.value = null;
    incidentsError.value = null;
    pages = 1;
    start();
  });
  // The address of an incident that is not in the list was followed.
  effect(() => {
    const isOpen = incidents.value !== null && view.value.incidentId !== null;
    if (isOpen && findOpenIncident() === undefined) loader.reload();
  });
}

function start(): void {
  loader.start(`${key.peek()} ${view.peek().incidents} ${pages}`);
}

/** Loads as many pages as are shown again, at most once a second. */
export function reloadIncidents(): void {
  loader.reload();
}

/** Adds the page after those that are shown. */
export function showMoreIncidents(): void {
  pages += 1;
  start();
}

async function load(signal: AbortSignal): Promise<void> {
  const { incidents: state, incidentId } = view.peek();
  if (state === null) return;
  const listed = await readPages(state, signal);
  const linked = await readLinked(listed.nodes, incidentId, signal);
  if (signal.aborted) return;
  incidents.value = { ...listed, linked };
  incidentsError.value = null;
}

function handleFailure(failure: ApiError): void {
  if (failure.isAboutKey) forgetKey(failure);
  else incidentsError.value = failure;
}

/** Those that open meanwhile come first, so a later page may repeat some. */
async function readPages(state: 'OPEN' | 'CLOSED', signal: AbortSignal) {
  const askedKey = key.peek() ?? '';
  const found = new Map<string, Incident>();
  let next: string | null = null;
  let totalCount = 0;
  for (let page = 0; page < pages; page += 1) {
    // oxlint-disable-next-line no-await-in-loop -- each page begins where the last one ended
    const { page: read } = await readIncidents(askedKey, { state, after: next }, signal);
    for (const incident of read.nodes) found.set(incident.id, incident);
    totalCount = read.totalCount;
    next = read.pageInfo.hasNextPage ? read.pageInfo.endCursor : null;
    if (next === null) break;
  }
  return { state, totalCount, nodes: [...found.values()], next };
}

/** Null when no incident is open, or when the list has it. */
async function readLinked(
  nodes: readonly Incident[],
  id: string | null,
  signal: AbortSignal,
): Promise<Incidents['linked']> {
  if (id === null || nodes.some((incident) => incident.id === id)) return null;
  return { id, incident: await readIncident(key.peek() ?? '', id, signal) };
}
