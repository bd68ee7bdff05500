// The simulator's HTTP messages, and the two ways to send them: an in-process `fetch`, and a server on a port.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';

/** Header names are in lower case, and `search` has no question mark. */
export interface WireRequest {
  readonly method: string;
  readonly origin: string;
  readonly path: string;
  readonly search: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface WireResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | ReadableStream<Uint8Array>;
}

/** Answers a request. Rejects with a ConnectionReset, or with the reason of the signal. */
export type RequestHandler = (request: WireRequest, signal: AbortSignal) => Promise<WireResponse>;

/** The connection breaks before a response: `fetch` rejects, and a server destroys the socket. */
export class ConnectionReset extends Error {
  override readonly name = 'ConnectionReset';
  readonly code = 'ECONNRESET';
}

/** Rejects as `fetch` does: with the reason of the signal, or with a TypeError whose cause is the connection error. */
export function createInProcessFetch(handle: RequestHandler): typeof globalThis.fetch {
  const send = async (request: WireRequest, signal: AbortSignal): Promise<WireResponse> => {
    try {
      return await handle(request, signal);
    } catch (error) {
      throw error instanceof ConnectionReset
        ? new TypeError('fetch failed', { cause: error })
        : error;
    }
  };
  return async (input, init) => {
    const request = new Request(input, init);
    const { signal } = request;
    signal.throwIfAborted();
    const sent = await fromFetchRequest(request);
    const response = await send(sent, signal);
    const location = response.headers['location'];
    if (location === undefined || request.redirect === 'manual') return toFetchResponse(response);
    if (request.redirect === 'error') {
      throw new TypeError('fetch failed', { cause: new Error('unexpected redirect') });
    }
    const url = new URL(location, request.url);
    return toFetchResponse(await send({ ...toGetRequest(url), headers: sent.headers }, signal));
  };
}

async function fromFetchRequest(request: Request): Promise<WireRequest> {
  const body = request.body === null ? '' : await until(request.text(), request.signal);
  return {
    ...toGetRequest(new URL(request.url)),
    method: request.method,
    headers: Object.fromEntries(request.headers),
    body,
  };
}

function toGetRequest(url: URL): Omit<WireRequest, 'headers'> {
  const { origin, pathname, search } = url;
  return { method: 'GET', origin, path: pathname, search: search.slice(1), body: '' };
}

function toFetchResponse({ status, headers, body }: WireResponse): Response {
  return new Response(body, { status, headers });
}

export interface HttpServer extends AsyncDisposable {
  readonly url: string;
}

/** Listens on 127.0.0.1 and a free port by default. Rejects when the port is in use. */
export async function openHttpServer(
  handle: RequestHandler,
  { port = 0, host = '127.0.0.1' }: { readonly port?: number; readonly host?: string },
): Promise<HttpServer> {
  const server = createServer((request, response) => {
    void respond(handle, request, response);
  });
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo; // A server that listens on a port has this kind of address.
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${name}:${address.port}`,
    [Symbol.asyncDispose]: () => close(server),
  };
}

async function close(server: Server): Promise<void> {
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  server.closeAllConnections();
  await closed.promise;
}

/** Any failure here resets the connection, as a broken upstream does. */
async function respond(
  handle: RequestHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const closed = new AbortController();
  response.once('close', () => closed.abort());
  try {
    const { status, headers, body } = await handle(await fromNodeRequest(request), closed.signal);
    response.writeHead(status, headers);
    if (typeof body === 'string') response.end(body);
    else await pipeline(body, response);
  } catch {
    request.socket.resetAndDestroy();
  }
}

async function fromNodeRequest(request: IncomingMessage): Promise<WireRequest> {
  const body = await text(request);
  const [path = '/', search = ''] = (request.url ?? '/').split(/\?(.*)/s);
  const headers = Object.entries(request.headersDistinct).map(([name, values]) => [
    name,
    values?.join(', ') ?? '',
  ]);
  return {
    method: request.method ?? 'GET',
    origin: `http://${request.headers.host ?? 'localhost'}`,
    path,
    search,
    headers: Object.fromEntries(headers),
    body,
  };
}

export function toJsonResponse(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): WireResponse {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=UTF-8', ...headers },
    body: JSON.stringify(value),
  };
}

/** The HTML error page of a proxy whose upstream has failed. */
export function toHtmlResponse(status: 502 | 503): WireResponse {
  const title = status === 502 ? '502 Bad Gateway' : '503 Service Unavailable';
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`,
  };
}

/** Cuts off the second half of the body. */
export function truncate(response: WireResponse): WireResponse {
  const { body } = response;
  if (typeof body !== 'string') return response;
  return { ...response, body: body.slice(0, Math.floor(body.length / 2)) };
}

/** Settles as `promise` does, or rejects with the reason of the signal as soon as it is aborted. */
export async function until<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
