// Owns how many requests to an upstream are under way at once, for the process and for each tenant, and who is next.

import { bulkhead, TaskCancelledError, type BulkheadPolicy } from 'cockatiel';

export interface BulkheadOptions {
  readonly perProcess?: number;
  readonly perTenant?: number;
}

/**
 * Does the work when there is room for it. A tenant holds at most its own few places in the line for the room of the
 * process, so that one with a thousand requests does not stand before the others. Rejects with a TaskCancelledError when
 * `signal` is aborted before the work began; work that has begun is left to itself.
 */
export type Bulkhead = <T>(
  tenantId: string,
  signal: AbortSignal,
  work: () => Promise<T>,
) => Promise<T>;

interface Room {
  readonly policy: BulkheadPolicy;
  guests: number;
}

export function createBulkhead(options: BulkheadOptions = {}): Bulkhead {
  const { perProcess = 20, perTenant = 4 } = options;
  const ofProcess = bulkhead(perProcess, Number.POSITIVE_INFINITY);
  const rooms = new Map<string, Room>();
  const enter = async <T>(tenantId: string, stay: (room: Room) => Promise<T>): Promise<T> => {
    const room = rooms.get(tenantId) ?? {
      policy: bulkhead(perTenant, Number.POSITIVE_INFINITY),
      guests: 0,
    };
    rooms.set(tenantId, room);
    room.guests += 1;
    try {
      return await stay(room);
    } finally {
      room.guests -= 1;
      if (room.guests === 0) rooms.delete(tenantId);
    }
  };
  return async <T>(tenantId: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // The library notices an abort only when the turn has come.
    const leave = () => reject(new TaskCancelledError());
    signal.addEventListener('abort', leave, { once: true });
    const begin = async () => {
      signal.removeEventListener('abort', leave);
      return await work();
    };
    enter(tenantId, ({ policy }) =>
      policy.execute(() => ofProcess.execute(begin, signal), signal),
    ).then(resolve, reject);
    return await promise;
  };
}
