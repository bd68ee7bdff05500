// Owns the tie between a request and what is done for it, wherever that happens: the request knows of the reads upstream
// that it caused and of what it was shown, and gives its place away while it waits.

import { AsyncLocalStorage } from 'node:async_hooks';
import { GatewayError } from './errors.ts';
import type { WhatsAppNumber } from './numbers/number.ts';
import type { Numbers } from './numbers/numbers.ts';
import type { RequestContext, Telemetry, ReleaseWhile } from './telemetry.ts';

export interface RequestRuns {
  /** Whatever is done in `work`, and comes of it, is done for this request. */
  run<T>(request: RequestContext, work: () => T): T;
  /** The same telemetry, which lets the request that caused a call upstream know of it. */
  observeTelemetry(telemetry: Telemetry): Telemetry;
  /**
   * The same numbers; the request knows whether they were read live for it, and until when they stay as they were shown.
   * Whoever waits for a live reading is not under way meanwhile.
   */
  observeNumbers(numbers: Numbers): Numbers;
}

export function createRequestRuns(): RequestRuns {
  const requests = new AsyncLocalStorage<RequestContext>();
  const findContext = () => requests.getStore();
  // What is done for no request has no place to give away.
  const releaseWhile: ReleaseWhile = (work) => findContext()?.releaseWhile(work) ?? work();
  return {
    run: (request, work) => requests.run(request, work),
    observeTelemetry: (telemetry) => countCalls(telemetry, findContext),
    observeNumbers: (numbers) => toPatient(noteShown(numbers, findContext), releaseWhile),
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

function isMany(shown: Shown | readonly Shown[]): shown is readonly Shown[] {
  return Array.isArray(shown);
}

function noteChange(context: RequestContext, number: Shown): void {
  if (number instanceof GatewayError || number.validUntil === null) return;
  const { validUntil } = context;
  if (validUntil === null || number.validUntil < validUntil) context.validUntil = number.validUntil;
}

function noteShown(numbers: Numbers, findContext: FindContext): Numbers {
  const note = <T extends Shown | readonly Shown[]>(
    reading: Promise<T>,
    isLive: boolean,
  ): Promise<T> => {
    const context = findContext();
    if (context === undefined) return reading;
    if (isLive) context.isLive = true;
    return reading.then((shown) => {
      if (isMany(shown)) for (const number of shown) noteChange(context, number);
      else noteChange(context, shown);
      return shown;
    });
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

function toPatient(numbers: Numbers, releaseWhile: ReleaseWhile): Numbers {
  return {
    ...numbers,
    getMany(access, requests, signal) {
      const read = () => numbers.getMany(access, requests, signal);
      return requests.some(({ refresh }) => refresh !== null) ? releaseWhile(read) : read();
    },
    getLive: (...asked) => releaseWhile(() => numbers.getLive(...asked)),
    getStatus: (...asked) => releaseWhile(() => numbers.getStatus(...asked)),
  };
}
