// What the pipeline expects of an API: GraphQL and REST each provide one endpoint.

import type { Access } from '../access/access.ts';
import type { KeyScope } from '../access/key.ts';
import type { Admission } from '../access/rate-limit.ts';
import type { GatewayError } from '../errors.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { OpenStream } from './event-stream.ts';
import type { HttpRequest, HttpResponse } from './message.ts';
import type { RequestContext } from './request-context.ts';
import type { ComputedResponse } from './response-cache.ts';

export interface Endpoint {
  /**
   * Checks the path, the method and the content type, without I/O. Throws NOT_FOUND, METHOD_NOT_ALLOWED or
   * INVALID_REQUEST.
   */
  match(request: HttpRequest): Route;
  /** The response to an error in the form of this API. `accept` is the request's header. */
  toErrorResponse(error: GatewayError, requestId: string, accept: string | null): HttpResponse;
}

export type Route = PublicRoute | KeyedRoute;

/** Responds without an API key, or verifies by itself who asks. */
export interface PublicRoute {
  readonly needsKey: false;
  /** See `RequestContext.route`. */
  readonly path: string;
  /** See `RequestContext.operation`. */
  readonly operation: string | null;
  /** Returns one object for equal responses, which is then compressed once. Notes in the context whom the request is for. */
  respond(request: HttpRequest, context: RequestContext): MaybePromise<HttpResponse>;
}

/** Responds once the key has been verified and the tenant's limits have been checked. */
export interface KeyedRoute {
  readonly needsKey: true;
  /** What the key has to allow; checked by the pipeline. */
  readonly scope: KeyScope;
  readonly path: string;
  readonly operation: string | null;
  /** Whether the pipeline reads the body before it calls `prepare`. */
  readonly readsBody: boolean;
  /** Parses what was sent. Throws INVALID_REQUEST. */
  prepare(call: Call): PreparedCall;
}

/** An admitted request. */
export interface Call {
  readonly request: HttpRequest;
  readonly context: RequestContext;
  readonly access: Access;
  readonly admission: Admission;
  /** '' unless the route reads the body. */
  readonly body: string;
  /**
   * Makes the request a stream: it no longer counts among those in flight. To be called once, for an `EventStream` as the
   * body of the response or for a long poll. Throws TOO_MANY_STREAMS, or UNAVAILABLE while the process stops.
   */
  openStream(): OpenStream;
}

export interface PreparedCall {
  /** What the response depends on besides the tenant and the key's scope; null when it is never cached. */
  readonly cacheKey: string | null;
  /** May throw; the error is answered in the form of the API. */
  compute(): Promise<ComputedResponse>;
}
