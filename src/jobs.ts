// The jobs of a process that serves: the composition starts them, and ends them when it is disposed of.

import type { Attempt } from './alerts/attempt.ts';
import { startDeliveries } from './alerts/delivery.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import type { Database } from './database/database.ts';
import { startExpiry, startRetention } from './history/upkeep.ts';
import type { Metrics } from './metrics.ts';
import { startStatusUpkeep } from './numbers/status-upkeep.ts';
import { startVerdictCounting } from './numbers/verdict-counts.ts';
import type { Telemetry } from './telemetry.ts';
import { startEventRetention } from './webhooks/retention.ts';

export interface JobsOptions extends Clock {
  readonly config: Config;
  readonly database: Database;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly attempt: Attempt;
}

/** Each job is run by one process at a time, except for the deliveries of alerts. */
export function startJobs(options: JobsOptions): AsyncDisposable {
  const { config, database, now, startTimer, telemetry, metrics } = options;
  const common = { database, now, startTimer };
  const connectionsAreRead = config.sessionEngine !== null;
  const warn = (message: string) => ({
    onFailure: (error: unknown) => telemetry.warn(message, { cause: String(error) }),
  });
  const jobs = new AsyncDisposableStack();
  jobs.use(
    startStatusUpkeep({
      ...common,
      onWritten: (numbers) =>
        telemetry.info('wrote the status of numbers, which filters of a fleet need', { numbers }),
      ...warn('the status of numbers is not kept up, so a fleet may lack numbers'),
    }),
  );
  jobs.use(
    startExpiry({
      ...common,
      connectionsAreRead,
      ...warn('verdicts that expire are not recorded, so the history lacks them'),
    }),
  );
  jobs.use(
    startRetention({
      ...common,
      retentionDays: config.historyRetentionDays,
      ...warn('old changes are not deleted from the history'),
    }),
  );
  jobs.use(
    startEventRetention({
      ...common,
      retentionDays: config.metaEventRetentionDays,
      ...warn('old events of webhooks are not deleted'),
    }),
  );
  jobs.use(startConfiguredDeliveries(options));
  if (config.metrics) {
    jobs.use(
      startVerdictCounting({
        ...common,
        connectionsAreRead,
        onCounted: metrics.numbersCounted,
        ...warn('numbers are not counted, so the metric gateway_numbers is missing'),
      }),
    );
  }
  return jobs;
}

/** All processes take part. */
function startConfiguredDeliveries(options: JobsOptions): AsyncDisposable {
  const { database, now, startTimer, telemetry, metrics, attempt } = options;
  return startDeliveries({
    database,
    now,
    startTimer,
    attempt,
    // Nothing is queued without its content.
    write: async () => null,
    onAttempted: metrics.deliveryAttempted,
    onSwitchedOff(tenantId, endpointId, reason) {
      metrics.endpointSwitchedOff(reason);
      telemetry.warn('an endpoint for alerts was switched off', { tenantId, endpointId, reason });
    },
    onFailure: (error) =>
      telemetry.warn('alerts are not delivered until the database answers', {
        cause: String(error),
      }),
  });
}
