// Sends one request many times at the same moment, each on a connection of its own.

import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { BenchRequest } from './shapes.ts';

export interface SimultaneousRequests {
  /** Resolves one second after every request was sent, so that the servers have received them. */
  readonly sent: Promise<void>;
  readonly responses: Promise<readonly { readonly status: number; readonly text: string }[]>;
}

/** A connection that broke has status 0. */
export function sendAtOnce(urls: readonly string[], what: BenchRequest): SimultaneousRequests {
  const agent = new Agent({ maxSockets: Infinity });
  const requests = urls.map((url) => sendOne(agent, url, what));
  const settle = async (): Promise<void> => {
    await Promise.all(requests.map(({ sent }) => sent));
    await new Promise((resolve) => {
      setTimeout(resolve, 1_000);
    });
  };
  return {
    sent: settle(),
    responses: Promise.all(requests.map(({ response }) => response)).finally(() => agent.destroy()),
  };
}

function sendOne(agent: Agent, url: string, { method, path, headers, body }: BenchRequest) {
  const outgoing = request(new URL(path, url), {
    agent,
    method,
    headers: { ...headers, 'content-length': Buffer.byteLength(body) },
  });
  const sent = Promise.withResolvers<void>();
  const response = Promise.withResolvers<{ status: number; text: string }>();
  outgoing.once('finish', () => sent.resolve());
  outgoing.once('response', (incoming) => {
    text(incoming).then(
      (received) => response.resolve({ status: incoming.statusCode ?? 0, text: received }),
      () => response.resolve({ status: 0, text: '' }),
    );
  });
  outgoing.once('error', () => {
    sent.resolve();
    response.resolve({ status: 0, text: '' });
  });
  outgoing.end(body);
  return { sent: sent.promise, response: response.promise };
}
