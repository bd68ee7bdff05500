// Ten thousand hostile requests for each of three seeds, over sockets, at both doors.

import { expect, test } from 'vitest';
import { runHostile } from '../http/hostile-run.ts';

const count = Number(process.env['HOSTILE_REQUESTS'] ?? 10_000);
const seeds = (process.env['HOSTILE_SEED'] ?? '1,2,3').split(',').map(Number);

test.each(seeds)(
  'seed %i: no 5xx, no hang, no foreign row, no stack trace, all in form',
  async (seed) => {
    const { examples, ...figures } = await runHostile(seed, count);
    console.log(`bar 0 0 0 0 0, hostile requests ${JSON.stringify(figures)}`);
    expect(examples).toEqual([]);
  },
);
