// Owns how much a tenant may ask for: points in a window of time, and requests under way. Counted in this process alone.

import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { RequestVisit } from '../telemetry.ts';

/** What things cost, in points. A list is charged at a guess, and settled for what was in it. */
export const prices = {
  request: 1,
  number: 1,
  list: 40,
  listedNumber: 0.1,
  /** One read upstream; a request that reads three blocks of a number makes three. */
  read: 10,
  introspection: 200,
} as const;

type Standing = NonNullable<RequestVisit['standing']>;

/** One request of a tenant, from its key on until it was answered. */
export interface Visit extends RequestVisit {
  /** Takes points before they are spent. Throws RATE_LIMITED, and takes none, when there are not enough. */
  charge(points: number): Promise<void>;
  /** Gives back what was charged and not spent; a negative number takes more, whatever is left. */
  settle(points: number): Promise<void>;
}

export interface Allowance {
  /** Counts a request and takes its first point. Throws RATE_LIMITED. */
  enter(tenantId: string): Promise<Visit>;
}

export interface AllowanceOptions extends Pick<Config, 'rateLimit' | 'tenantMaxRequests'> {
  /** A request is refused: for its points, or because too many are under way. */
  readonly onRefusal?: (reason: 'points' | 'under way') => void;
}

export function createAllowance(options: AllowanceOptions): Allowance {
  const { rateLimit, tenantMaxRequests, onRefusal } = options;
  const points = rateLimit === null ? null : createPoints(rateLimit, onRefusal);
  const underWay = new Map<string, number>();
  const leave = (tenantId: string): void => {
    const left = (underWay.get(tenantId) ?? 1) - 1;
    if (left === 0) underWay.delete(tenantId);
    else underWay.set(tenantId, left);
  };
  return {
    async enter(tenantId) {
      const count = (underWay.get(tenantId) ?? 0) + 1;
      if (count > tenantMaxRequests) {
        onRefusal?.('under way');
        const message = `More than ${tenantMaxRequests} requests of this tenant are under way.`;
        throw new GatewayError('RATE_LIMITED', message, { retryAfterSeconds: 1 });
      }
      underWay.set(tenantId, count);
      let isHere = true;
      const visit = createVisit(tenantId, points, () => {
        if (isHere) leave(tenantId);
        isHere = false;
      });
      try {
        await visit.charge(1);
        return visit;
      } catch (error) {
        visit.leave();
        throw error;
      }
    },
  };
}

interface Points {
  charge(tenantId: string, count: number): Promise<Standing>;
  settle(tenantId: string, count: number): Promise<Standing>;
}

function createVisit(tenantId: string, points: Points | null, leave: () => void): Visit {
  let standing: Standing | null = null;
  return {
    async charge(count) {
      standing = (await points?.charge(tenantId, count)) ?? null;
    },
    async settle(count) {
      // What was taken in a window that is over cannot be had back in the next one.
      const isOver = standing !== null && standing.resetAt.getTime() <= Date.now();
      if (count === 0 || (count > 0 && isOver)) return;
      standing = (await points?.settle(tenantId, count)) ?? null;
    },
    get standing() {
      return standing;
    },
    leave,
  };
}

function createPoints(
  { points: limit, seconds }: NonNullable<Config['rateLimit']>,
  onRefusal: AllowanceOptions['onRefusal'],
): Points {
  const limiter = new RateLimiterMemory({ points: limit, duration: seconds });
  const toStanding = ({ consumedPoints, msBeforeNext }: RateLimiterRes): Standing => ({
    limit,
    // Whoever was refused may have asked for more than there is.
    remaining: Math.min(limit, Math.max(0, limit - consumedPoints)),
    resetAt: new Date(Date.now() + msBeforeNext),
    seconds,
  });
  return {
    async charge(tenantId, count) {
      try {
        return toStanding(await limiter.consume(tenantId, count));
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal;
        await limiter.reward(tenantId, count);
        onRefusal?.('points');
        const retryAfterSeconds = Math.max(1, Math.ceil(refusal.msBeforeNext / 1_000));
        const message = `This takes ${count} of the ${limit} points that the tenant may spend in ${seconds} seconds, and fewer are left.`;
        throw new GatewayError('RATE_LIMITED', message, { retryAfterSeconds });
      }
    },
    settle: async (tenantId, count) =>
      toStanding(
        await (count > 0 ? limiter.reward(tenantId, count) : limiter.penalty(tenantId, -count)),
      ),
  };
}
