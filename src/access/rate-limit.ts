// Owns how much a tenant may ask for: points in a window of time, and requests under way. Points are counted where
// counters.ts says, requests under way in this process alone.

import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { RequestAdmission } from '../http/request-context.ts';
import { type Counters, createLocalCounters } from './counters.ts';
import { createQuotaLeases, type QuotaLeases, type Standing } from './quota-lease.ts';

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

/** One request of a tenant, from its key on until it was answered. */
export interface Admission extends RequestAdmission {
  /** Takes points if this process has them in hand, as it nearly always has; otherwise they have to be charged. */
  spend(points: number): boolean;
  /** Takes points before they are spent. Throws RATE_LIMITED, and takes none, when there are not enough. */
  charge(points: number): Promise<void>;
  /** Gives back what was charged and not spent; a negative number takes more, whatever is left. */
  settle(points: number): void;
  /** What it has cost so far, with the request's own point. */
  readonly spent: number;
}

export interface RateLimiter {
  /**
   * Counts a request and takes its first point. Throws RATE_LIMITED. A tenant is known once its key was verified, so each
   * refusal has cost that; what a process as a whole has too much of, load.ts refuses before. `context` has the visit from
   * the first moment on: a refusal tells where the tenant stands too.
   */
  admit(
    tenantId: string,
    context?: { admission: RequestAdmission | null },
  ): MaybePromise<Admission>;
}

export interface RateLimiterOptions extends Pick<Config, 'rateLimit' | 'tenantMaxRequests'> {
  /** Where points are counted; in this process unless told. */
  readonly counters?: Counters;
  /** A request is refused: for its points, or because too many are under way. */
  readonly onRefusal?: (reason: 'points' | 'under way') => void;
}

export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { rateLimit, tenantMaxRequests, counters = createLocalCounters(), onRefusal } = options;
  const quotaLeases =
    rateLimit === null ? null : createQuotaLeases(rateLimit, counters, () => onRefusal?.('points'));
  const underWay = new Map<string, number>();
  const leave = (tenantId: string): void => {
    underWay.set(tenantId, (underWay.get(tenantId) ?? 1) - 1);
    if (underWay.size > maxIdle) forgetIdle(underWay);
  };
  return {
    admit(tenantId, context) {
      let isHere = false;
      const admission = createVisit(tenantId, quotaLeases, () => {
        if (isHere) leave(tenantId);
        isHere = false;
      });
      if (context !== undefined) context.admission = admission;
      const count = (underWay.get(tenantId) ?? 0) + 1;
      if (count > tenantMaxRequests) {
        onRefusal?.('under way');
        admission.look();
        const message = `More than ${tenantMaxRequests} requests of this tenant are under way.`;
        throw new GatewayError('RATE_LIMITED', message, { retryAfterSeconds: 1 });
      }
      underWay.set(tenantId, count);
      isHere = true;
      if (admission.spend(1)) return admission;
      return admission.charge(1).then(
        () => admission,
        (error: unknown) => {
          admission.leave();
          throw error;
        },
      );
    },
  };
}

/** Tenants of whom nothing is under way, and who stay in the count: to forget each at once costs more than to keep it. */
const maxIdle = 10_000;

function forgetIdle(underWay: Map<string, number>): void {
  for (const [tenantId, count] of underWay) {
    if (count === 0) underWay.delete(tenantId);
  }
}

function createVisit(tenantId: string, quotaLeases: QuotaLeases | null, leave: () => void) {
  // Plain members: a getter in a literal gives each object a shape of its own, which outlives the young generation.
  const admission = {
    standing: null as Standing | null,
    spent: 0,
    spend(count: number) {
      if (quotaLeases !== null) {
        const taken = quotaLeases.spend(tenantId, count);
        if (taken === null) return false;
        admission.standing = taken;
      }
      admission.spent += count;
      return true;
    },
    async charge(count: number) {
      try {
        admission.standing = (await quotaLeases?.charge(tenantId, count)) ?? null;
      } catch (error) {
        admission.look();
        throw error;
      }
      admission.spent += count;
    },
    look() {
      admission.standing = quotaLeases?.settle(tenantId, 0) ?? null;
    },
    settle(count: number) {
      admission.spent -= count;
      // What was taken in a window that is over cannot be had back in the next one.
      const isOver =
        admission.standing !== null && admission.standing.resetAt.getTime() <= Date.now();
      if (count === 0 || (count > 0 && isOver)) return;
      admission.standing = quotaLeases?.settle(tenantId, count) ?? null;
    },
    leave,
  };
  return admission satisfies Admission;
}
