import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLoadShedder, createRefusalPacer } from '../../src/http/load-shedding.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Asks for so many turns at once; the list grows as they come. */
function ask(pace: ReturnType<typeof createRefusalPacer>, count: number) {
  const startedAt = performance.now();
  const turns: number[] = [];
  const waiting = Array.from({ length: count }, () => new EventEmitter());
  for (const one of waiting) {
    void pace(one).then(() => turns.push(performance.now() - startedAt));
  }
  return { turns, waiting };
}

test('turns come at an even pace, the first one at once', async () => {
  const { turns } = ask(createRefusalPacer(100, 1_000), 4);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(turns).toEqual([0, 10, 20, 30]);
});

test('nobody waits longer than the longest wait', async () => {
  const { turns } = ask(createRefusalPacer(100, 50), 20);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(turns.slice(0, 6)).toEqual([0, 10, 20, 30, 40, 50]);
  expect(new Set(turns.slice(6))).toEqual(new Set([50]));
});

test('whoever waits without a turn has none to give back', async () => {
  const pace = createRefusalPacer(100, 50);
  const { waiting } = ask(pace, 20);
  for (const one of waiting.slice(6)) one.emit('close');
  const { turns } = ask(pace, 1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(turns).toEqual([50]);
});

test('whoever leaves gives the turn back', async () => {
  const pace = createRefusalPacer(100, 10_000);
  const { waiting } = ask(pace, 101);
  for (const one of waiting.slice(1)) one.emit('close');
  const { turns } = ask(pace, 1);
  await vi.advanceTimersByTimeAsync(20);
  expect(turns).toEqual([10]);
});

test('a place that was given away is taken again, however the work ends', async () => {
  using load = createLoadShedder({ maxRequests: 2, maxEventLoopDelayMs: 1_000 });
  const slot = load.begin();
  const places: number[] = [];
  const wait = (work: () => Promise<unknown>) =>
    slot
      .releaseWhile(() => {
        places.push(load.inFlight);
        return work();
      })
      .catch(String)
      .then((result) => places.push(load.inFlight) && result);
  expect(await wait(async () => 'done')).toBe('done');
  expect(await wait(() => Promise.reject(new Error('later')))).toBe('Error: later');
  expect(
    await wait(() => {
      throw new Error('at once');
    }),
  ).toBe('Error: at once');
  expect(places).toEqual([0, 1, 0, 1, 0, 1]);
  slot.end();
  expect(load.inFlight).toBe(0);
});
