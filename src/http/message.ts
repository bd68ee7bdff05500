// Owns the form in which requests and answers pass between the server edge and the doors. A Request and a Response of
// fetch cost more than the work of most requests; whoever has or wants these converts them here.

import { GatewayError } from '../errors.ts';

/** The part of fetch's Headers that is needed. Names are in lower case, those that are asked for too. */
export interface HttpHeaders extends Iterable<[name: string, value: string]> {
  get(name: string): string | null;
}

export interface HttpRequest {
  readonly method: string;
  /** To the letter as it was sent: one that would have to be tidied up first is refused by the edge. */
  readonly path: string;
  /** With its question mark; '' when there is none. */
  readonly search: string;
  readonly headers: HttpHeaders;
  /** Aborted when the caller has gone. Made when it is first looked at. */
  readonly signal: AbortSignal;
  /**
   * The body, read when it is asked for, which is once at most. Rejects with INVALID_REQUEST when it is too large or no
   * UTF-8.
   */
  text(): Promise<string>;
}

/**
 * The names of headers are in lower case. A text or its bytes need no more than one write, and the length is the edge's to
 * tell.
 */
export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer<ArrayBuffer> | ReadableStream<Uint8Array> | null;
}

/** The host is not looked at: it is the caller's to choose. */
export function fromFetchRequest(request: Request): HttpRequest {
  const { pathname: path, search } = new URL(request.url);
  const { method, headers, signal } = request;
  return {
    method,
    path,
    search,
    headers,
    signal,
    text: async () => toText(await request.arrayBuffer()),
  };
}

/** The same as on the wire, with the length of a text. */
export function toFetchResponse({ status, headers, body }: HttpResponse): Response {
  return new Response(body, { status, headers: withContentLength(headers, body) });
}

/** The headers with the length of the body, where that is known. */
export function withContentLength(
  headers: HttpResponse['headers'],
  body: HttpResponse['body'],
): HttpResponse['headers'] {
  if (body === null || body instanceof ReadableStream) return headers;
  return { ...headers, 'content-length': String(Buffer.byteLength(body)) };
}

/** Reads the body to its end. */
export async function fromFetchResponse(response: Response): Promise<HttpResponse> {
  const { status, headers, body } = response;
  return {
    status,
    headers: Object.fromEntries(headers),
    body: body === null ? null : await response.text(),
  };
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The text of a body, without a byte order mark. Throws INVALID_REQUEST for what is no UTF-8. */
export function toText(bytes: ArrayBuffer | Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new GatewayError('INVALID_REQUEST', 'The body must be UTF-8.', { cause });
  }
}
