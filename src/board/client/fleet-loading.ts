// Loads the page of the fleet that the address asks for, and loads it again when the live feed says that it has changed.

import { effect } from '@preact/signals';
import type { ApiError } from './api.ts';
import { toFleetRequest } from './address.ts';
import { findCauses } from './causes.ts';
import { takeFirstFleet } from './first-query.ts';
import { readLateAccounts } from './incident-queries.ts';
import { createLoader, maxAgeMs } from './loader.ts';
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

const loader = createLoader({ load, onFailure: handleFailure });

/** Loads the fleet whenever the key or the list's address changes. */
export function startFleetLoading(): void {
  effect(() => {
    const address = listAddress.value;
    if (key.value === null || key.value === '') return loader.stop();
    isLoading.value = fleet.peek()?.address !== address;
    loader.start(`${key.value} ${address}`);
  });
}

/** Loads the fleet again, at most once a second. */
export function reloadFleet(): void {
  loader.reload();
}

async function load(signal: AbortSignal): Promise<void> {
  const asked = { key: key.peek() ?? '', address: listAddress.peek() };
  const first = takeFirstFleet(asked.key, asked.address);
  const data = await (first ?? readFleet(asked.key, toFleetRequest(view.peek()), signal));
  if (signal.aborted) return;
  fleet.value = { data, address: asked.address };
  fleetError.value = null;
  isLoading.value = false;
  void loadCauses(data, asked.key);
  void loadLateAccounts(asked.key);
}

function handleFailure(failure: ApiError): void {
  isLoading.value = false;
  if (failure.isAboutKey) return forgetKey(failure);
  // A walk over the pages of a fleet may take an hour.
  if (failure.code.includes('CURSOR'))
    return navigate({ after: null, before: null }, { isReplaced: true });
  fleetError.value = failure;
}

/** The causes are those of at most so many numbers. */
const maxTroubledPages = 5;
const minCausesIntervalMs = 10_000;

let causesKey = '';
let causesOf = '';
let causesAt = -Infinity;

/** Reads the numbers in trouble again if their counts have changed, but not all the time. */
async function loadCauses({ whole }: FleetPage, askedKey: string): Promise<void> {
  const counts = JSON.stringify(whole.facets.verdict);
  const intervalMs = counts === causesOf ? maxAgeMs : minCausesIntervalMs;
  if (askedKey === causesKey && performance.now() - causesAt < intervalMs) return;
  causesKey = askedKey;
  causesOf = counts;
  causesAt = performance.now();
  const found: Troubled[] = [];
  let after: string | null = null;
  try {
    for (let page = 0; page < maxTroubledPages; page += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one query of the fleet a second
      await loader.waitForTurn();
      if (key.peek() !== askedKey) return;
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
  if (askedKey === lateOf && performance.now() - lateAt < maxAgeMs / 2) return;
  lateOf = askedKey;
  lateAt = performance.now();
  const found = await readLateAccounts(askedKey, AbortSignal.timeout(10_000)).catch(() => null);
  if (found !== null && key.peek() === askedKey) lateAccounts.value = found;
}
