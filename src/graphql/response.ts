// Owns how an answer looks on the wire: its media type, its status, its headers, and the one form that errors have.
// https://graphql.github.io/graphql-over-http/draft/

import { type ExecutionResult, GraphQLError } from 'graphql';
import { GatewayError, toGatewayError } from '../errors.ts';
import type { HttpRequest, HttpResponse } from '../http/message.ts';
import type { Telemetry } from '../telemetry.ts';

/** What is known of a request when it is answered. */
export interface AnswerContext {
  readonly request: Pick<HttpRequest, 'headers' | 'signal'>;
  readonly requestId: string;
  readonly telemetry: Telemetry;
}

/** What came of an operation, or why it was not executed; `errors` may hold anything that was thrown. */
export type Result = Pick<ExecutionResult, 'data' | 'extensions'> & {
  readonly errors?: readonly unknown[] | undefined;
};

const json = 'application/json';
const graphqlJson = 'application/graphql-response+json';

type MediaType = typeof json | typeof graphqlJson;

/** Always has a body in the form of the specification, and shows nothing of an error that is not ours to show. */
export function toResponse(
  { errors = [], ...result }: Result,
  context: AnswerContext,
): HttpResponse {
  const mediaType = toMediaType(context.request.headers.get('accept'));
  if (errors.length === 0) {
    return { status: 200, headers: answerHeaders[mediaType], body: JSON.stringify(result) };
  }
  const problems = errors.map((thrown) => toProblem(thrown, context));
  report(problems, context);
  return toErrorAnswer(problems, result, mediaType, context.requestId);
}

/** The same answer to an error of ours, for a request that nobody has looked at. `accept` is its header. */
export function toRefusal(
  error: GatewayError,
  requestId: string,
  accept: string | null,
): HttpResponse {
  const problem: Problem = { error, thrown: error, place: null, ofDocument: false };
  return toErrorAnswer([problem], {}, toMediaType(accept), requestId);
}

function toErrorAnswer(
  problems: readonly Problem[],
  result: Omit<Result, 'errors'>,
  mediaType: MediaType,
  requestId: string,
): HttpResponse {
  const refusal = 'data' in result ? undefined : problems[0];
  const told = problems.map((problem) => toJson(problem, requestId));
  return {
    status: toStatus(refusal, mediaType),
    headers: { ...answerHeaders[mediaType], ...toErrorHeaders(problems, refusal) },
    body: JSON.stringify({ errors: told, ...result }),
  };
}

function toAnswerHeaders(mediaType: MediaType): HttpResponse['headers'] {
  return {
    'content-type': `${mediaType}; charset=utf-8`,
    // An answer belongs to a key, and is asked for again before it is used again.
    'cache-control': 'private, no-cache',
    vary: 'accept, x-api-key',
  };
}

const answerHeaders: Readonly<Record<MediaType, HttpResponse['headers']>> = {
  [json]: toAnswerHeaders(json),
  [graphqlJson]: toAnswerHeaders(graphqlJson),
};

function toErrorHeaders(
  problems: readonly Problem[],
  refusal: Problem | undefined,
): HttpResponse['headers'] {
  const waits = problems.flatMap(({ error }) => error.retryAfterSeconds ?? []);
  const allow = refusal?.error.allow;
  return {
    ...(waits.length > 0 && { 'retry-after': String(Math.max(1, ...waits.map(Math.ceil))) }),
    ...(allow !== undefined && { allow: allow.join(', ') }),
  };
}

interface Problem {
  readonly error: GatewayError;
  readonly thrown: unknown;
  /** The place in the document and in the answer, where the problem has one. */
  readonly place: Pick<GraphQLError, 'locations' | 'path'> | null;
  /** The request was well-formed, its document was not. */
  readonly ofDocument: boolean;
}

function toProblem(thrown: unknown, { request }: AnswerContext): Problem {
  const place = thrown instanceof GraphQLError ? thrown : null;
  const origin = toOrigin(thrown);
  if (origin instanceof GatewayError) return { error: origin, thrown, place, ofDocument: false };
  if (request.signal.aborted) {
    const error = new GatewayError('UNAVAILABLE', 'The caller has gone.', { retryAfterSeconds: 1 });
    return { error, thrown, place, ofDocument: false };
  }
  if (origin instanceof GraphQLError && isOfDocument(origin, place)) {
    const error = new GatewayError('INVALID_REQUEST', shorten(origin.message));
    return { error, thrown, place, ofDocument: true };
  }
  return { error: toGatewayError(origin), thrown: origin, place, ofDocument: false };
}

// graphql-js wraps what a resolver threw; the innermost error is the one that knows.
function toOrigin(thrown: unknown): unknown {
  let origin = thrown;
  while (origin instanceof GraphQLError && origin.originalError) origin = origin.originalError;
  return origin;
}

// An error of graphql-js that arose while a field was executed is the document's if it points at a node by itself, as
// those about arguments do; the others are about what a resolver gave.
function isOfDocument(origin: GraphQLError, place: GraphQLError | null): boolean {
  if (origin.extensions['unexpected'] === true) return false;
  return place?.path === undefined || (origin !== place && origin.nodes !== undefined);
}

// graphql-js repeats pieces of the document in its messages.
function shorten(message: string): string {
  return message.length > 300 ? `${message.slice(0, 300)}…` : message;
}

// The aliases of a request that fail together fail with one and the same error.
function report(problems: readonly Problem[], { telemetry, requestId }: AnswerContext): void {
  const defects = problems.filter(
    ({ error: { code, cause } }) =>
      code === 'INTERNAL' || (code === 'UNAVAILABLE' && cause !== undefined),
  );
  for (const thrown of new Set(defects.map((problem) => toOrigin(problem.thrown)))) {
    telemetry.requestFailed(requestId, thrown);
  }
}

function toJson({ error, place }: Problem, requestId: string): unknown {
  return {
    message: error.message,
    ...(place?.locations !== undefined && { locations: place.locations }),
    ...(place?.path !== undefined && { path: place.path }),
    extensions: { code: error.code, ...error.details, requestId },
  };
}

// Under application/json an intermediary may have answered, so a status other than 200 says nothing about the document.
function toStatus(refusal: Problem | undefined, mediaType: MediaType): number {
  if (refusal === undefined) return 200;
  return refusal.ofDocument && mediaType === json ? 200 : refusal.error.status;
}

// A client says the same each time, and there are few kinds of clients. What is remembered is bounded all the same: the
// words are the caller's.
const mediaTypes = new Map<string, MediaType>();
const maxMediaTypes = 100;
const maxAcceptLength = 200;

/** Of the answer to a request with this header. */
export function toMediaType(accept: string | null): MediaType {
  if (accept === null) return json;
  const known = mediaTypes.get(accept);
  if (known !== undefined) return known;
  const mediaType = negotiate(accept, [json, graphqlJson]) ?? json;
  if (mediaTypes.size >= maxMediaTypes) mediaTypes.clear();
  if (accept.length <= maxAcceptLength) mediaTypes.set(accept, mediaType);
  return mediaType;
}

/**
 * The offered media type that an Accept header likes best; the first one when it likes them equally or says nothing.
 * Undefined when it takes none of them.
 */
export function negotiate<Offer extends string>(
  accept: string | null,
  offered: readonly Offer[],
): Offer | undefined {
  const ranges = (accept ?? '*/*').toLowerCase().split(',').map(toRange);
  const likings = offered.flatMap((offer) => {
    const matching = ranges.filter(({ pattern }) => isMatch(pattern, offer));
    const best = matching.toSorted((a, b) => b.precision - a.precision)[0];
    return best === undefined || best.quality === 0 ? [] : [{ offer, ...best }];
  });
  return likings.toSorted(
    (a, b) => b.quality - a.quality || b.precision - a.precision || a.position - b.position,
  )[0]?.offer;
}

interface Range {
  readonly pattern: string;
  readonly quality: number;
  /** 0 for any type, 2 for exactly this one. */
  readonly precision: number;
  readonly position: number;
}

function toRange(text: string, position: number): Range {
  const [pattern = '', ...parameters] = text.split(';').map((part) => part.trim());
  const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  const parsed = quality === undefined ? 1 : Number(quality);
  const precision = pattern === '*/*' ? 0 : pattern.endsWith('/*') ? 1 : 2;
  return { pattern, quality: Number.isNaN(parsed) ? 1 : parsed, precision, position };
}

function isMatch(pattern: string, offer: string): boolean {
  return pattern === '*/*' || pattern === offer || pattern === `${offer.split('/')[0]}/*`;
}
