// What sync does with the accounts of a tenant and its numbers of the session engine: how often each is read, what that
// takes, and whether it is on time.

import type { Clock } from '../clock.ts';
import type { SyncSettings } from '../config.ts';
import type { Database } from '../database/database.ts';
import { listSubjects, type SubjectRow } from './account-queries.ts';
import { type AccountPlan, type CadenceKind, planAccount } from './plan.ts';
import { engineSubject } from './store.ts';

/** The states, with what each means for callers. */
export const syncStates = {
  ON_TIME: 'It is read as often as the cadence says.',
  LATE: 'What was last read is older than the cadence and one minute, or nothing was read within a minute of the time at which it was due. Also when the budget allows no reads as often as the cadence says, or WhatsApp refuses the list of the numbers, which are then read one by one.',
  PAUSED_BUDGET: 'The calls that the background may make are used up, until `pausedUntil`.',
  PAUSED_TOKEN:
    'WhatsApp refuses the access token, or none is stored. It is tried again every six hours, and when a token is stored.',
  OFF: 'Nothing is read in the background, because the gateway has `SYNC=off` or no session engine.',
} as const satisfies Record<string, string>;

export type SyncState = keyof typeof syncStates;

/** What the members of an account and of the engine mean for callers of both APIs. */
export const reportMeanings = {
  account: {
    wabaId: "Meta's id of the account.",
    numberCount: 'How many numbers the tenant has of this account.',
    newNumberCount: 'How many numbers the account has that the tenant does not.',
    cadenceSeconds:
      'From one read of the list of its numbers to the next, as configured. An account with a number that has a problem, or that changed within the hour, is read five times as often.',
    attainable:
      'Whether the calls that the background may make are enough for this cadence, five times as often if that applies. Otherwise the account is read less often.',
    attainableCadenceSeconds:
      'From one read of the list of its numbers to the next, with the calls that the background may make and as often as the account needs it. Null if one list takes more calls than that.',
    plannedCallsPerHour: 'How many calls to Meta the cadence takes in an hour, at most.',
    budgetCallsPerHour:
      'How many calls to Meta the background may make in an hour: a share of the limit that Meta has for the account, less 5 % for calls that cannot be planned.',
    usedPercent: 'How much of these the background has made in the last hour.',
    lastSweepAt:
      'When the list of its numbers was last read successfully; null if it never was. What the list says of a number is stored when it differs from what is stored already.',
    nextSweepAt:
      'When the list is read next; in the past while it is due, and null if nothing is planned.',
    pausedUntil: 'Until when nothing is read; null if it is not paused.',
    state: 'Whether the account is read as often as the cadence says.',
    lastError:
      'The code of the newest failure, as in `error` of a freshness; null if the last read of each kind succeeded.',
  },
  engine: {
    numberCount: 'How many numbers of the tenant are at the session engine.',
    cadenceSeconds: 'From one read of their states to the next, as configured.',
    lastReadAt: 'When they were last read; null if they never were.',
    nextReadAt:
      'When they are read next; in the past while they are due, and null if nothing is planned.',
    state: 'Whether they are read as often as the cadence says.',
  },
} as const;

export interface PlannedAccount {
  readonly wabaId: string;
  readonly numberCount: number;
  /** Numbers that the account has and the tenant does not. */
  readonly newNumberCount: number;
  readonly isRisky: boolean;
  /** From one list of its numbers to the next, as configured. */
  readonly cadenceSeconds: number;
  /** Whether the budget allows the configured cadence; otherwise it is read less often. */
  readonly attainable: boolean;
  /** From one list to the next, with the budget that there is; null if it never allows one. */
  readonly attainableCadenceSeconds: number | null;
  /** What the configured cadence takes in the hour with most reads. */
  readonly plannedCallsPerHour: number;
  /** What the background may make. */
  readonly budgetCallsPerHour: number;
  /** What takes most of the planned calls. */
  readonly mainKind: CadenceKind;
  /** How much of that it has made in the last hour. */
  readonly usedPercent: number;
  readonly lastSweepAt: Date | null;
  /** Null when nothing is planned. In the past when it is due. */
  readonly nextSweepAt: Date | null;
  readonly pausedUntil: Date | null;
  readonly state: SyncState;
  /** Whether Meta refuses the list of its numbers, which are then read one by one. */
  readonly isListRefused: boolean;
  /** The code of the newest failure; null when the last read of each kind succeeded. */
  readonly lastError: string | null;
}

/** The tenant's numbers of the session engine. */
export interface PlannedEngine {
  readonly numberCount: number;
  readonly cadenceSeconds: number;
  readonly lastReadAt: Date | null;
  readonly nextReadAt: Date | null;
  readonly state: SyncState;
  /** The code of the failure of the last read; null when it succeeded. */
  readonly lastError: string | null;
}

export interface SyncReport {
  /** Those with the most numbers first. */
  readonly accounts: readonly PlannedAccount[];
  /** Null when no number is of the session engine. */
  readonly engine: PlannedEngine | null;
}

export interface ReportOptions extends Pick<Clock, 'now'> {
  readonly database: Database;
  readonly settings: SyncSettings;
  /** Whether a session engine is configured. */
  readonly readsEngine: boolean;
}

const pageSize = 100;

export async function readReport(options: ReportOptions, tenantId: string): Promise<SyncReport> {
  const rows = await listSubjects(options.database, tenantId);
  const at = options.now();
  const engine = rows.find(({ subjectId }) => subjectId === engineSubject);
  return {
    accounts: rows
      .filter((row) => row !== engine)
      .map((row) => toPlannedAccount(options.settings, row, at)),
    engine: engine === undefined ? null : toPlannedEngine(options, engine, at),
  };
}

function toPlannedAccount(settings: SyncSettings, row: SubjectRow, at: Date): PlannedAccount {
  const pages = Math.max(row.pages, Math.ceil(row.numbers / pageSize));
  const plan = planAccount(settings, { ...row, pages });
  const { subjectId: wabaId, numbers, unknownNumbers, isRisky, pausedUntil, lastError } = row;
  return {
    wabaId,
    numberCount: numbers,
    newNumberCount: unknownNumbers,
    isRisky,
    cadenceSeconds: settings.seconds.SWEEP,
    attainable: plan.callsPerHour <= plan.budget,
    attainableCadenceSeconds: pages > plan.budget ? null : Math.ceil(plan.seconds.SWEEP),
    plannedCallsPerHour: plan.callsPerHour,
    budgetCallsPerHour: plan.budget,
    mainKind: plan.mainKind,
    usedPercent: Math.round((100 * row.calls) / plan.budget),
    lastSweepAt: row.lastReadAt,
    nextSweepAt: settings.isOn ? row.nextReadAt : null,
    pausedUntil,
    state: toAccountState(settings, row, plan, at),
    isListRefused: isListRefused(row, at),
    lastError,
  };
}

function toAccountState(
  { isOn, seconds }: SyncSettings,
  row: SubjectRow,
  plan: AccountPlan,
  at: Date,
): SyncState {
  if (!isOn) return 'OFF';
  if (row.pause !== null) return `PAUSED_${row.pause}`;
  const isLate =
    plan.seconds.SWEEP > seconds.SWEEP ||
    isListRefused(row, at) ||
    isOverdue(row, seconds.SWEEP, at) ||
    isOlder(row.oldestReadAt, seconds.HEALTH, at);
  return isLate ? 'LATE' : 'ON_TIME';
}

/** Until the list is tried again, at once when another token is stored. */
function isListRefused({ listError, nextReadAt }: SubjectRow, at: Date): boolean {
  return listError === 'META_ACCESS_DENIED' && nextReadAt > at;
}

function toPlannedEngine(
  { settings: { isOn, seconds }, readsEngine }: ReportOptions,
  row: SubjectRow,
  at: Date,
): PlannedEngine {
  const isRead = isOn && readsEngine;
  const { numbers, lastReadAt, nextReadAt } = row;
  return {
    numberCount: numbers,
    cadenceSeconds: seconds.ENGINE,
    lastReadAt,
    nextReadAt: isRead ? nextReadAt : null,
    state: isRead ? (isOverdue(row, seconds.ENGINE, at) ? 'LATE' : 'ON_TIME') : 'OFF',
    lastError: row.listError,
  };
}

/** A read that is due needs a moment. */
const toleranceMs = 60_000;

function isOverdue(
  {
    lastReadAt,
    nextReadAt,
    listError,
  }: Pick<SubjectRow, 'lastReadAt' | 'nextReadAt' | 'listError'>,
  seconds: number,
  at: Date,
): boolean {
  if (lastReadAt !== null) return isOlder(lastReadAt, seconds, at);
  // What fails from the beginning is due again in the future.
  const isFailing = listError !== null && nextReadAt !== null && nextReadAt > at;
  return isFailing || isOlder(nextReadAt, 0, at);
}

function isOlder(time: Date | null, seconds: number, at: Date): boolean {
  return time !== null && at.getTime() - time.getTime() > seconds * 1_000 + toleranceMs;
}
