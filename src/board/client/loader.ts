// Loads what is shown, and loads it again: one load at a time, and at most one a second.

export interface Loader {
  /** Loads at once. A load of another subject is given up. */
  start(subject: string): void;
  /** Loads again after the current load, and so many milliseconds from now or later. Does nothing without a subject. */
  reload(delayMs?: number): void;
  /** Gives up the current load, and has no subject from then on. */
  stop(): void;
}

const minIntervalMs = 1_000;

/** `load` never rejects, and stores nothing once its signal is aborted. */
export function createLoader(load: (signal: AbortSignal) => Promise<void>): Loader {
  let current: string | null = null;
  let running: AbortController | null = null;
  /** Whether to load again when the current load ends: it may have read too early. */
  let isWanted = false;
  let startedAt = -Infinity;
  let dueAt = Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const run = async (): Promise<void> => {
    clearTimeout(timer);
    dueAt = Infinity;
    isWanted = running !== null;
    if (isWanted) return;
    const controller = new AbortController();
    running = controller;
    startedAt = performance.now();
    await load(controller.signal);
    if (running !== controller) return;
    running = null;
    if (isWanted) loader.reload();
  };
  const stop = (): void => {
    clearTimeout(timer);
    dueAt = Infinity;
    running?.abort();
    running = null;
    current = null;
  };
  const loader: Loader = {
    start(subject) {
      if (subject === current) return loader.reload();
      stop();
      current = subject;
      void run();
    },
    reload(delayMs = 0) {
      const time = Math.max(performance.now() + delayMs, startedAt + minIntervalMs);
      if (current === null || time >= dueAt) return;
      clearTimeout(timer);
      dueAt = time;
      timer = setTimeout(() => void run(), time - performance.now());
    },
    stop,
  };
  return loader;
}
