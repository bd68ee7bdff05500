// Loads the incidents while they are shown, and again when the live feed says that one has changed.

import { computed, effect } from '@preact/signals';
import { type Incident, readIncidents } from './incident-queries.ts';
import { toApiError } from './number-loading.ts';
import { forgetKey, incidents, incidentsError, key, view } from './state.ts';

const minIntervalMs = 1_000;

let running: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let startedAt = -Infinity;

export function startIncidentLoading(): void {
  const shown = computed(() => view.value.incidents);
  effect(() => {
    const state = shown.value;
    const isAsked = state !== null && key.value !== null && key.value !== '';
    running?.abort();
    clearTimeout(timer);
    if (!isAsked) return;
    if (incidents.peek()?.state !== state) incidents.value = null;
    void load(1);
  });
}

/** Loads as many pages as are shown, now or when the last query is a second old. */
export function reloadIncidents(): void {
  if (view.peek().incidents === null) return;
  clearTimeout(timer);
  const delayMs = Math.max(0, startedAt + minIntervalMs - performance.now());
  timer = setTimeout(() => void load(shownPages), delayMs);
}

let shownPages = 1;

/** Adds the page after those that are shown. */
export function showMoreIncidents(): void {
  void load(shownPages + 1);
}

async function load(pages: number): Promise<void> {
  const { incidents: state } = view.peek();
  if (state === null) return;
  running?.abort();
  const controller = new AbortController();
  running = controller;
  startedAt = performance.now();
  try {
    const loaded = await readPages(state, pages, controller.signal);
    if (controller.signal.aborted) return;
    shownPages = pages;
    incidents.value = loaded;
    incidentsError.value = null;
  } catch (error) {
    if (controller.signal.aborted) return;
    const failure = toApiError(error);
    if (failure.isAboutKey) forgetKey(failure);
    else incidentsError.value = failure;
  }
}

/** Those that open meanwhile come first, so a later page may repeat some. */
async function readPages(state: 'OPEN' | 'CLOSED', pages: number, signal: AbortSignal) {
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
