// The open streams of the process: how many there may be, and when they have to end.

import { setTimeout as delay } from 'node:timers/promises';
import type { Access } from '../access/access.ts';
import type { KeyWatch } from '../access/key-watch.ts';
import { prices } from '../access/prices.ts';
import { type Admission, limitToWindow } from '../access/rate-limit.ts';
import type { Config } from '../config.ts';
import { GatewayError, toGatewayError } from '../errors.ts';
import type { Call } from './endpoint.ts';
import type { EndedStream, OpenStream } from './event-stream.ts';

export interface Streams extends AsyncDisposable {
  /**
   * Makes the request a stream: instead of a slot and a place among the tenant's requests in flight, it takes a place among
   * the streams. Throws TOO_MANY_STREAMS at a limit, and UNAVAILABLE while the process stops. The stream ends when the client
   * disconnects, when the key is revoked or expires, and when it is told to.
   */
  open(request: StreamRequest): OpenStream;
  readonly count: number;
  /** Asks every stream to end, and ends the rest after `graceMs`. Further ones are refused. Resolves when none is left. */
  drain(graceMs?: number): Promise<void>;
}

export type StreamRequest = Pick<Call, 'request' | 'context' | 'access' | 'admission'>;

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
    open({ request, context, access, admission }) {
      if (draining.signal.aborted) throw createStopping();
      const release = take(counters, access, options);
      const stream = createStream(draining.signal, admission, () => {
        release();
        open.delete(stream);
        stopWatch();
        request.signal.removeEventListener('abort', disconnect);
        admission.leave();
      });
      const stopWatch = keyWatch.watch(access, () => stream.end('key invalid'));
      const disconnect = (): void => stream.end('client disconnected');
      open.add(stream);
      context.stream = stream;
      admission.continueAsStream();
      void context.meter.releaseWhile(() => stream.ended);
      if (request.signal.aborted) disconnect();
      else request.signal.addEventListener('abort', disconnect);
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

type StreamAdmission = Pick<Admission, 'spend' | 'charge' | 'rateLimit'>;

/** `onEnd` is called once. */
function createStream(
  draining: AbortSignal,
  admission: StreamAdmission,
  onEnd: () => void,
): OpenStream {
  const { promise: ended, resolve } = Promise.withResolvers<EndedStream>();
  const controller = new AbortController();
  const { signal } = controller;
  return {
    signal,
    draining,
    ended,
    charge: (points = prices.streamChunk) => chargeStream(admission, points, signal),
    end(reason, cause) {
      if (signal.aborted) return;
      onEnd();
      controller.abort(new Error(`The stream has ended: ${reason}.`));
      resolve({ reason, cause });
    },
  };
}

/** While the tenant has too few points, a stream waits; then it sends more at once. */
async function chargeStream(
  admission: StreamAdmission,
  requested: number,
  signal: AbortSignal,
): Promise<void> {
  const points = limitToWindow(requested, 0, admission);
  while (!admission.spend(points)) {
    // oxlint-disable no-await-in-loop -- one attempt after the other
    const refusal = await admission.charge(points).then(() => null, toGatewayError);
    if (refusal === null) return;
    if (refusal.code !== 'RATE_LIMITED') throw refusal;
    await delay((refusal.retryAfterSeconds ?? 1) * 1_000, undefined, { signal });
    // oxlint-enable no-await-in-loop
  }
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
