// Owns what follows from a budget that runs out: which reads of whom are not sent any more, and until when. What the usage
// headers say is left to usage.ts, who else is told of it to the core.
// https://developers.facebook.com/docs/graph-api/overview/rate-limiting

import {
  type Pause,
  type ReadOptions,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import type { GraphOperation, GraphResult } from './operation.ts';
import type { GraphUsage } from './usage.ts';

type Pauses = ReadOptions['pauses'];

/**
 * How much of a budget may be spent before a read is not sent any more. What nobody asked for goes first, which is to ask
 * a second time; then what is asked of many numbers at once; what is asked of one number goes on to the end.
 */
export const budgetFor = { retry: 75, manyNumbers: 90, oneNumber: 100 } as const;

/** The budget of the app is the tenant's as a whole; every other one is that of a WABA. */
const app = 'app';
/** Codes that are about the app, or about the user behind the token, whatever was read. */
const appCodes: ReadonlySet<number | null> = new Set([4, 17, 32, 341]);
/** When Meta does not say for how long a budget is at its end, or near it: its counts roll on minute by minute. */
const pauseMs = 60_000;
/** When Meta has refused and does not say for how long: somebody is waiting. */
const refusedMs = 5_000;

/** Why it must not be asked now; null when it may be. To go on asking makes Meta's wait longer. */
export function findPause(
  pauses: Pauses,
  { wabaId }: Pick<GraphOperation, 'wabaId'>,
  budget: Pause['spentPercent'],
): UpstreamFailure | null {
  const times = [pauses.get(app), wabaId === null ? undefined : pauses.get(wabaId)].map((pause) =>
    pause === undefined || pause.spentPercent < budget ? 0 : pause.until.getTime(),
  );
  const until = Math.max(...times);
  if (until <= Date.now()) return null;
  const message =
    budget === budgetFor.oneNumber
      ? 'The budget of reads that Meta gives this account is spent; wait until it reads again.'
      : 'The budget of reads that Meta gives this account is nearly spent, so its numbers are read one at a time; ask for this one alone, or wait.';
  return toPlainFailure('META_RATE_LIMITED', true, message, new Date(until).toISOString());
}

/** Puts in what the answer to these operations says about budgets that are spent, or nearly so. */
export function recordPauses(
  pauses: Pauses,
  operations: readonly GraphOperation[],
  results: readonly GraphResult[],
  { appPercent, businesses }: GraphUsage,
): void {
  const now = Date.now();
  const pause = (account: string, spentPercent: Pause['spentPercent'], ms: number): void => {
    const until = new Date(now + ms);
    const known = pauses.get(account);
    if (
      known === undefined ||
      known.until.getTime() <= now ||
      isMore({ spentPercent, until }, known)
    ) {
      pauses.set(account, { spentPercent, until });
    }
  };
  const asked = new Set(operations.map(({ wabaId }) => wabaId));
  const appPart = toPart(appPercent ?? 0);
  if (appPart !== null) pause(app, appPart, pauseMs);
  for (const { businessId, percent, regainMinutes } of businesses) {
    if (!asked.has(businessId)) continue;
    const part = toPart(regainMinutes === 0 ? percent : 100);
    if (part !== null) pause(businessId, part, regainMinutes * 60_000 || pauseMs);
  }
  for (const [index, result] of results.entries()) {
    if (result.ok || result.failure.code !== 'META_RATE_LIMITED') continue;
    const { metaCode, retryAt } = result.failure;
    const account = appCodes.has(metaCode) ? app : operations[index]!.wabaId;
    if (account !== null)
      pause(account, 100, retryAt === null ? refusedMs : Date.parse(retryAt) - now);
  }
}

/** Null while there is enough for every read. */
function toPart(percent: number): Pause['spentPercent'] | null {
  if (percent >= 100) return 100;
  if (percent > 90) return 90;
  return percent > 75 ? 75 : null;
}

function isMore(pause: Pause, than: Pause): boolean {
  return (
    pause.spentPercent > than.spentPercent ||
    (pause.spentPercent === than.spentPercent && pause.until > than.until)
  );
}
