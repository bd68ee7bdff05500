// Limits what each tenant may use: points in a window of time, and requests in progress.

import { LRUCache } from 'lru-cache';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { RequestAdmission } from '../http/request-context.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import { type Counter, type Counters, createLocalCounters } from './counters.ts';
import { prices } from './prices.ts';

/**
 * The points to charge in advance for a request that may cost so many: at most all that a tenant may spend in a window, or
 * larger lists could never be read. `leastPoints` are charged in any case.
 */
export function limitToWindow(
  points: number,
  leastPoints: number,
  admission: Pick<Admission, 'rateLimit'>,
): number {
  const limit = admission.rateLimit?.limit ?? points;
  return Math.min(points, Math.max(leastPoints, limit));
}

/** The same for points that are charged beside those that the request has spent. */
export function limitMore(
  points: number,
  { spent, rateLimit }: Pick<Admission, 'rateLimit' | 'spent'>,
): number {
  return limitToWindow(spent + points, spent, { rateLimit }) - spent;
}

/** An admitted request and the points that it spends. */
export interface Admission extends RequestAdmission {
  /** Spends points that this process has leased. Returns false, and spends none, when there are too few: use `charge`. */
  spend(points: number): boolean;
  /** Spends points, and leases more if necessary. Throws RATE_LIMITED, and spends none, when the tenant has too few. */
  charge(points: number): Promise<void>;
  /** Returns points that were charged and not used. A negative number spends more, even beyond the limit. */
  settle(points: number): void;
  /** The request no longer counts as in progress, but goes on to spend points until it leaves. */
  continueAsStream(): void;
  /** Points spent so far, including the price of the request itself. */
  readonly spent: number;
}

export interface RateLimiter {
  /**
   * Counts a request as in progress and spends its price. Throws RATE_LIMITED. Sets `context.admission` first, so that a
   * refusal has rate limit headers too. Requires an authenticated tenant; http/load-shedding.ts protects the process.
   */
  admit(
    tenantId: string,
    context?: { admission: RequestAdmission | null },
  ): MaybePromise<Admission>;
}

export interface RateLimiterOptions extends Pick<Config, 'rateLimit' | 'tenantMaxRequests'> {
  /** Counters in this process by default. */
  readonly counters?: Counters;
  /** Called when a request is refused: for its points, or because too many are in progress. */
  readonly onRefusal?: (reason: 'points' | 'under way') => void;
  /** Leases kept for tenants without requests in progress; about 300 bytes each. */
  readonly maxIdleLeases?: number;
}

interface ActiveTenant {
  requests: number;
  admissions: number;
  readonly lease: QuotaLease | null;
}

export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { tenantMaxRequests, onRefusal } = options;
  const leases = createLeasePool(options);
  /** The tenants that have requests in progress or streams, and no others. */
  const active = new Map<string, ActiveTenant>();
  return {
    admit(tenantId, context) {
      const tenant = active.get(tenantId) ?? {
        requests: 0,
        admissions: 0,
        lease: leases.open(tenantId),
      };
      active.set(tenantId, tenant);
      const presence = enter(tenant, () => {
        active.delete(tenantId);
        leases.close(tenant.lease);
      });
      const admission = createAdmission(tenant.lease, presence);
      if (context !== undefined) context.admission = admission;
      if (tenant.requests > tenantMaxRequests) {
        onRefusal?.('under way');
        admission.settle(0);
        admission.leave();
        const message = `Rate limit exceeded: ${tenantMaxRequests} requests of this tenant are in progress; retry when one has finished.`;
        throw new GatewayError('RATE_LIMITED', message, { retryAfterSeconds: 1 });
      }
      if (admission.spend(prices.request)) return admission;
      return admission.charge(prices.request).then(
        () => admission,
        (error: unknown) => {
          admission.leave();
          throw error;
        },
      );
    },
  };
}

type Presence = Pick<Admission, 'leave' | 'continueAsStream'>;

/** `onLast` is called when no admission of the tenant is left. */
function enter(tenant: ActiveTenant, onLast: () => void): Presence {
  let [isRequest, hasLeft] = [true, false];
  tenant.requests += 1;
  tenant.admissions += 1;
  const continueAsStream = (): void => {
    if (isRequest) tenant.requests -= 1;
    isRequest = false;
  };
  return {
    continueAsStream,
    leave() {
      if (hasLeft) return;
      hasLeft = true;
      continueAsStream();
      tenant.admissions -= 1;
      if (tenant.admissions === 0) onLast();
    },
  };
}

function createAdmission(lease: QuotaLease | null, presence: Presence) {
  const admission = {
    rateLimit: null as RateLimitState | null,
    spent: 0,
    spend(points: number) {
      const isSpent = lease === null || spend(lease, points);
      admission.rateLimit = toRateLimitState(lease);
      if (isSpent) admission.spent += points;
      return isSpent;
    },
    async charge(points: number) {
      while (!admission.spend(points)) {
        // `spend` always succeeds without a lease. Other requests may spend an extension first, hence the loop.
        // oxlint-disable-next-line no-await-in-loop -- see above
        await extend(lease!, points, admission.spent);
      }
    },
    settle(points: number) {
      admission.spent -= points;
      // Points that were charged in an earlier window are not returned to the present one.
      const isOver =
        admission.rateLimit !== null && admission.rateLimit.resetAt.getTime() <= Date.now();
      if (points > 0 && isOver) return;
      if (lease !== null) {
        renew(lease);
        lease.unspent += points;
      }
      admission.rateLimit = toRateLimitState(lease);
    },
    ...presence,
  };
  return admission satisfies Admission;
}

type RateLimitState = NonNullable<RequestAdmission['rateLimit']>;

interface Quota extends NonNullable<Config['rateLimit']> {
  readonly counter: Counter;
  readonly onRefusal: RateLimiterOptions['onRefusal'];
}

/** Points of a tenant that this process has taken from a counter, so that few requests wait for one in the database. */
interface QuotaLease {
  readonly quota: Quota;
  readonly tenantId: string;
  /** Whether the tenant has requests in progress or streams. */
  isOpen: boolean;
  /** Negative when requests were settled beyond the limit. */
  unspent: number;
  /** Points that were counted beyond the limit, and so cannot be spent. */
  excess: number;
  /** The most that the counter can have left. */
  available: number;
  /** End of the window, on the clock of `Date.now()`. */
  endsAt: number;
  /** The extension in progress. */
  extension: Promise<void> | null;
}

/**
 * Keeps leases for the next requests of their tenants. An evicted lease returns its points to the counter, so the size of the
 * pool never decides whether a request is refused.
 */
function createLeasePool(options: RateLimiterOptions) {
  const {
    rateLimit,
    counters = createLocalCounters(),
    onRefusal,
    maxIdleLeases = 50_000,
  } = options;
  if (rateLimit === null) return { open: () => null, close: () => undefined };
  const quota = { ...rateLimit, counter: counters('points', rateLimit.seconds), onRefusal };
  const leases = new LRUCache<string, QuotaLease>({
    max: maxIdleLeases,
    dispose: (lease, _, reason) => {
      if (reason === 'evict' && !lease.isOpen) returnUnspent(lease);
    },
  });
  return {
    open(tenantId: string): QuotaLease {
      const lease = leases.get(tenantId) ?? createLease(quota, tenantId);
      lease.isOpen = true;
      return lease;
    },
    close(lease: QuotaLease | null): void {
      if (lease === null) return;
      lease.isOpen = false;
      leases.set(lease.tenantId, lease);
    },
  };
}

function createLease(quota: Quota, tenantId: string): QuotaLease {
  return {
    quota,
    tenantId,
    isOpen: false,
    unspent: 0,
    excess: 0,
    available: quota.points,
    endsAt: 0,
    extension: null,
  };
}

/** Returns false, and spends nothing, when the lease has too few points. */
function spend(lease: QuotaLease, points: number): boolean {
  renew(lease);
  if (lease.unspent < points) return false;
  lease.unspent -= points;
  return true;
}

/** Begins a new window if the present one is over. */
function renew(lease: QuotaLease): void {
  const now = Date.now();
  if (lease.endsAt > now) return;
  lease.unspent = 0;
  lease.excess = 0;
  lease.available = lease.quota.points;
  lease.endsAt = now + lease.quota.seconds * 1_000;
}

/**
 * A lease is extended by a fiftieth of the limit. Per window, each tenant costs a shared counter at most 50 statements and
 * one for each process. When one process refuses a tenant, the others may still hold a fiftieth and what was returned there.
 */
const extensionsPerWindow = 50;

/** Takes more points from the counter, once for all who wait. Throws RATE_LIMITED when the tenant has fewer than `points`. */
async function extend(lease: QuotaLease, points: number, spent: number): Promise<void> {
  if (lease.unspent + lease.available < points) {
    lease.quota.onRefusal?.('points');
    throw createRefusal(lease, points, spent);
  }
  lease.extension ??= takePoints(lease, points).finally(() => {
    lease.extension = null;
  });
  await lease.extension;
}

async function takePoints(lease: QuotaLease, points: number): Promise<void> {
  const { quota, tenantId } = lease;
  const limit = quota.points;
  const wanted = Math.ceil(Math.max(limit / extensionsPerWindow, points - lease.unspent));
  const { total, endsAt } = await quota.counter.add(tenantId, wanted);
  // Counting the excess tells all processes that no points are left.
  const excess = Math.min(wanted, Math.max(0, total - limit));
  lease.excess += excess;
  lease.unspent += wanted - excess;
  lease.available = Math.max(0, limit - total);
  lease.endsAt = endsAt;
}

function returnUnspent({ quota, tenantId, unspent, excess, endsAt }: QuotaLease): void {
  const points = Math.floor(unspent) + excess;
  if (points === 0 || endsAt <= Date.now()) return;
  // Points that cannot be returned stay spent until the window ends.
  quota.counter.add(tenantId, -points).catch(() => undefined);
}

function toRateLimitState(lease: QuotaLease | null): RateLimitState | null {
  if (lease === null) return null;
  const { quota, unspent, available, endsAt } = lease;
  return {
    limit: quota.points,
    remaining: Math.min(quota.points, Math.max(0, Math.floor(unspent + available))),
    resetAt: new Date(endsAt),
    seconds: quota.seconds,
  };
}

/** For a request that has spent some points and needs more. */
function createRefusal(lease: QuotaLease, points: number, spent: number): GatewayError {
  const { quota, unspent, available, endsAt } = lease;
  const requested = spent + points;
  const remaining = Math.max(0, Math.floor(spent + unspent + available));
  const needed = requested === 1 ? '1 point' : `${requested} points`;
  const message = `Rate limit exceeded: the request needs ${needed}, and ${remaining} of the tenant's ${quota.points} points per ${quota.seconds} seconds are left.`;
  const retryAfterSeconds = Math.max(1, Math.ceil((endsAt - Date.now()) / 1_000));
  const details = { requested, remaining, limit: quota.points };
  return new GatewayError('RATE_LIMITED', message, { retryAfterSeconds, details });
}
