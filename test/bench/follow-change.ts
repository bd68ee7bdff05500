// Polls processes while another connection changes the data, and measures when their responses show the change.

import { Agent } from 'node:http';
import { sendOver, type PlainResponse } from './http-request.ts';
import type { BenchRequest } from './shapes.ts';

/** A response without the change is stale if its request was sent later than this after the commit. */
export const staleAfterMs = 1_000;
/** How long a process is polled. */
const defaultMaxDelayMs = 4_000;

export interface Poller extends Disposable {
  /** Over one connection, which stays open. */
  send(request: BenchRequest): Promise<PlainResponse>;
}

export function openPoller(url: string): Poller {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    send: (request) => sendOver(agent, url, request),
    [Symbol.dispose]: () => agent.destroy(),
  };
}

export interface ChangeToFollow {
  readonly request: BenchRequest;
  /** Commits the change. Resolves when the database has acknowledged it. */
  commit(): Promise<unknown>;
  isFresh(response: PlainResponse): boolean;
}

/** How one process followed one change. */
export interface Followed {
  /** Milliseconds from sending the commit to the end of the first response with the change; null if there was none. */
  readonly delayMs: number | null;
  /** Responses without the change to requests sent more than a second after the commit was acknowledged. */
  readonly stale: number;
}

/**
 * One result per poller. The request is also sent before the change, so that its response can be cached. Throws if it is
 * not answered then.
 */
export async function followChange(
  pollers: readonly Poller[],
  change: ChangeToFollow,
  maxDelayMs = defaultMaxDelayMs,
): Promise<readonly Followed[]> {
  await Promise.all(pollers.map((poller) => warmUp(poller, change.request)));
  const commit: Commit = { sentAt: performance.now(), acknowledgedAt: null };
  const acknowledge = async (): Promise<void> => {
    await change.commit();
    commit.acknowledgedAt = performance.now();
  };
  const [followed] = await Promise.all([
    Promise.all(pollers.map((poller) => followWith(poller, change, commit, maxDelayMs))),
    acknowledge(),
  ]);
  return followed;
}

// The first good response may be stored in the cache, the second one may come from it.
async function warmUp(poller: Poller, request: BenchRequest): Promise<void> {
  const startedAt = performance.now();
  for (let good = 0; good < 2;) {
    // oxlint-disable-next-line no-await-in-loop -- one request after the other
    const { status, text } = await poller.send(request);
    if (status === 200) good += 1;
    else if (performance.now() - startedAt > defaultMaxDelayMs) {
      throw new Error(`The gateway answered ${status}: ${text.slice(0, 1_000)}`);
    }
  }
}

interface Commit {
  readonly sentAt: number;
  acknowledgedAt: number | null;
}

async function followWith(
  poller: Poller,
  { request, isFresh }: ChangeToFollow,
  commit: Commit,
  maxDelayMs: number,
): Promise<Followed> {
  let stale = 0;
  for (;;) {
    const sentAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- one request after the other
    const response = await poller.send(request);
    if (isFresh(response)) return { delayMs: performance.now() - commit.sentAt, stale };
    const ageMs = commit.acknowledgedAt === null ? 0 : sentAt - commit.acknowledgedAt;
    // A refusal shows no old data.
    if (ageMs > staleAfterMs && response.status === 200) stale += 1;
    if (ageMs > maxDelayMs) return { delayMs: null, stale };
  }
}
