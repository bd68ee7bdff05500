// What a run of an account comes to: when each kind of read is due again, and why none is made until then.

import type { SyncSettings } from '../config.ts';
import type { UpstreamFailure } from '../numbers/provider.ts';
import type { AccountList } from './account-list.ts';
import { countedSeconds, findNextDue, lateIntervals, planAccount, quotas } from './plan.ts';
import {
  type DueRead,
  mergedMs,
  type ReadResult,
  type Run,
  type RunResult,
  type Subject,
  type SubjectState,
} from './store.ts';
import type { RunBudget } from './run-budget.ts';

export type ReadFailure = Pick<UpstreamFailure, 'code' | 'metaCode' | 'retryAt'>;

/** TOKENS: every token is dead, or there is none. READS: the list and single reads are refused. LIST: the list alone. */
export type RunRefusal = 'TOKENS' | 'READS' | 'LIST';

/** What of a request is still to be read. */
export type RequestLeft = Pick<DueRead, 'phones' | 'profiles' | 'readsAccount'>;

export const nothingLeft: RequestLeft = { phones: [], profiles: [], readsAccount: false };

export const accessDenied: ReadFailure = {
  code: 'META_ACCESS_DENIED',
  metaCode: null,
  retryAt: null,
};
export const overBudget: ReadFailure = { code: 'META_RATE_LIMITED', metaCode: null, retryAt: null };

/** What a run has found. */
export interface EndedRun {
  readonly subject: Subject;
  readonly run: Run;
  readonly options: { readonly settings: SyncSettings };
  readonly budget: Pick<RunBudget, 'affordableAt' | 'uncounted'>;
  readonly found: {
    readonly readsHealth: boolean;
    readonly list: AccountList | null;
    readonly refusal: RunRefusal | null;
    readonly missing: SubjectState['missing'] | null;
    readonly hasChanged: boolean;
    readonly isSpent: boolean;
    readonly unknownNumbers: number | null;
    readonly left: RequestLeft;
    readonly failures: ReadonlyMap<DueRead['kind'], ReadFailure>;
  };
}

/** Operators replace tokens without telling the gateway. */
export const refusedMs = 6 * 3_600_000;
/** After Meta has said that most of the limit is used. */
const pausedMs = 300_000;
const firstRetryMs = 30_000;
/** Somebody waits for what a webhook announced. */
const firstRetryOfRequestMs = 2_000;
const maxRetriesOfRequest = 5;

export function toRunResult(ended: EndedRun): RunResult {
  const { run, found, budget } = ended;
  const { list, readsHealth, hasChanged } = found;
  const state = {
    quota: list === null ? run.state.quota : toQuota(list),
    pages: list?.pages ?? run.state.pages,
    readsHealth,
    missing: found.missing ?? run.state.missing,
  };
  return {
    state,
    unknownNumbers: found.unknownNumbers,
    hasChanged,
    pause: findPause(ended),
    calls: budget.uncounted,
    toResults(isRisky) {
      const size = { ...state, numbers: run.numbers.length, isRisky };
      const { seconds } = planAccount(ended.options.settings, size);
      return run.due.map((read) => toReadResult(ended, read, seconds));
    },
  };
}

/** Meta allows more calls for an account with a registered number. */
function toQuota({ phones }: AccountList): number {
  const isRegistered = phones.values().some(({ phone }) => phone.platformType === 'CLOUD_API');
  return isRegistered ? quotas.registered : quotas.unregistered;
}

function findPause({ run, found, budget }: EndedRun): RunResult['pause'] {
  const failures = [...found.failures.values()];
  if (found.refusal === 'TOKENS' || found.refusal === 'READS') {
    const isOfAll = found.refusal === 'TOKENS';
    return { reason: 'TOKEN', until: addMs(run.at, refusedMs), isOfAll };
  }
  const limited = failures.find(({ code }) => code === 'META_RATE_LIMITED');
  if (limited === undefined) {
    const until = addMs(run.at, pausedMs);
    return found.isSpent ? { reason: 'BUDGET', until, isOfAll: true } : null;
  }
  const retryAt = limited.retryAt === null ? null : new Date(limited.retryAt);
  const times = [budget.affordableAt, retryAt].filter((time) => time !== null && time > run.at);
  // When the gateway counts the calls itself, it knows the time; Meta's own figure is read again after a while.
  const until = budget.affordableAt === null ? addMs(run.at, pausedMs) : run.at;
  return {
    reason: 'BUDGET',
    until: new Date(Math.max(...[until, ...times].map(Number))),
    isOfAll: found.isSpent,
  };
}

function isRefused({ code }: ReadFailure): boolean {
  return code === 'META_ACCESS_DENIED';
}

function toReadResult(
  ended: EndedRun,
  { kind, requestedAt, failures }: DueRead,
  seconds: ReturnType<typeof planAccount>['seconds'],
): ReadResult {
  const { subject, run, found } = ended;
  const failure = found.failures.get(kind);
  const isRequest = kind === 'REQUEST';
  const result = {
    kind,
    requestedAt,
    error: failure?.code ?? null,
    lateAfterSeconds: kind === 'REQUEST' ? null : findLateAfter(ended, failure, seconds[kind]),
    ...(isRequest && { left: found.left }),
  };
  const nextDue = isRequest
    ? findNextOfRequest(ended)
    : findNextDue(run.at, `${subject.tenantId} ${subject.subjectId}`, kind, seconds);
  if (failure === undefined || (isRequest && isRefused(failure))) {
    const pausedUntil = found.isSpent ? addMs(run.at, pausedMs) : run.at;
    return { ...result, dueAt: nextDue !== null && nextDue < pausedUntil ? pausedUntil : nextDue };
  }
  if (isRefused(failure)) {
    const isOfKind = found.refusal === 'LIST' ? kind === 'SWEEP' : found.refusal !== null;
    return { ...result, dueAt: isOfKind ? addMs(run.at, refusedMs) : nextDue };
  }
  if (failure.code === 'META_RATE_LIMITED') {
    return { ...result, dueAt: findPause(ended)?.until ?? nextDue };
  }
  if (isRequest && failures >= maxRetriesOfRequest) return { ...result, dueAt: null };
  const retryAt = addMs(
    run.at,
    (isRequest ? firstRetryOfRequestMs : firstRetryMs) * 2 ** Math.min(failures, 10),
  );
  return { ...result, dueAt: nextDue !== null && nextDue < retryAt ? nextDue : retryAt };
}

/** A read that the budget does not allow waits until the calls of the last hour do not count any more. */
function findLateAfter(
  { budget }: EndedRun,
  failure: ReadFailure | undefined,
  intervalSeconds: number,
): number {
  const waitsForBudget = failure?.code === 'META_RATE_LIMITED' && budget.affordableAt !== null;
  return lateIntervals * intervalSeconds + (waitsForBudget ? countedSeconds : 0);
}

/** What one run has no room for is read by the next one; null when there is nothing left, or Meta refuses it. */
function findNextOfRequest({ run, found: { left, failures } }: EndedRun): Date | null {
  const isLeft = left.phones === null || left.phones.length > 0 || left.profiles.length > 0;
  return (isLeft || left.readsAccount) && !failures.has('REQUEST') ? addMs(run.at, mergedMs) : null;
}

function addMs(time: Date, ms: number): Date {
  return new Date(time.getTime() + ms);
}
