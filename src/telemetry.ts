// The log: one function for each event, written as one line of JSON, with secrets redacted.

import { LRUCache } from 'lru-cache';
import { type LevelWithSilent, type Logger, pino } from 'pino';
import { type GatewayError, toGatewayError } from './errors.ts';

/** A request after its response. */
export interface CompletedRequest {
  readonly requestId: string;
  /** Null when the request could not be parsed. */
  readonly method: string | null;
  /** Without the query string. Null when the request could not be parsed. */
  readonly path: string | null;
  readonly status: number;
  readonly durationMs: number;
  readonly tenantId: string | null;
  readonly keyId: string | null;
  /** A name from a fixed set, never text of the caller's; null when it is unknown. */
  readonly operation?: string | null;
  /** The name that the caller gave the GraphQL operation; see `boundText`. */
  readonly operationName?: string | null;
  /** The program that sent the request, as it calls itself; see `boundText`. */
  readonly clientName?: string | null;
  readonly clientVersion?: string | null;
  /** Why a stream has ended, or a long poll; absent of other requests. */
  readonly streamEnd?: string;
  /** Under the name that log collectors know; only with an SDK of OpenTelemetry. */
  readonly trace_id?: string;
}

/** An HTTP request to an upstream, after its response. */
export interface UpstreamCall {
  readonly upstream: 'graph' | 'session engine';
  /** How many operations the request contained; more than one for a batch. */
  readonly operations: number;
  /** `ok`, or an error code. */
  readonly outcome: string;
  readonly status: number | null;
  readonly durationMs: number;
  readonly fbtraceId: string | null;
  /** The highest usage of a rate limit budget that Meta reported with the response. */
  readonly usagePercent: number | null;
}

/** A circuit breaker opened, so that calls to the upstream fail at once for a while, or closed again. */
export interface CircuitChange {
  readonly upstream: UpstreamCall['upstream'];
  readonly state: 'open' | 'closed';
  /** Null for the circuit breaker of all tenants. */
  readonly tenantId: string | null;
}

/** The events that are counted as well as logged. */
export interface TelemetryListener {
  requestCompleted(request: CompletedRequest): void;
  upstreamCalled(call: UpstreamCall): void;
  /** `operations`: how many failed operations are sent once more. */
  upstreamRetried(upstream: UpstreamCall['upstream'], operations: number): void;
  circuitChanged(change: CircuitChange): void;
  /** Meta refused an access token so often that it is not used for a while. */
  tokenQuarantined(refusal: { readonly tenantId: string; readonly metaCode: number | null }): void;
}

export interface Telemetry extends TelemetryListener {
  /**
   * A failure is logged as a warning. In the background, where the same is read again and again, only when the last call for
   * `backgroundSubject` had another outcome.
   */
  upstreamCalled(call: UpstreamCall, backgroundSubject?: string): void;
  /** Logged as an error for INTERNAL, with the stack, and as a warning for any other code. */
  requestFailed(requestId: string, thrown: unknown): void;
  /** A problem that an operator should know and that no caller was told. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A step in the life of the process, such as listening or draining. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Passes all further events to the listener too. */
  subscribe(listener: TelemetryListener): void;
}

export interface TelemetryOptions {
  readonly level: LevelWithSilent;
  /** Receives each line; by default it is written to standard error, because standard output is for results. */
  readonly write?: (line: string) => void;
}

/** Returns a function that says whether the last call for the subject had the same outcome. */
function createRepetitionFilter(): (call: UpstreamCall, subject: string | undefined) => boolean {
  const outcomes = new LRUCache<string, string>({ max: 10_000 });
  return ({ upstream, outcome }, subject) => {
    if (subject === undefined) return false;
    const key = `${upstream} ${subject}`;
    const last = outcomes.get(key);
    outcomes.set(key, outcome);
    return last === outcome;
  };
}

/** Writes each event to the log. */
export function createTelemetry({ level, write }: TelemetryOptions): Telemetry {
  const emit = write ?? ((line: string) => process.stderr.write(line));
  const logger = createLogger(level, (line) => emit(redact(line)));
  const listeners: TelemetryListener[] = [];
  const isRepeated = createRepetitionFilter();
  return {
    requestCompleted(request) {
      for (const listener of listeners) listener.requestCompleted(request);
      logger.info(request, 'request completed');
    },
    upstreamCalled(call, backgroundSubject) {
      for (const listener of listeners) listener.upstreamCalled(call);
      const isKnown = isRepeated(call, backgroundSubject);
      if (call.outcome === 'ok') logger.debug(call, 'upstream called');
      else if (isKnown) logger.debug(call, 'upstream failed');
      else logger.warn(call, 'upstream failed');
    },
    upstreamRetried(upstream, operations) {
      for (const listener of listeners) listener.upstreamRetried(upstream, operations);
      logger.debug({ upstream, operations }, 'upstream retried');
    },
    circuitChanged(change) {
      for (const listener of listeners) listener.circuitChanged(change);
      logger.warn(change, 'circuit breaker changed');
    },
    tokenQuarantined(refusal) {
      for (const listener of listeners) listener.tokenQuarantined(refusal);
      logger.warn(refusal, 'token quarantined');
    },
    requestFailed(requestId, thrown) {
      const error = toGatewayError(thrown);
      const fields = { requestId, code: error.code, cause: formatCause(error) };
      if (error.code === 'INTERNAL') logger.error(fields, 'request failed');
      else logger.warn(fields, 'request failed');
    },
    warn: (message, fields = {}) => logger.warn(fields, message),
    info: (message, fields = {}) => logger.info(fields, message),
    subscribe: (listener) => void listeners.push(listener),
  };
}

function createLogger(level: LevelWithSilent, write: (line: string) => void): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, { write });
}

function formatCause(error: GatewayError): string | null {
  const { cause } = error;
  if (cause === undefined) return null;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

// A caller chooses the path in a line, so the patterns have bounded lengths: their time must be linear in that of the line.
// A pattern is tried only on lines that contain its marker, which are few.
const secretPatterns: readonly (readonly [marker: string, pattern: RegExp, redacted: string])[] = [
  ['ps_', /ps_[0-9A-Za-z]{20,}/g, 'ps_[redacted]'],
  ['EAA', /EAA[0-9A-Za-z]{16,}/g, '[redacted]'],
  // After the name of a secret: in a header, a query string, JSON, or JSON within JSON.
  [
    '',
    /((?:bearer|oauth|basic)\s{1,4}|(?:access_?token|app_?secret(?:_proof)?|input_token|api[-_]?key|pepper|password)\\{0,3}["']?\s{0,4}(?:[=:]|%3d)\s{0,4}\\{0,3}["']?)[^\s"'\\&,}]+/gi,
    '$1[redacted]',
  ],
  ['://', /(\w{1,20}:\/\/[^\s:/@"]{0,100}:)[^\s"]{1,300}@/g, '$1[redacted]@'],
  ['v1.', /\bv1\.[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{30,}/g, '[redacted]'],
  // The part of a URL that names an endpoint of webhooks.
  ['webhooks/meta/', /(webhooks\/meta\/)[^\s"'?/\\{]+/g, '$1{endpoint}'],
  // The secret that signs alerts, and the URLs of Slack, whose paths are secrets.
  ['whsec_', /whsec_[A-Za-z0-9+/=]{16,}/g, 'whsec_[redacted]'],
  ['hooks.slack', /(hooks\.slack(?:-gov)?\.com\/)[^\s"'\\]{1,2000}/g, '$1[redacted]'],
  // An encryption key: 32 bytes in base64.
  ['=', /(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=/g, '[redacted]'],
];

/** Replaces everything in a line that has the form of a secret. Every line passes through it before it is written. */
export function redact(line: string): string {
  return secretPatterns.reduce(
    (text, [marker, pattern, redacted]) =>
      text.includes(marker) ? text.replace(pattern, redacted) : text,
    line,
  );
}

const maxTextLength = 64;

/**
 * Makes text of a caller's fit for a log line: secrets are redacted, unusual characters become question marks, and all but
 * the first 64 characters are cut. Such text is never a label of a metric.
 */
export function boundText(text: string): string {
  // Redacted first, because half of a secret is not recognised.
  return redact(text)
    .replace(/[^\w .,:;@/+()[\]-]/g, '?')
    .slice(0, maxTextLength);
}
