// Owns what the core learns from Meta: which questions the targets raise, what they share, and how answers become blocks.
// How the questions travel is left to rounds.ts.

import { toObject } from '../../json.ts';
import { metaBlocks, toMetaBlock, type MetaBlock } from '../../numbers/meta.ts';
import {
  type Credentials,
  type Observation,
  type Pause,
  type Provider,
  type Read,
  type ReadOptions,
  type Target,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import type { GraphClient } from './graph.ts';
import type { GraphObject } from './operation.ts';
import { budgetFor, findPause } from './usage-budget.ts';
import { createRetryingClient } from './retry.ts';
import { askGraph, type Question } from './batching.ts';

export interface MetaProviderOptions {
  readonly graph: GraphClient;
  readonly telemetry: Pick<Telemetry, 'upstreamRetried'>;
  /** The longest rest before the first retry; 250 unless told. */
  readonly retryDelayMs?: number;
}

/** Reads the numbers whose provider is META. */
export function createMetaProvider({ graph, ...options }: MetaProviderOptions): Provider {
  const persistent = createRetryingClient(graph, options);
  return {
    blocks: Object.keys(metaBlocks) as MetaBlock[],
    read: (targets, reading) => readTargets(persistent, targets, reading),
  };
}

type MetaRead = Read<ReturnType<typeof toMetaBlock>>;
type Answers = Map<string, Read<GraphObject>>;

async function readTargets(
  graph: GraphClient,
  targets: readonly Target[],
  options: ReadOptions,
): Promise<readonly Observation[]> {
  options.signal.throwIfAborted();
  const access = createAccess(targets);
  const questions = new Map(
    listQuestions(targets, access).map((question) => [toKey(question), question]),
  );
  const budget = targets.length > 1 ? budgetFor.manyNumbers : budgetFor.oneNumber;
  const answers = await ask(graph, questions, options, budget);
  const others = toOtherAccess(questions, answers, access);
  for (const [key, answer] of await ask(graph, others, options, budget)) {
    if (answer.ok) answers.set(key, answer);
  }
  const reads = new Map(
    answers.entries().map(([key, answer]) => [key, toBlockRead(questions.get(key)!, answer)]),
  );
  return targets.map((target) => toObservation(target, access, reads));
}

async function ask(
  graph: GraphClient,
  questions: ReadonlyMap<string, Question>,
  options: ReadOptions,
  budget: Pause['spentPercent'],
): Promise<Answers> {
  const refused = new Map<Question, Read<GraphObject>>();
  for (const question of questions.values()) {
    const failure = findPause(options.pauses, question, budget);
    if (failure !== null) refused.set(question, { ok: false, attempted: false, failure });
  }
  const asked = [...questions.values()].filter((question) => !refused.has(question));
  const answers = await askGraph(graph, asked, options);
  return new Map(
    questions
      .entries()
      .map(([key, question]) => [key, refused.get(question) ?? answers.get(question)!]),
  );
}

/** Whose credentials read what. Equal credentials are one object here, so that they can be compared and grouped. */
interface Access {
  ofTarget(target: Target): Credentials | null;
  /** Distinct, in the order of the targets: whoever has a number of the account may be able to read it. */
  ofWaba(wabaId: string): readonly Credentials[];
}

function createAccess(targets: readonly Target[]): Access {
  const known = new Map<string, Credentials>();
  const wabas = new Map<string, Set<Credentials>>();
  const ofTarget = ({ credentials }: Target): Credentials | null => {
    if (credentials === null) return null;
    const key = JSON.stringify([credentials.accessToken, credentials.appSecret]);
    const first = known.get(key) ?? credentials;
    known.set(key, first);
    return first;
  };
  for (const target of targets) {
    const credentials = ofTarget(target);
    if (target.wabaId === null || credentials === null) continue;
    wabas.set(target.wabaId, (wabas.get(target.wabaId) ?? new Set()).add(credentials));
  }
  return { ofTarget, ofWaba: (wabaId) => [...(wabas.get(wabaId) ?? [])] };
}

// Accounts come first: many numbers hang on each, and they then sit in the first batch.
const blocksInOrder: readonly MetaBlock[] = ['waba', 'phone', 'profile'];

function listQuestions(targets: readonly Target[], access: Access): readonly Question[] {
  return blocksInOrder.flatMap((block) =>
    targets
      .filter((target) => target.blocks.includes(block))
      .map((target) => toQuestion(target, block, access))
      .filter((question) => question !== null),
  );
}

/** Null when something that the question needs is not stored. */
function toQuestion(target: Target, block: MetaBlock, access: Access): Question | null {
  const id = block === 'waba' ? target.wabaId : target.phoneNumberId;
  if (id === null) return null;
  const credentials = block === 'waba' ? access.ofWaba(id)[0] : access.ofTarget(target);
  return credentials ? { block, id, wabaId: target.wabaId, credentials } : null;
}

function toKey({ block, id, credentials }: Question): string {
  // An account is read once, whoever asks; a number may be there twice with different tokens.
  return block === 'waba' ? `waba ${id}` : JSON.stringify([block, id, credentials]);
}

/** For each account that was denied: the same question with other credentials, best with some that have just worked. */
function toOtherAccess(
  questions: ReadonlyMap<string, Question>,
  answers: Answers,
  access: Access,
): ReadonlyMap<string, Question> {
  const working = new Set<Credentials>();
  for (const [key, question] of questions) {
    if (answers.get(key)?.ok) working.add(question.credentials);
  }
  const others = new Map<string, Question>();
  for (const [key, question] of questions) {
    const answer = answers.get(key)!;
    if (question.block !== 'waba' || answer.ok) continue;
    if (answer.failure.code !== 'META_ACCESS_DENIED') continue;
    const candidates = access.ofWaba(question.id).slice(1);
    const credentials = candidates.find((candidate) => working.has(candidate)) ?? candidates[0];
    if (credentials !== undefined) others.set(key, { ...question, credentials });
  }
  return others;
}

function toObservation(
  target: Target,
  access: Access,
  reads: ReadonlyMap<string, MetaRead>,
): Observation {
  const entries = blocksInOrder
    .filter((block) => target.blocks.includes(block))
    .map((block) => {
      const question = toQuestion(target, block, access);
      return [block, (question && reads.get(toKey(question))) ?? toUnaskedRead(target, block)];
    });
  // Each read was made from the answer to a question about its block.
  return { numberId: target.numberId, reads: Object.fromEntries(entries) as Observation['reads'] };
}

function toUnaskedRead(target: Target, block: MetaBlock): MetaRead {
  const id = block === 'waba' ? target.wabaId : target.phoneNumberId;
  const subject = block === 'waba' ? 'WhatsApp Business account id' : 'phone number id';
  const message =
    id === null
      ? `No ${subject} is stored for this number; store the one that WhatsApp Manager shows.`
      : 'No access token is stored for this number; store one that may read it.';
  return {
    ok: false,
    attempted: false,
    failure: toPlainFailure('META_ACCESS_DENIED', false, message),
  };
}

function toBlockRead({ block, id }: Question, answer: Read<GraphObject>): MetaRead {
  if (!answer.ok) return answer;
  const json = block === 'profile' ? toProfile(answer.value) : toNode(id, answer.value);
  if (json === null) return { ok: false, attempted: true, failure: unusable };
  return { ok: true, value: toMetaBlock(block, json) };
}

const unusable: UpstreamFailure = toPlainFailure(
  'META_UNAVAILABLE',
  true,
  "Meta's Graph API answered with something else than what was asked for; try again later.",
);

/** Null when it is not the node that was asked for: Graph gives each node its id, asked or not. */
function toNode(id: string, node: GraphObject): GraphObject | null {
  const given = node['id'];
  return (typeof given === 'string' || typeof given === 'number') && String(given) === id
    ? node
    : null;
}

/** Null when it is no profile. Meta's pages show the object flat and one level deeper; none at all is an unset profile. */
function toProfile({ data }: GraphObject): GraphObject | null {
  if (!Array.isArray(data)) return null;
  if (data.length === 0) return {};
  const profile = toObject(data[0]);
  return profile === null ? null : (toObject(profile['business_profile']) ?? profile);
}
