// Reads Meta's usage headers and decides which reads of an account are not sent while its rate limit is nearly used up.
// https://developers.facebook.com/docs/graph-api/overview/rate-limiting

import { type JsonObject, parseJson, toObject } from '../../json.ts';
import {
  type Credentials,
  type Pause,
  type ReadOptions,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import { toAppKey } from './credential-key.ts';

/** One budget of one business object. */
export interface BusinessUsage {
  /** The business object that the budget belongs to; for our reads a WABA. */
  readonly businessId: string;
  /** Meta's name of the budget, such as `whatsapp_business_management`. */
  readonly type: string | null;
  /** The highest of calls, CPU time and total time; above 100 while overdrawn. */
  readonly percent: number;
  /** Minutes until it may be used again; 0 while it may be used. */
  readonly regainMinutes: number;
}

export interface GraphUsage {
  /** Of the app's budget; null when the response has no valid header. */
  readonly appPercent: number | null;
  readonly businesses: readonly BusinessUsage[];
}

export const unknownUsage: GraphUsage = { appPercent: null, businesses: [] };

/** Missing and malformed parts are left out; never throws. */
export function parseUsage(headers: Headers): GraphUsage {
  const app = toObject(parseJson(headers.get('x-app-usage') ?? ''));
  const businesses = toObject(parseJson(headers.get('x-business-use-case-usage') ?? '')) ?? {};
  return {
    appPercent: app === null ? null : toPercent(app),
    businesses: Object.entries(businesses).flatMap(([businessId, budgets]) =>
      (Array.isArray(budgets) ? budgets : [])
        .map(toObject)
        .filter((budget) => budget !== null)
        .map((budget) => toBusinessUsage(businessId, budget)),
    ),
  };
}

/** The highest of all budgets; null when there is none. */
export function toHighestPercent({ appPercent, businesses }: GraphUsage): number | null {
  const percents = businesses.map(({ percent }) => percent);
  if (appPercent !== null) percents.push(appPercent);
  return percents.length === 0 ? null : Math.max(...percents);
}

/** Minutes until every budget may be used again; 0 when none is used up. */
export function toRegainMinutes({ businesses }: GraphUsage): number {
  return Math.max(0, ...businesses.map(({ regainMinutes }) => regainMinutes));
}

/**
 * Percent of a budget that may be spent before a kind of read is not sent: retries and reads in the background end first,
 * then reads of several numbers together, last those of one number.
 */
export const maxSpentPercent = {
  retry: 75,
  background: 75,
  manyNumbers: 90,
  oneNumber: 100,
} as const;

type Pauses = ReadOptions['pauses'];

/** Meta counts the calls of each app, and those of each app to each account. */
export interface BudgetUser {
  readonly wabaId: string | null;
  readonly credentials: Credentials;
}

function toAppBudget(credentials: Credentials): string {
  return `app ${toAppKey(credentials)}`;
}

function toAccountBudget(wabaId: string, credentials: Credentials): string {
  return `${wabaId} ${toAppKey(credentials)}`;
}

/** Throttling codes that concern the app or the token's user, whatever was read. */
const appCodes: ReadonlySet<number | null> = new Set([4, 17, 32, 341]);
/** For a budget that is nearly or fully spent, when Meta names no time: it counts over a sliding window. */
const spentPauseMs = 60_000;
/** After a throttled read, when Meta names no time. */
const throttledPauseMs = 5_000;

/** Why a read must not be sent yet; null when it may be sent. Reads during a pause make Meta prolong it. */
export function findPauseFailure(
  pauses: Pauses,
  { wabaId, credentials }: BudgetUser,
  limit: Pause['spentPercent'],
): UpstreamFailure | null {
  if (pauses.size === 0) return null;
  const budgets = [toAppBudget(credentials)];
  if (wabaId !== null) budgets.push(toAccountBudget(wabaId, credentials));
  const times = budgets.map((budget) => {
    const pause = pauses.get(budget);
    return pause === undefined || pause.spentPercent < limit ? 0 : pause.until.getTime();
  });
  const until = Math.max(...times);
  if (until <= Date.now()) return null;
  const [message, solution] =
    limit === maxSpentPercent.oneNumber
      ? ["Meta's rate limit for this account is used up.", 'Try again at the time in retryAt.']
      : [
          "Meta's rate limit for this account is nearly used up, so only single numbers are read.",
          'Read this number alone, or try again at the time in retryAt.',
        ];
  const retryAt = new Date(until).toISOString();
  return toPlainFailure('META_RATE_LIMITED', true, message, { solution, retryAt });
}

/** A read that was sent, and its failure, or null when it succeeded. */
export interface SentRead {
  readonly wabaId: string | null;
  readonly failure: UpstreamFailure | null;
}

/** Adds to `pauses` the budgets that, by the response to these reads, are spent or nearly spent. */
export function recordPauses(
  pauses: Pauses,
  credentials: Credentials,
  reads: readonly SentRead[],
  { appPercent, businesses }: GraphUsage,
): void {
  const now = Date.now();
  const pause = (budget: string, spentPercent: Pause['spentPercent'], ms: number): void => {
    const until = new Date(now + ms);
    const known = pauses.get(budget);
    if (
      known === undefined ||
      known.until.getTime() <= now ||
      isStricter({ spentPercent, until }, known)
    ) {
      pauses.set(budget, { spentPercent, until });
    }
  };
  const wabaIds = new Set(reads.map(({ wabaId }) => wabaId));
  const appStep = toStep(appPercent ?? 0);
  const app = toAppBudget(credentials);
  if (appStep !== null) pause(app, appStep, spentPauseMs);
  for (const { businessId, percent, regainMinutes } of businesses) {
    if (!wabaIds.has(businessId)) continue;
    const step = toStep(regainMinutes === 0 ? percent : 100);
    if (step === null) continue;
    const account = toAccountBudget(businessId, credentials);
    pause(account, step, regainMinutes * 60_000 || spentPauseMs);
  }
  for (const { wabaId, failure } of reads) {
    if (failure?.code !== 'META_RATE_LIMITED') continue;
    const { metaCode, retryAt } = failure;
    if (wabaId === null && !appCodes.has(metaCode)) continue;
    const budget =
      wabaId === null || appCodes.has(metaCode) ? app : toAccountBudget(wabaId, credentials);
    pause(budget, 100, retryAt === null ? throttledPauseMs : Date.parse(retryAt) - now);
  }
}

/** Null while there is enough for every kind of read. */
function toStep(percent: number): Pause['spentPercent'] | null {
  if (percent >= 100) return 100;
  if (percent > 90) return 90;
  return percent > 75 ? 75 : null;
}

function isStricter(pause: Pause, than: Pause): boolean {
  return (
    pause.spentPercent > than.spentPercent ||
    (pause.spentPercent === than.spentPercent && pause.until > than.until)
  );
}

function toBusinessUsage(businessId: string, budget: JsonObject): BusinessUsage {
  return {
    businessId,
    type: typeof budget['type'] === 'string' ? budget['type'] : null,
    percent: toPercent(budget),
    regainMinutes: toCount(budget['estimated_time_to_regain_access']),
  };
}

function toPercent(budget: JsonObject): number {
  const { call_count, total_cputime, total_time } = budget;
  return Math.max(toCount(call_count), toCount(total_cputime), toCount(total_time));
}

// The bound is a day in minutes, the longest pause of an account.
function toCount(value: unknown): number {
  return typeof value === 'number' && value > 0 ? Math.min(value, 1_440) : 0;
}
