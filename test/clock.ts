// Simulated time for tests: it stands still until the test advances it, and a day passes in seconds.

import { vi } from 'vitest';
import type { Clock } from '../src/clock.ts';

/** Real time passes again when it is disposed of. */
export interface TestClock extends Clock, Disposable {
  /**
   * Lets so many milliseconds pass. Each timer that becomes due is called at its time, one after the other, and the time
   * stands still until what it does has ended; `run` must therefore not wait for time to pass.
   */
  advance(ms: number): Promise<void>;
}

interface Timer {
  readonly at: number;
  readonly run: () => Promise<void>;
}

/**
 * Replaces `Date` of this process, and with it the clock of each PGlite in it; a PostgreSQL server keeps its own clock. So
 * jobs that compare times of the database are tested on PGlite. Deadlines, which `performance.now()` measures, stay real.
 */
export function createTestClock(start = new Date()): TestClock {
  vi.useFakeTimers({ toFake: ['Date'], now: start });
  const timers = new Set<Timer>();
  const findNext = (until: number): Timer | undefined =>
    [...timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)[0];
  return {
    now: () => new Date(),
    startTimer(ms, run) {
      const timer = { at: Date.now() + ms, run };
      timers.add(timer);
      return { [Symbol.dispose]: () => void timers.delete(timer) };
    },
    async advance(ms) {
      const end = Date.now() + ms;
      for (let next = findNext(end); next !== undefined; next = findNext(end)) {
        timers.delete(next);
        vi.setSystemTime(Math.max(next.at, Date.now()));
        // oxlint-disable-next-line no-await-in-loop -- in the order of their times
        await next.run();
      }
      vi.setSystemTime(end);
    },
    [Symbol.dispose]() {
      timers.clear();
      vi.useRealTimers();
    },
  };
}
