// Interleaved rounds: each round measures every contestant once, in rotating order, so that other load on the machine affects
// all of them.

import { inTurn, toRange } from './in-turn.ts';
import type { Sample } from './load.ts';
import type { Cell } from './sections/section.ts';
import { toMedian, toRounded } from './statistics.ts';

/** The samples of each contestant, in the order of the rounds. */
export async function measureInRounds<Contestant extends { readonly name: string }>(
  contestants: readonly Contestant[],
  rounds: number,
  measure: (contestant: Contestant) => Promise<Sample>,
): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const samples = new Map<string, Sample[]>(contestants.map(({ name }) => [name, []]));
  await inTurn(toRange(rounds), async (round) => {
    const rotated = contestants.map(
      (_, index) => contestants[(index + round) % contestants.length],
    );
    await inTurn(
      rotated.filter((contestant) => contestant !== undefined),
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

/** A table row: `before`, the medians of the rounds, `after`. */
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
