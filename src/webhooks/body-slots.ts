// Limits how many bodies of webhooks are in memory at once. A request that finds no slot waits before its body is read.

import { GatewayError } from '../errors.ts';

export interface BodySlots {
  /** Runs `work` once a slot is free. Throws UNAVAILABLE when that takes too long, or too many requests wait. */
  use<T>(endpointId: string, work: () => Promise<T>): Promise<T>;
}

export interface BodySlotsOptions {
  readonly total?: number;
  /** Of one endpoint, so that none keeps the others from receiving. */
  readonly perEndpoint?: number;
  readonly maxWaiting?: number;
  readonly maxWaitMs?: number;
}

interface Waiter {
  readonly endpointId: string;
  readonly proceed: () => void;
}

export function createBodySlots({
  total = 16,
  perEndpoint = 8,
  maxWaiting = 200,
  maxWaitMs = 5_000,
}: BodySlotsOptions = {}): BodySlots {
  const held: string[] = [];
  const waiters = new Set<Waiter>();
  const isFree = (endpointId: string) =>
    held.length < total && held.filter((id) => id === endpointId).length < perEndpoint;
  const release = (endpointId: string) => {
    held.splice(held.indexOf(endpointId), 1);
    const next = waiters.values().find((waiter) => isFree(waiter.endpointId));
    next?.proceed();
  };
  const take = async (endpointId: string): Promise<void> => {
    if (!isFree(endpointId)) {
      if (waiters.size >= maxWaiting) throw createBusyError();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      // The slot is taken at once, so that no other request takes it first.
      const waiter = { endpointId, proceed: () => (leave(), held.push(endpointId), resolve()) };
      const timer = setTimeout(() => (leave(), reject(createBusyError())), maxWaitMs);
      const leave = () => (clearTimeout(timer), waiters.delete(waiter));
      waiters.add(waiter);
      return await promise;
    }
    held.push(endpointId);
  };
  return {
    async use(endpointId, work) {
      await take(endpointId);
      try {
        return await work();
      } finally {
        release(endpointId);
      }
    },
  };
}

function createBusyError(): GatewayError {
  const message = 'Too many webhooks are arriving at once; send this one again in a moment.';
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
}
