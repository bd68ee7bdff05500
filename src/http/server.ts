// Owns the Node server edge: sockets, limits, probes and draining. What a request means is the gateway's.

import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { GatewayError, toGatewayError } from '../errors.ts';
import { type HttpRequest, type HttpResponse, withContentLength } from './message.ts';
import type { Gateway } from '../gateway.ts';
import { hasDisconnected, NodeRequest } from './node-request.ts';
import { createRefusalPacer, type RefusalPacer } from './load-shedding.ts';
import { chain, recover, type MaybePromise } from '../maybe-promise.ts';
import type { Telemetry } from '../telemetry.ts';

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

const defaultTimeouts: Patience = { headersMs: 10_000, requestMs: 15_000, checkMs: 1_000 };

/**
 * Connections that may wait to be accepted. When more come at once, as they do when another process has ended, their
 * clients try again after whole seconds. The system may allow fewer.
 */
const acceptBacklog = 4_096;

/** Rejects when the address cannot be had. */
export async function listen(gateway: Gateway, options: HttpOptions): Promise<HttpServer> {
  const { noticeMs = 1_000, graceMs = 10_000, patience } = options;
  const { headersMs, requestMs, checkMs } = { ...defaultTimeouts, ...patience };
  const state = {
    draining: false,
    toTurn: createRefusalPacer(refusalsPerSecond, maxWaitMs),
    turn: createTurn(gateway.telemetry),
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
    (incoming, outgoing) => serve(gateway, state, incoming, outgoing),
  );
  hearTheRest(server, gateway, state);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const { port, host } = options;
    server.listen({ port, host, backlog: acceptBacklog }, resolve);
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

/** What Node would otherwise answer by itself, or not at all. */
function hearTheRest(server: Server, gateway: Gateway, state: State): void {
  server.on('clientError', ({ code }: NodeJS.ErrnoException, socket: Duplex) => {
    refuseSocket(gateway, code, socket);
  });
  server.on('connect', (_, socket: Duplex) => {
    // Node has let go of it, and an error that nobody hears would end the process.
    socket.on('error', () => socket.destroy());
    refuseSocket(gateway, 'CONNECT', socket);
  });
  // The body is asked for when it is read.
  server.on('checkContinue', (incoming, outgoing) => serve(gateway, state, incoming, outgoing));
  server.on('checkExpectation', (incoming, outgoing) => {
    const message = 'The header expect may be 100-continue, or is left out.';
    serve(gateway, state, incoming, outgoing, new GatewayError('INVALID_REQUEST', message));
  });
}

interface State {
  draining: boolean;
  /** Of those who are refused because there is too much to do. */
  readonly toTurn: RefusalPacer;
  readonly turn: Turn;
}

/**
 * Clients that are refused are often back at once, and refusing one takes half as long as answering from memory: without
 * a pace to it, refusing soon is all that is done. Up to so many a second are refused at once, others wait a little.
 */
const refusalsPerSecond = 1_000;
const maxWaitMs = 2_000;

const probes: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);

function serve(
  gateway: Gateway,
  state: State,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  refusal: GatewayError | null = null,
): void {
  state.turn.begin(outgoing);
  void recover(
    () => {
      const request = new NodeRequest(incoming, outgoing);
      // Before anything is done for it: refusing must be cheap.
      const shed = probes.has(incoming.url ?? '') ? null : gateway.shed(request);
      if (shed !== null) {
        return state.toTurn(outgoing).then(() => give(state, outgoing, shed, false));
      }
      const answered =
        refusal === null
          ? answer(gateway, state, request, incoming)
          : gateway.refuse(refusal, request, incoming.socket.remoteAddress);
      return chain(answered, (response) => give(state, outgoing, response, true));
    },
    (error) => breakOff(gateway.telemetry, outgoing, error),
  );
}

/** `listens`: the client may still be sending a body, which nobody has wanted to read to its end. */
function give(
  state: State,
  outgoing: ServerResponse,
  { status, headers, body }: HttpResponse,
  listens: boolean,
): MaybePromise<void> {
  // Tells a client on a kept connection that this answer is the last one here.
  if (state.draining) outgoing.shouldKeepAlive = false;
  if (!(body instanceof ReadableStream)) {
    return state.turn.depart({ outgoing, status, headers, body, listens });
  }
  if (listens) hangUpOnUnread(outgoing);
  outgoing.writeHead(status, headers);
  return pipeline(body, outgoing);
}

function hangUpOnUnread(outgoing: ServerResponse): void {
  if (!outgoing.req.complete) outgoing.shouldKeepAlive = false;
}

// The client is gone in the middle of the answer, or there is nobody left to tell.
function breakOff(telemetry: Telemetry, outgoing: ServerResponse, error: unknown): void {
  if (!hasDisconnected(outgoing)) telemetry.requestFailed('none', error);
  outgoing.destroy();
}

function answer(
  gateway: Gateway,
  state: State,
  request: HttpRequest,
  { url, socket }: IncomingMessage,
): MaybePromise<HttpResponse> {
  const probe = findProbe(gateway, state, url);
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (probe !== null && isRead) return probe();
  const problem = probe === null ? findProblem(request.path) : toNotAllowed();
  return problem === null
    ? gateway.answer(request, socket.remoteAddress)
    : gateway.refuse(problem, request, socket.remoteAddress);
}

function findProbe(
  gateway: Gateway,
  state: State,
  url: string | undefined,
): (() => MaybePromise<HttpResponse>) | null {
  const { metrics } = gateway;
  switch (url) {
    case '/livez':
      return () => toProbe(200, 'ok');
    case '/readyz':
      return () => toReadiness(gateway, state);
    case '/metrics':
      return metrics && (() => toMetrics(metrics));
    default:
      return null;
  }
}

function toNotAllowed(): GatewayError {
  const allow = ['GET', 'HEAD'];
  return new GatewayError('METHOD_NOT_ALLOWED', 'This route answers GET and HEAD.', { allow });
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

async function toReadiness(gateway: Gateway, state: State): Promise<HttpResponse> {
  if (state.draining) return toProbe(503, 'draining');
  try {
    await gateway.ready();
    return toProbe(200, 'ok');
  } catch (error) {
    return toProbe(503, toGatewayError(error).code);
  }
}

function toProbe(status: number, text: string): HttpResponse {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
  return { status, headers, body: `${text}\n` };
}

async function toMetrics(metrics: NonNullable<Gateway['metrics']>): Promise<HttpResponse> {
  const { contentType, text } = await metrics.render();
  const headers = { 'content-type': contentType, 'cache-control': 'no-store' };
  return { status: 200, headers, body: text };
}

const farewellMs = 500;

const socketProblems: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The headers are too large.'],
  CONNECT: [400, 'This is no proxy.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request took too long to arrive.'],
};

// What is no HTTP, or takes too long to become a request.
function refuseSocket(gateway: Gateway, code: string | undefined, socket: Duplex): void {
  // As in Node's own: whatever is written now would stand in the middle of an answer that has begun.
  const { _httpMessage: underWay } = socket as Duplex & { readonly _httpMessage?: ServerResponse };
  if (code === 'ECONNRESET' || !socket.writable || underWay?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, message] = socketProblems[code ?? ''] ?? [400, 'This is no HTTP request.'];
  const refusal = new GatewayError('INVALID_REQUEST', message);
  const { headers, body } = gateway.refuseBroken(refusal, status);
  const lines = Object.entries({ ...withContentLength(headers, body), connection: 'close' });
  const head = lines.map(([name, value]) => `${name}: ${value}`);
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...head, '', body].join('\r\n'));
  // Node looks after it no more. A client has a moment to read why, then it is gone whether it hangs up or not.
  setTimeout(() => socket.destroy(), farewellMs).unref();
}

/** An answer that is whole, and where it goes. */
interface Departure extends Pick<HttpResponse, 'status' | 'headers'> {
  readonly outgoing: ServerResponse;
  readonly body: Exclude<HttpResponse['body'], ReadableStream>;
  /** As for `give`. */
  readonly listens: boolean;
}

/** One turn of the event loop. */
interface Turn {
  /** A request has come that is to be answered there. */
  begin(outgoing: ServerResponse): void;
  depart(departure: Departure): void;
}

/** No answer waits until more than so many others are made. */
const maxTogether = 64;

/**
 * As many sockets as libuv hears of at once. When there are as many it asks for more, and again, and may come to no timer
 * for seconds: https://github.com/libuv/libuv/blob/v1.x/src/unix/linux.c
 */
const maxBegun = 1_024;

/**
 * Answers that are made in one turn leave together at its end. To write is to go over to the kernel and to wake whoever
 * waits there, and both come back to cold caches: between any two answers that doubles the price of each.
 *
 * A turn has an end however many ask: when it has begun much, whoever has asked in it is not heard again before the next.
 */
function createTurn(telemetry: Telemetry): Turn {
  let begun = 0;
  let waiting: Departure[] = [];
  let unheard: Socket[] = [];
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
  const end = (): void => {
    begun = 0;
    leave();
    const heardAgain = unheard;
    unheard = [];
    for (const socket of heardAgain) socket.resume();
  };
  // Once it has its answer, for which Node hears it again.
  const pause = (socket: Socket): void => {
    if (begun <= maxBegun) return;
    socket.pause();
    unheard.push(socket);
  };
  return {
    begin(outgoing) {
      begun += 1;
      if (begun === 1) setImmediate(end);
      if (begun > maxBegun) outgoing.once('finish', () => pause(outgoing.req.socket));
    },
    depart(departure) {
      if (waiting.length === maxTogether) leave();
      waiting.push(departure);
      if (waiting.length === 1) setImmediate(leave);
    },
  };
}

/** Bytes of a body; to join a longer one costs more than the write that it spares. */
const maxJoined = 4_096;

function send({ outgoing, status, headers, body, listens }: Departure): void {
  // By now all that has arrived of the request is read.
  if (listens) hangUpOnUnread(outgoing);
  // Node leaves the body out where there is none, which is for HEAD, 204 and 304.
  outgoing.writeHead(status, toHead(headers, body));
  // Node joins a text to the head, so that both leave in one write; each character of latin1 is a byte as it stands.
  if (Buffer.isBuffer(body) && body.length <= maxJoined) {
    outgoing.end(body.toString('latin1'), 'latin1');
  } else outgoing.end(body);
}

/** Names and values in turn, which Node takes as they are, so that none may come twice. */
function toHead(headers: HttpResponse['headers'], body: Departure['body']): string[] {
  return Object.entries(withContentLength(headers, body)).flat();
}

function toUrl(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
