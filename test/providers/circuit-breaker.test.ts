// When circuits open and close, and what happens to requests meanwhile.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  CircuitOpenError,
  createCircuitBreaker,
  createCircuitBreakers,
} from '../../src/providers/circuit-breaker.ts';
import type { HttpResult } from '../../src/providers/limited-fetch.ts';
import { type CircuitChange, createTelemetry } from '../../src/telemetry.ts';

const failure: HttpResult = { outcome: 'timeout', status: null, durationMs: 1 };
const toResponse = (status: number): HttpResult => ({
  outcome: 'answered',
  status,
  headers: new Headers(),
  text: '',
  durationMs: 1,
});

describe('a circuit', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test('opens after failures for enough subjects, and lets one trial through after the pause', async () => {
    const circuit = createCircuitBreaker({ maxFailingSubjects: 3, pauseMs: 10_000 });
    for (const subject of ['a', 'b', 'c']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => failure);
    }
    const work = vi.fn<() => Promise<HttpResult>>(async () => toResponse(200));
    const refused = circuit.execute('d', work);
    await expect(refused).rejects.toBeInstanceOf(CircuitOpenError);
    await expect(refused).rejects.toMatchObject({ retryAt: new Date(Date.now() + 10_000) });
    expect(work).not.toHaveBeenCalled();
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpResult>();
    const trial = circuit.execute('d', () => gate.promise);
    await expect(circuit.execute('e', work)).rejects.toBeInstanceOf(CircuitOpenError);
    gate.resolve(toResponse(200));
    await trial;
    expect(await circuit.execute('e', work)).toMatchObject({ status: 200 });
  });

  test('stays closed for failures of one subject and for refusals, and starts over with each success', async () => {
    const circuit = createCircuitBreaker({ maxFailingSubjects: 3, pauseMs: 10_000 });
    const run = async (subject: string, result: HttpResult) =>
      void (await circuit.execute(subject, async () => result));
    // oxlint-disable no-await-in-loop -- one after the other
    for (let index = 0; index < 20; index += 1) await run('a', failure);
    for (const subject of ['b', 'c', 'd', 'e']) await run(subject, toResponse(401));
    for (const subject of ['b', 'c']) await run(subject, toResponse(503));
    await run('d', toResponse(200));
    for (const subject of ['e', 'f']) await run(subject, failure);
    // oxlint-enable no-await-in-loop
    expect(await circuit.execute('g', async () => toResponse(200))).toMatchObject({ status: 200 });
  });

  test('stays open when a trial throws, and the next request is the trial', async () => {
    const changes: CircuitChange['state'][] = [];
    const onChange = (state: CircuitChange['state']) => void changes.push(state);
    const circuit = createCircuitBreaker({ maxFailingSubjects: 2, pauseMs: 10_000, onChange });
    for (const subject of ['a', 'b']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => failure);
    }
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpResult>();
    const left = circuit.execute('c', () => gate.promise);
    gate.reject(new RangeError('the caller has left'));
    await expect(left).rejects.toThrow('the caller has left');
    const next = Promise.withResolvers<HttpResult>();
    const trial = circuit.execute('c', () => next.promise);
    await expect(circuit.execute('d', async () => failure)).rejects.toBeInstanceOf(
      CircuitOpenError,
    );
    next.resolve(failure);
    await trial;
    // The failed trial starts the pause again.
    await expect(circuit.execute('d', async () => toResponse(200))).rejects.toMatchObject({
      retryAt: new Date(Date.now() + 10_000),
    });
    expect(changes).toEqual(['open']);
    vi.setSystemTime(Date.now() + 10_000);
    await circuit.execute('d', async () => toResponse(200));
    expect(changes).toEqual(['open', 'closed']);
    // Failures from before it closed do not count.
    await circuit.execute('e', async () => failure);
    expect(await circuit.execute('e', async () => toResponse(200))).toMatchObject({ status: 200 });
    expect(changes).toEqual(['open', 'closed']);
  });

  test('ignores requests that our own deadline ended', async () => {
    const deadline: HttpResult = { outcome: 'deadline', status: null, durationMs: 1 };
    const circuit = createCircuitBreaker({ maxFailingSubjects: 2, pauseMs: 10_000 });
    const run = async (subject: string, result: HttpResult) =>
      void (await circuit.execute(subject, async () => result));
    // oxlint-disable no-await-in-loop -- one after the other
    for (const subject of ['a', 'b', 'c']) await run(subject, deadline);
    await run('a', failure);
    await run('b', deadline);
    await run('b', failure);
    vi.setSystemTime(Date.now() + 9_999);
    await expect(run('c', toResponse(200))).rejects.toBeInstanceOf(CircuitOpenError);
    vi.setSystemTime(Date.now() + 1);
    // A trial that proves nothing leaves it open, without another pause.
    await run('c', deadline);
    await run('c', failure);
    // oxlint-enable no-await-in-loop
    await expect(run('c', toResponse(200))).rejects.toBeInstanceOf(CircuitOpenError);
  });

  test('is decided by the trial, not by requests sent before it opened', async () => {
    const circuit = createCircuitBreaker({ maxFailingSubjects: 2, pauseMs: 10_000 });
    const late = ['a', 'b', 'c'].map((subject) => {
      const { promise, resolve, reject } = Promise.withResolvers<HttpResult>();
      return { resolve, reject, ended: circuit.execute(subject, () => promise) };
    });
    for (const subject of ['d', 'e']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => failure);
    }
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpResult>();
    const trial = circuit.execute('f', () => gate.promise);
    const [left, ...failed] = late;
    left?.reject(new RangeError('the caller has left'));
    for (const { resolve } of failed) resolve(failure);
    await Promise.allSettled(late.map(({ ended }) => ended));
    await expect(circuit.execute('g', async () => failure)).rejects.toBeInstanceOf(
      CircuitOpenError,
    );
    gate.resolve(toResponse(200));
    await trial;
    expect(await circuit.execute('g', async () => toResponse(200))).toMatchObject({ status: 200 });
  });

  test('ignores work that throws', async () => {
    const circuit = createCircuitBreaker({ maxFailingSubjects: 2, pauseMs: 10_000 });
    for (const subject of ['a', 'b', 'c']) {
      const left = circuit.execute(subject, () => Promise.reject(new RangeError('left')));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(left).rejects.toThrow('left');
    }
    await circuit.execute('a', async () => failure);
    // It does not reset the failures either.
    await expect(
      circuit.execute('b', () => Promise.reject(new RangeError('left'))),
    ).rejects.toThrow('left');
    await circuit.execute('b', async () => failure);
    await expect(circuit.execute('c', async () => failure)).rejects.toBeInstanceOf(
      CircuitOpenError,
    );
  });
});

describe('the circuits of an upstream and its tenants', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test('a tenant’s circuit stays open when the upstream’s circuit blocks its trial', async () => {
    const changes: CircuitChange[] = [];
    const through = createCircuitBreakers({
      upstream: 'graph',
      telemetry: {
        ...createTelemetry({ level: 'silent' }),
        circuitChanged: (change) => void changes.push(change),
      },
      pauseMs: 10_000,
    });
    const run = async (tenantId: string, subject: string) =>
      void (await through(tenantId, subject, async () => failure));
    // oxlint-disable no-await-in-loop -- one after the other
    for (let index = 0; index < 8; index += 1) await run('a', `number ${index}`);
    vi.setSystemTime(Date.now() + 9_000);
    for (const tenantId of ['b', 'c', 'd', 'e']) await run(tenantId, 'number');
    // oxlint-enable no-await-in-loop
    const opened = [
      { upstream: 'graph', state: 'open', tenantId: 'a' },
      { upstream: 'graph', state: 'open', tenantId: null },
    ];
    expect(changes).toEqual(opened);
    vi.setSystemTime(Date.now() + 1_000);
    const work = vi.fn<() => Promise<HttpResult>>(async () => toResponse(200));
    await expect(through('a', 'number 0', work)).rejects.toBeInstanceOf(CircuitOpenError);
    expect(changes).toEqual(opened);
    vi.setSystemTime(Date.now() + 9_000);
    await through('a', 'number 0', work);
    expect(work).toHaveBeenCalledTimes(1);
    expect(changes.slice(2)).toEqual([
      { upstream: 'graph', state: 'closed', tenantId: null },
      { upstream: 'graph', state: 'closed', tenantId: 'a' },
    ]);
  });
});
