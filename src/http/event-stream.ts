// Streams of Server-Sent Events: what a response sends over time, and how it is written without queueing anything.
// https://html.spec.whatwg.org/multipage/server-sent-events.html

import type { ServerResponse } from 'node:http';
import { GatewayError } from '../errors.ts';

/** Why a stream has ended; a label of metrics. */
export type StreamEnd =
  | 'client disconnected'
  | 'completed'
  | 'cursor invalid'
  | 'draining'
  | 'key invalid'
  | 'slow reader'
  | 'failed';

export interface EndedStream {
  readonly reason: StreamEnd;
  /** What the source of the events has thrown, if the reason is that it failed. */
  readonly cause?: unknown;
}

/** A request that may be answered for as long as its client wants: a stream of events, or a long poll. */
export interface OpenStream {
  /** Aborted when the stream has ended. Whatever produces its events must end then, even while it waits for one. */
  readonly signal: AbortSignal;
  /** Aborted when the process stops. What produces the events then sends what its protocol sends last, and ends. */
  readonly draining: AbortSignal;
  /** Resolves when the tenant has paid so many points, by default those of a chunk. It waits while there are too few. */
  readonly charge: (points?: number) => Promise<void>;
  /** Resolves when the stream has ended. */
  readonly ended: Promise<EndedStream>;
  /** Has no effect on a stream that has ended. */
  end(reason: StreamEnd, cause?: unknown): void;
}

/** The headers of every stream. Proxies must neither cache, compress nor buffer it. */
export const eventStreamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store, no-transform',
  // https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
  'x-accel-buffering': 'no',
} as const;

export interface ServerSentEvent {
  readonly id?: string;
  readonly event?: string;
  /** Of one line, such as JSON. */
  readonly data?: string;
  /** Milliseconds after which the client reconnects when the stream has ended. */
  readonly retryMs?: number;
}

export function formatEvent({ id, event, data, retryMs }: ServerSentEvent): string {
  let text = '';
  if (retryMs !== undefined) text += `retry: ${retryMs}\n`;
  if (id !== undefined) text += `id: ${id}\n`;
  if (event !== undefined) text += `event: ${event}\n`;
  if (data !== undefined) text += `data: ${data}\n`;
  return `${text}\n`;
}

/** Whole events. Bytes that several streams send are shared. */
export type EventChunk = string | Uint8Array;

/** The body of a response that is a stream. It has one reader, which asks for the next chunk once it has sent the last. */
export class EventStream {
  readonly #chunks: AsyncIterator<EventChunk>;
  readonly #stream: OpenStream;

  /** `source` must end when the signal of the stream is aborted, and produce no chunk before it is asked for it. */
  constructor(stream: OpenStream, source: AsyncIterator<EventChunk>) {
    this.#chunks = yieldUntil(source, stream.signal);
    this.#stream = stream;
  }

  get signal(): AbortSignal {
    return this.#stream.signal;
  }

  /** Null at the end. One call at a time. Never rejects: a source that fails ends the stream. */
  async next(): Promise<EventChunk | null> {
    try {
      const { done, value } = await this.#chunks.next();
      if (done !== true) {
        await this.#stream.charge();
        return this.signal.aborted ? null : value;
      }
      this.end(this.#stream.draining.aborted ? 'draining' : 'completed');
    } catch (error) {
      const isRefused = error instanceof GatewayError && error.status === 410;
      this.#stream.end(isRefused ? 'cursor invalid' : 'failed', error);
    }
    return null;
  }

  end(reason: StreamEnd): void {
    this.#stream.end(reason);
  }
}

const done = { done: true, value: undefined } as const;

/**
 * Yields what `source` yields until the signal is aborted. Then it ends, and ends the source, even while it waits for a
 * value, as `return` of an async generator does not.
 */
export function yieldUntil<T>(
  source: AsyncIterator<T>,
  signal: AbortSignal,
): AsyncIterableIterator<T> {
  let stopWaiting: (() => void) | null = null;
  let hasEnded = false;
  const end = (): void => {
    if (hasEnded) return;
    hasEnded = true;
    signal.removeEventListener('abort', end);
    stopWaiting?.();
    // Not awaited: an async generator returns only once it has its next value.
    source.return?.().catch(() => undefined);
  };
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
  return {
    async next() {
      if (hasEnded) return done;
      // Promise.race would take several times as long, and leave more garbage.
      const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<T>>();
      stopWaiting = () => resolve(done);
      source.next().then(resolve, reject);
      try {
        const result = await promise;
        if (result.done === true) end();
        return result;
      } catch (error) {
        end();
        throw error;
      }
    },
    async return() {
      end();
      return done;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

export interface WriteOptions {
  /** How long a client may read nothing while something is being sent, in milliseconds. */
  readonly maxStallMs?: number;
}

const defaultMaxStallMs = 30_000;
/** How long the client may take to receive the rest of a stream that has ended. */
export const maxRestMs = 2_000;

/** Writes the stream, whose head has been written, and ends the response. Reads the next chunk once the last one was sent. */
export async function writeEventStream(
  outgoing: ServerResponse,
  stream: EventStream,
  { maxStallMs = defaultMaxStallMs }: WriteOptions = {},
): Promise<void> {
  outgoing.once('close', () => stream.end('client disconnected'));
  outgoing.flushHeaders();
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one chunk after the other
    const chunk = await stream.next();
    if (chunk === null || outgoing.destroyed) break;
    // oxlint-disable-next-line no-await-in-loop -- as above
    if (!outgoing.write(chunk)) await waitForDrain(outgoing, stream, maxStallMs);
  }
  endResponse(outgoing);
}

/** Resolves when the client has read what was written, or the stream has ended; a client that reads nothing ends it. */
async function waitForDrain(
  outgoing: ServerResponse,
  stream: EventStream,
  maxStallMs: number,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    stream.end('slow reader');
    outgoing.destroy();
  }, maxStallMs);
  const proceed = (): void => resolve();
  outgoing.once('drain', proceed);
  if (stream.signal.aborted) proceed();
  else stream.signal.addEventListener('abort', proceed);
  await promise;
  clearTimeout(timer);
  outgoing.off('drain', proceed);
  stream.signal.removeEventListener('abort', proceed);
}

function endResponse(outgoing: ServerResponse): void {
  if (outgoing.destroyed) return;
  const timer = setTimeout(() => outgoing.destroy(), maxRestMs);
  timer.unref();
  outgoing.once('close', () => clearTimeout(timer));
  outgoing.end();
}

/** The stream as the body of a Response. */
export function toReadableStream(stream: EventStream): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const chunk = await stream.next();
        if (chunk === null) controller.close();
        else controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk);
      },
      cancel: () => stream.end('client disconnected'),
    },
    // Nothing is read ahead.
    { highWaterMark: 0 },
  );
}
