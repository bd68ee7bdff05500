// Limits how much work is done at once: in total, and for each key, so that none keeps the others from their turn.

import { GatewayError } from '../errors.ts';

export interface Slots {
  /** Runs `work` once a slot is free. Throws UNAVAILABLE when that takes too long, or too many wait. */
  use<T>(key: string, work: () => Promise<T>): Promise<T>;
}

export interface SlotsOptions {
  readonly total: number;
  readonly perKey: number;
  /** No limit if absent. */
  readonly maxWaiting?: number;
  /** No limit if absent. */
  readonly maxWaitMs?: number;
}

interface Waiter {
  readonly key: string;
  readonly proceed: () => void;
}

export function createSlots({
  total,
  perKey,
  maxWaiting = Infinity,
  maxWaitMs,
}: SlotsOptions): Slots {
  const held: string[] = [];
  const waiters = new Set<Waiter>();
  const isFree = (key: string) =>
    held.length < total && held.filter((id) => id === key).length < perKey;
  const release = (key: string) => {
    held.splice(held.indexOf(key), 1);
    const next = waiters.values().find((waiter) => isFree(waiter.key));
    next?.proceed();
  };
  const take = async (key: string): Promise<void> => {
    if (!isFree(key)) {
      if (waiters.size >= maxWaiting) throw createBusyError();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      // The slot is taken at once, so that no other request takes it first.
      const waiter = { key, proceed: () => (leave(), held.push(key), resolve()) };
      const giveUp = () => (leave(), reject(createBusyError()));
      const timer = maxWaitMs === undefined ? undefined : setTimeout(giveUp, maxWaitMs);
      const leave = () => (clearTimeout(timer), waiters.delete(waiter));
      waiters.add(waiter);
      return await promise;
    }
    held.push(key);
  };
  return {
    async use(key, work) {
      await take(key);
      try {
        return await work();
      } finally {
        release(key);
      }
    },
  };
}

function createBusyError(): GatewayError {
  const message = 'The gateway is receiving too much at once; send this again in a moment.';
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
}
