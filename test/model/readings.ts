// The commands of the model test that ask about numbers, at either door, and have them read: by somebody who may and by
// somebody who may not, by two processes at once, and by one that is slow.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import type { Block } from '../../src/numbers/provider.ts';
import {
  type Answer,
  ask,
  askGraphQL,
  askRest,
  expectGraphQL,
  expectNothingForeign,
  expectRefusal,
  expectRest,
  toHints,
  toTold,
} from './answers.ts';
import {
  aProcess,
  isNothingSlow,
  pick,
  pickNumber,
  place,
  type Scene,
  toCommand,
} from './frame.ts';
import { leaseIsOverAfterMs, type ModelStage } from './stage.ts';
import {
  createMoment,
  isUsable,
  type KnownKey,
  type KnownNumber,
  listBlocks,
  type Model,
  readUpstream,
  recordReads,
  toModelTime,
  toUpstreamId,
} from './state.ts';

interface Question {
  readonly process: number;
  /** Of all keys, the root keys included. */
  readonly key: number;
  readonly number: number;
  readonly door: 'GraphQL' | 'REST';
  readonly refresh: boolean;
  /** What GraphQL selects of a number of Meta's. */
  readonly blocks: readonly Block[];
}

const someBlocks = fc.subarray<Block>(['phone', 'profile', 'waba'], { minLength: 1 });

const askAnything = fc
  .record<Question>({
    process: aProcess,
    key: place,
    number: place,
    door: fc.constantFrom('GraphQL', 'REST'),
    refresh: fc.boolean(),
    blocks: someBlocks,
  })
  .map((question) =>
    toCommand(`somebody asks ${JSON.stringify(question)}`, async (scene) => {
      const { model, stage, now } = scene;
      const key = pick([...model.keys, ...model.tenants.map(toRootKey)], question.key);
      const number = pickNumber(model, question.number);
      const isKey = isUsable(key, toModelTime(model, now));
      if (isKey && number.tenant === key.tenant) {
        await askOwn(scene, question, key.key, number);
        return;
      }
      const answer = await put(stage, question, key.key, number, listBlocks(number));
      expectRefusal(answer, isKey ? 'NUMBER_NOT_FOUND' : 'UNAUTHENTICATED');
      expectNothingForeign(model, key.tenant, answer);
      expectOperations(stage, 0);
    }),
  );

const askOwnLive = fc
  .record<Question>({
    process: aProcess,
    key: fc.constant(0),
    number: place,
    door: fc.constantFrom('GraphQL', 'REST'),
    refresh: fc.constant(true),
    blocks: someBlocks,
  })
  .map((question) =>
    toCommand(`a root key asks ${JSON.stringify(question)}`, async (scene) => {
      const number = pickNumber(scene.model, question.number);
      await askOwn(scene, question, number.tenant.rootKey, number);
    }),
  );

function toRootKey(tenant: KnownKey['tenant']): KnownKey {
  const never = { expiresAt: null, isRevoked: false, isRotated: false };
  return { tenant, id: '', key: tenant.rootKey, name: '', number: null, ...never };
}

function put(
  { processes }: ModelStage,
  { process, door, refresh }: Pick<Question, 'process' | 'door' | 'refresh'>,
  key: string,
  number: KnownNumber,
  blocks: readonly Block[],
): Promise<Answer> {
  return door === 'REST'
    ? askRest(processes[process]!, key, number, refresh)
    : askGraphQL(processes[process]!, key, number, blocks, refresh);
}

async function askOwn(
  scene: Scene,
  question: Question,
  key: string,
  number: KnownNumber,
): Promise<void> {
  const { model, stage, now } = scene;
  const isWhole = question.door === 'REST' || number.provider !== 'META';
  const blocks = isWhole ? listBlocks(number) : question.blocks;
  const process = findFreeProcess(model, question.process, number);
  const reads = question.refresh ? readUpstream(model, number, blocks, now) : null;
  const answer = await put(stage, { ...question, process }, key, number, blocks);
  if (reads !== null) await recordNow(scene, number, reads);
  expectNothingForeign(model, number.tenant, answer);
  expectOperations(stage, reads?.operations ?? 0);
  const told = reads === null ? undefined : toTold(reads);
  if (question.door === 'REST') expectRest(number, answer, told);
  else expectGraphQL(model, number, answer, { blocks, now, ...(told && { told }) });
  if (reads !== null) await lookAt(scene, number, 1 - process);
}

/** Whoever asked a process that is on the same reading already would wait for that one. */
function findFreeProcess({ slow }: Model, process: number, number: KnownNumber): number {
  const isBusy = slow?.process === process && slow.number.tenant === number.tenant;
  return isBusy ? 1 - process : process;
}

async function recordNow(
  { model, stage, now }: Scene,
  number: KnownNumber,
  reads: ReturnType<typeof readUpstream>,
): Promise<void> {
  const end = await stage.readTime();
  recordReads(model, number, reads, createMoment(model, now, end + 1), end);
}

function expectOperations({ simulator }: ModelStage, count: number): void {
  expect(simulator.calls.flatMap(({ operations }) => operations)).toHaveLength(count);
}

/** What is stored, as the process shows it without reading anything. */
export async function lookAt({ model, stage, now }: Scene, number: KnownNumber, process: number) {
  await stage.settle();
  const blocks = listBlocks(number);
  const { rootKey } = number.tenant;
  const answer = await askGraphQL(stage.processes[process]!, rootKey, number, blocks, false);
  expectGraphQL(model, number, answer, { blocks, now });
}

const askBothProcesses = fc
  .tuple(place, someBlocks)
  .map(([at, asked]) =>
    toCommand(
      `two processes at once read ${asked.join()} of number ${at}`,
      (scene) => readTwice(scene, pickNumber(scene.model, at), asked),
      isNothingSlow,
    ),
  );

/** The second process asks while the first one is reading, and is to be content with what that one brings. */
async function readTwice(
  scene: Scene,
  number: KnownNumber,
  asked: readonly Block[],
): Promise<void> {
  const { model, stage, now } = scene;
  const blocks = number.provider === 'META' ? asked : listBlocks(number);
  const reads = readUpstream(model, number, blocks, now);
  const sent = reads.blocks.values().filter((read) => read.ok || read.sent);
  const { rootKey } = number.tenant;
  const [first, second] = [stage.processes[0]!, stage.processes[1]!];
  const held = reads.operations === 0 ? null : first.holdAnswers(sent.toArray().length);
  const answers = [askGraphQL(first, rootKey, number, blocks, true)];
  await held?.arrived;
  const isWaiting = held && second.untilWaiting();
  answers.push(askGraphQL(second, rootKey, number, blocks, true));
  await isWaiting;
  held?.deliver();
  const shown = await Promise.all(answers);
  await recordNow(scene, number, reads);
  expectOperations(stage, reads.operations);
  for (const answer of shown) {
    expectGraphQL(model, number, answer, { blocks, told: toTold(reads), now });
  }
}

const startSlowRead = fc.tuple(aProcess, place, someBlocks).map(([process, at, blocks]) =>
  toCommand(
    `process ${process} reads ${blocks.join()} of number ${at}, and waits for the answer beyond its lease`,
    async ({ model, stage, now }) => {
      const official = model.numbers.filter(({ provider }) => provider === 'META');
      const number = pick(official, at);
      const troubles = new Set(
        blocks.map((block) => model.upstream.faults.get(toUpstreamId(number, block))),
      );
      // What is asked a second time is asked when the answer is there, and of the upstreams of that time.
      if (troubles.has('BROKEN') || troubles.has('PASSING')) return;
      const reads = readUpstream(model, number, blocks, now);
      if (reads.operations < blocks.length) return;
      const reader = stage.processes[process]!;
      const { arrived, deliver } = reader.holdAnswers(reads.operations);
      const answer = askGraphQL(reader, number.tenant.rootKey, number, blocks, true);
      await arrived;
      const end = await stage.readTime();
      await stage.passTime(leaseIsOverAfterMs);
      model.passed += leaseIsOverAfterMs;
      // The process remembers when it sent the reading, and that does not move.
      const moment = createMoment(model, now, end + 1);
      model.slow = { process, number, blocks, moment, reads, deliver, answer };
    },
    isNothingSlow,
  ),
);

const landSlowRead = fc.constant(
  toCommand(
    'the slow reading gets its answer',
    async (scene) => {
      const { model, stage, now } = scene;
      if (model.slow === null) return;
      const { number, blocks, reads, moment, process, deliver, answer } = model.slow;
      model.slow = null;
      deliver();
      const told = toTold(reads);
      const shown = await answer;
      recordReads(model, number, reads, moment, await stage.readTime());
      expectNothingForeign(model, number.tenant, shown);
      expectGraphQL(model, number, shown, { blocks, told, now });
      await lookAt(scene, number, 1 - process);
    },
    (model) => model.slow !== null,
  ),
);

export async function lookAtAll({ model, stage, now }: Scene, process: number): Promise<void> {
  for (const key of [...model.keys, ...model.tenants.map(toRootKey)]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const answer = await ask(stage.processes[process]!, key.key, '/v1/numbers');
    expectNothingForeign(model, key.tenant, answer);
    if (!isUsable(key, toModelTime(model, now))) {
      expectRefusal(answer, 'UNAUTHENTICATED');
      continue;
    }
    const own = model.numbers.filter(({ tenant }) => tenant === key.tenant);
    expect(answer.body).toMatchObject(
      own.map((number) => ({
        id: number.id,
        name: number.name,
        state: number.state,
        apiKeys: toHints(model, number, now),
      })),
    );
  }
}

/** What stands here more than once is drawn more often. */
export const readingCommands = [
  askAnything,
  askAnything,
  askOwnLive,
  askOwnLive,
  askOwnLive,
  askBothProcesses,
  startSlowRead,
  startSlowRead,
  landSlowRead,
  landSlowRead,
];
