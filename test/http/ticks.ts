// A gateway with an API of its own: `GET /ticks` streams events that the test sends, `GET /stuck` does so even if the process
// stops, `GET /poll` waits for one event, and `GET /now` answers at once. For what holds for every stream.

import { createKeyWatch } from '../../src/access/key-watch.ts';
import { createRateLimiter } from '../../src/access/rate-limit.ts';
import type { Config, StreamLimits } from '../../src/config.ts';
import type { Gateway } from '../../src/gateway.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Call, Endpoint } from '../../src/http/endpoint.ts';
import {
  type EventChunk,
  EventStream,
  eventStreamHeaders,
  type OpenStream,
  yieldUntil,
} from '../../src/http/event-stream.ts';
import { createLoadShedder, type LoadShedder } from '../../src/http/load-shedding.ts';
import { fromFetchRequest, type HttpResponse, toFetchResponse } from '../../src/http/message.ts';
import { createPipeline } from '../../src/http/pipeline.ts';
import { disabledResponseCache } from '../../src/http/response-cache.ts';
import { createStreams, type Streams } from '../../src/http/streams.ts';
import type { TestGateway } from '../harness.ts';

/** A source of events that a test sends. */
export interface TestSource extends AsyncIterableIterator<EventChunk> {
  send(chunk: EventChunk): void;
  fail(error: Error): void;
  /** Ends after what was sent. */
  finish(): void;
  /** How many chunks were asked for. */
  readonly asked: number;
  /** How often it was told to end. */
  readonly ended: number;
}

export function createTestSource(): TestSource {
  const done = { done: true as const, value: undefined };
  const sent: EventChunk[] = [];
  let waiting: PromiseWithResolvers<IteratorResult<EventChunk>> | null = null;
  const source = {
    asked: 0,
    ended: 0,
    send(chunk: EventChunk) {
      if (waiting === null) sent.push(chunk);
      else waiting.resolve({ done: false, value: chunk });
      waiting = null;
    },
    fail: (error: Error) => waiting?.reject(error),
    finish: () => waiting?.resolve(done),
    async next(): Promise<IteratorResult<EventChunk>> {
      source.asked += 1;
      if (source.ended > 0) return done;
      const value = sent.shift();
      if (value !== undefined) return { done: false, value };
      waiting = Promise.withResolvers();
      return await waiting.promise;
    },
    async return() {
      source.ended += 1;
      return done;
    },
    [Symbol.asyncIterator]: () => source,
  };
  return source;
}

export interface TicksGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly streams: Streams;
  readonly load: LoadShedder;
  /** Of the streams that were opened, in their order. */
  readonly sources: readonly TestSource[];
  fetch(path: string, key: string, init?: RequestInit): Promise<Response>;
}

export interface TicksOptions {
  readonly limits?: Partial<StreamLimits>;
  /** Of requests in flight, of the process and of each tenant. */
  readonly maxRequests?: number;
  /** See access/key-watch.ts. */
  readonly pollMs?: number;
  /** At `/graphql`. */
  readonly graphql?: Endpoint;
  readonly rateLimit?: Config['rateLimit'];
}

export function openTicksGateway(
  { gateway, database }: Pick<TestGateway, 'gateway' | 'database'>,
  { limits, maxRequests = 1, pollMs = 60_000, rateLimit = null, ...options }: TicksOptions = {},
): TicksGateway {
  const sources: TestSource[] = [];
  const endpoint = createEndpoint(sources);
  const load = createLoadShedder({ maxRequests, maxEventLoopDelayMs: 10_000 });
  const { metrics, telemetry, access } = gateway;
  if (metrics === null) throw new Error('The test needs metrics.');
  const streams = createStreams({
    limits: { key: 10, tenant: 20, process: 30, ...limits },
    keyWatch: createKeyWatch({ database, pollMs }),
    onRefusal: () => metrics.requestLimited('streams'),
  });
  metrics.observeStreams(streams);
  const pipeline = createPipeline({
    graphql: options.graphql ?? endpoint,
    rest: endpoint,
    webhooks: endpoint,
    board: null,
    access,
    rateLimiter: createRateLimiter({ rateLimit, tenantMaxRequests: maxRequests }),
    responseCache: disabledResponseCache,
    load,
    streams,
    config: { corsOrigins: [], trustedProxies: 0, trustsTraceParent: false },
    telemetry,
    metrics,
  });
  return {
    gateway: { ...gateway, ...pipeline, streams },
    streams,
    load,
    sources,
    async fetch(path, key, { headers, ...init } = {}) {
      const all = { 'x-api-key': key, ...(headers as Record<string, string>) };
      const request = new Request(`http://gateway.test${path}`, { ...init, headers: all });
      return toFetchResponse(await pipeline.handle(fromFetchRequest(request)));
    },
    async [Symbol.asyncDispose]() {
      load[Symbol.dispose]();
      await streams[Symbol.asyncDispose]();
    },
  };
}

function createEndpoint(sources: TestSource[]): Endpoint {
  const create = (call: Call): TestSource => {
    const source = createTestSource();
    sources.push(source);
    if (call.request.search === '?now') source.send('now');
    if (call.request.search === '?refused') throw new GatewayError('CURSOR_UNKNOWN', 'Unknown.');
    return source;
  };
  const respond = {
    '/ticks': async (call) => {
      const stream = call.openStream();
      const body = new EventStream(
        stream,
        sendTicks(stream, yieldUntil(create(call), stream.signal)),
      );
      return { status: 200, headers: eventStreamHeaders, body };
    },
    '/stuck': async (call) => {
      const stream = call.openStream();
      return { status: 200, headers: {}, body: new EventStream(stream, create(call)) };
    },
    '/poll': async (call) => {
      const { signal, draining } = call.openStream();
      const source = yieldUntil(yieldUntil(create(call), draining), signal);
      const { value } = await source.next();
      return { status: 200, headers: {}, body: String(value ?? 'nothing') };
    },
    '/now': async () => ({ status: 200, headers: { etag: '"now"' }, body: 'now' }),
  } as const satisfies Record<string, (call: Call) => Promise<HttpResponse>>;
  return {
    match: ({ path }) => ({
      needsKey: true,
      scope: 'read',
      path,
      operation: 'ticks',
      readsBody: false,
      prepare: (call) => ({
        cacheKey: null,
        compute: async () => ({
          response: await respond[path as keyof typeof respond](call),
          isCacheable: false,
        }),
      }),
    }),
    toErrorResponse: ({ status, code, message, retryAfterSeconds = 0 }) => ({
      status,
      headers: { 'retry-after': String(retryAfterSeconds) },
      body: JSON.stringify({ code, message }),
    }),
  };
}

/** With a last event for a process that stops. */
async function* sendTicks({ draining }: OpenStream, source: AsyncIterator<EventChunk>) {
  yield* yieldUntil(source, draining);
  if (draining.aborted) yield 'data: last\n\n';
}
