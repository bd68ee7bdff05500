// The parts of alerts put together.

import type { Database } from '../database/database.ts';
import type { Vault } from '../secrets.ts';
import { type Attempt, createAttempt } from './attempt.ts';
import type { DeliveryOptions } from './delivery.ts';
import { createTargets, type TargetOptions } from './endpoint-url.ts';
import { type AlertEndpoints, createAlertEndpoints } from './endpoints.ts';
import { createReportWriter, type ReportOptions } from './report.ts';
import { createSender, type SenderOptions } from './sender.ts';

/** Replacements that tests provide. */
export interface AlertOverrides extends Partial<Omit<SenderOptions, 'targets'>> {
  /** As in the demo, where http to this machine is allowed. */
  readonly allowsLocalHttp?: boolean;
}

export interface AlertsOptions extends ReportOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly now: () => Date;
  readonly targets: TargetOptions;
  readonly sender: Partial<SenderOptions>;
}

export interface Alerts {
  /** For operators. */
  readonly alertEndpoints: AlertEndpoints;
  /** For the job that delivers. */
  readonly attempt: Attempt;
  readonly writeReport: DeliveryOptions['write'];
}

export function createAlerts(options: AlertsOptions): Alerts {
  const { database, vault, now, sender } = options;
  const targets = createTargets(options.targets);
  const send = createSender({ targets, ...sender });
  const attempt = createAttempt({ vault, targets, send, now });
  return {
    attempt,
    writeReport: createReportWriter(options),
    alertEndpoints: createAlertEndpoints({ database, vault, targets, attempt, now }),
  };
}
