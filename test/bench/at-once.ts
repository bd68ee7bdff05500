// Owns asking one question many times at the same moment, each time on a connection of its own.

import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Question } from './shapes.ts';

export interface Crowd {
  /** Settles once every question has left, and a second has passed in which they can be taken up. */
  readonly sent: Promise<void>;
  readonly answers: Promise<readonly { readonly status: number; readonly text: string }[]>;
}

/** Status 0 for a connection that broke. */
export function askAtOnce(urls: readonly string[], question: Question): Crowd {
  const agent = new Agent({ maxSockets: Infinity });
  const asked = urls.map((url) => askOne(agent, url, question));
  const settle = async (): Promise<void> => {
    await Promise.all(asked.map(({ sent }) => sent));
    await new Promise((resolve) => {
      setTimeout(resolve, 1_000);
    });
  };
  return {
    sent: settle(),
    answers: Promise.all(asked.map(({ answer }) => answer)).finally(() => agent.destroy()),
  };
}

function askOne(agent: Agent, url: string, { method, path, headers, body }: Question) {
  const outgoing = request(new URL(path, url), {
    agent,
    method,
    headers: { ...headers, 'content-length': Buffer.byteLength(body) },
  });
  const sent = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<{ status: number; text: string }>();
  outgoing.once('finish', () => sent.resolve());
  outgoing.once('response', (incoming) => {
    text(incoming).then(
      (said) => answer.resolve({ status: incoming.statusCode ?? 0, text: said }),
      () => answer.resolve({ status: 0, text: '' }),
    );
  });
  outgoing.once('error', () => {
    sent.resolve();
    answer.resolve({ status: 0, text: '' });
  });
  outgoing.end(body);
  return { sent: sent.promise, answer: answer.promise };
}
