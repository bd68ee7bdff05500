// Spans for OpenTelemetry, through its API alone. Without an SDK in the process there are none, and nothing here costs anything.
//
// Names and attributes follow the semantic conventions (https://opentelemetry.io/docs/specs/semconv/), except that none of
// them contains what a caller or an upstream chose: no path, id, phone number, token, document, variable or error message.
//
// The parent of a span is the active one. Work that several requests share has one parent, and a link to each request.

import { createRequire } from 'node:module';
import type * as Api from '@opentelemetry/api';
import type {
  Attributes,
  Link,
  Span,
  SpanContext,
  SpanOptions,
  TextMapGetter,
  Tracer,
} from '@opentelemetry/api';
import { LRUCache } from 'lru-cache';

export type { Span } from '@opentelemetry/api';

// The CommonJS build, which prom-client has loaded: a second copy would take 2 MB. All copies share what an SDK registers.
const require = createRequire(import.meta.url);
const {
  context,
  isSpanContextValid,
  propagation,
  ProxyTracer,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} = require('@opentelemetry/api') as typeof Api;

const tracer = findTracer();

/** Null unless an SDK was loaded before this program, for example with `node --import`. */
function findTracer(): Tracer | null {
  const found = trace.getTracer('numbers-gateway');
  // The API's placeholder while no SDK is registered.
  return found instanceof ProxyTracer ? null : found;
}

type RequestHeaders = Pick<Headers, 'get'>;

const headerGetter: TextMapGetter<RequestHeaders> = {
  get: (headers, name) => headers.get(name) ?? undefined,
  keys: () => [],
};

/**
 * Starts the span of a request; null without an SDK. The span that the caller names in `traceparent` is linked, or is the
 * parent if callers are trusted: a parent decides whether the request is recorded. https://www.w3.org/TR/trace-context/
 */
export function startRequestSpan(
  method: string,
  headers: RequestHeaders,
  trustsCaller: boolean,
): Span | null {
  if (tracer === null) return null;
  const caller = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, headers, headerGetter));
  const known = caller !== undefined && isSpanContextValid(caller) ? caller : null;
  const active = context.active();
  const parent = known !== null && trustsCaller ? trace.setSpanContext(active, known) : active;
  const options = {
    kind: SpanKind.SERVER,
    attributes: { 'http.request.method': toKnownMethod(method), 'url.scheme': 'http' },
    links: known !== null && !trustsCaller ? [toCallerLink(known)] : [],
  };
  return tracer.startSpan(toSpanName(method, null), options, parent);
}

/** Without the trace state, which is any text. */
function toCallerLink({ traceId, spanId, traceFlags }: SpanContext): Link {
  return { context: { traceId, spanId, traceFlags, isRemote: true } };
}

/** Returns `work` with the span as the active one while it runs. */
export function bindToSpan<Work extends (...values: never[]) => unknown>(
  span: Span,
  work: Work,
): Work {
  return context.bind(trace.setSpan(context.active(), span), work);
}

export interface RequestOutcome {
  /** Null if the path matched no route. */
  readonly route: string | null;
  readonly operation: string | null;
  readonly tenantId: string | null;
}

export function endRequestSpan(
  span: Span,
  method: string,
  status: number,
  { route, operation, tenantId }: RequestOutcome,
): void {
  span.updateName(toSpanName(method, route));
  span.setAttributes({
    'http.response.status_code': status,
    ...(route !== null && { 'http.route': route }),
    ...(operation !== null && { 'gateway.operation': operation }),
    ...(tenantId !== null && { 'gateway.tenant.id': tenantId }),
  });
  // A status below 500 is no error of the server.
  if (status >= 500) setFailed(span, String(status));
  span.end();
}

export function traceIdOf(span: Span): string {
  return span.spanContext().traceId;
}

const methods: ReadonlySet<string> = new Set(
  'CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE'.split(' '),
);

function toKnownMethod(method: string): string {
  return methods.has(method) ? method : '_OTHER';
}

function toSpanName(method: string, route: string | null): string {
  const first = methods.has(method) ? method : 'HTTP';
  return route === null ? first : `${first} ${route}`;
}

/** Runs a read of the core in a span. `name` is one of a fixed set. */
export function traceRead<T>(name: string, read: () => Promise<T>): Promise<T> {
  return tracer === null ? read() : runInSpan(tracer.startSpan(name), read);
}

/** Runs a GraphQL operation in a span. https://opentelemetry.io/docs/specs/semconv/graphql/graphql-spans/ */
export function traceOperation<T extends { readonly errors?: readonly unknown[] | undefined }>(
  type: string,
  name: string | undefined,
  execute: () => Promise<T>,
): Promise<T> {
  if (tracer === null) return execute();
  const attributes: Attributes = { 'graphql.operation.type': type };
  if (name !== undefined && isPlainName(name)) attributes['graphql.operation.name'] = name;
  const span = tracer.startSpan(type, { kind: SpanKind.SERVER, attributes });
  return runInSpan(span, execute, ({ errors = [] }) => {
    if (errors.length > 0) setFailed(span, toErrorType(errors[0]));
  });
}

/** The caller chooses the name of an operation, which may have the form of a key, a token, an id or a phone number. */
function isPlainName(name: string): boolean {
  return name.length <= 64 && !/ps_|EAA|wa_|\d{5}/.test(name);
}

/** Whether the statements that are executed next belong to a span. Those of the process itself have none. */
function isTraced(): boolean {
  return tracer !== null && trace.getActiveSpan() !== undefined;
}

/** Executes one SQL statement in a span. */
export function traceStatement<T>(sql: string, execute: () => Promise<T>): Promise<T> {
  if (tracer === null || !isTraced()) return execute();
  const span = startStatementSpan(tracer, sql);
  return runInSpan(span, execute, null, (error) => setStatementFailed(span, error));
}

/** As `traceStatement`, for a statement that has ended. */
export function recordStatement(sql: string, durationMs: number, error?: unknown): void {
  if (tracer === null || !isTraced()) return;
  const endedAt = performance.now();
  const span = startStatementSpan(tracer, sql, { startTime: endedAt - durationMs });
  if (error !== undefined) setStatementFailed(span, error);
  span.end(endedAt);
}

// https://opentelemetry.io/docs/specs/semconv/db/postgresql/
function startStatementSpan(by: Tracer, sql: string, options: SpanOptions = {}): Span {
  const summary = summaries.get(sql) ?? toSummary(sql);
  summaries.set(sql, summary);
  const attributes = { 'db.system.name': 'postgresql', 'db.query.summary': summary };
  return by.startSpan(summary, { ...options, kind: SpanKind.CLIENT, attributes });
}

function setStatementFailed(span: Span, error: unknown): void {
  const type = toErrorType(error);
  // An SQLSTATE, and not a failure to connect.
  if (/^[0-9A-Z]{5}$/.test(type)) span.setAttribute('db.response.status_code', type);
  setFailed(span, type);
}

const summaries = new LRUCache<string, string>({ max: 500 });

/**
 * The commands of a statement and their tables in order, such as `INSERT refresh_lease`.
 * https://opentelemetry.io/docs/specs/semconv/db/database-spans/#generating-a-summary-of-the-query
 */
function toSummary(sql: string): string {
  const local = new Set(['jsonb_to_recordset']);
  for (const [, name = ''] of sql.matchAll(/(\w+) as (?:materialized )?\(/g)) local.add(name);
  const words = new Set<string>();
  for (const [, keyword = '', next = ''] of sql.matchAll(summaryParts)) {
    const [command = ''] = keyword.toUpperCase().split(/\s/);
    if (command !== 'FROM' && command !== 'JOIN') words.add(command);
    if (/^(SELECT|BEGIN|COMMIT|ROLLBACK)$/.test(command) || next === '' || local.has(next))
      continue;
    words.add(next);
  }
  return [...words].join(' ').slice(0, 255);
}

/** A command or a clause and the word after it, but neither `do update` nor `for update`. */
const summaryParts =
  /(?<!\b(?:do|for|key|distinct)\s)\b(select|insert\s+into|update|delete\s+from|from|join|begin|commit|rollback)\b(?:\s+"?((?!lateral\b)\w+))?/gi;

/** The requests that wait for the same calls to an upstream. */
export interface RequestLinks {
  /** Links the calls that are in flight to the request, and those that begin until it is deleted. */
  add(request: Span | null): void;
  delete(request: Span | null): void;
  /** As `Tracer.startSpan`, linked to the requests. */
  startSpan(name: string, options: SpanOptions): Span;
}

/** Null without an SDK. */
export function createRequestLinks(): RequestLinks | null {
  if (tracer === null) return null;
  const requests = new Set<Span>();
  const calls = new Set<Span>();
  let first: Span | null = null;
  return {
    add(request) {
      if (request === null) return;
      requests.add(request);
      first ??= request;
      // From the trace of a request that joins, a link leads to that of the request that caused the calls.
      if (request !== first) trace.getActiveSpan()?.addLink(toLink(first));
      for (const call of calls) {
        if (call.isRecording()) call.addLink(toLink(request));
        else calls.delete(call);
      }
    },
    delete: (request) => void (request !== null && requests.delete(request)),
    startSpan(name, options) {
      const call = tracer.startSpan(name, { ...options, links: [...requests].map(toLink) });
      calls.add(call);
      return call;
    },
  };
}

function toLink(span: Span): Link {
  return { context: span.spanContext() };
}

export interface UpstreamRequest {
  readonly method: string;
  readonly url: URL;
  /** The path with names in the place of ids. */
  readonly template: string;
}

/** Sends an HTTP request to an upstream in a span. https://opentelemetry.io/docs/specs/semconv/http/http-spans/ */
export function traceUpstreamRequest<T extends { outcome: string; status: number | null }>(
  { method, url, template }: UpstreamRequest,
  links: RequestLinks | null | undefined,
  send: () => Promise<T>,
): Promise<T> {
  if (tracer === null) return send();
  const span = (links ?? tracer).startSpan(`${method} ${template}`, {
    kind: SpanKind.CLIENT,
    attributes: {
      'http.request.method': method,
      'server.address': url.hostname,
      'server.port': Number(url.port) || (url.protocol === 'http:' ? 80 : 443),
      'url.scheme': url.protocol.slice(0, -1),
      'url.template': template,
    },
  });
  return runInSpan(span, send, ({ outcome, status }) => {
    if (status !== null) span.setAttribute('http.response.status_code', status);
    if (outcome !== 'answered') setFailed(span, outcome);
    else if (status !== null && status >= 400) setFailed(span, String(status));
  });
}

/** Ends the span when `work` has ended. */
function runInSpan<T>(
  span: Span,
  work: () => Promise<T>,
  onResult: ((result: T) => void) | null = null,
  onError = (error: unknown) => setFailed(span, toErrorType(error)),
): Promise<T> {
  const run = async (): Promise<T> => {
    try {
      const result = await work();
      onResult?.(result);
      return result;
    } catch (error) {
      onError(error);
      throw error;
    } finally {
      span.end();
    }
  };
  return context.with(trace.setSpan(context.active(), span), run);
}

/** Without a message: it may quote a value. */
function setFailed(span: Span, type: string): void {
  span.setAttribute('error.type', type);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** The code of an error of the gateway, of PostgreSQL or of Node; `_OTHER` for any other. */
function toErrorType(error: unknown): string {
  const { code, originalError } = (error ?? {}) as { code?: unknown; originalError?: unknown };
  if (typeof code === 'string' && /^[0-9A-Z_]{2,40}$/.test(code)) return code;
  return originalError === undefined ? '_OTHER' : toErrorType(originalError);
}
