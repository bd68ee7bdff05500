// Writes the status of numbers for which it is missing or outdated: after an upgrade, and after writes of the previous
// release or of other software. Of all processes one does so at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { forTenantChunksAcrossTenants } from '../database/process-store.ts';
import { findOutdatedAcrossTenants, writeOutdatedStatuses } from './status-store.ts';

export interface StatusUpkeepOptions extends Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Called when an attempt has written the status of so many numbers, more than 0. */
  readonly onWritten?: (numbers: number) => void;
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
}

/** What other software writes is found within this time, or later when the search takes long. */
const defaultIntervalMs = 15_000;
/** The search looks at each number, so it takes at most a twentieth of the time. */
const pausePerDuration = 20;
/** In one transaction, which takes about a fifth of a second. */
const maxNumbersPerTransaction = 500;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 20_000;

/** Begins at once. Disposal waits for the attempt that is running, and never rejects. */
export function startStatusUpkeep(options: StatusUpkeepOptions): AsyncDisposable {
  const { database, startTimer, onWritten, onFailure, intervalMs = defaultIntervalMs } = options;
  let nextSearchAt = 0;
  return startProcessJob({
    database,
    startTimer,
    name: 'write the status of numbers',
    intervalMs,
    onFailure,
    async run() {
      const startedAt = performance.now();
      if (startedAt < nextSearchAt) return false;
      const { numbers, isComplete } = await writeAllOutdated(database, maxAttemptMs);
      const endedAt = performance.now();
      // Where something was outdated, more may be.
      if (numbers === 0) nextSearchAt = endedAt + (endedAt - startedAt) * pausePerDuration;
      else onWritten?.(numbers);
      return !isComplete;
    },
  });
}

/** For a command, which may run before a process that serves has written them. */
export async function writeOutdatedOfTenant(database: Database, tenantId: string): Promise<void> {
  let written = maxNumbersPerTransaction;
  while (written === maxNumbersPerTransaction) {
    // oxlint-disable-next-line no-await-in-loop -- one transaction at a time
    written = await writeOutdatedStatuses(database, tenantId, maxNumbersPerTransaction);
  }
}

/** Writes every status that is missing or outdated, until the time is over. */
export async function writeAllOutdated(
  database: Database,
  maxMs = Infinity,
): Promise<{ readonly numbers: number; readonly isComplete: boolean }> {
  const outdated: string[] = [];
  await forTenantChunksAcrossTenants(database, async (ids) => {
    outdated.push(...(await findOutdatedAcrossTenants(database, ids)));
  });
  let numbers = 0;
  const isComplete = await workInBatches(outdated, maxMs, async (tenantId) => {
    const written = await writeOutdatedStatuses(database, tenantId, maxNumbersPerTransaction);
    numbers += written;
    return written === maxNumbersPerTransaction;
  });
  return { numbers, isComplete };
}
