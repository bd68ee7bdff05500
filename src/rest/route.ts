// The rows of the route table, and the error of a query parameter.

import { GatewayError } from '../errors.ts';
import type { Call } from '../http/endpoint.ts';
import type { EventStream } from '../http/event-stream.ts';
import type { HttpResponse } from '../http/message.ts';
import type { Handler, HandlerInput } from './numbers.ts';
import type { RouteDescription } from './openapi.ts';

/** A row of the route table. A GET row also responds to HEAD. */
export type RestRoute = DataRoute | PublicRestRoute;

export interface DataRoute extends RouteDescription {
  readonly isPublic?: never;
  readonly handler: Handler;
  /** Responds instead of `handler` to a client that prefers a stream of events, at the same price. */
  readonly eventHandler?: EventHandler;
  /** What it may cost beside the point of the request; nothing if absent. */
  readonly maxPrice?: (query: HandlerInput['query'], access: Call['access']) => number;
  /** Whether it always costs that much, whatever it finds. */
  readonly isFixedPrice?: true;
  /** Whether it only reads what is stored, so that the response may be cached; no if absent. */
  readonly isStored?: (query: HandlerInput['query']) => boolean;
  /** Headers that follow from the value of a 200. They are cached with it. */
  readonly toHeaders?: (
    value: unknown,
    query: HandlerInput['query'],
  ) => Readonly<Record<string, string>>;
}

/** Throws as a `Handler` does, before the stream begins. */
export type EventHandler = (input: EventInput) => Promise<EventStream>;

export interface EventInput extends HandlerInput {
  /** The id of the last event that the client has received; null for none. */
  readonly lastEventId: string | null;
}

/** Needs no key, and responds to everybody alike. */
export interface PublicRestRoute extends RouteDescription {
  readonly isPublic: true;
  readonly response: () => HttpResponse;
}

/** `expected` says how the parameter has to be sent. */
export function createParameterError(name: string, expected: string): GatewayError {
  const message = `Send the query parameter ${name} ${expected}, or omit it.`;
  return new GatewayError('INVALID_REQUEST', message);
}

/** The header of a response whose media type the client chooses. */
export const variesByMediaType = 'x-api-key, authorization, accept, accept-encoding';
