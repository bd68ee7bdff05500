// The jobs of a process that serves: the composition starts them, and ends them when it is disposed of.

import type { Attempt } from './alerts/attempt.ts';
import { type DeliveryOptions, startDeliveries } from './alerts/delivery.ts';
import { toCauseLimits } from './alerts/causes.ts';
import { startEvaluator } from './alerts/evaluator.ts';
import { incidentRetention } from './alerts/incident-store.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import type { Database } from './database/database.ts';
import { startRetention } from './database/retention.ts';
import { changeRetention } from './history/store.ts';
import { startExpiry } from './history/upkeep.ts';
import type { Metrics } from './metrics.ts';
import { startStatusUpkeep } from './numbers/status-upkeep.ts';
import { startVerdictCounting } from './numbers/verdict-counts.ts';
import { startSyncMeasurement } from './sync/measurement.ts';
import type { Sync } from './sync/sync.ts';
import type { Telemetry } from './telemetry.ts';
import { startNoticeUpkeep } from './webhooks/notice-upkeep.ts';
import { type Routes, startRouteUpkeep } from './webhooks/routes.ts';
import { eventRetention } from './webhooks/store.ts';

export interface JobsOptions extends Clock {
  readonly config: Config;
  readonly database: Database;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly attempt: Attempt;
  readonly sync: Pick<Sync, 'request' | 'wake'>;
  readonly writeReport: DeliveryOptions['write'];
  readonly webhookRoutes: Routes;
}

/** Each job is run by one process at a time, except for the deliveries of alerts. */
export function startJobs(options: JobsOptions): AsyncDisposable {
  const jobs = new AsyncDisposableStack();
  startUpkeep(jobs, options);
  startRetentions(jobs, options);
  jobs.use(startConfiguredEvaluator(options));
  jobs.use(startConfiguredDeliveries(options));
  const { config, metrics } = options;
  if (config.metrics) {
    jobs.use(
      startVerdictCounting({
        ...toCommon(options),
        connectionsAreRead: config.sessionEngine !== null,
        onCounted: metrics.numbersCounted,
        ...toWarning(options, 'numbers are not counted, so the metric gateway_numbers is missing'),
      }),
    );
  }
  if (config.metrics && config.sync.isOn) {
    jobs.use(
      startSyncMeasurement({
        ...toCommon(options),
        onMeasured: metrics.syncMeasured,
        ...toWarning(
          options,
          'sync is not measured, so the metric gateway_sync_lag_seconds is missing',
        ),
      }),
    );
  }
  return jobs;
}

function toCommon({ database, now, startTimer }: JobsOptions) {
  return { database, now, startTimer };
}

function toWarning({ telemetry }: JobsOptions, message: string) {
  return { onFailure: (error: unknown) => telemetry.warn(message, { cause: String(error) }) };
}

/** What follows from evidence and its age. */
function startUpkeep(jobs: AsyncDisposableStack, options: JobsOptions): void {
  const { config, telemetry } = options;
  const common = toCommon(options);
  jobs.use(
    startStatusUpkeep({
      ...common,
      onWritten: (numbers) =>
        telemetry.info('wrote the status of numbers, which filters of a fleet need', { numbers }),
      ...toWarning(options, 'the status of numbers is not kept up, so a fleet may lack numbers'),
    }),
  );
  jobs.use(
    startExpiry({
      ...common,
      connectionsAreRead: config.sessionEngine !== null,
      ...toWarning(options, 'verdicts that expire are not recorded, so the history lacks them'),
    }),
  );
  jobs.use(
    startNoticeUpkeep({
      ...common,
      sync: options.sync,
      ...toWarning(
        options,
        'restrictions that end are not recorded, so a fleet and the history lack their end',
      ),
    }),
  );
  jobs.use(
    startRouteUpkeep({
      ...common,
      routes: options.webhookRoutes,
      ...toWarning(options, 'webhooks that do not arrive are not recorded, so no alert says so'),
    }),
  );
}

function startRetentions(jobs: AsyncDisposableStack, options: JobsOptions): void {
  const { config } = options;
  const common = toCommon(options);
  jobs.use(
    startRetention({
      ...common,
      retention: changeRetention,
      days: config.historyRetentionDays,
      ...toWarning(options, 'old changes are not deleted from the history'),
    }),
  );
  jobs.use(
    startRetention({
      ...common,
      retention: eventRetention,
      days: config.metaEventRetentionDays,
      ...toWarning(options, 'old events of webhooks are not deleted'),
    }),
  );
  jobs.use(
    startRetention({
      ...common,
      retention: incidentRetention,
      days: config.incidentRetentionDays,
      ...toWarning(options, 'old incidents are not deleted'),
    }),
  );
}

/** All processes take part. */
function startConfiguredDeliveries(options: JobsOptions): AsyncDisposable {
  const { database, now, startTimer, telemetry, metrics, attempt } = options;
  return startDeliveries({
    database,
    now,
    startTimer,
    attempt,
    write: options.writeReport,
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

function startConfiguredEvaluator(options: JobsOptions): AsyncDisposable {
  const { config, database, now, startTimer, telemetry, metrics } = options;
  const { isOn, seconds } = config.sync;
  return startEvaluator({
    database,
    now,
    startTimer,
    limits: toCauseLimits(isOn ? seconds.SWEEP : null),
    onOpened: metrics.incidentOpened,
    onFailure: (error) =>
      telemetry.warn('the rules of alerts are not evaluated, so incidents are late', {
        cause: String(error),
      }),
  });
}
