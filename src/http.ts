// Owns the Node server edge: sockets, limits, probes and draining. What a request means is the gateway's.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { GatewayError, toGatewayError } from './errors.ts';
import type { Gateway } from './gateway.ts';

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
  const state = { draining: false };
  const server = createServer(
    {
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: checkMs,
      maxHeaderSize: 8_192,
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
}

const probes: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);

async function serve(
  gateway: Gateway,
  state: State,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { url = '' } = incoming;
  // Before anything is made of it: refusing must be cheap.
  const shed = probes.has(url) ? null : gateway.shed(url.split('?')[0]);
  if (shed !== null) {
    outgoing.writeHead(shed.status, shed.headers).end(shed.body);
    return;
  }
  const left = new AbortController();
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) left.abort(new Error('The client has left.'));
  });
  try {
    const response = await answer(gateway, state, incoming, left.signal);
    // Tells a client on a kept connection that this answer is the last one here.
    // So does the answer to a request whose body nobody wanted to read to its end.
    if (state.draining || !incoming.complete) outgoing.shouldKeepAlive = false;
    await send(response, incoming, outgoing);
  } catch (error) {
    // The client is gone in the middle of the answer, or there is nobody left to tell.
    if (!left.signal.aborted) gateway.telemetry.requestFailed('none', error);
    outgoing.destroy();
  }
}

async function answer(
  gateway: Gateway,
  state: State,
  incoming: IncomingMessage,
  signal: AbortSignal,
): Promise<Response> {
  switch (incoming.url) {
    case '/livez':
      return toProbe(200, 'ok');
    case '/readyz':
      return await toReadiness(gateway, state);
    case '/metrics':
      if (gateway.metrics !== null) return await toMetrics(gateway.metrics);
      break;
    default:
  }
  // A URL is tidied up on its way into a Request, and a path that needs it is not the path.
  const [path] = (incoming.url ?? '').split('?');
  const request = toRequest(incoming, signal);
  if (request === null) {
    const message = 'The request line or a header cannot be understood.';
    return gateway.refuse(new GatewayError('INVALID_REQUEST', message), path);
  }
  if (new URL(request.url).pathname !== path) {
    return gateway.refuse(new GatewayError('NOT_FOUND', 'There is no such route.'), path);
  }
  return await gateway.fetch(request, incoming.socket.remoteAddress);
}

async function toReadiness(gateway: Gateway, state: State): Promise<Response> {
  if (state.draining) return toProbe(503, 'draining');
  try {
    await gateway.ready();
    return toProbe(200, 'ok');
  } catch (error) {
    return toProbe(503, toGatewayError(error).code);
  }
}

function toProbe(status: number, text: string): Response {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
  return new Response(`${text}\n`, { status, headers });
}

async function toMetrics(metrics: NonNullable<Gateway['metrics']>): Promise<Response> {
  const { contentType, text } = await metrics.render();
  const headers = { 'content-type': contentType, 'cache-control': 'no-store' };
  return new Response(text, { headers });
}

const socketProblems: Readonly<Record<string, readonly [status: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'The headers are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request took too long to arrive.'],
};

// What is no HTTP, or takes too long to become a request.
function refuseSocket(gateway: Gateway, error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = socketProblems[error.code ?? ''] ?? [
    '400 Bad Request',
    'This is no HTTP request.',
  ];
  const response = gateway.refuse(new GatewayError('INVALID_REQUEST', message));
  response.headers.set('connection', 'close');
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  socket.write([`HTTP/1.1 ${status}`, ...lines, '', ''].join('\r\n'));
  pipeline(response.body ?? [], socket).catch(() => socket.destroy());
}

/** Null for what HTTP allows and a Request cannot be, such as `CONNECT` or a target that is no path. */
function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request | null {
  const { url = '', method = 'GET' } = incoming;
  // The host is never used: it is the caller's to choose, and only the path decides.
  if (!url.startsWith('/') || !URL.canParse(`http://gateway${url}`)) return null;
  const hasBody = method !== 'GET' && method !== 'HEAD';
  try {
    return new Request(`http://gateway${url}`, {
      method,
      headers: toHeaders(incoming),
      signal,
      ...(hasBody && { body: toBody(incoming), duplex: 'half' }),
    });
  } catch {
    return null;
  }
}

function toHeaders(incoming: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, values] of Object.entries(incoming.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  return headers;
}

// Read when the door asks for it, so a request that is refused by its headers costs no body.
function toBody(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  // What is announced to be too large is not waited for.
  const announced = Number(incoming.headers['content-length'] ?? 0);
  const tooLarge = `The body is larger than ${bodyLimit} bytes.`;
  let size = 0;
  const chunks = incoming[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (announced > bodyLimit) {
          return controller.error(new GatewayError('INVALID_REQUEST', tooLarge));
        }
        const { done, value } = await chunks.next();
        if (done === true) return controller.close();
        size += value.length;
        if (size <= bodyLimit) return controller.enqueue(value);
        return controller.error(new GatewayError('INVALID_REQUEST', tooLarge));
      },
    },
    { highWaterMark: 0 },
  );
}

async function send(
  response: Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  for (const [name, value] of response.headers) outgoing.setHeader(name, value);
  outgoing.statusCode = response.status;
  if (response.body === null || incoming.method === 'HEAD') {
    outgoing.end();
    return;
  }
  await pipeline(response.body, outgoing);
}

function toUrl(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
