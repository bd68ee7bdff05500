// Sends requests to an upstream within the limits of its bulkhead, its circuit breakers, a timeout and a size, without
// following redirects.

import { type ReadOptions, toPlainFailure, type UpstreamFailure } from '../numbers/provider.ts';
import type { Telemetry, UpstreamCall } from '../telemetry.ts';
import { traceUpstreamRequest } from '../tracing.ts';
import { BulkheadRejection, type BulkheadOptions, createBulkhead } from '../http/bulkhead.ts';
import { CircuitOpenError, createCircuitBreakers } from './circuit-breaker.ts';

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
  /** The path with names in the place of ids, for tracing. */
  readonly template: string;
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
  return async (url, { subject, template, headers, createForm }, reading) => {
    const { tenantId, signal, deadlineAt, links } = reading;
    const traced = { method: createForm === undefined ? 'GET' : 'POST', url, template };
    const limits = { timeoutMs: attemptTimeoutMs, deadlineAt, signal };
    const read = () =>
      traceUpstreamRequest(traced, links, () =>
        readHttp(url, { fetch, headers, form: createForm?.(), ...limits }),
      );
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
  const solution = outcome === 'queue timeout' ? 'Try again.' : 'Try again later.';
  return toPlainFailure(code, true, toMessage(outcome, label), { solution });
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
      return `Timed out waiting for a response from ${label}.`;
    case 'queue timeout':
      return `Timed out waiting for a free connection to ${label}.`;
    case 'queue full':
      return `Too many reads are waiting for a connection to ${label}.`;
    case 'unreachable':
      return `The connection to ${label} failed before a complete response arrived.`;
    case 'too large':
      return `The response from ${label} is larger than 1 MiB.`;
    case 'circuit open':
      return `Requests to ${label} are paused because it does not respond.`;
  }
}

interface ReadHttpOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent with POST; without a form the method is GET. */
  readonly form?: URLSearchParams | undefined;
  /** Until the last byte of the response. */
  readonly timeoutMs: number;
  /** The caller's deadline, on the clock of `performance.now()`; it may come before the timeout. */
  readonly deadlineAt: number;
  /** Ends the request when it is aborted. */
  readonly signal: AbortSignal;
}

/**
 * `timeout`: no complete response within `timeoutMs`. `deadline`: the caller's deadline came before the timeout, which
 * proves nothing about the upstream. `status` is null when no response had begun.
 */
export type HttpResult = { readonly durationMs: number } & (
  | {
      readonly outcome: 'answered';
      readonly status: number;
      readonly headers: Headers;
      readonly text: string;
    }
  | {
      readonly outcome: 'timeout' | 'deadline' | 'unreachable' | 'too large';
      readonly status: number | null;
    }
);

const maxResponseBytes = 1024 * 1024;

/** Rejects only with the reason of the signal; every other failure is an outcome. A redirect is an answer, and not followed. */
async function readHttp(url: URL, options: ReadHttpOptions): Promise<HttpResult> {
  const { fetch, headers, form, timeoutMs, deadlineAt, signal } = options;
  const startedAt = performance.now();
  const allowedMs = Math.max(1, Math.min(timeoutMs, Math.floor(deadlineAt - startedAt)));
  const timeout = AbortSignal.timeout(allowedMs);
  const ended = AbortSignal.any([signal, timeout]);
  const body = form === undefined ? {} : { method: 'POST', body: form };
  const measureMs = (): number => Math.round(performance.now() - startedAt);
  let status: number | null = null;
  try {
    // Following a redirect would send the credentials to another host.
    const response = await fetch(url, { ...body, headers, redirect: 'manual', signal: ended });
    status = response.status;
    const text = await readText(response, ended);
    if (text === null) return { outcome: 'too large', status, durationMs: measureMs() };
    return {
      outcome: 'answered',
      status,
      headers: response.headers,
      text,
      durationMs: measureMs(),
    };
  } catch {
    // The error of fetch is dropped: its message may quote a header.
    signal.throwIfAborted();
    const timeoutOutcome = allowedMs < timeoutMs ? 'deadline' : 'timeout';
    const outcome = timeout.aborted ? timeoutOutcome : 'unreachable';
    return { outcome, status, durationMs: measureMs() };
  }
}

const maxRetryAfterMs = 24 * 3_600_000;

/** The time that the Retry-After header names, at most a day from now, ISO 8601; null when it is absent or invalid. */
export function parseRetryAfter(headers: Headers, now: Date): string | null {
  const text = headers.get('retry-after')?.trim() ?? '';
  const time = parseRetryTime(text, now.getTime());
  return Number.isNaN(time)
    ? null
    : new Date(Math.min(time, now.getTime() + maxRetryAfterMs)).toISOString();
}

function parseRetryTime(text: string, nowMs: number): number {
  if (/^\d{1,7}$/.test(text)) return nowMs + Number(text) * 1_000;
  // Date.parse alone would accept texts such as -5.
  return /^\w{3}, .{1,40} GMT$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** Null when the body is larger than the limit; the rest of it is not read. */
async function readText(response: Response, signal: AbortSignal): Promise<string | null> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const cancel = (): void => void reader.cancel(signal.reason).catch(() => {});
  // The signal given to fetch may not end the read of a body; cancelling the reader does.
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const chunks = await readChunks(reader);
    signal.throwIfAborted();
    if (chunks === null) cancel();
    return chunks === null ? null : new TextDecoder().decode(Buffer.concat(chunks));
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

async function readChunks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<readonly Uint8Array[] | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- chunks arrive in order
    const { done, value } = await reader.read();
    if (done) return chunks;
    bytes += value.byteLength;
    if (bytes > maxResponseBytes) return null;
    chunks.push(value);
  }
}
