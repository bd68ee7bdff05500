// Owns asking over an agent of node:http, which takes less of this machine than fetch and keeps its connections open.

import { type Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Question } from './shapes.ts';

export interface PlainAnswer {
  readonly status: number;
  readonly text: string;
}

/** Rejects when the connection breaks, or when nothing has come for ten seconds. */
export function askOver(
  agent: Agent,
  url: string,
  { method, path, headers, body }: Question,
): Promise<PlainAnswer> {
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
          (said) => resolve({ status: incoming.statusCode ?? 0, text: said }),
          reject,
        );
      },
    );
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}
