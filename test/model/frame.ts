// The parts of every command of the model test: its name, its action, and the check of the audit log that follows.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import type { ModelStage } from './stage.ts';
import type { KnownNumber, Model } from './state.ts';

export type ModelCommand = fc.AsyncCommand<Model, ModelStage>;

export interface Scene {
  readonly model: Model;
  readonly stage: ModelStage;
  /** The database's time in milliseconds. */
  readonly now: number;
}

/** `name` is printed when a run fails. */
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

/** A command that takes longer is reported by name, instead of blocking the run. */
async function within(ms: number, work: () => Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`No end after ${ms} ms.`)), ms);
  try {
    await Promise.race([work(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** One row for each change, in order, and no other rows. */
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

/** An index into a list whose length is not known yet. */
export const place = fc.nat({ max: 23 });
export const aProcess = fc.nat({ max: 1 });

export function pick<T>(list: readonly T[], index: number): T {
  // No list is empty.
  return list[index % list.length]!;
}

/** During a slow read every second one is the number that is being read, because races happen there. */
export function pickNumber({ numbers, slow }: Model, index: number): KnownNumber {
  return slow !== null && index % 2 === 1 ? slow.number : pick(numbers, index);
}

/** During a slow read, time must not pass: the reader relies on times that it has read. */
export const isNothingSlow = (model: Readonly<Model>) => model.slow === null;

/** All sums of these and of `stepsMs` differ by more than a run takes, so that no command runs close to an expiry. */
export const lifetimesMs = [610_000, 3_010_000];
/** The steps in which time passes; see `lifetimesMs`. */
export const stepsMs = [140_000, 1_220_000, 3_700_000];
