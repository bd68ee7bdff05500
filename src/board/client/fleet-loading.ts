// Loads the page of the fleet that the address asks for, and loads it again when the live feed says that it has changed.

import { effect } from '@preact/signals';
import { ApiError } from './api.ts';
import { toFleetRequest } from './address.ts';
import { findCauses } from './causes.ts';
import { readLateAccounts } from './incident-queries.ts';
import { type FleetPage, readFleet, readTroubled, type Troubled } from './queries.ts';
import {
  causes,
  fleet,
  fleetError,
  forgetKey,
  isLoading,
  key,
  lateAccounts,
  listAddress,
  navigate,
  view,
} from './state.ts';

/** At most one query a second, however much changes. */
const minLoadIntervalMs = 1_000;
/** Ages of readings that changed nothing are in no event, so they are read again after this time. */
const maxFleetAgeMs = 60_000;
const maxRetryMs = 30_000;

let startedAt = -Infinity;
let running: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let failures = 0;

/** Loads the fleet whenever the key or the list's address changes. */
export function startFleetLoading(): void {
  effect(() => {
    const address = listAddress.value;
    if (key.value === null || key.value === '') return;
    isLoading.value = fleet.peek()?.address !== address;
    void load();
  });
}

/** Loads the fleet again, now or when the last query is a second old. */
export function reloadFleet(): void {
  schedule(startedAt + minLoadIntervalMs - performance.now());
}

function schedule(delayMs: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => void load(), Math.max(0, delayMs));
}

async function load(): Promise<void> {
  clearTimeout(timer);
  running?.abort();
  const controller = new AbortController();
  running = controller;
  const asked = { key: key.peek() ?? '', address: listAddress.peek() };
  startedAt = performance.now();
  try {
    const data = await readFleet(asked.key, toFleetRequest(view.peek()), controller.signal);
    if (controller.signal.aborted) return;
    failures = 0;
    fleet.value = { data, address: asked.address };
    fleetError.value = null;
    isLoading.value = false;
    if (document.visibilityState === 'visible') schedule(maxFleetAgeMs);
    void loadCauses(data, asked.key);
    void loadLateAccounts(asked.key);
  } catch (error) {
    if (controller.signal.aborted) return;
    handleFailure(error);
  } finally {
    if (running === controller) running = null;
  }
}

function handleFailure(error: unknown): void {
  const failure = error instanceof ApiError ? error : new ApiError('INTERNAL', String(error));
  isLoading.value = false;
  if (failure.isAboutKey) return forgetKey(failure);
  // A walk over the pages of a fleet may take an hour.
  if (failure.code.includes('CURSOR'))
    return navigate({ after: null, before: null }, { isReplaced: true });
  fleetError.value = failure;
  failures += 1;
  const backoffMs = Math.min(maxRetryMs, 1_000 * 2 ** failures);
  schedule(failure.retryAfterSeconds === null ? backoffMs : failure.retryAfterSeconds * 1_000);
}

/** The causes are those of at most so many numbers. */
const maxTroubledPages = 5;
const minCausesIntervalMs = 10_000;

let causesOf = '';
let causesAt = -Infinity;

/** Reads the numbers in trouble again if their counts have changed, but not all the time. */
async function loadCauses({ whole }: FleetPage, askedKey: string): Promise<void> {
  const counts = askedKey + JSON.stringify(whole.facets.verdict);
  const elapsedMs = performance.now() - causesAt;
  if (counts === causesOf && elapsedMs < maxFleetAgeMs) return;
  if (counts !== causesOf && elapsedMs < minCausesIntervalMs) return;
  causesOf = counts;
  causesAt = performance.now();
  const found: Troubled[] = [];
  let after: string | null = null;
  try {
    for (let page = 0; page < maxTroubledPages; page += 1) {
      // oxlint-disable-next-line no-await-in-loop -- each page begins where the last one ended
      const { nodes, pageInfo } = await readTroubled(askedKey, after, AbortSignal.timeout(10_000));
      found.push(...nodes);
      after = pageInfo.endCursor;
      if (!pageInfo.hasNextPage) break;
    }
    if (key.peek() === askedKey) causes.value = findCauses(found);
  } catch {
    // The sentence is an extra; the list says what is wrong with the gateway.
  }
}

let lateOf = '';
let lateAt = -Infinity;

/** No event tells that nothing was read. */
async function loadLateAccounts(askedKey: string): Promise<void> {
  if (askedKey === lateOf && performance.now() - lateAt < maxFleetAgeMs / 2) return;
  lateOf = askedKey;
  lateAt = performance.now();
  const found = await readLateAccounts(askedKey, AbortSignal.timeout(10_000)).catch(() => null);
  if (found !== null && key.peek() === askedKey) lateAccounts.value = found;
}
