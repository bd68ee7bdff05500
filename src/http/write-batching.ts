// Sends the responses that were completed in one iteration of the event loop together at its end, and bounds how many
// requests one iteration begins. Measured in test/bench/README.md, "Write batching".

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { EventStream } from './event-stream.ts';
import { type HttpResponse, withContentLength } from './message.ts';

/** A complete response and the connection that it goes to. */
export interface PendingResponse extends Pick<HttpResponse, 'status' | 'headers'> {
  readonly outgoing: ServerResponse;
  readonly body: Exclude<HttpResponse['body'], EventStream>;
  /** Whether to close the connection if the client has not finished sending its request. */
  readonly closesUnlessComplete: boolean;
}

export interface WriteBatching {
  /** To be called when a request begins. */
  begin(outgoing: ServerResponse): void;
  enqueue(response: PendingResponse): void;
}

/** Responses that wait for each other at most. */
const maxBatch = 64;

/**
 * libuv reads from this many sockets at once, and polls again without looking at timers as long as it finds as many:
 * https://github.com/libuv/libuv/blob/v1.x/src/unix/linux.c
 */
const maxBegunPerIteration = 1_024;

/** `onError` is called when a response cannot be written. */
export function createWriteBatching(
  onError: (outgoing: ServerResponse, error: unknown) => void,
): WriteBatching {
  let begun = 0;
  let pending: PendingResponse[] = [];
  let paused: Socket[] = [];
  const flush = (): void => {
    const batch = pending;
    pending = [];
    for (const response of batch) {
      try {
        send(response);
      } catch (error) {
        onError(response.outgoing, error);
      }
    }
  };
  const endIteration = (): void => {
    begun = 0;
    flush();
    const sockets = paused;
    paused = [];
    for (const socket of sockets) socket.resume();
  };
  const pauseUntilNextIteration = (socket: Socket): void => {
    if (begun <= maxBegunPerIteration) return;
    socket.pause();
    paused.push(socket);
  };
  return {
    begin(outgoing) {
      begun += 1;
      if (begun === 1) setImmediate(endIteration);
      if (begun <= maxBegunPerIteration) return;
      // After the response has been written, because Node resumes the socket for it.
      outgoing.once('finish', () => pauseUntilNextIteration(outgoing.req.socket));
    },
    enqueue(response) {
      if (pending.length === maxBatch) flush();
      pending.push(response);
      if (pending.length === 1) setImmediate(flush);
    },
  };
}

/** Up to this size, copying the body into the same write as the head is cheaper than a second write. */
const maxJoinedBytes = 4_096;

function send({ outgoing, status, headers, body, closesUnlessComplete }: PendingResponse): void {
  if (closesUnlessComplete) closeUnlessComplete(outgoing);
  // Node omits the body for HEAD, 204 and 304.
  outgoing.writeHead(status, Object.entries(withContentLength(headers, body)).flat());
  // Node joins a string to the head. In latin1 each character is one byte, so the bytes stay as they are.
  if (Buffer.isBuffer(body) && body.length <= maxJoinedBytes) {
    outgoing.end(body.toString('latin1'), 'latin1');
  } else outgoing.end(body);
}

/** Node would otherwise read the rest of the body, of whatever length, before the next request. */
function closeUnlessComplete(outgoing: ServerResponse): void {
  if (!outgoing.req.complete) outgoing.shouldKeepAlive = false;
}
