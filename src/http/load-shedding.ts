// Owns the question how busy the process is, whether it is too busy to begin anything more, and how fast it then refuses.

import type { EventEmitter } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { ReleaseWhile } from './request-context.ts';

export interface LoadShedder extends Disposable {
  /** Why nothing more is begun; null when there is room. */
  findOverload(): Overload | null;
  /** A request begins. */
  begin(): InFlightSlot;
  /** Requests that were begun and not answered, but for those that wait. */
  readonly underWay: number;
  /** The mean of the last quarter of a second. */
  readonly eventLoopDelayMs: number;
}

/** The place of a request among those that are under way. */
export interface InFlightSlot {
  /** The request was answered. Ending it twice does nothing. */
  end(): void;
  /**
   * Gives the place away while something is awaited that costs this process nothing: the caller's own body, or an
   * upstream. A Meta that hangs must not keep anybody from what is stored.
   */
  readonly releaseWhile: ReleaseWhile;
}

export interface Overload {
  readonly reason: 'event loop delay' | 'requests under way';
  readonly error: GatewayError;
}

const windowMs = 250;
const resolutionMs = 10;
/** A late event loop is the fault of requests when there are many; a fifth of what may be under way is many. */
const many = 0.2;

export function createLoadShedder({
  maxRequests,
  maxEventLoopDelayMs,
}: Pick<Config, 'maxRequests' | 'maxEventLoopDelayMs'>): LoadShedder {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  let underWay = 0;
  // Of two windows, so that one long step of something else is not taken for overload.
  let delays: readonly [previous: number, last: number] = [0, 0];
  const timer = setInterval(() => {
    const { count, mean } = histogram;
    histogram.reset();
    delays = [delays[1], count === 0 ? 0 : Math.max(0, mean / 1e6 - resolutionMs)];
  }, windowMs);
  timer.unref();
  const isLate = () => Math.min(...delays) > maxEventLoopDelayMs && underWay >= many * maxRequests;
  return {
    findOverload() {
      if (underWay >= maxRequests) return toOverload('requests under way');
      return isLate() ? toOverload('event loop delay') : null;
    },
    begin: () =>
      createSlot((change) => {
        underWay += change;
      }),
    get underWay() {
      return underWay;
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
      const comeBack = () => {
        waits -= 1;
        if (waits === 0 && !hasEnded) count(1);
      };
      const done = toPromise(work);
      // The first to hear of it, so that whoever waits goes on in its place.
      done.then(comeBack, comeBack);
      return done;
    },
  };
}

/** An `async` function would answer a turn later. */
function toPromise<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Resolves when it is the turn of whoever waits there; one who leaves before gives the turn back. */
export type RefusalPacer = (waiting: Pick<EventEmitter, 'once' | 'off'>) => Promise<void>;

/** An even pace, however many ask; nobody waits longer than `mostMs`, and then it is not kept. `close` means leaving. */
export function createRefusalPacer(perSecond: number, maxMs: number): RefusalPacer {
  const stepMs = 1_000 / perSecond;
  let nextAt = 0;
  const giveBack = () => {
    nextAt -= stepMs;
  };
  return async (waiting) => {
    const now = performance.now();
    const waitMs = Math.max(0, nextAt - now);
    const { promise, resolve } = Promise.withResolvers<void>();
    if (waitMs > maxMs) {
      // No turn of its own, and none to give back.
      setTimeout(resolve, maxMs);
      return await promise;
    }
    nextAt = now + waitMs + stepMs;
    if (waitMs === 0) return;
    setTimeout(resolve, waitMs);
    waiting.once('close', giveBack);
    await promise;
    waiting.off('close', giveBack);
  };
}

function toOverload(reason: Overload['reason']): Overload {
  const message = 'The gateway has more to do than it can; try again in a moment.';
  return { reason, error: new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 }) };
}
