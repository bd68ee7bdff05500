// Serves the simulator on a port.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { RequestHandler, WireRequest } from '../../src/simulator/transport.ts';

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
