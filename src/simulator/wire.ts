// What travels between the doors and the simulated systems: one request, one reply, however they came in.
// It knows neither Graph nor the session engine.

/** A request as both doors hand it over; header names are lower-case, `search` has no question mark. */
export interface WireRequest {
  readonly method: string;
  readonly origin: string;
  readonly path: string;
  readonly search: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface WireReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | ReadableStream<Uint8Array>;
}

/** Answers a request, or rejects: with a ConnectionReset, or with the reason of the signal. */
export type Exchange = (request: WireRequest, signal: AbortSignal) => Promise<WireReply>;

/** One thing a request asks about; a batch or `ids=` has several. `id` is what faults and holds are set on. */
export interface Operation {
  readonly name: string;
  readonly id: string;
}

/** The connection breaks before an answer: a rejected `fetch`, a destroyed socket. */
export class ConnectionReset extends Error {
  override readonly name = 'ConnectionReset';
  readonly code = 'ECONNRESET';
}

export function toJsonReply(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): WireReply {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=UTF-8', ...headers },
    body: JSON.stringify(value),
  };
}

/** Settles as the promise does, or rejects with the signal's reason as soon as the signal is aborted. */
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

/** What a proxy in front of a failed system answers: not JSON at all. */
export function toHtmlReply(status: 502 | 503): WireReply {
  const title = status === 502 ? '502 Bad Gateway' : '503 Service Unavailable';
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`,
  };
}

/** The same reply with only the first half of its body. */
export function truncate(reply: WireReply): WireReply {
  if (typeof reply.body !== 'string') return reply;
  return { ...reply, body: reply.body.slice(0, Math.floor(reply.body.length / 2)) };
}
