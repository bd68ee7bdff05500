// Loads what is shown, and loads it again: when it is asked to, when it has become old, and after a failure. One load at a time,
// and at most one a second.

import { type ApiError, toApiError } from './api.ts';

export interface Loader {
  /** Loads at once. A load of another subject is given up. */
  start(subject: string): void;
  /** Loads again after the current load. Does nothing without a subject. */
  reload(): void;
  /**
   * Waits until a second has passed since the last query: for one that is none of the loads, but that the limit covers too. The
   * next load comes a second later.
   */
  waitForTurn(): Promise<void>;
  /** Gives up the current load, and has no subject from then on. */
  stop(): void;
}

export interface LoaderOptions {
  /** Stores nothing once its signal is aborted. */
  readonly load: (signal: AbortSignal) => Promise<void>;
  /** Receives why a load failed, before it is tried again. */
  readonly onFailure: (failure: ApiError) => void;
}

const minIntervalMs = 1_000;
/** Ages of readings that changed nothing are in no event, so what is shown is loaded again after this time. */
export const maxAgeMs = 60_000;
const maxRetryMs = 30_000;

/** What a hidden page shows is loaded again when it is visible. */
export function createLoader({ load, onFailure }: LoaderOptions): Loader {
  const turns = createTurns();
  let current: string | null = null;
  let running: AbortController | null = null;
  /** Whether to load again when the current load ends: it may have read too early. */
  let isWanted = false;
  let failures = 0;

  const run = async (): Promise<void> => {
    timer.clear();
    isWanted = running !== null;
    if (isWanted) return;
    const controller = new AbortController();
    running = controller;
    turns.take();
    const failure = await load(controller.signal).then(() => null, toApiError);
    if (running !== controller) return;
    if (failure !== null) onFailure(failure);
    // What it does about that, such as asking for another key, may end or replace the load.
    if (running !== controller) return;
    running = null;
    failures = failure === null ? 0 : failures + 1;
    if (failure === null && isWanted) schedule(0);
    else if (isVisible()) schedule(toDelayMs(failure, failures));
  };
  const schedule = (delayMs: number): void => {
    if (current !== null) timer.set(Math.max(performance.now() + delayMs, turns.nextAt()));
  };
  // Another query may have taken the turn.
  const timer = createTimer(() => (performance.now() < turns.nextAt() ? schedule(0) : void run()));
  const stop = (): void => {
    timer.clear();
    running?.abort();
    running = null;
    current = null;
    failures = 0;
  };
  document.addEventListener('visibilitychange', () => isVisible() && schedule(0));
  return {
    start(subject) {
      if (subject === current) return schedule(0);
      stop();
      current = subject;
      void run();
    },
    reload: () => schedule(0),
    waitForTurn: turns.wait,
    stop,
  };
}

/** Queries have a turn each second. Times are those of `performance.now()`. */
function createTurns() {
  let lastAt = -Infinity;
  const nextAt = (): number => lastAt + minIntervalMs;
  const take = (): void => void (lastAt = performance.now());
  return {
    nextAt,
    take,
    /** Waits for the next turn, and takes it. */
    async wait(): Promise<void> {
      for (;;) {
        const waitMs = nextAt() - performance.now();
        if (waitMs <= 0) return take();
        // oxlint-disable-next-line no-await-in-loop -- another query may take the turn meanwhile
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    },
  };
}

/** Rings at the earliest of the times that it is set to, once. */
function createTimer(ring: () => void) {
  let dueAt = Infinity;
  let timeout: ReturnType<typeof setTimeout> | undefined;
  const clear = (): void => {
    clearTimeout(timeout);
    dueAt = Infinity;
  };
  return {
    clear,
    set(time: number): void {
      if (time >= dueAt) return;
      clearTimeout(timeout);
      dueAt = time;
      timeout = setTimeout(() => {
        dueAt = Infinity;
        ring();
      }, time - performance.now());
    },
  };
}

function isVisible(): boolean {
  return document.visibilityState === 'visible';
}

/** After so many failures, the last of which is given, or after a load. */
function toDelayMs(failure: ApiError | null, failures: number): number {
  if (failure === null) return maxAgeMs;
  return failure.retryAfterSeconds === null
    ? Math.min(maxRetryMs, 1_000 * 2 ** failures)
    : failure.retryAfterSeconds * 1_000;
}
