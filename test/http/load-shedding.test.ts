import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLoadShedder, createRefusalPacer } from '../../src/http/load-shedding.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Refuses `count` connections at once. `sentAtMs` grows as their refusals are sent. */
function refuse(pace: ReturnType<typeof createRefusalPacer>, count: number) {
  const startedAt = performance.now();
  const sentAtMs: number[] = [];
  const connections = Array.from({ length: count }, () => new EventEmitter());
  for (const connection of connections) {
    void pace(connection).then(() => sentAtMs.push(performance.now() - startedAt));
  }
  return { sentAtMs, connections };
}

test('refusals are sent at an even pace, the first one at once', async () => {
  const { sentAtMs } = refuse(createRefusalPacer(100, 1_000), 4);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sentAtMs).toEqual([0, 10, 20, 30]);
});

test('no refusal waits longer than the maximum', async () => {
  const { sentAtMs } = refuse(createRefusalPacer(100, 50), 20);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sentAtMs.slice(0, 6)).toEqual([0, 10, 20, 30, 40, 50]);
  expect(new Set(sentAtMs.slice(6))).toEqual(new Set([50]));
});

test('a connection that waits for the maximum has no place in the queue to give up when it closes', async () => {
  const pace = createRefusalPacer(100, 50);
  const { connections } = refuse(pace, 20);
  for (const connection of connections.slice(6)) connection.emit('close');
  const { sentAtMs } = refuse(pace, 1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sentAtMs).toEqual([50]);
});

test('a connection that closes while it waits gives its place in the queue to the next one', async () => {
  const pace = createRefusalPacer(100, 10_000);
  const { connections } = refuse(pace, 101);
  for (const connection of connections.slice(1)) connection.emit('close');
  const { sentAtMs } = refuse(pace, 1);
  await vi.advanceTimersByTimeAsync(20);
  expect(sentAtMs).toEqual([10]);
});

test('a slot that is released while work waits is taken back, whether the work succeeds or fails', async () => {
  using load = createLoadShedder({ maxRequests: 2, maxEventLoopDelayMs: 1_000 });
  const slot = load.begin();
  const inFlight: number[] = [];
  const wait = (work: () => Promise<unknown>) =>
    slot
      .releaseWhile(() => {
        inFlight.push(load.inFlight);
        return work();
      })
      .catch(String)
      .then((result) => inFlight.push(load.inFlight) && result);
  expect(await wait(async () => 'done')).toBe('done');
  expect(await wait(() => Promise.reject(new Error('later')))).toBe('Error: later');
  expect(
    await wait(() => {
      throw new Error('at once');
    }),
  ).toBe('Error: at once');
  expect(inFlight).toEqual([0, 1, 0, 1, 0, 1]);
  slot.end();
  expect(load.inFlight).toBe(0);
});
