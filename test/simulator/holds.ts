// Holds, which delay the responses of the simulator until a test releases them.

import type { Operation } from '../../src/simulator/faults.ts';
import { until } from '../../src/simulator/transport.ts';

export interface Hold {
  /** Resolves when the first request that reads the id has arrived and waits. */
  readonly arrived: Promise<void>;
  /** Lets waiting and later requests continue. Calling it again does nothing. */
  release(): void;
}

export interface Holds {
  hold(id: string): Hold;
  /** Undefined when nothing that the request reads is held. */
  wait(
    operations: readonly Operation[],
    createSignal: () => AbortSignal,
  ): Promise<unknown> | undefined;
}

interface HeldId {
  readonly id: string;
  readonly arrived: PromiseWithResolvers<void>;
  readonly released: PromiseWithResolvers<void>;
}

/** The id `*` holds every request. */
export function createHolds(): Holds {
  const held = new Set<HeldId>();
  return {
    hold(id) {
      const hold = {
        id,
        arrived: Promise.withResolvers<void>(),
        released: Promise.withResolvers<void>(),
      };
      held.add(hold);
      return {
        arrived: hold.arrived.promise,
        release() {
          held.delete(hold);
          hold.released.resolve();
        },
      };
    },
    wait(operations, createSignal) {
      const ids = new Set(['*', ...operations.map(({ id }) => id)]);
      const matching = [...held].filter(({ id }) => ids.has(id));
      if (matching.length === 0) return undefined;
      for (const { arrived } of matching) arrived.resolve();
      const released = Promise.all(matching.map((hold) => hold.released.promise));
      return until(released, createSignal());
    },
  };
}
