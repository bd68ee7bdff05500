// Lets a test decide when a request goes on: whoever touches a held id waits until the hold is released.

import { until, type Operation } from './wire.ts';

export interface Hold {
  /** Fulfilled when the first request that touches the id has arrived and waits. */
  readonly arrived: Promise<void>;
  /** Lets the waiting requests go on, and those to come pass. A second call does nothing. */
  release(): void;
}

export interface Holds {
  hold(id: string): Hold;
  /** Undefined when nothing is held, so that a request need not wait a turn. */
  wait(operations: readonly Operation[], toSignal: () => AbortSignal): Promise<unknown> | undefined;
}

interface Gate {
  readonly id: string;
  readonly arrived: PromiseWithResolvers<void>;
  readonly released: PromiseWithResolvers<void>;
}

/** The id `*` holds every request. */
export function createHolds(): Holds {
  const gates = new Set<Gate>();
  return {
    hold(id) {
      const gate = {
        id,
        arrived: Promise.withResolvers<void>(),
        released: Promise.withResolvers<void>(),
      };
      gates.add(gate);
      return {
        arrived: gate.arrived.promise,
        release() {
          gates.delete(gate);
          gate.released.resolve();
        },
      };
    },
    wait(operations, toSignal) {
      const ids = new Set(['*', ...operations.map(({ id }) => id)]);
      const closed = [...gates].filter((gate) => ids.has(gate.id));
      if (closed.length === 0) return undefined;
      for (const gate of closed) gate.arrived.resolve();
      return until(Promise.all(closed.map((gate) => gate.released.promise)), toSignal());
    },
  };
}
