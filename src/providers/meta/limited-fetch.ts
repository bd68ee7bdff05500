// Owns when a request to Meta may leave the process: its turn, its time, and whether anybody is there to answer it.
// What is asked, and what an answer means, is left to graph.ts.

import { isTaskCancelledError } from 'cockatiel';
import { type ReadOptions, toPlainFailure, type UpstreamFailure } from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import { createBulkhead, type BulkheadOptions } from '../bulkhead.ts';
import { CircuitOpen, createCircuitBreakers } from '../circuit-breaker.ts';
import { readHttp, type HttpReading, type ReadHttpOptions } from '../http-read.ts';

export interface LimitedFetchOptions extends BulkheadOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly telemetry: Telemetry;
  /** For each HTTP request, its reply included; 3,000 unless told. */
  readonly attemptTimeoutMs?: number;
  /** For which an open circuit stays open; 5,000 unless told. */
  readonly circuitPauseMs?: number;
}

interface Request extends Pick<ReadHttpOptions, 'headers' | 'form'> {
  /** What the request is about; see ThroughCircuits. */
  readonly subject: string;
}

type Answer = HttpReading | { readonly outcome: 'unsent'; readonly failure: UpstreamFailure };

/** Rejects only with the reason of the signal. */
export type LimitedFetch = (url: URL, request: Request, options: ReadOptions) => Promise<Answer>;

export function createLimitedFetch(options: LimitedFetchOptions): LimitedFetch {
  const {
    fetch,
    telemetry,
    attemptTimeoutMs: timeoutMs = 3_000,
    circuitPauseMs: pauseMs,
  } = options;
  const enter = createBulkhead(options);
  const throughCircuits = createCircuitBreakers({ upstream: 'graph', telemetry, pauseMs });
  return async (url, { subject, ...request }, { tenantId, signal, deadlineAt }) => {
    const remainingMs = Math.floor(deadlineAt - performance.now());
    if (remainingMs < 1) return { outcome: 'unsent', failure: noTurn };
    const late = AbortSignal.timeout(remainingMs);
    try {
      return await enter(tenantId, AbortSignal.any([signal, late]), () =>
        throughCircuits(tenantId, subject, () =>
          readHttp(url, { fetch, ...request, timeoutMs, deadlineAt, signal }),
        ),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (isTaskCancelledError(error)) return { outcome: 'unsent', failure: noTurn };
      if (error instanceof CircuitOpen) return { outcome: 'unsent', failure: toDown(error) };
      throw error;
    }
  };
}

const noTurn = toPlainFailure(
  'META_TIMEOUT',
  true,
  'Too many reads were under way, and this one did not come to its turn in time; try again.',
);

function toDown({ retryAt }: CircuitOpen): UpstreamFailure {
  const message = "Meta's Graph API does not answer, so it is not asked for a moment; try again.";
  return toPlainFailure('META_UNAVAILABLE', true, message, retryAt.toISOString());
}
