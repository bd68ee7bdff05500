// How long callers that share a read wait when it fails.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSingleFlight } from '../../src/database/statement.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Requests a read, requests it again when it is sent, and lets the first one fail after `ms`. */
async function failAfter(ms: number) {
  const first = Promise.withResolvers<never>();
  let reads = 0;
  const sent = Promise.withResolvers<void>();
  const read = createSingleFlight(async (_statements, onSend) => {
    reads += 1;
    const isFirst = reads === 1;
    await Promise.resolve();
    onSend();
    sent.resolve();
    return isFirst ? first.promise : [['read']];
  });
  const statements = [{ name: 'one', sql: 'select 1', parameters: [] }];
  // Otherwise the clock starts at 0.
  vi.advanceTimersByTime(10_000);
  const requests = [read(statements)];
  await sent.promise;
  requests.push(read(statements));
  vi.advanceTimersByTime(ms);
  first.reject(new Error('The connection is silent.'));
  const results = await Promise.allSettled(requests);
  return { reads, results: results.map(({ status }) => status) };
}

test('a caller that has waited up to one second for a read that fails reads again', async () => {
  expect(await failAfter(1_000)).toEqual({ reads: 2, results: ['rejected', 'fulfilled'] });
});

test('a caller that has waited longer gets the error', async () => {
  expect(await failAfter(1_001)).toEqual({ reads: 1, results: ['rejected', 'rejected'] });
});
