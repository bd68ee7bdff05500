// Limits how much work runs at once, per process and per tenant, and queues the rest.

export interface BulkheadOptions {
  /** 20 by default. */
  readonly maxPerProcess?: number;
  /** 4 by default. */
  readonly maxPerTenant?: number;
  /** Further requests of the tenant are rejected at once; 1,000 by default. */
  readonly maxQueuedPerTenant?: number;
}

/**
 * Runs `work` when a slot is free; tenants with queued requests take turns. Rejects with the reason of `signal` when
 * it is aborted while the request is queued, and with a BulkheadRejection when the queue of the tenant is full or no slot
 * was free by `deadlineAt`. Work that has begun is not interrupted.
 */
export type Bulkhead = <T>(request: BulkheadRequest, work: () => Promise<T>) => Promise<T>;

export interface BulkheadRequest {
  readonly tenantId: string;
  readonly signal: AbortSignal;
  /** In milliseconds of `performance.now()`. */
  readonly deadlineAt: number;
}

export class BulkheadRejection extends Error {
  override readonly name = 'BulkheadRejection';
  readonly reason: 'queue timeout' | 'queue full';

  constructor(reason: BulkheadRejection['reason']) {
    super(reason);
    this.reason = reason;
  }
}

interface Tenant {
  running: number;
  /** Each entry starts one request. */
  readonly queue: Set<() => void>;
}

// The bulkhead of cockatiel keeps cancelled requests in its queue, and knows neither tenants nor deadlines.
export function createBulkhead(options: BulkheadOptions = {}): Bulkhead {
  const { maxPerProcess = 20, maxPerTenant = 4, maxQueuedPerTenant = 1_000 } = options;
  /** In the order in which they get free slots. */
  const tenants = new Map<string, Tenant>();
  let running = 0;
  const hasSlot = (tenant: Tenant) => running < maxPerProcess && tenant.running < maxPerTenant;
  const takeSlot = (tenantId: string, tenant: Tenant): void => {
    running += 1;
    tenant.running += 1;
    tenants.delete(tenantId);
    tenants.set(tenantId, tenant);
  };
  const startNext = (): void => {
    for (const [tenantId, tenant] of tenants) {
      const [start] = tenant.queue;
      if (start === undefined) {
        if (tenant.running === 0) tenants.delete(tenantId);
      } else if (hasSlot(tenant)) {
        tenant.queue.delete(start);
        takeSlot(tenantId, tenant);
        return start();
      }
    }
  };
  return async (request, work) => {
    const { tenantId, signal, deadlineAt } = request;
    signal.throwIfAborted();
    if (deadlineAt - performance.now() < 1) throw new BulkheadRejection('queue timeout');
    const tenant = tenants.get(tenantId) ?? { running: 0, queue: new Set() };
    tenants.set(tenantId, tenant);
    if (hasSlot(tenant)) takeSlot(tenantId, tenant);
    else if (tenant.queue.size < maxQueuedPerTenant) await waitForSlot(tenant.queue, request);
    else throw new BulkheadRejection('queue full');
    try {
      return await work();
    } finally {
      running -= 1;
      tenant.running -= 1;
      startNext();
    }
  };
}

/** Resolves when the slot was taken for the request. */
async function waitForSlot(
  queue: Tenant['queue'],
  { signal, deadlineAt }: BulkheadRequest,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // At once, so that no slot is taken for a request that has given up.
  const giveUp = (reason: unknown): void => {
    queue.delete(resolve);
    reject(reason);
  };
  const abort = () => giveUp(signal.reason);
  const timeout = () => giveUp(new BulkheadRejection('queue timeout'));
  signal.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(timeout, deadlineAt - performance.now());
  queue.add(resolve);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
