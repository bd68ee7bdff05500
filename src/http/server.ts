// The Node HTTP server: sockets, timeouts, probes and draining. What happens to a request is pipeline.ts's.

import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { GatewayError, toGatewayError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { chain, type MaybePromise, recover } from '../maybe-promise.ts';
import type { Telemetry } from '../telemetry.ts';
import { EventStream, writeEventStream, type WriteOptions } from './event-stream.ts';
import { createRefusalPacer, type RefusalPacer } from './load-shedding.ts';
import {
  createUrlTooLongError,
  hasDisconnected,
  type HttpRequest,
  type HttpResponse,
  maxUrlLength,
  NodeRequest,
  readRefusedBytes,
  withContentLength,
} from './message.ts';
import { createWriteBatching, type WriteBatching } from './write-batching.ts';

export interface HttpServer {
  /** For example `http://127.0.0.1:4000`. */
  readonly url: string;
  /**
   * Turns unready, ends all streams and asks clients to close their connections for `noticeMs`, stops accepting, and waits
   * until all requests in flight have been answered, `graceMs` at most.
   */
  drain(): Promise<void>;
}

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  /** Milliseconds between turning unready and no longer accepting, in which a load balancer notices. */
  readonly noticeMs?: number;
  readonly graceMs?: number;
  /** How long a client may take, in milliseconds. */
  readonly timeouts?: Partial<Timeouts>;
  readonly streams?: WriteOptions;
}

interface Timeouts {
  readonly headersMs: number;
  readonly requestMs: number;
  /** How often both are checked. */
  readonly checkMs: number;
}

const defaultTimeouts: Timeouts = { headersMs: 10_000, requestMs: 15_000, checkMs: 1_000 };

/**
 * Connections that may wait to be accepted. Clients whose connection does not fit retry after whole seconds, as happens when
 * another process has just stopped. The operating system may allow fewer.
 */
const acceptBacklog = 4_096;

/** Rejects when the address cannot be bound. */
export async function listen(gateway: Gateway, options: HttpOptions): Promise<HttpServer> {
  const { noticeMs = 1_000, graceMs = 10_000, host, port } = options;
  const state: State = {
    isDraining: false,
    refusalPacer: createRefusalPacer(refusalsPerSecond, maxRefusalWaitMs),
    writes: createWriteBatching((outgoing, error) =>
      abandonResponse(gateway.telemetry, outgoing, error),
    ),
    streamOptions: options.streams ?? {},
  };
  const server = openServer(gateway, state, { ...defaultTimeouts, ...options.timeouts });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, host, backlog: acceptBacklog }, resolve);
  await promise;
  server.off('error', reject);
  // For example too many open files while accepting: the connections that exist go on.
  server.on('error', (error: Error) =>
    gateway.telemetry.warn('the HTTP server reported an error', { cause: error.message }),
  );
  return {
    url: toUrl(server),
    async drain() {
      state.isDraining = true;
      // At once, so that their clients have connected to another process when this one stops accepting.
      const drained = gateway.streams.drain();
      await delay(noticeMs);
      await closeServer(server, graceMs);
      await drained;
    },
  };
}

interface State {
  isDraining: boolean;
  readonly refusalPacer: RefusalPacer;
  readonly writes: WriteBatching;
  readonly streamOptions: WriteOptions;
}

/** See `createRefusalPacer`. */
const refusalsPerSecond = 1_000;
const maxRefusalWaitMs = 2_000;

function openServer(
  gateway: Gateway,
  state: State,
  { headersMs, requestMs, checkMs }: Timeouts,
): Server {
  const server = createServer(
    {
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: checkMs,
      // The request line and all headers. Half of it is for the URL.
      maxHeaderSize: 16_384,
      // As in fetch: a header that is sent twice becomes a list, so that no part of the program takes one of the two.
      joinDuplicateHeaders: true,
      // The host is never used.
      requireHostHeader: false,
      // Longer than the idle timeout of common load balancers, which would otherwise reuse a connection that is closing.
      keepAliveTimeout: 65_000,
    },
    (incoming, outgoing) => serve(gateway, state, incoming, outgoing),
  );
  server.on('clientError', (error: ClientError, socket: Duplex) =>
    rejectSocket(gateway, error, socket),
  );
  server.on('connect', (_, socket: Duplex) => {
    // Node has removed its own listener, and an unhandled error would end the process.
    socket.on('error', () => socket.destroy());
    rejectSocket(gateway, { code: 'CONNECT' }, socket);
  });
  // `100 Continue` is sent when the body is read.
  server.on('checkContinue', (incoming, outgoing) => serve(gateway, state, incoming, outgoing));
  server.on('checkExpectation', (incoming, outgoing) => {
    const message = 'The header expect must be 100-continue or be omitted.';
    serve(gateway, state, incoming, outgoing, new GatewayError('INVALID_REQUEST', message));
  });
  return server;
}

async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeIdleConnections();
  const grace = new AbortController();
  const graceEnd = delay(graceMs, undefined, { signal: grace.signal });
  await Promise.race([closed, graceEnd]).finally(() => grace.abort());
  server.closeAllConnections();
}

function serve(
  gateway: Gateway,
  state: State,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  rejection: GatewayError | null = null,
): void {
  state.writes.begin(outgoing);
  void recover(
    () => {
      const request = new NodeRequest(incoming, outgoing);
      // Overload is checked before any other work, so that refusing stays cheap.
      const refusal = probePaths.has(incoming.url ?? '') ? null : gateway.shed(request);
      if (refusal !== null) {
        return state.refusalPacer(outgoing).then(() => write(state, outgoing, refusal, false));
      }
      const responded = route(gateway, state, request, incoming, rejection);
      return chain(responded, (response) => write(state, outgoing, response, true));
    },
    (error) => abandonResponse(gateway.telemetry, outgoing, error),
  );
}

function route(
  gateway: Gateway,
  state: State,
  request: HttpRequest,
  { url, socket: { remoteAddress } }: IncomingMessage,
  rejection: GatewayError | null,
): MaybePromise<HttpResponse> {
  if (rejection !== null) return gateway.reject(rejection, request, remoteAddress);
  const probe = findProbe(gateway, state, url);
  if (probe !== null && ['GET', 'HEAD'].includes(request.method)) return probe();
  const problem = probe === null ? findPathProblem(request.path) : createProbeMethodError();
  return problem === null
    ? gateway.handle(request, remoteAddress)
    : gateway.reject(problem, request, remoteAddress);
}

const probePaths: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);

function findProbe(
  gateway: Gateway,
  state: State,
  url: string | undefined,
): (() => MaybePromise<HttpResponse>) | null {
  const { metrics } = gateway;
  switch (url) {
    case '/livez':
      return () => toProbeResponse(200, 'ok');
    case '/readyz':
      return () => checkReadiness(gateway, state);
    case '/metrics':
      return metrics && (() => renderMetrics(metrics));
    default:
      return null;
  }
}

function createProbeMethodError(): GatewayError {
  const allow = ['GET', 'HEAD'];
  const message = 'The methods of this route are GET and HEAD.';
  return new GatewayError('METHOD_NOT_ALLOWED', message, { allow });
}

/** Paths that URL parsing leaves as they are. */
const plainPath = /^\/[\w/-]*$/;

/** Only exact paths match a route, so one that URL parsing would change matches none. */
function findPathProblem(path: string): GatewayError | null {
  if (plainPath.test(path)) return null;
  if (!path.startsWith('/')) {
    return new GatewayError('INVALID_REQUEST', 'The request target must be a path.');
  }
  if (new URL(`http://gateway${path}`).pathname === path) return null;
  return new GatewayError('NOT_FOUND', 'There is no such route.');
}

async function checkReadiness(gateway: Gateway, { isDraining }: State): Promise<HttpResponse> {
  if (isDraining) return toProbeResponse(503, 'draining');
  try {
    await gateway.ready();
    return toProbeResponse(200, 'ok');
  } catch (error) {
    return toProbeResponse(503, toGatewayError(error).code);
  }
}

function toProbeResponse(status: number, text: string): HttpResponse {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
  return { status, headers, body: `${text}\n` };
}

async function renderMetrics(metrics: NonNullable<Gateway['metrics']>): Promise<HttpResponse> {
  const { contentType, text } = await metrics.render();
  const headers = { 'content-type': contentType, 'cache-control': 'no-store' };
  return { status: 200, headers, body: text };
}

/** `mayStillReceive`: the client may still be sending a body that the pipeline did not read. */
function write(
  { isDraining, writes, streamOptions }: State,
  outgoing: ServerResponse,
  { status, headers, body }: HttpResponse,
  mayStillReceive: boolean,
): MaybePromise<void> {
  // Adds `Connection: close`.
  if (isDraining) outgoing.shouldKeepAlive = false;
  if (!(body instanceof EventStream)) {
    const closesUnlessComplete = mayStillReceive;
    return writes.enqueue({ outgoing, status, headers, body, closesUnlessComplete });
  }
  // Nobody reuses a connection that was open for long, and so the end of the stream is that of the connection.
  outgoing.shouldKeepAlive = false;
  outgoing.writeHead(status, headers);
  return writeEventStream(outgoing, body, streamOptions);
}

/** For a response that cannot be sent, usually because the client disconnected. */
function abandonResponse(telemetry: Telemetry, outgoing: ServerResponse, error: unknown): void {
  if (!hasDisconnected(outgoing)) telemetry.requestFailed('none', error);
  outgoing.destroy();
}

/** How long a client may read the reason before its connection is closed. */
const closeDelayMs = 500;

const socketProblems: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The request headers are too large.'],
  CONNECT: [400, 'CONNECT is not supported: this server is not a proxy.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request took too long to arrive.'],
};

/** The error of Node's parser. */
interface ClientError extends Pick<NodeJS.ErrnoException, 'code'> {
  /** What was received last. */
  readonly rawPacket?: Buffer;
  /** How much of it was parsed. */
  readonly bytesParsed?: number;
}

/** For bytes that are no HTTP request, and requests that do not arrive in time. */
function rejectSocket(gateway: Gateway, clientError: ClientError, socket: Duplex): void {
  // As Node does it itself: once a response has begun, nothing may be written into it.
  const { _httpMessage: current } = socket as Duplex & { readonly _httpMessage?: ServerResponse };
  if (clientError.code === 'ECONNRESET' || !socket.writable || current?.headersSent === true) {
    socket.destroy();
    return;
  }
  const { status, error } = toSocketProblem(clientError);
  const { headers, body } = gateway.rejectMalformed(
    error,
    status,
    readRefusedBytes(clientError.rawPacket ?? Buffer.of()),
  );
  const lines = Object.entries({ ...withContentLength(headers, body), connection: 'close' });
  const head = lines.map(([name, value]) => `${name}: ${value}`);
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...head, '', body].join('\r\n'));
  // Node does not close this socket any more.
  setTimeout(() => socket.destroy(), closeDelayMs).unref();
}

function toSocketProblem(clientError: ClientError): {
  readonly status: number;
  readonly error: GatewayError;
} {
  const { code = '' } = clientError;
  if (code === 'HPE_HEADER_OVERFLOW' && isUrlTooLong(clientError)) {
    const error = createUrlTooLongError();
    return { status: error.status, error };
  }
  const [status, message] = socketProblems[code] ?? [400, 'This is not an HTTP request.'];
  return { status, error: new GatewayError('INVALID_REQUEST', message) };
}

const longRequestLine = new RegExp(`^[A-Z]+ \\S{${maxUrlLength}}`, 'm');

/** Whether the parser stopped within a URL, or after one that is too long. */
function isUrlTooLong({ rawPacket, bytesParsed = 0 }: ClientError): boolean {
  const text = rawPacket?.toString('latin1') ?? '';
  // A URL ends at a space, a header at the end of its line.
  return text[bytesParsed] === ' ' || longRequestLine.test(text);
}

function toUrl(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
