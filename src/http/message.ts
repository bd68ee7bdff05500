// Requests and responses as the pipeline and the endpoints exchange them, and their conversion from and to those of Node
// and of fetch.

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { GatewayError } from '../errors.ts';
import { EventStream, toReadableStream } from './event-stream.ts';

/** The part of fetch's Headers that is needed. All names are in lower case. */
export interface HttpHeaders extends HeaderReader, Iterable<[name: string, value: string]> {}

export interface HeaderReader {
  get(name: string): string | null;
}

/** Cheaper than a Request of fetch, which costs more than most requests take to answer. */
export interface HttpRequest {
  readonly method: string;
  /** Exactly as it was sent, without the query string. */
  readonly path: string;
  /** The query string with its question mark; '' when there is none. */
  readonly search: string;
  readonly headers: HttpHeaders;
  /** Aborted when the client disconnects. Created on first use. */
  readonly signal: AbortSignal;
  /** Reads the body, once at most. Rejects with INVALID_REQUEST when it has more than `maxBytes`. */
  bytes(maxBytes: number): Promise<Buffer>;
  /** As `bytes`, up to `maxBodyBytes`. Rejects with INVALID_REQUEST when the body is not UTF-8. */
  text(): Promise<string>;
}

/** All header names are in lower case. `content-length` is added when the response is sent. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer<ArrayBuffer> | EventStream | null;
}

/** The largest body that is read as text. */
export const maxBodyBytes = 100_000;

/** In characters, of the path and the query string. https://www.rfc-editor.org/rfc/rfc9110#section-4.1-5 */
export const maxUrlLength = 8_000;

export function createUrlTooLongError(): GatewayError {
  const message = `The URL has more than ${maxUrlLength} characters; send a GraphQL operation of this length with POST.`;
  return new GatewayError('URI_TOO_LONG', message);
}

/** The host is ignored, because the client chooses it. */
export function fromFetchRequest(request: Request): HttpRequest {
  const { pathname: path, search } = new URL(request.url);
  const { method, headers, signal } = request;
  return {
    method,
    path,
    search,
    headers,
    signal,
    async bytes(maxBytes) {
      const body = Buffer.from(await request.arrayBuffer());
      if (body.length > maxBytes) throw createTooLargeError(maxBytes);
      return body;
    },
    text: async () => decodeBody(await request.arrayBuffer()),
  };
}

export function toFetchResponse({ status, headers, body }: HttpResponse): Response {
  const sent = body instanceof EventStream ? toReadableStream(body) : body;
  return new Response(sent, { status, headers: withContentLength(headers, body) });
}

/** Adds the length of the body where it is known. */
export function withContentLength(
  headers: HttpResponse['headers'],
  body: HttpResponse['body'],
): HttpResponse['headers'] {
  if (body === null || body instanceof EventStream) return headers;
  return { ...headers, 'content-length': String(Buffer.byteLength(body)) };
}

/** A class for its lazy getter: see "Object shapes" in test/bench/README.md. */
export class NodeRequest implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly search: string;
  readonly headers: HttpHeaders;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  #disconnected: AbortController | undefined;

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

  get signal(): AbortSignal {
    this.#disconnected ??= abortOnDisconnect(this.#outgoing);
    return this.#disconnected.signal;
  }

  bytes(maxBytes: number): Promise<Buffer> {
    return readBody(this.#incoming, this.#outgoing, maxBytes);
  }

  text(): Promise<string> {
    return this.bytes(maxBodyBytes).then(decodeBody);
  }
}

/**
 * Reads the path, '' when unknown, and headers from bytes that Node's parser has refused. They may be a part of a request,
 * or several requests, of which the last one was refused.
 */
export function readRefusedBytes(bytes: Uint8Array): {
  readonly path: string;
  readonly headers: HeaderReader;
} {
  const text = Buffer.from(bytes).toString('latin1');
  const line = [...text.matchAll(/^[A-Z]+ (\/[^\s?]*)/gm)].at(-1);
  const rest = text.slice(line?.index);
  const get = (name: string): string | null =>
    new RegExp(`^${name}:(.*)`, 'im').exec(rest)?.[1]?.trim() ?? null;
  return { path: line?.[1] ?? '', headers: { get } };
}

class NodeHeaders implements HttpHeaders {
  readonly #headers: IncomingHttpHeaders;

  constructor(headers: IncomingHttpHeaders) {
    this.#headers = headers;
  }

  get(name: string): string | null {
    return toHeaderValue(this.#headers[name]);
  }

  *[Symbol.iterator](): Iterator<[name: string, value: string]> {
    for (const [name, values] of Object.entries(this.#headers)) {
      const value = toHeaderValue(values);
      if (value !== null) yield [name, value];
    }
  }
}

function toHeaderValue(values: string | readonly string[] | undefined): string | null {
  return typeof values === 'string' ? values : (values?.join(', ') ?? null);
}

function abortOnDisconnect(outgoing: ServerResponse): AbortController {
  const controller = new AbortController();
  const abort = () => {
    if (hasDisconnected(outgoing)) controller.abort(new Error('The client disconnected.'));
  };
  if (outgoing.destroyed) abort();
  else outgoing.once('close', abort);
  return controller;
}

/** Whether the client disconnected before the whole response was sent. */
export function hasDisconnected(outgoing: ServerResponse): boolean {
  return outgoing.destroyed && !outgoing.writableFinished;
}

function readBody(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  maxBytes: number,
): Promise<Buffer> {
  const announcedBytes = Number(incoming.headers['content-length'] ?? 0);
  if (announcedBytes > maxBytes) return Promise.reject(createTooLargeError(maxBytes));
  // A client that sent `Expect: 100-continue` holds its body back until then. HTTP/1.0 has no such header.
  if (incoming.headers.expect !== undefined && incoming.httpVersion === '1.1') {
    outgoing.writeContinue();
  }
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  incoming.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) return chunks.push(chunk);
    incoming.pause();
    return reject(createTooLargeError(maxBytes));
  });
  incoming.once('end', () =>
    resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)),
  );
  incoming.once('error', reject);
  // A destroyed message emits no further event.
  if (incoming.destroyed) reject(new Error('The client disconnected.'));
  return promise;
}

function createTooLargeError(maxBytes: number): GatewayError {
  const message = `The body is larger than ${maxBytes} bytes.`;
  return new GatewayError('INVALID_REQUEST', message);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Throws INVALID_REQUEST for bytes that are not UTF-8. */
export function decodeBody(bytes: ArrayBuffer | Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new GatewayError('INVALID_REQUEST', 'The body must be UTF-8.', { cause });
  }
}

/**
 * Throws INVALID_REQUEST for a body that is not sent as JSON in UTF-8. Forms of other web pages are refused with it: browsers
 * let them send no other site a body of this type. `subject` is what the body is called in the message.
 */
export function assertJson({ headers }: Pick<HttpRequest, 'headers'>, subject: string): void {
  const [contentType = '', ...parameters] = (headers.get('content-type') ?? '').split(';');
  if (contentType.trim().toLowerCase() !== 'application/json') {
    throw createInvalid(
      `Send the ${subject} as JSON, with the header content-type: application/json.`,
    );
  }
  if (parameters.some(isOtherCharset)) {
    throw createInvalid(
      `Send the ${subject} in UTF-8: content-type: application/json; charset=utf-8.`,
    );
  }
  if (!/^(?:identity)?$/i.test(headers.get('content-encoding') ?? '')) {
    throw createInvalid(`Send the ${subject} uncompressed, without the header content-encoding.`);
  }
}

function isOtherCharset(parameter: string): boolean {
  const [name = '', value = ''] = parameter.split('=');
  return name.trim().toLowerCase() === 'charset' && !/^(?:utf-?8|"utf-?8")$/i.test(value.trim());
}

function createInvalid(message: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', message);
}
