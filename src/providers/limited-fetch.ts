// Sends requests to an upstream within the limits of its bulkhead, its circuit breakers, a timeout and a size.

import { type ReadOptions, toPlainFailure, type UpstreamFailure } from '../numbers/provider.ts';
import type { Telemetry, UpstreamCall } from '../telemetry.ts';
import { BulkheadRejection, type BulkheadOptions, createBulkhead } from './bulkhead.ts';
import { CircuitOpenError, createCircuitBreakers } from './circuit-breaker.ts';
import { readHttp, type HttpResult, type ReadHttpOptions } from './http-read.ts';

export interface LimitedFetchOptions extends BulkheadOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly telemetry: Telemetry;
  /** For each HTTP request and its response; 3,000 by default. */
  readonly attemptTimeoutMs?: number;
  /** How long an open circuit lets no request through; 5,000 by default. */
  readonly circuitPauseMs?: number;
}

export interface LimitedRequest extends Pick<ReadHttpOptions, 'headers'> {
  /** Called when the request is sent, so that queued requests take less memory; without it the method is GET. */
  readonly createForm?: () => URLSearchParams;
  /** What the request is about; see CircuitBreakers. */
  readonly subject: string;
}

export type LimitedResult =
  | Extract<HttpResult, { outcome: 'answered' }>
  | {
      readonly outcome: 'failed';
      /** False when nothing was sent. */
      readonly attempted: boolean;
      readonly status: number | null;
      readonly durationMs: number;
      readonly failure: UpstreamFailure;
    };

/** Rejects only with the reason of the signal; every other failure is a result. */
export type LimitedFetch = (
  url: URL,
  request: LimitedRequest,
  options: ReadOptions,
) => Promise<LimitedResult>;

export function createLimitedFetch(
  upstream: UpstreamCall['upstream'],
  options: LimitedFetchOptions,
): LimitedFetch {
  const { fetch, telemetry, attemptTimeoutMs = 3_000, circuitPauseMs } = options;
  const bulkhead = createBulkhead(options);
  const circuits = createCircuitBreakers({ upstream, telemetry, pauseMs: circuitPauseMs });
  return async (url, { subject, headers, createForm }, reading) => {
    const { tenantId, signal, deadlineAt } = reading;
    const limits = { timeoutMs: attemptTimeoutMs, deadlineAt, signal };
    const read = () => readHttp(url, { fetch, headers, form: createForm?.(), ...limits });
    try {
      const result = await bulkhead(reading, () => circuits(tenantId, subject, read));
      if (result.outcome === 'answered') return result;
      const { outcome, ...rest } = result;
      const failure = toFailure(upstream, outcome);
      return { outcome: 'failed', attempted: true, ...rest, failure };
    } catch (error) {
      signal.throwIfAborted();
      const failure = toUnsentFailure(upstream, error);
      if (failure === null) throw error;
      return { outcome: 'failed', attempted: false, status: null, durationMs: 0, failure };
    }
  };
}

/** Null when the error is a defect. */
function toUnsentFailure(
  upstream: UpstreamCall['upstream'],
  error: unknown,
): UpstreamFailure | null {
  if (error instanceof BulkheadRejection) return toFailure(upstream, error.reason);
  if (!(error instanceof CircuitOpenError)) return null;
  return { ...toFailure(upstream, 'circuit open'), retryAt: error.retryAt.toISOString() };
}

type FailedOutcome =
  Exclude<HttpResult['outcome'], 'answered'> | BulkheadRejection['reason'] | 'circuit open';

function toFailure(upstream: UpstreamCall['upstream'], outcome: FailedOutcome): UpstreamFailure {
  const { label, timeoutCode, failureCode } = upstreams[upstream];
  const code = timeouts.has(outcome) ? timeoutCode : failureCode;
  return toPlainFailure(code, true, toMessage(outcome, label));
}

const upstreams = {
  graph: { label: 'Meta', timeoutCode: 'META_TIMEOUT', failureCode: 'META_UNAVAILABLE' },
  'session engine': {
    label: 'the session engine',
    timeoutCode: 'UNAVAILABLE',
    failureCode: 'UNAVAILABLE',
  },
} as const satisfies Record<UpstreamCall['upstream'], object>;

const timeouts: ReadonlySet<FailedOutcome> = new Set<FailedOutcome>([
  'timeout',
  'deadline',
  'queue timeout',
  'queue full',
]);

function toMessage(outcome: FailedOutcome, label: string): string {
  switch (outcome) {
    case 'timeout':
    case 'deadline':
      return `Timed out waiting for a response from ${label}; try again later.`;
    case 'queue timeout':
      return `Timed out waiting for a free connection to ${label}; try again.`;
    case 'queue full':
      return `Too many reads are waiting for a connection to ${label}; try again later.`;
    case 'unreachable':
      return `The connection to ${label} failed before a complete response arrived; try again later.`;
    case 'too large':
      return `The response from ${label} is larger than 1 MiB; try again later.`;
    case 'circuit open':
      return `Requests to ${label} are paused because it does not respond; try again later.`;
  }
}
