// Loads the number whose address is open, and reads it live when the user asks for that.

import { effect } from '@preact/signals';
import { ApiError } from './api.ts';
import { readNumber, refreshNumber } from './queries.ts';
import { forgetKey, key, openNumber, view } from './state.ts';

/** Days of the timeline. */
export const detailDays = 30;
const shownChanges = 20;
const minIntervalMs = 1_000;

let running: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let startedAt = -Infinity;

export function startNumberLoading(): void {
  effect(() => {
    const { numberId } = view.value;
    running?.abort();
    clearTimeout(timer);
    if (numberId === null) {
      openNumber.value = null;
      return;
    }
    if (key.value === null || key.value === '') return;
    if (openNumber.peek()?.id !== numberId) {
      openNumber.value = { id: numberId, data: null, error: null, refresh: 'none' };
    }
    void load(numberId);
  });
}

/** Loads it again, now or when the last query is a second old. */
export function reloadNumber(): void {
  clearTimeout(timer);
  const delayMs = Math.max(0, startedAt + minIntervalMs - performance.now());
  timer = setTimeout(() => {
    const id = openNumber.peek()?.id;
    if (id !== undefined) void load(id);
  }, delayMs);
}

async function load(id: string): Promise<void> {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  startedAt = performance.now();
  const from = new Date(Date.now() - detailDays * 86_400_000);
  const request = { id, from, changes: shownChanges };
  try {
    const data = await readNumber(key.peek() ?? '', request, controller.signal);
    const open = openNumber.peek();
    if (open?.id === id) openNumber.value = { ...open, data, error: null };
  } catch (error) {
    if (controller.signal.aborted) return;
    const open = openNumber.peek();
    const failure = toApiError(error);
    if (failure.isAboutKey) forgetKey(failure);
    else if (open?.id === id) openNumber.value = { ...open, error: failure };
  }
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

export function toApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError('INTERNAL', String(error));
}
