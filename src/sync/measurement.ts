// Measures for the metrics how far the reads in the background are behind, each minute. Of all processes one measures at a time.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob } from '../database/process-job.ts';
import { measureSyncAcrossTenants, type SyncMeasurement } from './claim-store.ts';

export interface MeasurementOptions extends Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  /** Called after each attempt; null when another process measures, or the attempt failed. */
  readonly onMeasured: (measurement: SyncMeasurement | null) => void;
  /** Called when measuring begins to fail, and again only after it has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

/** Begins at once. Disposal lets another process measure, and never rejects. */
export function startSyncMeasurement(options: MeasurementOptions): AsyncDisposable {
  const { database, startTimer, onMeasured, onFailure } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'measure sync',
    onFailure,
    onSkipped: () => onMeasured(null),
    async run() {
      onMeasured(await measureSyncAcrossTenants(database));
      return false;
    },
  });
}
