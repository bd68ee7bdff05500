// The commands of the model test that request and refresh numbers over both APIs: with and without permission, in two
// processes at once, and with a slow upstream.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import type { Block } from '../../src/numbers/provider.ts';
import {
  type ModelResponse,
  send,
  requestGraphQL,
  requestRest,
  expectGraphQL,
  expectNothingForeign,
  expectRefusal,
  expectRest,
  toHints,
  toOutcomes,
} from './responses.ts';
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

interface RequestCase {
  readonly process: number;
  /** An index into all keys, including the root keys. */
  readonly key: number;
  readonly number: number;
  readonly api: 'GraphQL' | 'REST';
  readonly refresh: boolean;
  /** The blocks that a GraphQL request selects of a Meta number. */
  readonly blocks: readonly Block[];
}

const someBlocks = fc.subarray<Block>(['phone', 'profile', 'waba'], { minLength: 1 });

const requestAsAnyone = fc
  .record<RequestCase>({
    process: aProcess,
    key: place,
    number: place,
    api: fc.constantFrom('GraphQL', 'REST'),
    refresh: fc.boolean(),
    blocks: someBlocks,
  })
  .map((requestCase) =>
    toCommand(`anyone requests ${JSON.stringify(requestCase)}`, async (scene) => {
      const { model, stage, now } = scene;
      const key = pick([...model.keys, ...model.tenants.map(rootKeyOf)], requestCase.key);
      const number = pickNumber(model, requestCase.number);
      const isKey = isUsable(key, toModelTime(model, now));
      if (isKey && number.tenant === key.tenant) {
        await requestAsOwner(scene, requestCase, key.key, number);
        return;
      }
      const response = await put(stage, requestCase, key.key, number, listBlocks(number));
      expectRefusal(response, isKey ? 'NUMBER_NOT_FOUND' : 'UNAUTHENTICATED');
      expectNothingForeign(model, key.tenant, response);
      expectOperations(stage, 0);
    }),
  );

const refreshAsOwner = fc
  .record<RequestCase>({
    process: aProcess,
    key: fc.constant(0),
    number: place,
    api: fc.constantFrom('GraphQL', 'REST'),
    refresh: fc.constant(true),
    blocks: someBlocks,
  })
  .map((requestCase) =>
    toCommand(`a root key requests ${JSON.stringify(requestCase)}`, async (scene) => {
      const number = pickNumber(scene.model, requestCase.number);
      await requestAsOwner(scene, requestCase, number.tenant.rootKey, number);
    }),
  );

function rootKeyOf(tenant: KnownKey['tenant']): KnownKey {
  const never = { expiresAt: null, isRevoked: false, isRotated: false };
  return { tenant, id: '', key: tenant.rootKey, name: '', number: null, ...never };
}

function put(
  { processes }: ModelStage,
  { process, api, refresh }: Pick<RequestCase, 'process' | 'api' | 'refresh'>,
  key: string,
  number: KnownNumber,
  blocks: readonly Block[],
): Promise<ModelResponse> {
  return api === 'REST'
    ? requestRest(processes[process]!, key, number, refresh)
    : requestGraphQL(processes[process]!, key, number, blocks, refresh);
}

async function requestAsOwner(
  scene: Scene,
  requestCase: RequestCase,
  key: string,
  number: KnownNumber,
): Promise<void> {
  const { model, stage, now } = scene;
  const isWhole = requestCase.api === 'REST' || number.provider !== 'META';
  const blocks = isWhole ? listBlocks(number) : requestCase.blocks;
  const process = findFreeProcess(model, requestCase.process, number);
  const reads = requestCase.refresh ? readUpstream(model, number, blocks, now) : null;
  const response = await put(stage, { ...requestCase, process }, key, number, blocks);
  if (reads !== null) await recordNow(scene, number, reads);
  expectNothingForeign(model, number.tenant, response);
  expectOperations(stage, reads?.operations ?? 0);
  const outcomes = reads === null ? undefined : toOutcomes(reads);
  if (requestCase.api === 'REST') expectRest(number, response, outcomes);
  else expectGraphQL(model, number, response, { blocks, now, ...(outcomes && { outcomes }) });
  if (reads !== null) await checkStored(scene, number, 1 - process);
}

/** A process that is reading the account slowly would make the request wait, so the other one is used. */
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

function expectOperations({ simulator }: ModelStage, count: number, max = count): void {
  const sent = simulator.calls.flatMap(({ operations }) => operations);
  expect(sent.length).toBeGreaterThanOrEqual(count);
  expect(sent.length).toBeLessThanOrEqual(max);
}

/** A process that stands still for longer than this may lose its leases; see src/numbers/lease.ts. */
const maxStallMs = 900;

/** Compares what is stored with the model, without a refresh. */
export async function checkStored(
  { model, stage, now }: Scene,
  number: KnownNumber,
  process: number,
) {
  await stage.settle();
  const blocks = listBlocks(number);
  const { rootKey } = number.tenant;
  const response = await requestGraphQL(stage.processes[process]!, rootKey, number, blocks, false);
  expectGraphQL(model, number, response, { blocks, now });
}

const refreshInBothProcesses = fc
  .tuple(place, someBlocks)
  .map(([at, asked]) =>
    toCommand(
      `two processes at once read ${asked.join()} of number ${at}`,
      (scene) => refreshInBoth(scene, pickNumber(scene.model, at), asked),
      isNothingSlow,
    ),
  );

/** The second process refreshes while the first one reads, and must use the result of the first one. */
async function refreshInBoth(
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
  const held = reads.operations === 0 ? null : first.holdResponses(sent.toArray().length);
  const startedAt = performance.now();
  const responses = [requestGraphQL(first, rootKey, number, blocks, true)];
  await held?.arrived;
  const isWaiting = held && second.untilWaiting();
  responses.push(requestGraphQL(second, rootKey, number, blocks, true));
  await isWaiting;
  held?.deliver();
  const shown = await Promise.all(responses);
  // Both processes of this test share one event loop, which a busy machine may stop for a while.
  const isStalled = performance.now() - startedAt > maxStallMs;
  await recordNow(scene, number, reads);
  expectOperations(stage, reads.operations, reads.operations * (isStalled ? 2 : 1));
  for (const response of shown) {
    expectGraphQL(model, number, response, { blocks, outcomes: toOutcomes(reads), now });
  }
}

const startSlowRead = fc.tuple(aProcess, place, someBlocks).map(([process, at, blocks]) =>
  toCommand(
    `process ${process} reads ${blocks.join()} of number ${at}, and waits for the response until its lease has expired`,
    async ({ model, stage, now }) => {
      const official = model.numbers.filter(({ provider }) => provider === 'META');
      const number = pick(official, at);
      const troubles = new Set(
        blocks.map((block) => model.upstream.faults.get(toUpstreamId(number, block))),
      );
      // A retry would be sent only after the held response, and would read the upstreams of that time.
      if (troubles.has('BROKEN') || troubles.has('PASSING')) return;
      const reads = readUpstream(model, number, blocks, now);
      if (reads.operations < blocks.length) return;
      const reader = stage.processes[process]!;
      const { arrived, deliver } = reader.holdResponses(reads.operations);
      const response = requestGraphQL(reader, number.tenant.rootKey, number, blocks, true);
      await arrived;
      const end = await stage.readTime();
      await stage.passTime(leaseIsOverAfterMs);
      model.passed += leaseIsOverAfterMs;
      // The process keeps the time at which it sent the read in memory, and passing time does not change it.
      const moment = createMoment(model, now, end + 1);
      model.slow = { process, number, blocks, moment, reads, deliver, response };
    },
    isNothingSlow,
  ),
);

const finishSlowRead = fc.constant(
  toCommand(
    'the slow read gets its response',
    async (scene) => {
      const { model, stage, now } = scene;
      if (model.slow === null) return;
      const { number, blocks, reads, moment, process, deliver, response } = model.slow;
      model.slow = null;
      deliver();
      const outcomes = toOutcomes(reads);
      const shown = await response;
      recordReads(model, number, reads, moment, await stage.readTime());
      expectNothingForeign(model, number.tenant, shown);
      expectGraphQL(model, number, shown, { blocks, outcomes, now });
      await checkStored(scene, number, 1 - process);
    },
    (model) => model.slow !== null,
  ),
);

export async function checkLists({ model, stage, now }: Scene, process: number): Promise<void> {
  for (const key of [...model.keys, ...model.tenants.map(rootKeyOf)]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const response = await send(stage.processes[process]!, key.key, '/v1/numbers');
    expectNothingForeign(model, key.tenant, response);
    if (!isUsable(key, toModelTime(model, now))) {
      expectRefusal(response, 'UNAUTHENTICATED');
      continue;
    }
    const own = model.numbers.filter(({ tenant }) => tenant === key.tenant);
    expect(response.body).toMatchObject(
      own.map((number) => ({
        id: number.id,
        name: number.name,
        state: number.state,
        apiKeys: toHints(model, number, now),
      })),
    );
  }
}

/** A command that is listed twice is generated more often. */
export const requestCommands = [
  requestAsAnyone,
  requestAsAnyone,
  refreshAsOwner,
  refreshAsOwner,
  refreshAsOwner,
  refreshInBothProcesses,
  startSlowRead,
  startSlowRead,
  finishSlowRead,
  finishSlowRead,
];
