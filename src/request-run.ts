// Owns the tie between a request and what is done for it, wherever that happens: the request knows of the reads upstream
// that it caused and of what it was shown, and gives its place away while it waits.

import { AsyncLocalStorage } from 'node:async_hooks';
import { GatewayError } from './errors.ts';
import type { Slot } from './load.ts';
import type { WhatsAppNumber } from './numbers/number.ts';
import type { Numbers } from './numbers/numbers.ts';
import type { RequestContext, Telemetry } from './telemetry.ts';

/** A request for which something is being done. */
export interface RequestRun {
  readonly context: RequestContext;
  readonly slot: Slot;
}

export interface RequestRuns {
  /** Whatever is done in `work`, and comes of it, is done for this request. */
  run<T>(run: RequestRun, work: () => T): T;
  /** As that of the request's slot; whatever is done for no request just does it. */
  readonly waitFor: Slot['waitFor'];
  /** The same telemetry, which lets the request that caused a call upstream know of it. */
  observeTelemetry(telemetry: Telemetry): Telemetry;
  /**
   * The same numbers; the request knows whether they were read live for it, and until when they stay as they were shown.
   * Whoever waits for a live reading is not under way meanwhile.
   */
  observeNumbers(numbers: Numbers): Numbers;
}

export function createRequestRuns(): RequestRuns {
  const requests = new AsyncLocalStorage<RequestRun>();
  const waitFor: Slot['waitFor'] = (work) => requests.getStore()?.slot.waitFor(work) ?? work();
  const findContext = () => requests.getStore()?.context;
  return {
    run: (run, work) => requests.run(run, work),
    waitFor,
    observeTelemetry: (telemetry) => countCalls(telemetry, findContext),
    observeNumbers: (numbers) => toPatient(noteShown(numbers, findContext), waitFor),
  };
}

type FindContext = () => RequestContext | undefined;

function countCalls(telemetry: Telemetry, findContext: FindContext): Telemetry {
  return {
    ...telemetry,
    upstreamCalled(call) {
      const context = findContext();
      if (context !== undefined) context.upstreamCalls += call.operations;
      telemetry.upstreamCalled(call);
    },
  };
}

type Shown = WhatsAppNumber | GatewayError;

function noteShown(numbers: Numbers, findContext: FindContext): Numbers {
  const note = async <T extends Shown | readonly Shown[]>(
    reading: Promise<T>,
    isLive: boolean,
  ): Promise<T> => {
    const context = findContext();
    if (context !== undefined && isLive) context.isLive = true;
    const shown = await reading;
    if (context === undefined) return shown;
    for (const number of [shown].flat()) {
      if (number instanceof GatewayError || number.changesAt === null) continue;
      const { changesAt } = context;
      if (changesAt === null || number.changesAt < changesAt) context.changesAt = number.changesAt;
    }
    return shown;
  };
  return {
    ...numbers,
    list: (...asked) => note(numbers.list(...asked), false),
    get: (...asked) => note(numbers.get(...asked), asked[1].refresh !== null),
    getMany: (...asked) =>
      note(
        numbers.getMany(...asked),
        asked[1].some(({ refresh }) => refresh !== null),
      ),
    getLive: (...asked) => note(numbers.getLive(...asked), true),
    getStatus: (...asked) => note(numbers.getStatus(...asked), true),
  };
}

function toPatient(numbers: Numbers, waitFor: Slot['waitFor']): Numbers {
  return {
    ...numbers,
    getMany(access, requests, signal) {
      const read = () => numbers.getMany(access, requests, signal);
      return requests.some(({ refresh }) => refresh !== null) ? waitFor(read) : read();
    },
    getLive: (...asked) => waitFor(() => numbers.getLive(...asked)),
    getStatus: (...asked) => waitFor(() => numbers.getStatus(...asked)),
  };
}
