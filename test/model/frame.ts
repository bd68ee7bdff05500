// What every command of the model test is made of: its name, what it does, and the look at the audit that follows it.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import type { ModelStage } from './stage.ts';
import type { KnownNumber, Model } from './state.ts';

export type ModelCommand = fc.AsyncCommand<Model, ModelStage>;

export interface Scene {
  readonly model: Model;
  readonly stage: ModelStage;
  /** The database's, in milliseconds. */
  readonly now: number;
}

/** `name` is printed when a run has failed. */
export function toCommand(
  name: string,
  run: (scene: Scene) => Promise<void>,
  check: (model: Readonly<Model>) => boolean = () => true,
): ModelCommand {
  return {
    check,
    async run(model, stage) {
      model.steps += 1;
      stage.simulator.clearCalls();
      await within(10_000, async () => {
        await run({ model, stage, now: await stage.beginStep() });
        await expectAudit(model, stage);
      });
    },
    toString: () => name,
  };
}

/** What takes longer would never end, and the run is to say which command that was. */
async function within(ms: number, work: () => Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`No end after ${ms} ms.`)), ms);
  try {
    await Promise.race([work(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** One row for each change, in order, and none beside. */
async function expectAudit({ tenants }: Model, stage: ModelStage): Promise<void> {
  for (const { id, audit } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    const rows = await stage.query<{ entry: string }>(
      `select action || ' ' || subject as entry from audit where tenant_id = $1 order by position`,
      [id],
    );
    expect(rows.map(({ entry }) => entry)).toEqual(audit);
  }
}

/** Which one of those that there are at that time. */
export const place = fc.nat({ max: 23 });
export const aProcess = fc.nat({ max: 1 });

export function pick<T>(list: readonly T[], index: number): T {
  // No list here is ever empty.
  return list[index % list.length]!;
}

/** A number of the model; while one is being read slowly it is that one each second time, since that is where races are. */
export function pickNumber({ numbers, slow }: Model, index: number): KnownNumber {
  return slow !== null && index % 2 === 1 ? slow.number : pick(numbers, index);
}

/** Whoever waits for an upstream reckons with times that have been told; they must not be moved then. */
export const isNothingSlow = (model: Readonly<Model>) => model.slow === null;

/** However they and the steps add up, they differ by more than a run takes, so that nothing happens close to an end. */
export const lifetimesMs = [610_000, 3_010_000];
/** In which time goes by; see `lifetimesMs`. */
export const stepsMs = [140_000, 1_220_000, 3_700_000];
