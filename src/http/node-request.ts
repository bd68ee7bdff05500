// Owns how a request of Node's becomes one of ours: its parts, its body up to the limit, and whether its sender is gone.

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { GatewayError } from '../errors.ts';
import { type HttpHeaders, type HttpRequest, toText } from './message.ts';

/** The largest body that is read, in bytes. */
export const maxBodyBytes = 100_000;

/**
 * A class for its getter, which in a literal gives each object a shape of its own: that outlives the young generation, and
 * everything that the object holds with it.
 */
export class NodeRequest implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly search: string;
  readonly headers: HttpHeaders;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  #left: AbortController | undefined;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse) {
    const { url = '', method = 'GET' } = incoming;
    const end = url.indexOf('?');
    this.method = method;
    this.path = end === -1 ? url : url.slice(0, end);
    this.search = end === -1 ? '' : url.slice(end);
    this.headers = new NodeHeaders(incoming.headers);
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  // Most requests are answered before anybody cares, and a controller is not cheap.
  get signal(): AbortSignal {
    this.#left ??= createLeft(this.#outgoing);
    return this.#left.signal;
  }

  text(): Promise<string> {
    return readText(this.#incoming, this.#outgoing);
  }
}

/** A class as well: closures would be made for each request. */
class NodeHeaders implements HttpHeaders {
  readonly #headers: IncomingHttpHeaders;

  constructor(headers: IncomingHttpHeaders) {
    this.#headers = headers;
  }

  get(name: string): string | null {
    return toValue(this.#headers[name]);
  }

  *[Symbol.iterator](): Iterator<[name: string, value: string]> {
    for (const [name, values] of Object.entries(this.#headers)) {
      const value = toValue(values);
      if (value !== null) yield [name, value];
    }
  }
}

function toValue(values: string | readonly string[] | undefined): string | null {
  return typeof values === 'string' ? values : (values?.join(', ') ?? null);
}

/** Aborts when the client goes before it was answered, or did so already. */
function createLeft(outgoing: ServerResponse): AbortController {
  const left = new AbortController();
  const abort = () => {
    if (hasDisconnected(outgoing)) left.abort(new Error('The client has left.'));
  };
  if (outgoing.destroyed) abort();
  else outgoing.once('close', abort);
  return left;
}

export function hasDisconnected(outgoing: ServerResponse): boolean {
  return outgoing.destroyed && !outgoing.writableFinished;
}

/** Read when the door asks for it, so that a request that is refused by its headers costs no body. */
function readText(incoming: IncomingMessage, outgoing: ServerResponse): Promise<string> {
  // What is announced to be too large is not waited for.
  const announced = Number(incoming.headers['content-length'] ?? 0);
  if (announced > maxBodyBytes) return Promise.reject(toTooLarge());
  // Until it hears this, a client that expects it may keep its body back. HTTP/1.0 knows no such thing.
  if (incoming.headers.expect !== undefined && incoming.httpVersion === '1.1') {
    outgoing.writeContinue();
  }
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let size = 0;
  incoming.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxBodyBytes) return chunks.push(chunk);
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
  return new GatewayError('INVALID_REQUEST', `The body is larger than ${maxBodyBytes} bytes.`);
}
