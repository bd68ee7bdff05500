// The simulator's HTTP messages, and the in-process `fetch` that sends them.

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
    // That of the caller: the one of a Request follows it only until a garbage collection.
    const signal = init?.signal ?? request.signal;
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

/** Settles as `promise` does, or rejects with the reason of the signal when it is aborted. */
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
