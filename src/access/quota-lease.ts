// Owns the points that this process has in hand for each tenant. They are taken from the count a share at a time, so that
// hardly a request has to wait for a database that counts for all processes.

import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { RequestAdmission } from '../http/request-context.ts';
import type { Counters } from './counters.ts';

export type Standing = NonNullable<RequestAdmission['standing']>;

export interface QuotaLeases {
  /** Takes points that are in hand already; null, and takes nothing, when they have to be charged. */
  spend(tenantId: string, points: number): Standing | null;
  /** Throws RATE_LIMITED, and takes nothing, when there are not enough. */
  charge(tenantId: string, points: number): Promise<Standing>;
  /** Puts back what was charged in this window; a negative number takes more, and may leave a debt. */
  settle(tenantId: string, points: number): Standing;
}

/** What this process has of the window that is over at `endsAt`, on the clock of `Date.now()`. */
interface QuotaLease {
  /** Taken from the count and not spent. */
  inHand: number;
  /** In the count and not taken by anybody, as far as this process knows; it can only have become less. */
  untaken: number;
  endsAt: number;
  /** The taking that is under way. */
  taking: Promise<void> | null;
}

/**
 * A process takes a fiftieth of the limit at a time. So a tenant costs a shared count at most 50 statements in a window,
 * and one more for each process; and what other processes have in hand when it is refused is less than a fiftieth each,
 * beside what they were given back.
 */
const shares = 50;
/** Tenants that are remembered; of those beyond, what is in hand is lost. */
const maxLeases = 10_000;

type RateLimit = NonNullable<Config['rateLimit']>;

export function createQuotaLeases(
  rateLimit: RateLimit,
  counters: Counters,
  onRefusal: () => void,
): QuotaLeases {
  const { points: limit } = rateLimit;
  const counter = counters('points', rateLimit.seconds);
  const share = Math.ceil(limit / shares);
  const find = createPurseFinder(rateLimit);
  const take = async (tenantId: string, quotaLease: QuotaLease, points: number): Promise<void> => {
    const wanted = Math.ceil(Math.max(share, points - quotaLease.inHand));
    const { total, endsAt } = await counter.add(tenantId, wanted);
    // What goes beyond the limit is nobody's: it says to all that there is no more.
    quotaLease.inHand += Math.min(wanted, Math.max(0, limit - (total - wanted)));
    quotaLease.untaken = Math.max(0, limit - total);
    quotaLease.endsAt = endsAt;
  };
  const spend = (quotaLease: QuotaLease, points: number): Standing | null => {
    if (quotaLease.inHand < points) return null;
    quotaLease.inHand -= points;
    return toStanding(rateLimit, quotaLease);
  };
  return {
    spend: (tenantId, points) => spend(find(tenantId), points),
    async charge(tenantId, points) {
      for (;;) {
        const quotaLease = find(tenantId);
        const standing = spend(quotaLease, points);
        if (standing !== null) return standing;
        if (quotaLease.inHand + quotaLease.untaken < points) {
          onRefusal();
          throw toRefusal(rateLimit, quotaLease, points);
        }
        quotaLease.taking ??= take(tenantId, quotaLease, points).finally(() => {
          quotaLease.taking = null;
        });
        // oxlint-disable-next-line no-await-in-loop -- others may have spent what was taken
        await quotaLease.taking;
      }
    },
    settle(tenantId, points) {
      const quotaLease = find(tenantId);
      quotaLease.inHand += points;
      return toStanding(rateLimit, quotaLease);
    },
  };
}

/** Answers the purse of a tenant; a full one when there is none, or its window is over. */
function createPurseFinder({ points, seconds }: RateLimit): (tenantId: string) => QuotaLease {
  const quotaLeases = new Map<string, QuotaLease>();
  return (tenantId) => {
    const now = Date.now();
    const known = quotaLeases.get(tenantId);
    if (known !== undefined && known.endsAt > now) return known;
    const quotaLease = { inHand: 0, untaken: points, endsAt: now + seconds * 1_000, taking: null };
    quotaLeases.delete(tenantId);
    quotaLeases.set(tenantId, quotaLease);
    const [oldest] = quotaLeases.keys();
    if (quotaLeases.size > maxLeases && oldest !== undefined) quotaLeases.delete(oldest);
    return quotaLease;
  };
}

function toStanding({ points, seconds }: RateLimit, quotaLease: QuotaLease): Standing {
  const { inHand, untaken, endsAt } = quotaLease;
  return {
    limit: points,
    remaining: Math.min(points, Math.max(0, Math.floor(inHand + untaken))),
    resetAt: new Date(endsAt),
    seconds,
  };
}

function toRefusal(
  { points, seconds }: RateLimit,
  { endsAt }: QuotaLease,
  asked: number,
): GatewayError {
  const message = `This takes ${asked} of the ${points} points that the tenant may spend in ${seconds} seconds, and fewer are left.`;
  const retryAfterSeconds = Math.max(1, Math.ceil((endsAt - Date.now()) / 1_000));
  return new GatewayError('RATE_LIMITED', message, { retryAfterSeconds });
}
