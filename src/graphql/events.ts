// GraphQL over Server-Sent Events, in the mode of one connection for each operation.
// https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode

import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionResult } from 'graphql';
import { type EventChunk, formatEvent, type OpenStream, yieldUntil } from '../http/event-stream.ts';
import { findAccepted } from '../http/negotiation.ts';

export const eventStream = 'text/event-stream';

/** Whether the header names the media type. A wildcard is not enough: its sender may not expect a response without end. */
export function acceptsEvents(accept: string | null): boolean {
  const accepted = findAccepted(accept ?? '', [eventStream], (range, offer) =>
    range === offer ? 0 : null,
  );
  return accepted.length > 0;
}

const completion = formatEvent({ event: 'complete', data: '' });

const formatNext = (json: string): string => formatEvent({ event: 'next', data: json });

/** The whole response of an operation that has one result, in JSON. */
export function formatOnlyResult(json: string): string {
  return formatNext(json) + completion;
}

/** By result: streams that share one send the same bytes. */
const encoded = new WeakMap<ExecutionResult, Buffer>();

function encode(result: ExecutionResult, toJson: (result: ExecutionResult) => string): EventChunk {
  const known = encoded.get(result);
  if (known !== undefined) return known;
  const bytes = Buffer.from(formatNext(toJson(result)));
  // Errors name the request.
  if (result.errors === undefined) encoded.set(result, bytes);
  return bytes;
}

/** A client hands on the last event before it learns that the stream has ended. */
const silenceMs = 100;

/**
 * An event for each result. When the process stops there is no `complete`, which a client takes for the end of the
 * operation: it connects again instead.
 */
export async function* toEvents(
  results: AsyncIterable<ExecutionResult>,
  { draining }: Pick<OpenStream, 'draining'>,
  toJson: (result: ExecutionResult) => string,
): AsyncGenerator<EventChunk> {
  for await (const result of results) yield encode(result, toJson);
  if (draining.aborted) await delay(silenceMs);
  else yield completion;
}

/**
 * Yields what `source` yields until the process stops, and then once more what `toLast` makes of the last value: a client that
 * has received an event connects again at once. For the source of a subscription.
 */
export async function* withLastEvent<T>(
  source: AsyncIterator<T>,
  { draining }: Pick<OpenStream, 'draining'>,
  toLast: (last: T) => T,
): AsyncGenerator<T> {
  let last: { readonly value: T } | null = null;
  for await (const value of yieldUntil(source, draining)) {
    last = { value };
    yield value;
  }
  if (draining.aborted && last !== null) yield toLast(last.value);
}
