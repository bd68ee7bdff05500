// The open streams of the process: how many there may be, and when they have to end.

import type { Access } from '../access/access.ts';
import type { KeyWatch } from '../access/key-watch.ts';
import type { Config } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { EndedStream, OpenStream } from './event-stream.ts';

export interface Streams extends AsyncDisposable {
  /**
   * Counts a stream of the key. Throws TOO_MANY_STREAMS at a limit, and UNAVAILABLE while the process stops. The stream ends
   * when `disconnected` is aborted, when the key is revoked or expires, and when it is told to.
   */
  open(access: Access, disconnected: AbortSignal): OpenStream;
  readonly count: number;
  /** Asks every stream to end, and ends the rest after `graceMs`. Further ones are refused. Resolves when none is left. */
  drain(graceMs?: number): Promise<void>;
}

export interface StreamsOptions {
  readonly limits: Config['streamLimits'];
  /** Disposed with the streams. */
  readonly keyWatch: KeyWatch;
  /** Called when a stream is refused at a limit. */
  readonly onRefusal?: () => void;
}

const defaultGraceMs = 3_000;

export function createStreams(options: StreamsOptions): Streams {
  const { limits, keyWatch } = options;
  const draining = new AbortController();
  const open = new Set<OpenStream>();
  const counters = {
    key: createCounter(limits.key),
    tenant: createCounter(limits.tenant),
    process: createCounter(limits.process),
  };
  const endAll = (): void => {
    for (const stream of open) stream.end('draining');
  };
  return {
    open(access, disconnected) {
      if (draining.signal.aborted) throw createStopping();
      const release = take(counters, access, options);
      const stream = createStream(draining.signal, () => {
        release();
        open.delete(stream);
        stopWatch();
        disconnected.removeEventListener('abort', disconnect);
      });
      const stopWatch = keyWatch.watch(access, () => stream.end('key invalid'));
      const disconnect = (): void => stream.end('client disconnected');
      open.add(stream);
      if (disconnected.aborted) disconnect();
      else disconnected.addEventListener('abort', disconnect);
      return stream;
    },
    get count() {
      return open.size;
    },
    async drain(graceMs = defaultGraceMs) {
      draining.abort(createStopping());
      const timer = setTimeout(endAll, graceMs);
      await Promise.all([...open].map((stream) => stream.ended));
      clearTimeout(timer);
    },
    async [Symbol.asyncDispose]() {
      draining.abort(createStopping());
      endAll();
      await keyWatch[Symbol.asyncDispose]();
    },
  };
}

/** `onEnd` is called once. */
function createStream(draining: AbortSignal, onEnd: () => void): OpenStream {
  const { promise: ended, resolve } = Promise.withResolvers<EndedStream>();
  const controller = new AbortController();
  const { signal } = controller;
  return {
    signal,
    draining,
    ended,
    end(reason, cause) {
      if (signal.aborted) return;
      onEnd();
      controller.abort(new Error(`The stream has ended: ${reason}.`));
      resolve({ reason, cause });
    },
  };
}

function createStopping(): GatewayError {
  const message = 'The process is stopping; connect again.';
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
}

/** Counts by name. Keeps nothing of a name that has no stream. */
function createCounter(limit: number) {
  const counts = new Map<string, number>();
  return {
    limit,
    isFull: (name: string): boolean => (counts.get(name) ?? 0) >= limit,
    add(name: string, change: 1 | -1): void {
      const count = (counts.get(name) ?? 0) + change;
      if (count === 0) counts.delete(name);
      else counts.set(name, count);
    },
  };
}

type Counters = Readonly<Record<'key' | 'tenant' | 'process', ReturnType<typeof createCounter>>>;

const retryAfterSeconds = 5;

/** Returns a function that frees the place of the stream. */
function take(
  counters: Counters,
  { tenantId, keyId }: Access,
  { onRefusal }: StreamsOptions,
): () => void {
  const places = [
    { counter: counters.key, name: keyId, owner: 'this API key' },
    { counter: counters.tenant, name: tenantId, owner: 'this tenant' },
    { counter: counters.process, name: '', owner: 'the process' },
  ];
  const full = places.find(({ counter, name }) => counter.isFull(name));
  if (full !== undefined) {
    onRefusal?.();
    const { counter, owner } = full;
    const message = `Too many streams: ${counter.limit} streams of ${owner} are open; close one, or retry later.`;
    throw new GatewayError('TOO_MANY_STREAMS', message, { retryAfterSeconds });
  }
  for (const { counter, name } of places) counter.add(name, 1);
  return () => {
    for (const { counter, name } of places) counter.add(name, -1);
  };
}
