// The commands of the model test that change the surroundings of the gateways, and the generator of all commands. Each
// command acts, updates the model, and compares the result with it.

import * as fc from 'fast-check';
import type { Block, ConnectionState } from '../../src/numbers/provider.ts';
import type { Fault } from '../simulator/simulator.ts';
import { toHealthyPhone } from '../harness.ts';
import {
  aProcess,
  isNothingSlow,
  type ModelCommand,
  pickNumber,
  place,
  stepsMs,
  toCommand,
} from './frame.ts';
import { keyCommands } from './keys.ts';
import { checkStored, checkLists, requestCommands } from './requests.ts';
import type { ModelStage } from './stage.ts';
import { createMoment, type KnownNumber, type Model, toUpstreamId, type Trouble } from './state.ts';

const changeUpstream = fc
  .tuple(place, fc.constantFrom('GREEN', 'RED'), fc.constantFrom('CONNECTED', 'PENDING', 'BANNED'))
  .map(([at, quality, status]) =>
    toCommand(
      `the upstreams change number ${at} to ${quality}, ${status}`,
      async ({ model, stage }) => setUpstream(model, stage, pickNumber(model, at), quality, status),
    ),
  );

const sessionStates: Readonly<Record<string, string>> = {
  CONNECTED: 'open',
  PENDING: 'connecting',
  BANNED: 'close',
};

/** Creates or changes the number upstream. */
export function setUpstream(
  model: Model,
  { simulator }: ModelStage,
  number: KnownNumber,
  quality: string,
  status: string,
): void {
  const { values } = model.upstream;
  const { phoneNumberId, wabaId, instanceName } = number;
  model.values += 1;
  if (number.provider === 'PILOT_STATUS') {
    const state = sessionStates[status] ?? 'close';
    values.set(instanceName, { state });
    simulator.setInstance({ instanceName, state });
    return;
  }
  const text = `${number.tenant.marker} ${model.values}`;
  const name = `Account ${model.values}`;
  values.set(phoneNumberId, { verifiedName: text, about: text, quality, status });
  values.set(wabaId, { name });
  const fields = { verified_name: text, quality_rating: quality, status };
  simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields, { about: text }));
  simulator.setWaba({ id: wabaId, fields: { name } });
}

const faults: Readonly<Record<Trouble, Fault>> = {
  DENIED: { kind: 'error', code: 368 },
  THROTTLED: { kind: 'throttled', minutes: 15 },
  BROKEN: { kind: 'truncated' },
  PASSING: { kind: 'transient-then-ok' },
};

// A truncated response is retried after a pause, which takes long.
const aTrouble = fc.oneof(
  { arbitrary: fc.constant(null), weight: 6 },
  { arbitrary: fc.constantFrom<Trouble>('DENIED', 'THROTTLED'), weight: 5 },
  { arbitrary: fc.constant<Trouble>('PASSING'), weight: 2 },
  { arbitrary: fc.constant<Trouble>('BROKEN'), weight: 1 },
);

const setTrouble = fc
  .tuple(place, fc.constantFrom<Block>('phone', 'waba'), aTrouble)
  .map(([at, part, trouble]) =>
    toCommand(`${trouble ?? 'no trouble'} at the ${part} of number ${at}`, async (scene) => {
      const { model, stage } = scene;
      const number = pickNumber(model, at);
      const id = toUpstreamId(number, number.provider === 'META' ? part : 'connection');
      if (trouble !== null && isNondeterministic(model, trouble)) return;
      stage.simulator.setFault(id, trouble === null ? null : faults[trouble]);
      if (trouble === null) model.upstream.faults.delete(id);
      else model.upstream.faults.set(id, trouble);
    }),
  );

/** Whether the retry of one block would race with the response that the account is throttled. */
function isNondeterministic({ upstream }: Model, trouble: Trouble): boolean {
  if (trouble === 'DENIED') return false;
  const isThrottled = trouble === 'THROTTLED';
  return upstream.faults
    .values()
    .some((other) => other !== 'DENIED' && (other === 'THROTTLED') !== isThrottled);
}

const writeState = fc
  .tuple(place, fc.constantFrom<ConnectionState>('OPEN', 'CONNECTING', 'CLOSE'))
  .map(([at, state]) =>
    toCommand(`other software writes ${state} to number ${at}`, async (scene) => {
      const { model, stage, now } = scene;
      const number = pickNumber(model, at);
      await stage.query('update whatsapp_number set state = $2 where id = $1', [number.id, state]);
      if (state !== number.state) {
        number.stateObservedAt = createMoment(model, now, (await stage.readTime()) + 1);
      }
      number.state = state;
      await checkStored(scene, number, 0);
    }),
  );

const crash = aProcess.map((process) =>
  toCommand(`process ${process} dies and is replaced`, async (scene) => {
    const { model, stage } = scene;
    await stage.crash(process);
    if (model.slow?.process === process) model.slow = null;
    for (const number of model.numbers) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await checkStored(scene, number, process);
    }
  }),
);

const passTime = fc.constantFrom(...stepsMs).map((ms) =>
  toCommand(
    `${ms} ms pass`,
    async ({ model, stage }) => {
      await stage.passTime(ms);
      model.passed += ms;
    },
    isNothingSlow,
  ),
);

const listForAllKeys = aProcess.map((process) =>
  toCommand(`process ${process} lists for each key`, (scene) => checkLists(scene, process)),
);

/** Any commands in any order. A command that is listed twice is generated more often. */
export function createCommands(maxCommands: number): fc.Arbitrary<Iterable<ModelCommand>> {
  const worldCommands = [changeUpstream, changeUpstream, setTrouble, setTrouble, writeState];
  return fc.commands(
    [...keyCommands, ...requestCommands, ...worldCommands, crash, passTime, listForAllKeys],
    {
      maxCommands,
      size: 'max',
    },
  );
}

/** Compares everything with the model at the end of a run. */
export const finalCheck = toCommand('the final check of everything', async (scene) => {
  for (const process of [0, 1]) {
    // oxlint-disable no-await-in-loop -- one after the other
    await checkLists(scene, process);
    for (const number of scene.model.numbers) await checkStored(scene, number, process);
    // oxlint-enable no-await-in-loop
  }
});
