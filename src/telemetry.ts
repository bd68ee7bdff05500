// Owns what the program says about itself: log lines, one function for each event that matters, and their redaction.

import { type LevelWithSilent, type Logger, pino } from 'pino';
import { type GatewayError, toGatewayError } from './errors.ts';

/** One request that was answered. */
export interface AnsweredRequest {
  readonly requestId: string;
  /** Null for what was too broken to have one. */
  readonly method: string | null;
  /** Without the query string; null as `method`. */
  readonly path: string | null;
  readonly status: number;
  readonly durationMs: number;
  readonly tenantId: string | null;
  readonly keyId: string | null;
  /** One of few names for what was asked; null when nobody came to know. */
  readonly operation?: string | null;
}

/** One HTTP request to an upstream. */
export interface UpstreamCall {
  readonly upstream: 'graph' | 'session engine';
  readonly operations: number;
  /** `ok`, or the code of the failure. */
  readonly outcome: string;
  readonly status: number | null;
  readonly durationMs: number;
  readonly fbtraceId: string | null;
  /** Percent of the budget that Meta says is used up, the highest of its counters. */
  readonly usagePercent: number | null;
}

/** The circuit in front of an upstream has opened, so that it is not asked for a while, or has closed again. */
export interface CircuitChange {
  readonly upstream: UpstreamCall['upstream'];
  readonly state: 'open' | 'closed';
  /** Whose circuit it is; null for that of all tenants. */
  readonly tenantId: string | null;
}

export interface Telemetry {
  requestAnswered(request: AnsweredRequest): void;
  /** A defect: the caller saw INTERNAL and the request id, the log has the stack. */
  requestFailed(requestId: string, thrown: unknown): void;
  upstreamCalled(call: UpstreamCall): void;
  /** So many operations that failed are asked of an upstream once more. */
  upstreamRetried(upstream: UpstreamCall['upstream'], operations: number): void;
  circuitChanged(change: CircuitChange): void;
  /** An upstream has refused a token, or what it may do, so often that it is not asked for a while. */
  tokenQuarantined(refusal: { readonly tenantId: string; readonly metaCode: number | null }): void;
  /** Something that an operator should know and that nobody was told. */
  warned(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A step in the life of the process: started, draining, stopped. */
  noted(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface TelemetryOptions {
  readonly level: LevelWithSilent;
  /** Where lines of JSON go; standard error unless a test listens. */
  readonly write?: (line: string) => void;
}

/** Lines go to standard error, so that standard output belongs to answers. */
export function createTelemetry({ level, write }: TelemetryOptions): Telemetry {
  const emit = write ?? ((line: string) => process.stderr.write(line));
  const logger = createLogger(level, (line) => emit(redact(line)));
  return {
    requestAnswered: (request) => logger.info(request, 'request answered'),
    requestFailed(requestId, thrown) {
      const error = toGatewayError(thrown);
      const fields = { requestId, code: error.code, cause: toCauseText(error) };
      if (error.code === 'INTERNAL') logger.error(fields, 'request failed');
      else logger.warn(fields, 'request failed');
    },
    upstreamCalled(call) {
      if (call.outcome === 'ok') logger.debug(call, 'upstream called');
      else logger.warn(call, 'upstream failed');
    },
    upstreamRetried: (upstream, operations) =>
      logger.debug({ upstream, operations }, 'upstream retried'),
    circuitChanged: (change) => logger.warn(change, 'circuit changed'),
    tokenQuarantined: (refusal) => logger.warn(refusal, 'token quarantined'),
    warned: (message, fields = {}) => logger.warn(fields, message),
    noted: (message, fields = {}) => logger.info(fields, message),
  };
}

function createLogger(level: LevelWithSilent, write: (line: string) => void): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, { write });
}

function toCauseText(error: GatewayError): string | null {
  const { cause } = error;
  if (cause === undefined) return null;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

// Lengths are bounded where they can be: a path of the caller's choice stands in a line, and must not cost more than it.
// Nearly all lines hold none of these secrets, and few hold the words that each must have.
const secretPatterns: readonly (readonly [word: string, pattern: RegExp, replacement: string])[] = [
  ['ps_', /ps_[0-9A-Za-z]{20,}/g, 'ps_[redacted]'],
  ['EAA', /EAA[0-9A-Za-z]{16,}/g, '[redacted]'],
  // After the names of secrets, in whatever notation: a header, a query, JSON, JSON within JSON.
  [
    '',
    /((?:bearer|oauth|basic)\s{1,4}|(?:access_?token|app_?secret(?:_proof)?|input_token|api[-_]?key|pepper|password)\\{0,3}["']?\s{0,4}(?:[=:]|%3d)\s{0,4}\\{0,3}["']?)[^\s"'\\&,}]+/gi,
    '$1[redacted]',
  ],
  ['://', /(\w{1,20}:\/\/[^\s:/@"]{0,100}:)[^\s"]{1,300}@/g, '$1[redacted]@'],
  ['v1.', /\bv1\.[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{30,}/g, '[redacted]'],
  // 32 bytes in base64: an encryption key.
  ['=', /(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=/g, '[redacted]'],
];

/** The last step of every line: takes out whatever has the shape of a secret, wherever it stands. */
export function redact(line: string): string {
  return secretPatterns.reduce(
    (text, [word, pattern, replacement]) =>
      text.includes(word) ? text.replace(pattern, replacement) : text,
    line,
  );
}
