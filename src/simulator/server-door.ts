// The simulator as a server on a port: turns Node's requests into wire requests, and replies into bytes.
// Everything about the content of an answer is decided behind the exchange it is given.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { text } from 'node:stream/consumers';

import type { Exchange, WireRequest } from './wire.ts';

export interface ServerDoor extends AsyncDisposable {
  readonly url: string;
}

/** Listens on the loopback interface and any free port unless told; rejects when the port is taken. */
export async function openServerDoor(
  exchange: Exchange,
  { port = 0, host = '127.0.0.1' }: { readonly port?: number; readonly host?: string },
): Promise<ServerDoor> {
  const server = createServer((request, response) => {
    void respond(exchange, request, response);
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

/** Whatever fails here, the connection is cut: that is how a broken upstream looks from outside. */
async function respond(
  exchange: Exchange,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const reply = await exchange(await toWireRequest(request), gone.signal);
    response.writeHead(reply.status, reply.headers);
    if (typeof reply.body === 'string') response.end(reply.body);
    else await pipeline(reply.body, response);
  } catch {
    request.socket.resetAndDestroy();
  }
}

async function toWireRequest(request: IncomingMessage): Promise<WireRequest> {
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
