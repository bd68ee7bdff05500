// Owns interleaved rounds: every contestant is measured once a round, in an order that turns, so that whatever else the
// machine does falls on all of them.

import { inTurn, toRange } from './in-turn.ts';
import type { Sample } from './load.ts';
import type { Cell } from './sections/section.ts';
import { toMedian, toRounded } from './statistics.ts';

/** The samples of each contestant, by round. */
export async function measureInRounds<Contestant extends { readonly name: string }>(
  contestants: readonly Contestant[],
  rounds: number,
  measure: (contestant: Contestant) => Promise<Sample>,
): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const samples = new Map<string, Sample[]>(contestants.map(({ name }) => [name, []]));
  await inTurn(toRange(rounds), async (round) => {
    const turned = contestants.map((_, index) => contestants[(index + round) % contestants.length]);
    await inTurn(
      turned.filter((contestant) => contestant !== undefined),
      async (contestant) => {
        samples.get(contestant.name)?.push(await measure(contestant));
      },
    );
  });
  return samples;
}

export function toThroughputs(samples: readonly Sample[] = []): readonly number[] {
  return samples.map((sample) => sample.requestsPerSecond);
}

export const sampleColumns = ['req/s', 'p50 ms', 'p99 ms', 'failures'] as const;

/** A row of a table with the medians of the rounds between what stands before and after them. */
export function toRow(
  before: readonly Cell[],
  samples: readonly Sample[],
  after: readonly Cell[] = [],
): readonly Cell[] {
  const medians = (['requestsPerSecond', 'p50Ms', 'p99Ms'] as const).map((name) =>
    toRounded(toMedian(samples.map((sample) => sample[name]))),
  );
  const failures = samples.reduce((sum, sample) => sum + sample.failures, 0);
  return [...before, ...medians, failures, ...after];
}
