// The load of a fault run: requests at a rate or from a number of callers, for a time, with every answer kept.

import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface Answer {
  /** 0 when there was none. */
  readonly status: number;
  readonly body: string;
  /** `performance.now()` at which the request was sent. */
  readonly sentAt: number;
  readonly durationMs: number;
  /** Why there was no answer. */
  readonly problem: string | null;
}

export interface Ask {
  readonly url: string;
  readonly key: string;
}

export interface LoadShedder {
  /** Ends with the requests that are under way, and answers all. */
  stop(): Promise<readonly Answer[]>;
  readonly answers: readonly Answer[];
}

const timeoutMs = 20_000;

export async function ask(agent: Agent, { url, key }: Ask): Promise<Answer> {
  const sentAt = performance.now();
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const finish = (status: number, body: string, problem: string | null) =>
    resolve({ status, body, sentAt, durationMs: performance.now() - sentAt, problem });
  const sent = request(url, { agent, headers: { 'x-api-key': key } }, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.once('end', () =>
      finish(response.statusCode ?? 0, Buffer.concat(chunks).toString(), null),
    );
    response.once('error', (error) => finish(0, '', `cut: ${error.message}`));
  });
  sent.setTimeout(timeoutMs, () => sent.destroy(new Error('no answer in time')));
  sent.once('error', (error: NodeJS.ErrnoException) => finish(0, '', error.code ?? error.message));
  sent.end();
  return await promise;
}

/** So many callers, each with its next question as soon as the last one was answered. */
export function startCallers(count: number, next: (index: number) => Ask): LoadShedder {
  const agent = new Agent({ keepAlive: true, maxSockets: count });
  const answers: Answer[] = [];
  let [asked, stopped] = [0, false];
  const caller = async () => {
    for (;;) {
      if (stopped) return;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await ask(agent, next(asked++));
      answers.push(answer);
      // A caller that is refused waits a moment, as it is told to.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      if (answer.status !== 200) await delay(10);
    }
  };
  const callers = Promise.all(Array.from({ length: count }, caller));
  return {
    answers,
    async stop() {
      stopped = true;
      await callers;
      agent.destroy();
      return answers;
    },
  };
}

/** So many requests a second, whether or not the earlier ones were answered; at most `maximum` at a time. */
export function startRate(
  perSecond: number,
  next: (index: number) => Ask,
  maximum = 2_000,
): LoadShedder {
  const agent = new Agent({ keepAlive: true, maxSockets: maximum });
  const answers: Answer[] = [];
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  let asked = 0;
  const keep = async (question: Ask) => void answers.push(await ask(agent, question));
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond);
    while (asked < due && underWay.size < maximum) {
      const one = keep(next(asked)).finally(() => underWay.delete(one));
      asked++;
      underWay.add(one);
    }
  }, 5);
  return {
    answers,
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
      agent.destroy();
      return answers;
    },
  };
}

/** How often each status, or each reason for having none, occurs: `200: 12, ECONNRESET: 1`. */
export function toTally(answers: readonly Answer[]): string {
  const tally = Map.groupBy(answers, (answer) => answer.problem ?? String(answer.status));
  return [...tally].map(([what, them]) => `${what}: ${them.length}`).join(', ');
}
