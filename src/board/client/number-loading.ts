// Loads the number whose address is open, and reads it live when the user asks for that.

import { effect } from '@preact/signals';
import { type ApiError, toApiError } from './api.ts';
import { readTime } from './clock.ts';
import { createLoader } from './loader.ts';
import { readNumber, refreshNumber } from './queries.ts';
import { forgetKey, key, openNumber, view } from './state.ts';

/** Days of the timeline. */
export const detailDays = 30;
const shownChanges = 20;

const loader = createLoader({ load, onFailure: handleFailure });

export function startNumberLoading(): void {
  effect(() => {
    const { numberId } = view.value;
    if (numberId === null) openNumber.value = null;
    if (numberId === null || key.value === null || key.value === '') return loader.stop();
    if (openNumber.peek()?.id !== numberId) {
      openNumber.value = { id: numberId, data: null, error: null, refresh: 'none' };
    }
    loader.start(`${key.value} ${numberId}`);
  });
}

/** Loads it again, at most once a second. */
export function reloadNumber(): void {
  loader.reload();
}

async function load(signal: AbortSignal): Promise<void> {
  const id = openNumber.peek()?.id;
  if (id === undefined) return;
  const from = new Date(readTime() - detailDays * 86_400_000);
  const request = { id, from, changes: shownChanges };
  const data = await readNumber(key.peek() ?? '', request, signal);
  const open = openNumber.peek();
  if (!signal.aborted && open?.id === id) openNumber.value = { ...open, data, error: null };
}

function handleFailure(failure: ApiError): void {
  if (failure.isAboutKey) return forgetKey(failure);
  // What was loaded before stays when it cannot be loaded again.
  const open = openNumber.peek();
  if (open !== null) openNumber.value = { ...open, error: failure };
}

/** Reads the open number from WhatsApp. */
export async function refreshOpenNumber(): Promise<void> {
  const open = openNumber.peek();
  if (open === null || open.refresh === 'running') return;
  openNumber.value = { ...open, refresh: 'running' };
  const outcome = await refreshNumber(key.peek() ?? '', open.id).then(
    ({ cost }) => ({ cost, error: null }),
    (error: unknown) => ({ cost: null, error: toApiError(error) }),
  );
  if (outcome.error?.isAboutKey === true) return forgetKey(outcome.error);
  const current = openNumber.peek();
  if (current?.id !== open.id) return;
  openNumber.value = { ...current, refresh: outcome };
  reloadNumber();
}
