// The time as jobs know it. Tests replace it, so that a day of jobs takes seconds.

export interface Clock {
  now(): Date;
  /**
   * Calls `run`, which never rejects, once after so many milliseconds, unless the timer is disposed of before that. A
   * timer does not keep the process running.
   */
  startTimer(ms: number, run: () => Promise<void>): Disposable;
}

export type StartTimer = Clock['startTimer'];

export const systemClock: Clock = {
  now: () => new Date(),
  startTimer(ms, run) {
    const timer = setTimeout(() => void run(), ms).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
