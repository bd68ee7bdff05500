// Sends a request with a node:http agent, which costs less CPU than fetch and keeps its connections open.

import { type Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { BenchRequest } from './shapes.ts';

export interface PlainResponse {
  readonly status: number;
  readonly text: string;
}

/** Rejects when the connection breaks, or after ten seconds without a response. */
export function sendOver(
  agent: Agent,
  url: string,
  { method, path, headers, body }: BenchRequest,
): Promise<PlainResponse> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      new URL(path, url),
      {
        agent,
        method,
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        signal: AbortSignal.timeout(10_000),
      },
      (incoming) => {
        text(incoming).then(
          (received) => resolve({ status: incoming.statusCode ?? 0, text: received }),
          reject,
        );
      },
    );
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}
