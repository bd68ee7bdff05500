// Ten thousand hostile requests for each of three seeds, over sockets, to both APIs.

import { expect, test } from 'vitest';
import { runHostile } from '../http/hostile-run.ts';

const count = Number(process.env['HOSTILE_REQUESTS'] ?? 10_000);
const seeds = (process.env['HOSTILE_SEED'] ?? '1,2,3').split(',').map(Number);

test.each(seeds)(
  'seed %i: no 5xx, no hang, no row of another tenant, no stack trace, every response well-formed',
  async (seed) => {
    const { examples, ...figures } = await runHostile(seed, count);
    console.log(`hostile requests, bar 0 of each: ${JSON.stringify(figures)}`);
    expect(examples).toEqual([]);
  },
);
