// Turns the result of an operation into an HTTP response. https://graphql.github.io/graphql-over-http/draft/

import { type ExecutionResult, GraphQLError } from 'graphql';
import { LRUCache } from 'lru-cache';
import { GatewayError, toGatewayError } from '../errors.ts';
import { type EventStream, eventStreamHeaders } from '../http/event-stream.ts';
import type { HttpRequest, HttpResponse } from '../http/message.ts';
import { negotiate } from '../http/negotiation.ts';
import type { Telemetry } from '../telemetry.ts';
import { acceptsEvents, eventStream, formatOnlyResult } from './events.ts';

/** What a response needs to know about its request. */
export interface ResponseContext {
  readonly request: Pick<HttpRequest, 'headers' | 'signal'>;
  readonly requestId: string;
  readonly telemetry: Telemetry;
  /** Whether the operation has asked for live reads. */
  readonly isLive: boolean;
}

/** The result of an operation, or why it was not executed. `errors` may contain anything that was thrown. */
export type Result = Pick<ExecutionResult, 'data' | 'extensions'> & {
  readonly errors?: readonly unknown[] | undefined;
};

const json = 'application/json';
const graphqlJson = 'application/graphql-response+json';

type MediaType = typeof json | typeof graphqlJson | typeof eventStream;

/** The response of an operation. Unexpected errors are logged in full, and sent as INTERNAL without any detail. */
export function toResponse(result: Result, context: ResponseContext): HttpResponse {
  const response = respond(result, context);
  if (!context.isLive) return response;
  // REST has `no-cache` and an ETag here, as for every response. It would rarely match: live reads have new times.
  return { ...response, headers: { ...response.headers, 'cache-control': 'no-store' } };
}

function respond({ errors = [], ...result }: Result, context: ResponseContext): HttpResponse {
  const mediaType = toMediaType(context.request.headers.get('accept'));
  if (errors.length === 0) {
    const body = toBody(JSON.stringify(result), mediaType);
    return { status: 200, headers: responseHeaders[mediaType], body };
  }
  return respondWithProblems(toProblems(errors, context), result, mediaType, context.requestId);
}

export function toEventResponse(body: EventStream): HttpResponse {
  return { status: 200, headers: responseHeaders[eventStream], body };
}

/** One of the results of a stream, in JSON. */
export function toResultJson({ errors = [], ...result }: Result, context: ResponseContext): string {
  if (errors.length === 0) return JSON.stringify(result);
  return formatProblems(toProblems(errors, context), result, context.requestId);
}

function toProblems(errors: readonly unknown[], context: ResponseContext): readonly Problem[] {
  const problems = errors.map((thrown) => toProblem(thrown, context));
  logDefects(problems, context);
  return problems;
}

/** The response to an error outside of GraphQL, such as a missing API key. `accept` is the header of the request. */
export function toErrorResponse(
  error: GatewayError,
  requestId: string,
  accept: string | null,
): HttpResponse {
  const problem: Problem = { error, thrown: error, location: null, ofDocument: false };
  return respondWithProblems([problem], {}, toMediaType(accept), requestId);
}

function respondWithProblems(
  problems: readonly Problem[],
  result: Omit<Result, 'errors'>,
  accepted: MediaType,
  requestId: string,
): HttpResponse {
  const refusal = 'data' in result ? undefined : problems[0];
  // Clients of event streams try again after any status but 200.
  const isRetried = accepted === eventStream && refusal?.error.retryable === true;
  const mediaType = isRetried ? json : accepted;
  return {
    status: toStatus(refusal, mediaType),
    headers: { ...responseHeaders[mediaType], ...toErrorHeaders(problems, refusal) },
    body: toBody(formatProblems(problems, result, requestId), mediaType),
  };
}

function formatProblems(
  problems: readonly Problem[],
  result: Omit<Result, 'errors'>,
  requestId: string,
): string {
  const errors = problems.map((problem) => toErrorJson(problem, requestId));
  return JSON.stringify({ errors, ...result });
}

function toBody(text: string, mediaType: MediaType): string {
  return mediaType === eventStream ? formatOnlyResult(text) : text;
}

function toResponseHeaders(mediaType: MediaType): HttpResponse['headers'] {
  return {
    'content-type': `${mediaType}; charset=utf-8`,
    // A response belongs to one API key, and has to be revalidated before each use.
    'cache-control': 'private, no-cache',
    vary: 'accept, x-api-key, authorization, accept-encoding',
  };
}

const responseHeaders: Readonly<Record<MediaType, HttpResponse['headers']>> = {
  [json]: toResponseHeaders(json),
  [graphqlJson]: toResponseHeaders(graphqlJson),
  [eventStream]: { ...toResponseHeaders(eventStream), ...eventStreamHeaders },
};

function toErrorHeaders(
  problems: readonly Problem[],
  refusal: Problem | undefined,
): HttpResponse['headers'] {
  const waits = problems.flatMap(({ error }) => toRetryAfter(error) ?? []);
  const allow = refusal?.error.allow;
  return {
    ...(waits.length > 0 && { 'retry-after': String(Math.max(...waits)) }),
    ...(allow !== undefined && { allow: allow.join(', ') }),
    // The document may be known the next time.
    ...(refusal?.error.status === 200 && { 'cache-control': 'no-store' }),
  };
}

interface Problem {
  readonly error: GatewayError;
  readonly thrown: unknown;
  /** Where in the document and in the result; null for a problem of the request as a whole. */
  readonly location: Pick<GraphQLError, 'locations' | 'path'> | null;
  /** Whether the HTTP request was well-formed and its document is wrong. */
  readonly ofDocument: boolean;
}

function toProblem(thrown: unknown, { request }: ResponseContext): Problem {
  const location = thrown instanceof GraphQLError ? thrown : null;
  const origin = findOrigin(thrown);
  if (origin instanceof GatewayError) return { error: origin, thrown, location, ofDocument: false };
  if (request.signal.aborted) {
    const message = 'The caller has disconnected.';
    const error = new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
    return { error, thrown, location, ofDocument: false };
  }
  if (origin instanceof GraphQLError && isOfDocument(origin, location)) {
    const error = new GatewayError('INVALID_REQUEST', shorten(origin.message));
    return { error, thrown, location, ofDocument: true };
  }
  return { error: toGatewayError(origin), thrown: origin, location, ofDocument: false };
}

// graphql-js wraps what a resolver threw, sometimes several times.
function findOrigin(thrown: unknown): unknown {
  let origin = thrown;
  while (origin instanceof GraphQLError && origin.originalError) origin = origin.originalError;
  return origin;
}

// An error that graphql-js created during execution is about the document if it has nodes of its own, as errors about
// arguments have. Otherwise it is about the value that a resolver returned.
function isOfDocument(origin: GraphQLError, location: GraphQLError | null): boolean {
  if (origin.extensions['unexpected'] === true) return false;
  return location?.path === undefined || (origin !== location && origin.nodes !== undefined);
}

// graphql-js quotes parts of the document in its messages.
function shorten(message: string): string {
  return message.length > 300 ? `${message.slice(0, 300)}…` : message;
}

// Fields that are read in one batch fail with the same error object, which is logged once.
function logDefects(problems: readonly Problem[], { telemetry, requestId }: ResponseContext): void {
  const defects = problems.filter(
    ({ error: { code, cause } }) =>
      code === 'INTERNAL' || (code === 'UNAVAILABLE' && cause !== undefined),
  );
  for (const thrown of new Set(defects.map((problem) => findOrigin(problem.thrown)))) {
    telemetry.requestFailed(requestId, thrown);
  }
}

function toErrorJson({ error, location }: Problem, requestId: string): unknown {
  const retryAfterSeconds = toRetryAfter(error);
  return {
    message: error.message,
    ...(location?.locations !== undefined && { locations: location.locations }),
    ...(location?.path !== undefined && { path: location.path }),
    extensions: {
      code: error.code,
      retryable: error.retryable,
      ...(retryAfterSeconds !== null && { retryAfterSeconds }),
      ...error.details,
      requestId,
    },
  };
}

/** In whole seconds, at least one; null when unknown. */
function toRetryAfter({ retryAfterSeconds }: GatewayError): number | null {
  return retryAfterSeconds === undefined ? null : Math.max(1, Math.ceil(retryAfterSeconds));
}

// With application/json, a status other than 200 may come from an intermediary, so errors of the document are sent with 200.
// https://graphql.github.io/graphql-over-http/draft/#sec-application-json
function toStatus(refusal: Problem | undefined, mediaType: MediaType): number {
  if (refusal === undefined || mediaType === eventStream) return 200;
  return refusal.ofDocument && mediaType === json ? 200 : refusal.error.status;
}

const mediaTypes = new LRUCache<string, MediaType>({ max: 100 });
/** A longer header is parsed each time. */
const maxAcceptLength = 200;

/** The media type of the response to a request with this header `accept`. */
export function toMediaType(accept: string | null): MediaType {
  if (accept === null) return json;
  const known = mediaTypes.get(accept);
  if (known !== undefined) return known;
  const offered: MediaType[] = [json, graphqlJson];
  if (acceptsEvents(accept)) offered.push(eventStream);
  const mediaType = negotiate(accept, offered) ?? json;
  if (accept.length <= maxAcceptLength) mediaTypes.set(accept, mediaType);
  return mediaType;
}
