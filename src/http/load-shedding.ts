// Decides whether the process is too busy to begin another request, and at what rate it then refuses.

import type { EventEmitter } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { ReleaseWhile } from './request-context.ts';

export interface LoadShedder extends Disposable {
  /** Why no further request may begin; null when one may. */
  findOverload(): Overload | null;
  /** Takes a slot for a request that begins. */
  begin(): InFlightSlot;
  /** Requests that have begun and have not been answered, except those that released their slot. */
  readonly inFlight: number;
  /** Mean delay over the last quarter of a second. */
  readonly eventLoopDelayMs: number;
}

export interface InFlightSlot {
  /** To be called once the request has been answered. Calling it twice has no effect. */
  end(): void;
  /**
   * Frees the slot while `work` waits for the client's body or for an upstream, which costs this process nothing: a slow
   * upstream must not use up the capacity for stored numbers.
   */
  readonly releaseWhile: ReleaseWhile;
}

export interface Overload {
  readonly reason: 'event loop delay' | 'requests under way';
  readonly error: GatewayError;
}

const windowMs = 250;
const resolutionMs = 10;
/** Event-loop delay counts as overload only when at least this share of `maxRequests` is in flight. */
const minInFlightShare = 0.2;

export function createLoadShedder({
  maxRequests,
  maxEventLoopDelayMs,
}: Pick<Config, 'maxRequests' | 'maxEventLoopDelayMs'>): LoadShedder {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  let inFlight = 0;
  // Two windows have to be late, so that a single long task is not taken for overload.
  let delays: readonly [previous: number, last: number] = [0, 0];
  const timer = setInterval(() => {
    const { count, mean } = histogram;
    histogram.reset();
    delays = [delays[1], count === 0 ? 0 : Math.max(0, mean / 1e6 - resolutionMs)];
  }, windowMs);
  timer.unref();
  const isLate = () =>
    Math.min(...delays) > maxEventLoopDelayMs && inFlight >= minInFlightShare * maxRequests;
  return {
    findOverload() {
      if (inFlight >= maxRequests) return createOverload('requests under way');
      return isLate() ? createOverload('event loop delay') : null;
    },
    begin: () =>
      createSlot((change) => {
        inFlight += change;
      }),
    get inFlight() {
      return inFlight;
    },
    get eventLoopDelayMs() {
      return delays[1];
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}

function createSlot(count: (change: 1 | -1) => void): InFlightSlot {
  let [waits, hasEnded] = [0, false];
  count(1);
  return {
    end() {
      if (!hasEnded && waits === 0) count(-1);
      hasEnded = true;
    },
    releaseWhile(work) {
      waits += 1;
      if (waits === 1 && !hasEnded) count(-1);
      const takeBack = () => {
        waits -= 1;
        if (waits === 0 && !hasEnded) count(1);
      };
      const done = callAsync(work);
      // Registered first, so that the slot is taken back before the request continues.
      done.then(takeBack, takeBack);
      return done;
    },
  };
}

/** Unlike an `async` function, settles in the same microtask as the promise of `work`. */
function callAsync<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Resolves when the refusal may be sent. The turn of a connection that closes before is given to the next one. */
export type RefusalPacer = (connection: Pick<EventEmitter, 'once' | 'off'>) => Promise<void>;

/**
 * Spaces refusals evenly, at most `perSecond`. Clients that are refused often retry at once, and a refusal costs half as
 * much as a cached response: unpaced, the process would do little else. A refusal waits at most `maxMs`; when more are
 * waiting than fit, the pace is exceeded.
 */
export function createRefusalPacer(perSecond: number, maxMs: number): RefusalPacer {
  const stepMs = 1_000 / perSecond;
  let nextAt = 0;
  const giveTurnBack = () => {
    nextAt -= stepMs;
  };
  return async (connection) => {
    const now = performance.now();
    const waitMs = Math.max(0, nextAt - now);
    const { promise, resolve } = Promise.withResolvers<void>();
    if (waitMs > maxMs) {
      setTimeout(resolve, maxMs);
      return await promise;
    }
    nextAt = now + waitMs + stepMs;
    if (waitMs === 0) return;
    setTimeout(resolve, waitMs);
    connection.once('close', giveTurnBack);
    await promise;
    connection.off('close', giveTurnBack);
  };
}

function createOverload(reason: Overload['reason']): Overload {
  const message = 'The gateway is overloaded; retry in a moment.';
  return { reason, error: new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 }) };
}
