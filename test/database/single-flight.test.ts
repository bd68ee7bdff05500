// How long whoever asks for the same waits for a reading that fails.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSingleFlight } from '../../src/database/single-flight.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Two who ask for the same, the second once the first reading was sent, which then fails after so many milliseconds. */
async function failAfter(ms: number) {
  const first = Promise.withResolvers<never>();
  let readings = 0;
  const sent = Promise.withResolvers<void>();
  const read = createSingleFlight(async (_statements, onSend) => {
    readings += 1;
    const isFirst = readings === 1;
    await Promise.resolve();
    onSend();
    sent.resolve();
    return isFirst ? first.promise : [['read']];
  });
  const statements = [{ name: 'one', sql: 'select 1', parameters: [] }];
  // So that the clock does not begin at 0.
  vi.advanceTimersByTime(10_000);
  const asked = [read(statements)];
  await sent.promise;
  asked.push(read(statements));
  vi.advanceTimersByTime(ms);
  first.reject(new Error('It is silent.'));
  const told = await Promise.allSettled(asked);
  return { readings, told: told.map(({ status }) => status) };
}

test('whoever has waited up to a second for it reads again', async () => {
  expect(await failAfter(1_000)).toEqual({ readings: 2, told: ['rejected', 'fulfilled'] });
});

test('whoever has waited longer has its error', async () => {
  expect(await failAfter(1_001)).toEqual({ readings: 1, told: ['rejected', 'rejected'] });
});
