// Owns the Node server edge: sockets, limits, probes and draining. What a request means is the gateway's.

import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { GatewayError, toGatewayError } from './errors.ts';
import {
  type PlainHeaders,
  type PlainRequest,
  type PlainResponse,
  toSentHeaders,
  toText,
} from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { createPace, type Pace } from './load.ts';
import type { Telemetry } from './telemetry.ts';

export interface HttpServer {
  /** Where it listens, `http://127.0.0.1:4000`. */
  readonly url: string;
  /**
   * Turns unready and asks clients to close for `noticeMs`, stops accepting, and waits until everything under way has
   * been answered, `graceMs` at most.
   */
  drain(): Promise<void>;
}

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  /** Milliseconds between turning unready and no longer accepting, so that a balancer sees it. */
  readonly noticeMs?: number;
  readonly graceMs?: number;
  /** How long a client may take, in milliseconds. */
  readonly patience?: Partial<Patience>;
}

interface Patience {
  readonly headersMs: number;
  readonly requestMs: number;
  /** How often both are looked at. */
  readonly checkMs: number;
}

const usualPatience: Patience = { headersMs: 10_000, requestMs: 15_000, checkMs: 1_000 };

/** The largest body that is read, in bytes. */
export const bodyLimit = 100_000;

/** Rejects when the address cannot be had. */
export async function listen(gateway: Gateway, options: HttpOptions): Promise<HttpServer> {
  const { noticeMs = 1_000, graceMs = 10_000, patience } = options;
  const { headersMs, requestMs, checkMs } = { ...usualPatience, ...patience };
  const state = {
    draining: false,
    toTurn: createPace(refusalsPerSecond, longestWaitMs),
    depart: createDepartures(gateway.telemetry),
  };
  const server = createServer(
    {
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: checkMs,
      maxHeaderSize: 8_192,
      // As fetch does it, so that a header sent twice is nowhere taken for one of the two.
      joinDuplicateHeaders: true,
      // The host is never used, so it may be missing.
      requireHostHeader: false,
      // Longer than the usual minute of a balancer, which otherwise meets a socket that is just being closed.
      keepAliveTimeout: 65_000,
    },
    (incoming, outgoing) => void serve(gateway, state, incoming, outgoing),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    refuseSocket(gateway, error, socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    url: toUrl(server),
    async drain() {
      state.draining = true;
      await delay(noticeMs);
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      const grace = new AbortController();
      await Promise.race([closed, delay(graceMs, undefined, { signal: grace.signal })]).finally(
        () => grace.abort(),
      );
      server.closeAllConnections();
    },
  };
}

interface State {
  draining: boolean;
  /** Of those who are refused because there is too much to do. */
  readonly toTurn: Pace;
  readonly depart: Departures;
}

/**
 * Clients that are refused are often back at once, and refusing one takes half as long as answering from memory: without
 * a pace to it, refusing soon is all that is done. Up to so many a second are refused at once, others wait a little.
 */
const refusalsPerSecond = 1_000;
const longestWaitMs = 2_000;

const probes: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);

async function serve(
  gateway: Gateway,
  state: State,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { url = '' } = incoming;
  const [path = ''] = url.split('?', 1);
  try {
    const request = new NodeRequest(path, incoming, outgoing);
    // Before anything is done for it: refusing must be cheap.
    const shed = probes.has(url) ? null : gateway.shed(request);
    if (shed !== null) await state.toTurn(outgoing);
    const response = shed ?? (await answer(gateway, state, request, incoming));
    // Tells a client on a kept connection that this answer is the last one here.
    // So does the answer to a request whose body nobody wanted to read to its end.
    const isUnread = shed === null && !incoming.complete;
    if (state.draining || isUnread) outgoing.shouldKeepAlive = false;
    const { status, headers, body } = response;
    if (body instanceof ReadableStream) {
      outgoing.writeHead(status, headers);
      await pipeline(body, outgoing);
    } else state.depart({ outgoing, status, headers, body });
  } catch (error) {
    breakOff(gateway.telemetry, outgoing, error);
  }
}

// The client is gone in the middle of the answer, or there is nobody left to tell.
function breakOff(telemetry: Telemetry, outgoing: ServerResponse, error: unknown): void {
  if (!hasLeft(outgoing)) telemetry.requestFailed('none', error);
  outgoing.destroy();
}

function answer(
  gateway: Gateway,
  state: State,
  request: PlainRequest,
  { url, socket }: IncomingMessage,
): PlainResponse | Promise<PlainResponse> {
  switch (url) {
    case '/livez':
      return toProbe(200, 'ok');
    case '/readyz':
      return toReadiness(gateway, state);
    case '/metrics':
      if (gateway.metrics !== null) return toMetrics(gateway.metrics);
      break;
    default:
  }
  const problem = findProblem(request.path);
  return problem === null
    ? gateway.answer(request, socket.remoteAddress)
    : gateway.refuse(problem, request, socket.remoteAddress);
}

// What a URL is never tidied up in.
const plainPath = /^\/[\w/-]*$/;

/** Why this can be nobody's path, if that is so. The host is not looked at, and only the path decides. */
function findProblem(path: string): GatewayError | null {
  if (plainPath.test(path)) return null;
  if (!path.startsWith('/')) {
    return new GatewayError('INVALID_REQUEST', 'The target of the request is no path.');
  }
  // A path that needs to be tidied up is not the path.
  if (new URL(`http://gateway${path}`).pathname === path) return null;
  return new GatewayError('NOT_FOUND', 'There is no such route.');
}

async function toReadiness(gateway: Gateway, state: State): Promise<PlainResponse> {
  if (state.draining) return toProbe(503, 'draining');
  try {
    await gateway.ready();
    return toProbe(200, 'ok');
  } catch (error) {
    return toProbe(503, toGatewayError(error).code);
  }
}

function toProbe(status: number, text: string): PlainResponse {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
  return { status, headers, body: `${text}\n` };
}

async function toMetrics(metrics: NonNullable<Gateway['metrics']>): Promise<PlainResponse> {
  const { contentType, text } = await metrics.render();
  const headers = { 'content-type': contentType, 'cache-control': 'no-store' };
  return { status: 200, headers, body: text };
}

const farewellMs = 500;

const socketProblems: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The headers are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request took too long to arrive.'],
};

// What is no HTTP, or takes too long to become a request.
function refuseSocket(gateway: Gateway, error: NodeJS.ErrnoException, socket: Duplex): void {
  // As in Node's own: whatever is written now would stand in the middle of an answer that has begun.
  const { _httpMessage: underWay } = socket as Duplex & { readonly _httpMessage?: ServerResponse };
  if (error.code === 'ECONNRESET' || !socket.writable || underWay?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, message] = socketProblems[error.code ?? ''] ?? [400, 'This is no HTTP request.'];
  const refusal = new GatewayError('INVALID_REQUEST', message);
  const { headers, body } = gateway.refuseBroken(refusal, status);
  const lines = Object.entries({ ...toSentHeaders(headers, body), connection: 'close' });
  const head = lines.map(([name, value]) => `${name}: ${value}`);
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...head, '', body].join('\r\n'));
  // Node looks after it no more. A client has a moment to read why, then it is gone whether it hangs up or not.
  setTimeout(() => socket.destroy(), farewellMs).unref();
}

/**
 * A class for its getter, which in a literal gives each object a shape of its own: that outlives the young generation, and
 * everything that the object holds with it.
 */
class NodeRequest implements PlainRequest {
  readonly method: string;
  readonly path: string;
  readonly search: string;
  readonly headers: PlainHeaders;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  #left: AbortController | undefined;

  constructor(path: string, incoming: IncomingMessage, outgoing: ServerResponse) {
    const { url = '', method = 'GET' } = incoming;
    this.method = method;
    this.path = path;
    this.search = url.slice(path.length);
    this.headers = toHeaders(incoming);
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  // Most requests are answered before anybody cares, and a controller is not cheap.
  get signal(): AbortSignal {
    this.#left ??= createLeft(this.#outgoing);
    return this.#left.signal;
  }

  text(): Promise<string> {
    return readText(this.#incoming);
  }
}

function toHeaders(incoming: IncomingMessage): PlainHeaders {
  return {
    get: (name) => toValue(incoming.headers[name]),
    *[Symbol.iterator]() {
      for (const [name, values] of Object.entries(incoming.headers)) {
        const value = toValue(values);
        if (value !== null) yield [name, value];
      }
    },
  };
}

function toValue(values: string | readonly string[] | undefined): string | null {
  return typeof values === 'string' ? values : (values?.join(', ') ?? null);
}

/** Aborts when the client goes before it was answered, or did so already. */
function createLeft(outgoing: ServerResponse): AbortController {
  const left = new AbortController();
  const abort = () => {
    if (hasLeft(outgoing)) left.abort(new Error('The client has left.'));
  };
  if (outgoing.destroyed) abort();
  else outgoing.once('close', abort);
  return left;
}

function hasLeft(outgoing: ServerResponse): boolean {
  return outgoing.destroyed && !outgoing.writableFinished;
}

/** Read when the door asks for it, so that a request that is refused by its headers costs no body. */
function readText(incoming: IncomingMessage): Promise<string> {
  // What is announced to be too large is not waited for.
  const announced = Number(incoming.headers['content-length'] ?? 0);
  if (announced > bodyLimit) return Promise.reject(toTooLarge());
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let size = 0;
  incoming.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= bodyLimit) return chunks.push(chunk);
    incoming.pause();
    return reject(toTooLarge());
  });
  incoming.once('end', () => {
    try {
      resolve(toText(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    } catch (error) {
      reject(error);
    }
  });
  incoming.once('error', reject);
  // One that is destroyed already tells nothing any more.
  if (incoming.destroyed) reject(new Error('The client has left.'));
  return promise;
}

function toTooLarge(): GatewayError {
  return new GatewayError('INVALID_REQUEST', `The body is larger than ${bodyLimit} bytes.`);
}

/** An answer that is whole, and where it goes. */
interface Departure extends Pick<PlainResponse, 'status' | 'headers'> {
  readonly outgoing: ServerResponse;
  readonly body: Exclude<PlainResponse['body'], ReadableStream>;
}

type Departures = (departure: Departure) => void;

/** No answer waits until more than so many others are made. */
const mostTogether = 64;

/**
 * Answers that are made in one turn of the event loop leave together at its end. To write is to go over to the kernel and
 * to wake whoever waits there, and both come back to cold caches: between any two answers that doubles the price of each.
 */
function createDepartures(telemetry: Telemetry): Departures {
  let waiting: Departure[] = [];
  const leave = (): void => {
    const leaving = waiting;
    waiting = [];
    for (const departure of leaving) {
      try {
        send(departure);
      } catch (error) {
        breakOff(telemetry, departure.outgoing, error);
      }
    }
  };
  return (departure) => {
    waiting.push(departure);
    if (waiting.length === mostTogether) leave();
    else if (waiting.length === 1) setImmediate(leave);
  };
}

/** Bytes of a body; to join a longer one costs more than the write that it spares. */
const mostJoined = 4_096;

function send({ outgoing, status, headers, body }: Departure): void {
  // Node leaves the body out where there is none, which is for HEAD, 204 and 304.
  outgoing.writeHead(status, toSentHeaders(headers, body));
  // Node joins a text to the head, so that both leave in one write; each character of latin1 is a byte as it stands.
  if (Buffer.isBuffer(body) && body.length <= mostJoined) {
    outgoing.end(body.toString('latin1'), 'latin1');
  } else outgoing.end(body);
}

function toUrl(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
