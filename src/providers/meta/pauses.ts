// Owns what follows from a spent budget: of whom Meta is not asked any more, and until when. What the usage headers say is
// left to usage.ts, who else is told of it to the core. https://developers.facebook.com/docs/graph-api/overview/rate-limiting

import type { ReadOptions, UpstreamFailure } from '../../numbers/provider.ts';
import { toPlainFailure } from './graph-error.ts';
import type { GraphOperation, GraphResult } from './operation.ts';
import type { GraphUsage } from './usage.ts';

type Pauses = ReadOptions['pauses'];

/** The budget of the app is the tenant's as a whole; every other one is that of a WABA. */
const app = 'app';
/** Codes that are about the app, or about the user behind the token, whatever was read. */
const appCodes: ReadonlySet<number | null> = new Set([4, 17, 32, 341]);
/** When a budget is at its end and Meta does not say for how long. */
const pauseMs = 60_000;
/** When Meta has refused and does not say for how long: its counts roll on, and somebody is waiting. */
const refusedMs = 5_000;

/** Why it must not be asked now; null when it may be. To go on asking makes Meta's wait longer. */
export function findPause(pauses: Pauses, { wabaId }: GraphOperation): UpstreamFailure | null {
  const times = [pauses.get(app), wabaId === null ? undefined : pauses.get(wabaId)]
    .filter((time) => time !== undefined)
    .map((time) => time.getTime());
  const until = Math.max(0, ...times);
  if (until <= Date.now()) return null;
  return {
    ...toPlainFailure(
      'META_RATE_LIMITED',
      true,
      'The budget of reads that Meta gives this account is spent; wait until it reads again.',
    ),
    retryAt: new Date(until).toISOString(),
  };
}

/** Puts in what the answer to these operations says about budgets that are spent. */
export function recordPauses(
  pauses: Pauses,
  operations: readonly GraphOperation[],
  results: readonly GraphResult[],
  { appPercent, businesses }: GraphUsage,
): void {
  const pause = (account: string, until: number): void => {
    const known = pauses.get(account)?.getTime() ?? 0;
    if (until > known) pauses.set(account, new Date(until));
  };
  const now = Date.now();
  const asked = new Set(operations.map(({ wabaId }) => wabaId));
  if (appPercent !== null && appPercent >= 100) pause(app, now + pauseMs);
  for (const { businessId, percent, regainMinutes } of businesses) {
    if (!asked.has(businessId) || (percent < 100 && regainMinutes === 0)) continue;
    pause(businessId, now + (regainMinutes === 0 ? pauseMs : regainMinutes * 60_000));
  }
  for (const [index, result] of results.entries()) {
    if (result.ok || result.failure.code !== 'META_RATE_LIMITED') continue;
    const { metaCode, retryAt } = result.failure;
    const account = appCodes.has(metaCode) ? app : operations[index]!.wabaId;
    if (account !== null) pause(account, retryAt === null ? now + refusedMs : Date.parse(retryAt));
  }
}
