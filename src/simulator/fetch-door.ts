// The simulator as a `fetch` function: no socket, and yet the same answers, rejections and aborts.
// Everything about the content of an answer is decided behind the exchange it is given.

import { ConnectionReset, until, type Exchange, type WireReply, type WireRequest } from './wire.ts';

/** Rejects like `fetch`: with the abort reason, or with a TypeError whose cause says what happened to the connection. */
export function createFetchDoor(exchange: Exchange): typeof globalThis.fetch {
  const send = async (request: WireRequest, signal: AbortSignal): Promise<WireReply> => {
    try {
      return await exchange(request, signal);
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
    const sent = await toWireRequest(request);
    const reply = await send(sent, signal);
    const location = reply.headers['location'];
    if (location === undefined || request.redirect === 'manual') return toResponse(reply);
    if (request.redirect === 'error') {
      throw new TypeError('fetch failed', { cause: new Error('unexpected redirect') });
    }
    const url = new URL(location, request.url);
    return toResponse(await send({ ...toTarget(url), headers: sent.headers }, signal));
  };
}

async function toWireRequest(request: Request): Promise<WireRequest> {
  const body = request.body === null ? '' : await until(request.text(), request.signal);
  return {
    ...toTarget(new URL(request.url)),
    method: request.method,
    headers: Object.fromEntries(request.headers),
    body,
  };
}

function toTarget(url: URL): Omit<WireRequest, 'headers'> {
  const { origin, pathname, search } = url;
  return { method: 'GET', origin, path: pathname, search: search.slice(1), body: '' };
}

function toResponse({ status, headers, body }: WireReply): Response {
  return new Response(body, { status, headers });
}
