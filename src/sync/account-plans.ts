// What sync does with the accounts of a tenant: the cadence of each, what it takes, and whether it is met.

import type { SyncSettings } from '../config.ts';
import type { Database } from '../database/database.ts';
import { listSubjects, type SubjectRow } from './account-queries.ts';
import { type AccountPlan, planAccount } from './plan.ts';

/**
 * ON_TIME: its numbers are read as often as is planned. LATE: the last read is too long ago, or there was none. PAUSED_BUDGET:
 * its calls are used up. PAUSED_TOKEN: Meta refuses the access token. OFF: nothing is read in the background.
 */
export type SyncState = 'ON_TIME' | 'LATE' | 'PAUSED_BUDGET' | 'PAUSED_TOKEN' | 'OFF';

export interface PlannedAccount {
  readonly wabaId: string;
  readonly numbers: number;
  /** Numbers that the account has and the tenant does not. */
  readonly unknownNumbers: number;
  readonly isRisky: boolean;
  /** From one list of its numbers to the next, as configured. */
  readonly cadenceSeconds: number;
  /** Whether the budget allows the configured cadence; otherwise it is read less often. */
  readonly attainable: boolean;
  /** What the configured cadence takes. */
  readonly plannedCallsPerHour: number;
  /** What the background may make. */
  readonly budgetCallsPerHour: number;
  readonly lastSweepAt: Date | null;
  readonly nextSweepAt: Date | null;
  readonly state: SyncState;
}

const pageSize = 100;

/** Those with the most numbers first. */
export async function listPlannedAccounts(
  { database, settings }: { readonly database: Database; readonly settings: SyncSettings },
  tenantId: string,
  now: Date,
): Promise<readonly PlannedAccount[]> {
  const rows = await listSubjects(database, tenantId);
  return rows.map((row) => {
    const pages = Math.max(1, Math.ceil(row.numbers / pageSize));
    const plan = planAccount(settings, { ...row, pages });
    const { wabaId, numbers, unknownNumbers, isRisky, lastSweepAt, nextSweepAt } = row;
    return {
      wabaId,
      numbers,
      unknownNumbers,
      isRisky,
      cadenceSeconds: settings.seconds.SWEEP,
      attainable: plan.callsPerHour <= plan.budget,
      plannedCallsPerHour: Math.ceil(plan.callsPerHour),
      budgetCallsPerHour: plan.budget,
      lastSweepAt,
      nextSweepAt: settings.isOn ? nextSweepAt : null,
      state: toState(settings, row, plan, now),
    };
  });
}

function toState(
  { isOn, seconds }: SyncSettings,
  { lastSweepAt, pause }: SubjectRow,
  plan: AccountPlan,
  now: Date,
): SyncState {
  if (!isOn) return 'OFF';
  if (pause !== null) return `PAUSED_${pause}`;
  // A read that is due needs a moment.
  const maxAgeMs = Math.max(seconds.SWEEP, plan.seconds.SWEEP) * 1_000 + graceMs;
  const isLate =
    lastSweepAt === null ||
    now.getTime() - lastSweepAt.getTime() > maxAgeMs ||
    plan.seconds.SWEEP > seconds.SWEEP;
  return isLate ? 'LATE' : 'ON_TIME';
}

const graceMs = 30_000;
