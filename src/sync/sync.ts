// Sync: what is read from the upstreams without a caller, by a plan in the database that all processes share.

import type { Clock } from '../clock.ts';
import { readReport, type ReportOptions, type SyncReport } from './report.ts';
import { createRunner, type RunnerOptions } from './runner.ts';
import { hastenSweeps, requestReads } from './request-store.ts';

export type { PlannedAccount, PlannedEngine, SyncReport } from './report.ts';
export type { ReadRequest } from './requested-numbers.ts';

export interface Sync extends AsyncDisposable {
  /** Makes reads of accounts due, in the transaction that knows of the need; `wake` begins them after its commit. */
  request: typeof requestReads;
  /** What it does with the accounts of a tenant and its numbers of the session engine. Also with SYNC=off. */
  report(tenantId: string): Promise<SyncReport>;
  /**
   * Has the numbers of accounts read when the token of one was refused, because others may have the same token. With SYNC=off
   * nothing is read. Never throws.
   */
  tokenRefused(tenantId: string, wabaIds: readonly string[]): void;
  /** Reads at once what was made due. Never throws. */
  wake(): void;
  /** Looks again and again for what is due, also of processes that have died, until it is disposed of. */
  start(): void;
}

export interface SyncOptions extends RunnerOptions, ReportOptions, Clock {
  /** From one look at the plan to the next; a second by default. */
  readonly pollMs?: number | undefined;
}

const defaultPollMs = 1_000;

export function createSync(options: SyncOptions): Sync {
  const { startTimer, pollMs = defaultPollMs } = options;
  const runner = createRunner(options);
  let timer: Disposable | null = null;
  const poll = async (): Promise<void> => {
    if (runner.isStopped()) return;
    timer = startTimer(pollMs, poll);
    await runner.run();
  };
  return {
    request: requestReads,
    tokenRefused(tenantId, wabaIds) {
      hastenSweeps(options.database, tenantId, wabaIds).then(
        () => runner.run(),
        // The next sweep comes anyway.
        () => undefined,
      );
    },
    report: (tenantId) => readReport(options, tenantId),
    wake: () => void runner.run(),
    start() {
      runner.isPolling = options.settings.isOn;
      timer = startTimer(0, poll);
    },
    async [Symbol.asyncDispose]() {
      timer?.[Symbol.dispose]();
      await runner.stop();
    },
  };
}
