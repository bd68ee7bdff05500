// How many requests to an upstream run at once, and what happens to those that are queued.

import { describe, expect, test, vi } from 'vitest';
import { BulkheadRejection, createBulkhead } from '../../src/http/bulkhead.ts';

const signal = new AbortController().signal;

function toRequest(tenantId: string, more: { signal?: AbortSignal; deadlineAt?: number } = {}) {
  return { tenantId, signal, deadlineAt: performance.now() + 60_000, ...more };
}

describe('the bulkhead', () => {
  test('runs 20 requests per process and 4 per tenant, and a tenant with many does not delay others', async () => {
    const bulkhead = createBulkhead();
    const gate = Promise.withResolvers<void>();
    const begun: string[] = [];
    const start = (tenantId: string) =>
      bulkhead(toRequest(tenantId), async () => {
        begun.push(tenantId);
        await gate.promise;
      });
    const noisy = Array.from({ length: 1_000 }, () => start('noisy'));
    const quiet = start('quiet');
    await vi.waitFor(() => expect(begun).toContain('quiet'));
    expect(begun.filter((tenant) => tenant === 'noisy')).toHaveLength(4);
    const others = Array.from({ length: 40 }, (_, index) => start(`tenant ${index}`));
    await vi.waitFor(() => expect(begun).toHaveLength(20));
    gate.resolve();
    await Promise.all([...noisy, quiet, ...others]);
    expect(begun).toHaveLength(1_041);
  });

  test('gives free slots to tenants in turn', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1 });
    const gate = Promise.withResolvers<void>();
    const first = bulkhead(toRequest('x'), () => gate.promise);
    const begun: string[] = [];
    const queued = ['a', 'a', 'a', 'b', 'b', 'c'].map((tenantId) =>
      bulkhead(toRequest(tenantId), async () => void begun.push(tenantId)),
    );
    gate.resolve();
    await Promise.all([first, ...queued]);
    expect(begun).toEqual(['a', 'b', 'c', 'a', 'b', 'a']);
  });

  test('rejects a queued request with the reason of its signal at once, and starts the next one', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1 });
    const gate = Promise.withResolvers<string>();
    const first = bulkhead(toRequest('a'), () => gate.promise);
    const caller = new AbortController();
    const left = bulkhead(toRequest('b', { signal: caller.signal }), async () => 'never begun');
    const next = bulkhead(toRequest('c'), async () => 'next');
    const reason = new Error('the caller has gone');
    caller.abort(reason);
    await expect(left).rejects.toBe(reason);
    gate.resolve('first');
    expect(await Promise.all([first, next])).toEqual(['first', 'next']);
  });

  test('gives the slot of a caller that disconnects while queued to the next request of its tenant', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1, maxPerTenant: 1 });
    const gate = Promise.withResolvers<void>();
    const begun: string[] = [];
    const first = bulkhead(toRequest('a'), () => gate.promise);
    const caller = new AbortController();
    const left = bulkhead(toRequest('b', { signal: caller.signal }), async () => 'never begun');
    caller.abort();
    await expect(left).rejects.toBe(caller.signal.reason);
    const later = ['b', 'c'].map((tenantId) =>
      bulkhead(toRequest(tenantId), async () => void begun.push(tenantId)),
    );
    gate.resolve();
    await Promise.all([first, ...later]);
    expect(begun).toEqual(['b', 'c']);
  });

  test('loses no slot to callers that disconnect while a slot becomes free', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1 });
    const callers = Array.from({ length: 3 }, () => new AbortController());
    const gate = Promise.withResolvers<void>();
    const first = bulkhead(toRequest('a'), async () => {
      await gate.promise;
      callers[0]!.abort();
    });
    const left = callers.map((caller) =>
      bulkhead(toRequest('b', { signal: caller.signal }), async () => callers[2]!.abort()),
    );
    gate.resolve();
    await first;
    const results = await Promise.allSettled(left);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
    expect(await bulkhead(toRequest('a'), async () => 'slot')).toBe('slot');
  });

  test('rejects a request when no slot was free by its deadline', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1 });
    const gate = Promise.withResolvers<void>();
    const first = bulkhead(toRequest('a'), () => gate.promise);
    const work = vi.fn<() => Promise<void>>();
    for (const afterMs of [20, 0]) {
      const deadlineAt = performance.now() + afterMs;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(bulkhead(toRequest('b', { deadlineAt }), work)).rejects.toEqual(
        new BulkheadRejection('queue timeout'),
      );
    }
    gate.resolve();
    await first;
    expect(work).not.toHaveBeenCalled();
  });

  test('rejects a request at once when the queue of its tenant is full, and queues those of others', async () => {
    const bulkhead = createBulkhead({ maxPerProcess: 1, maxQueuedPerTenant: 2 });
    const gate = Promise.withResolvers<string>();
    const work = () => gate.promise;
    const accepted = ['a', 'a', 'a', 'b'].map((tenantId) => bulkhead(toRequest(tenantId), work));
    await expect(bulkhead(toRequest('a'), work)).rejects.toEqual(
      new BulkheadRejection('queue full'),
    );
    gate.resolve('done');
    expect(await Promise.all(accepted)).toEqual(['done', 'done', 'done', 'done']);
    expect(await bulkhead(toRequest('a'), work)).toBe('done');
  });
});
