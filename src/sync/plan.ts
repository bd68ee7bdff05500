// The arithmetic of sync: how often each kind of read is due, when, and how many calls an hour that takes.

import { createHash } from 'node:crypto';
import type { SyncSettings } from '../config.ts';

/**
 * What is read of a subject. SWEEP: the list of the account's numbers, without their health. HEALTH: the numbers with their
 * health. PROFILE: their business profiles. ACCOUNT: the account itself. ENGINE: the states at the session engine. REQUEST:
 * what a webhook has asked for.
 */
export type SyncKind = 'REQUEST' | CadenceKind;
export type CadenceKind = keyof SyncSettings['seconds'];

/** What the number of calls for an account depends on. */
export interface AccountSize {
  readonly numbers: number;
  /** Of its list of numbers. */
  readonly pages: number;
  /** Calls an hour that Meta allows. */
  readonly quota: number;
  /** Whether Meta lists the numbers, and their health with them. Otherwise they are read one by one. */
  readonly readsHealth: boolean;
  readonly isRisky: boolean;
}

export interface AccountPlan {
  /** From one read to the next, with the budget that there is. */
  readonly seconds: Readonly<Record<CadenceKind, number>>;
  /** Numbers that one run of HEALTH reads where Meta does not list the health; all in so many runs as it is read more often. */
  readonly singleReads: number;
  /** What the configured cadence takes in the hour with most reads. */
  readonly callsPerHour: number;
  /** Calls that runs may make in an hour. The configured cadence is kept if it takes no more. */
  readonly budget: number;
  /** What takes most of the calls. */
  readonly mainKind: CadenceKind;
}

/** Why and until when an account is not read although a read of it is due. */
export interface SyncPause {
  readonly reason: 'BUDGET' | 'TOKEN';
  readonly until: Date;
  /** Whether nothing is read until then except what is asked for, and not only what was due at the last run. */
  readonly isOfAll: boolean;
}

/** Meta's limits for one app and account: with a registered number, and without one. */
export const quotas = { registered: 5_000, unregistered: 200 } as const;

/** A risky account is read so many times as often. */
const riskFactor = 5;
/** Read in one run, so that no run takes a large part of the budget. */
export const maxProfiles = 10;
export const maxSingleReads = 20;
/** Fields that Meta refuses, and accounts that another token can read, cost a few calls more than planned. */
const reservedShare = 0.05;

/** A call counts for an hour, and the minute that it was made in is counted as a whole. */
export const countedSeconds = 61 * 60;

/** A read is late that was not made for so many intervals. */
export const lateIntervals = 2;

export function planAccount(settings: SyncSettings, size: AccountSize): AccountPlan {
  const { numbers, quota, isRisky } = size;
  const { seconds: configured, budgetShare } = settings;
  const factor = isRisky ? riskFactor : 1;
  const runs = (perRun: number) => Math.max(1, Math.ceil(numbers / perRun));
  const singleReads = Math.ceil(numbers / runs(maxSingleReads));
  const cadences = (slower: number) => ({
    SWEEP: (configured.SWEEP / factor) * slower,
    HEALTH: ((configured.HEALTH / factor) * slower) / (size.readsHealth ? 1 : runs(maxSingleReads)),
    PROFILE: (configured.PROFILE * slower) / runs(maxProfiles),
    ACCOUNT: configured.ACCOUNT * slower,
    ENGINE: configured.ENGINE,
  });
  const count = (slower: number) => countCalls(cadences(slower), { ...size, singleReads });
  const budget = Math.max(1, Math.floor(budgetShare * quota * (1 - reservedShare)));
  const calls = count(1);
  // When one read of each kind takes more than there is, they are made in different hours.
  const target = Math.max(budget, total(count(Infinity)));
  // A cadence that takes more than there is becomes slower as a whole, instead of pausing for a part of each hour.
  let slower = 1;
  while (total(count(slower)) > target) slower *= 1.01;
  const kinds = Object.keys(calls) as (keyof typeof calls)[];
  return {
    seconds: cadences(slower),
    singleReads,
    callsPerHour: total(calls),
    budget,
    mainKind: kinds.reduce((one, other) => (calls[other] > calls[one] ? other : one)),
  };
}

/**
 * How many calls each kind takes in the time for which a call counts. Reads are due at fixed times, so there may be
 * one more than there are whole intervals.
 */
function countCalls(
  seconds: AccountPlan['seconds'],
  { numbers, pages, readsHealth, singleReads }: AccountSize & Pick<AccountPlan, 'singleReads'>,
) {
  const times = (kind: CadenceKind) => Math.floor(countedSeconds / seconds[kind]) + 1;
  const lists = (kind: CadenceKind) => pages * times(kind);
  const isSweptMore = seconds.SWEEP < seconds.HEALTH;
  const [often, seldom] = isSweptMore
    ? (['SWEEP', 'HEALTH'] as const)
    : (['HEALTH', 'SWEEP'] as const);
  const ratio = seconds[seldom] / seconds[often];
  // A list with the health takes the place of one without it that is due at the same time.
  const areTogether = Math.abs(ratio - Math.round(ratio)) < 1e-9;
  return {
    SWEEP: pages * times('SWEEP'),
    HEALTH: singleReads * times('HEALTH'),
    ...(readsHealth && { [often]: lists(often), [seldom]: areTogether ? 0 : lists(seldom) }),
    PROFILE: Math.min(maxProfiles, numbers) * times('PROFILE'),
    ACCOUNT: times('ACCOUNT'),
  };
}

function total(calls: Readonly<Record<string, number>>): number {
  return Object.values(calls).reduce((added, of) => added + of, 0);
}

/**
 * The first time after `at` at which a read of this kind is due. The times depend on the subject alone, so that neither
 * restarts nor several processes cause bursts. Those of HEALTH coincide with some of SWEEP, which it includes.
 */
export function findNextDue(
  at: Date,
  subject: string,
  kind: CadenceKind,
  seconds: AccountPlan['seconds'],
): Date {
  const intervalMs = seconds[kind] * 1_000;
  const phaseMs = toPhaseMs(subject, kind, seconds) % intervalMs;
  const intervals = Math.floor((at.getTime() - phaseMs) / intervalMs) + 1;
  return new Date(Math.max(at.getTime() + 1, Math.ceil(phaseMs + intervals * intervalMs)));
}

function toPhaseMs(subject: string, kind: CadenceKind, seconds: AccountPlan['seconds']): number {
  if (kind !== 'HEALTH') return toFraction(`${subject} ${kind}`) * seconds[kind] * 1_000;
  const sweepMs = seconds.SWEEP * 1_000;
  const sweeps = Math.floor((toFraction(`${subject} HEALTH`) * seconds.HEALTH) / seconds.SWEEP);
  return toPhaseMs(subject, 'SWEEP', seconds) + sweeps * sweepMs;
}

/** From 0 to 1, and the same for the same text. */
function toFraction(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;
}

/** Calls of the last hour, by the minute in which they were made. */
export type MinuteCalls = readonly { readonly minute: Date; readonly calls: number }[];

/** When so many calls may be made without exceeding the budget: `at` itself or later. */
export function findAffordable(at: Date, made: MinuteCalls, calls: number, budget: number): Date {
  let left = made.reduce((sum, it) => sum + it.calls, 0);
  const oldestFirst = made.toSorted((a, b) => a.minute.getTime() - b.minute.getTime());
  let time = at.getTime();
  for (const { minute, calls: passed } of oldestFirst) {
    if (left + calls <= budget) break;
    left -= passed;
    time = Math.max(time, minute.getTime() + countedSeconds * 1_000);
  }
  return new Date(time);
}
