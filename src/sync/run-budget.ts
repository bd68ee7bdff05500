// The calls that one run of an account may make, and those that it makes.

import type { Database } from '../database/database.ts';
import { findAffordable, type MinuteCalls } from './plan.ts';
import { addCalls, type UncountedCalls } from './call-store.ts';
import type { Subject } from './store.ts';

export interface RunBudget {
  /** Counts so many calls, and returns whether they may be made. Those of a subject that was deleted may not. */
  reserve(calls: number): Promise<boolean>;
  /** When the calls that were refused may be made; null when none were. */
  readonly affordableAt: Date | null;
  /** To be called for each call that is made. */
  readonly onCalls: (calls: number) => void;
  readonly uncounted: UncountedCalls;
}

export function createRunBudget(
  database: Database,
  subject: Subject,
  { at, calls: before, budget }: { at: Date; calls: MinuteCalls; budget: number },
): RunBudget {
  const counted = [...before];
  let affordableAt: Date | null = null;
  let uncounted = 0;
  let since: Date | null = null;
  return {
    async reserve(calls) {
      const from = findAffordable(at, counted, calls, budget);
      // More than the budget of an hour is never affordable.
      if (from > at || calls > budget) {
        const until = from > at ? from : new Date(at.getTime() + 3_600_000);
        if (affordableAt === null || until > affordableAt) affordableAt = until;
        return false;
      }
      const minute = await addCalls(database, subject, calls);
      if (minute === null) return false;
      since ??= minute;
      counted.push({ minute: at, calls });
      uncounted -= calls;
      return true;
    },
    get affordableAt() {
      return affordableAt;
    },
    onCalls: (calls) => void (uncounted += calls),
    get uncounted() {
      return { calls: uncounted, since };
    },
  };
}
