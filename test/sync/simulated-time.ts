// A gateway whose reads in the background, and whose simulated Meta, go by a clock that the test moves.

import { createTestClock, type TestClock } from '../clock.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

export interface SimulatedTime extends AsyncDisposable {
  readonly clock: TestClock;
  readonly gateway: TestGateway;
}

/** On PGlite. `environment` differs from that of other tests in that SYNC is on by default. */
export async function openInSimulatedTime(
  environment: Readonly<Record<string, string>> = {},
): Promise<SimulatedTime> {
  const clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
  const gateway = await openTestGateway({
    ...clock,
    database: 'PGlite',
    environment: { SYNC: 'on', ...environment },
    syncPollMs: 30_000,
    simulator: { now: clock.now },
  });
  return {
    clock,
    gateway,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      clock[Symbol.dispose]();
    },
  };
}
