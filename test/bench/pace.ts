// Owns asking at a fixed pace: an open loop, unlike load.ts, whose generators wait for an answer before they ask again and
// so hide what a slow answer does to those behind it. By wrk where it is installed, which takes next to nothing of the
// machine; otherwise by this process, whose own delays are then in the figures.

import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { askOver } from './ask-over.ts';
import { generator, runWrk } from './load.ts';
import type { Question } from './shapes.ts';

export interface RefusalPacer {
  readonly url: string;
  readonly questions: readonly Question[];
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Paced {
  /** Milliseconds from when each question should have left to the end of its good answer. */
  readonly durations: readonly number[];
  /** Questions with another answer than 200, or with none in time. */
  readonly refused: number;
}

/** Throws when a connection breaks. The server must answer with the `x-request-id` that it was asked with. */
export async function askAtPace(pace: RefusalPacer): Promise<Paced> {
  return await (generator === 'wrk' ? askByWrk(pace) : askByNode(pace));
}

/** As many as a client may keep open; far more than are ever busy at half of the load. */
const connections = 64;
/** After the last question, for the answers that are still under way. */
const patienceSeconds = 2;

/** What pace.lua prints. */
interface PaceReport {
  readonly refused: number;
  readonly broken: number;
  readonly durationsUs: readonly number[];
}

async function askByWrk({ url, questions, perSecond, seconds }: RefusalPacer): Promise<Paced> {
  const total = Math.floor(perSecond * seconds);
  const load = { url, questions, connections, seconds: seconds + patienceSeconds };
  const report = (await runWrk(load, 'pace.lua', [String(perSecond), String(total)])) as PaceReport;
  if (report.broken > 0) throw new Error(`${report.broken} connections broke.`);
  const durations = report.durationsUs.map((us) => us / 1_000);
  return { durations, refused: total - durations.length };
}

async function askByNode({ url, questions, perSecond, seconds }: RefusalPacer): Promise<Paced> {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  const total = Math.floor(perSecond * seconds);
  const answers: Promise<number | null>[] = [];
  const startedAt = performance.now();
  try {
    while (answers.length < total) {
      const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond) + 1;
      while (answers.length < Math.min(due, total)) {
        const question = questions[answers.length % questions.length];
        if (question === undefined) throw new Error('There is no question to ask.');
        const dueAt = startedAt + (answers.length / perSecond) * 1_000;
        const answer = askOne(agent, url, question, dueAt);
        // The loop goes on; the failure is thrown at its end.
        answer.catch(() => undefined);
        answers.push(answer);
      }
      // oxlint-disable-next-line no-await-in-loop -- the pace
      await delay(1);
    }
    const all = await Promise.all(answers);
    const durations = all.filter((duration) => duration !== null);
    return { durations, refused: all.length - durations.length };
  } finally {
    agent.destroy();
  }
}

/** Null for another answer than 200, and for none in time. */
async function askOne(
  agent: Agent,
  url: string,
  question: Question,
  dueAt: number,
): Promise<number | null> {
  const answer = await askOver(agent, url, question).catch((error: Error) => {
    if (error.name === 'AbortError') return null;
    throw error;
  });
  return answer?.status === 200 ? performance.now() - dueAt : null;
}
