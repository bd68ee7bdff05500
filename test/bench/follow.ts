// Owns watching how answers follow a change: processes are asked again and again, one question after the other, while
// somebody else changes the data.

import { Agent } from 'node:http';
import { askOver, type PlainAnswer } from './ask-over.ts';
import type { Question } from './shapes.ts';

/** Answers that are older than that are stale. */
export const staleAfterMs = 1_000;
/** A process that has not followed by then never does, unless the caller says otherwise. */
const defaultPatienceMs = 4_000;

export interface Asker extends Disposable {
  /** Over one connection, which stays open. */
  ask(question: Question): Promise<PlainAnswer>;
}

export function openAsker(url: string): Asker {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    ask: (question) => askOver(agent, url, question),
    [Symbol.dispose]: () => agent.destroy(),
  };
}

export interface ChangeToFollow {
  readonly question: Question;
  /** Commits the change. Resolves when the database has acknowledged that. */
  commit(): Promise<unknown>;
  isFresh(answer: PlainAnswer): boolean;
}

/** How one process followed one change. */
export interface Followed {
  /** Milliseconds from when the commit was sent to the end of the first answer with it; null when none came. */
  readonly delayMs: number | null;
  /** Answers without the change to questions that left more than a second after its commit was acknowledged. */
  readonly stale: number;
}

/**
 * One for each asker. The question is asked before the change too, so that its answer can lie in a memory. Throws when
 * the question cannot be answered before the change.
 */
export async function follow(
  askers: readonly Asker[],
  change: ChangeToFollow,
  patienceMs = defaultPatienceMs,
): Promise<readonly Followed[]> {
  await Promise.all(askers.map((asker) => askBefore(asker, change.question)));
  const commit: Commit = { sentAt: performance.now(), acknowledgedAt: null };
  const acknowledge = async (): Promise<void> => {
    await change.commit();
    commit.acknowledgedAt = performance.now();
  };
  const [followed] = await Promise.all([
    Promise.all(askers.map((asker) => followWith(asker, change, commit, patienceMs))),
    acknowledge(),
  ]);
  return followed;
}

// The first good answer may be put into a memory, the second one may come from there.
async function askBefore(asker: Asker, question: Question): Promise<void> {
  const startedAt = performance.now();
  for (let good = 0; good < 2;) {
    // oxlint-disable-next-line no-await-in-loop -- one question after the other
    const { status, text } = await asker.ask(question);
    if (status === 200) good += 1;
    else if (performance.now() - startedAt > defaultPatienceMs) {
      throw new Error(`The gateway answered ${status}: ${text.slice(0, 1_000)}`);
    }
  }
}

interface Commit {
  readonly sentAt: number;
  acknowledgedAt: number | null;
}

async function followWith(
  asker: Asker,
  { question, isFresh }: ChangeToFollow,
  commit: Commit,
  patienceMs: number,
): Promise<Followed> {
  let stale = 0;
  for (;;) {
    const receivedAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- one question after the other
    const answer = await asker.ask(question);
    if (isFresh(answer)) return { delayMs: performance.now() - commit.sentAt, stale };
    const ageMs = commit.acknowledgedAt === null ? 0 : receivedAt - commit.acknowledgedAt;
    // Who says that there is no answer now shows nothing old.
    if (ageMs > staleAfterMs && answer.status === 200) stale += 1;
    if (ageMs > patienceMs) return { delayMs: null, stale };
  }
}
