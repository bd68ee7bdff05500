// Owns how questions to Meta are put: which operations share a request, and what is asked a second time after a refusal.
// What the questions are is left to meta.ts, the requests themselves to graph.ts.

import { metaBlocks, toGraphFields, type Field, type MetaBlock } from '../../numbers/meta.ts';
import type { Credentials, Read, ReadOptions } from '../../numbers/provider.ts';
import { maxBatchOperations, type GraphClient } from './graph.ts';
import type { GraphObject, GraphOperation, GraphResult } from './operation.ts';

/** One thing to learn, and on whose behalf. Questions with the same credentials object travel together. */
export interface Question {
  readonly block: MetaBlock;
  readonly id: string;
  readonly wabaId: string | null;
  readonly credentials: Credentials;
}

/**
 * An answer for each question, as Graph's JSON. A field that Graph refuses costs that field, and one that is known to be
 * refused at times costs those of its kind, not the block. Rejects only with the reason of the signal.
 */
export async function askGraph(
  graph: GraphClient,
  questions: readonly Question[],
  options: ReadOptions,
): Promise<ReadonlyMap<Question, Read<GraphObject>>> {
  const answered = new Map<Question, Answered[]>(questions.map((question) => [question, []]));
  let attempts: readonly Attempt[] = questions.map(toFirstAttempt);
  while (attempts.length > 0) {
    // oxlint-disable-next-line no-await-in-loop -- each round follows from the answers of the one before
    const round = await sendRound(graph, attempts, options);
    attempts = round.flatMap(([attempt, result]) => {
      const next = toNextAttempts(attempt, result);
      if (next.length === 0) answered.get(attempt.question)?.push({ attempt, result });
      return next;
    });
  }
  return new Map(answered.entries().map(([question, parts]) => [question, toRead(parts)]));
}

/** All fields of a block, or after a refusal a part of them. */
interface Attempt {
  readonly question: Question;
  readonly fields: readonly string[];
  readonly part: 'whole' | 'core' | 'risky';
}

/** An attempt with its last result. */
interface Answered {
  readonly attempt: Attempt;
  readonly result: GraphResult;
}

/** From here on a batch is worth it: it saves round trips, but waits for the slowest of its items. */
const smallestBatch = 4;

async function sendRound(
  graph: GraphClient,
  attempts: readonly Attempt[],
  options: ReadOptions,
): Promise<readonly (readonly [Attempt, GraphResult])[]> {
  const requests = Map.groupBy(attempts, ({ question }) => question.credentials)
    .entries()
    .flatMap(([credentials, group]) => toRequests(group).map((part) => ({ credentials, part })))
    .toArray();
  const replies = await Promise.all(
    requests.map(async ({ credentials, part }) => {
      const operations = part.map(toOperation);
      const [operation, ...others] = operations;
      if (operation === undefined) return [];
      const { results } =
        others.length === 0
          ? await graph.get(operation, credentials, options)
          : await graph.batch(operations, credentials, options);
      return results;
    }),
  );
  return requests.flatMap(({ part }, index) =>
    part.map((attempt, position) => [attempt, replies[index]![position]!] as const),
  );
}

function toOperation({ question: { block, id, wabaId }, fields }: Attempt): GraphOperation {
  return { block, id, wabaId, fields };
}

function toRequests(attempts: readonly Attempt[]): readonly (readonly Attempt[])[] {
  if (attempts.length < smallestBatch) return attempts.map((attempt) => [attempt]);
  const requests: Attempt[][] = [];
  for (let start = 0; start < attempts.length; start += maxBatchOperations) {
    requests.push(attempts.slice(start, start + maxBatchOperations));
  }
  return requests;
}

function toFirstAttempt(question: Question): Attempt {
  return { question, fields: toGraphFields(question.block), part: 'whole' };
}

/** What to ask because of a result; nothing when it is the last word. */
function toNextAttempts(attempt: Attempt, result: GraphResult): readonly Attempt[] {
  if (result.ok) return [];
  if (attempt.part === 'whole' && isWorthSplitting(attempt.question.block, result)) {
    return toParts(attempt, result.refusedField);
  }
  return [];
}

// One field that is refused, by name or for want of a permission, fails all that is asked beside it.
function isWorthSplitting(
  block: MetaBlock,
  { refusedField, lacksPermission }: Extract<GraphResult, { ok: false }>,
): boolean {
  if (refusedField !== null) return true;
  return block === 'phone' && lacksPermission;
}

function toParts({ question, fields }: Attempt, refusedField: string | null): readonly Attempt[] {
  const risky = toRiskyFields(question.block);
  const allowed = fields.filter((field) => field !== refusedField);
  const parts: readonly Attempt[] = [
    { question, fields: allowed.filter((field) => !risky.has(field)), part: 'core' },
    { question, fields: allowed.filter((field) => risky.has(field)), part: 'risky' },
  ];
  return parts.filter((part) => part.fields.length > 0);
}

function toRiskyFields(block: MetaBlock): ReadonlySet<string> {
  const fields: readonly Field[] = metaBlocks[block];
  return new Set(fields.filter(({ risky }) => risky).map(({ graph }) => graph));
}

/**
 * The parts as one. Risky fields that were refused are simply not there; that they could not be read just now says
 * nothing about them, so it fails the whole rather than pass for a refusal.
 */
function toRead(parts: readonly Answered[]): Read<GraphObject> {
  const entries: (readonly [string, unknown])[] = [];
  for (const { attempt, result } of parts) {
    if (result.ok) entries.push(...Object.entries(result.json));
    else if (attempt.part !== 'risky' || result.failure.transient) {
      const { attempted, failure } = result;
      return { ok: false, attempted, failure };
    }
  }
  return { ok: true, value: Object.fromEntries(entries) };
}
