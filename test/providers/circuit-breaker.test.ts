// When an upstream is not asked at all, and what makes it worth asking again.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  CircuitOpen,
  createCircuitBreaker,
  createCircuitBreakers,
} from '../../src/providers/circuit-breaker.ts';
import type { HttpReading } from '../../src/providers/http-read.ts';
import { type CircuitChange, createTelemetry } from '../../src/telemetry.ts';

const trouble: HttpReading = { outcome: 'timeout', status: null, durationMs: 1 };
const answer = (status: number): HttpReading => ({
  outcome: 'answered',
  status,
  headers: new Headers(),
  text: '',
  durationMs: 1,
});

describe('a circuit', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test('opens when enough witnesses agree, and tries one request after the pause', async () => {
    const circuit = createCircuitBreaker({ subjects: 3, pauseMs: 10_000 });
    for (const subject of ['a', 'b', 'c']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => trouble);
    }
    const work = vi.fn<() => Promise<HttpReading>>(async () => answer(200));
    const refused = circuit.execute('d', work);
    await expect(refused).rejects.toBeInstanceOf(CircuitOpen);
    await expect(refused).rejects.toMatchObject({ retryAt: new Date(Date.now() + 10_000) });
    expect(work).not.toHaveBeenCalled();
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpReading>();
    const trial = circuit.execute('d', () => gate.promise);
    await expect(circuit.execute('e', work)).rejects.toBeInstanceOf(CircuitOpen);
    gate.resolve(answer(200));
    await trial;
    expect(await circuit.execute('e', work)).toMatchObject({ status: 200 });
  });

  test('stays closed for one witness, and for refusals, and forgets with each good answer', async () => {
    const circuit = createCircuitBreaker({ subjects: 3, pauseMs: 10_000 });
    const meet = async (subject: string, reading: HttpReading) =>
      void (await circuit.execute(subject, async () => reading));
    // oxlint-disable no-await-in-loop -- one after the other
    for (let index = 0; index < 20; index += 1) await meet('a', trouble);
    for (const subject of ['b', 'c', 'd', 'e']) await meet(subject, answer(401));
    for (const subject of ['b', 'c']) await meet(subject, answer(503));
    await meet('d', answer(200));
    for (const subject of ['e', 'f']) await meet(subject, trouble);
    // oxlint-enable no-await-in-loop
    expect(await circuit.execute('g', async () => answer(200))).toMatchObject({ status: 200 });
  });

  test('stays open when the one that tries throws, and lets the next one try at once', async () => {
    const changes: CircuitChange['state'][] = [];
    const onChange = (state: CircuitChange['state']) => void changes.push(state);
    const circuit = createCircuitBreaker({ subjects: 2, pauseMs: 10_000, onChange });
    for (const subject of ['a', 'b']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => trouble);
    }
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpReading>();
    const left = circuit.execute('c', () => gate.promise);
    gate.reject(new RangeError('the caller has left'));
    await expect(left).rejects.toThrow('the caller has left');
    const next = Promise.withResolvers<HttpReading>();
    const trial = circuit.execute('c', () => next.promise);
    await expect(circuit.execute('d', async () => trouble)).rejects.toBeInstanceOf(CircuitOpen);
    next.resolve(trouble);
    await trial;
    // This one has proved that the upstream is still in trouble.
    await expect(circuit.execute('d', async () => answer(200))).rejects.toMatchObject({
      retryAt: new Date(Date.now() + 10_000),
    });
    expect(changes).toEqual(['open']);
    vi.setSystemTime(Date.now() + 10_000);
    await circuit.execute('d', async () => answer(200));
    expect(changes).toEqual(['open', 'closed']);
    // What was met before it closed is forgotten.
    await circuit.execute('e', async () => trouble);
    expect(await circuit.execute('e', async () => answer(200))).toMatchObject({ status: 200 });
    expect(changes).toEqual(['open', 'closed']);
  });

  test('learns nothing from what our own deadline cut short', async () => {
    const cutShort: HttpReading = { outcome: 'cut short', status: null, durationMs: 1 };
    const circuit = createCircuitBreaker({ subjects: 2, pauseMs: 10_000 });
    const meet = async (subject: string, reading: HttpReading) =>
      void (await circuit.execute(subject, async () => reading));
    // oxlint-disable no-await-in-loop -- one after the other
    for (const subject of ['a', 'b', 'c']) await meet(subject, cutShort);
    await meet('a', trouble);
    await meet('b', cutShort);
    await meet('b', trouble);
    vi.setSystemTime(Date.now() + 9_999);
    await expect(meet('c', answer(200))).rejects.toBeInstanceOf(CircuitOpen);
    vi.setSystemTime(Date.now() + 1);
    // It is still open, for all that this trial has shown, but needs no pause.
    await meet('c', cutShort);
    await meet('c', trouble);
    // oxlint-enable no-await-in-loop
    await expect(meet('c', answer(200))).rejects.toBeInstanceOf(CircuitOpen);
  });

  test('waits for the one that tries, whatever was sent before it opened and ends meanwhile', async () => {
    const circuit = createCircuitBreaker({ subjects: 2, pauseMs: 10_000 });
    const late = ['a', 'b', 'c'].map((subject) => {
      const { promise, resolve, reject } = Promise.withResolvers<HttpReading>();
      return { resolve, reject, ended: circuit.execute(subject, () => promise) };
    });
    for (const subject of ['d', 'e']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await circuit.execute(subject, async () => trouble);
    }
    vi.setSystemTime(Date.now() + 10_000);
    const gate = Promise.withResolvers<HttpReading>();
    const trial = circuit.execute('f', () => gate.promise);
    const [left, ...troubled] = late;
    left?.reject(new RangeError('the caller has left'));
    for (const { resolve } of troubled) resolve(trouble);
    await Promise.allSettled(late.map(({ ended }) => ended));
    await expect(circuit.execute('g', async () => trouble)).rejects.toBeInstanceOf(CircuitOpen);
    gate.resolve(answer(200));
    await trial;
    expect(await circuit.execute('g', async () => answer(200))).toMatchObject({ status: 200 });
  });

  test('does not open for work that throws', async () => {
    const circuit = createCircuitBreaker({ subjects: 2, pauseMs: 10_000 });
    for (const subject of ['a', 'b', 'c']) {
      const left = circuit.execute(subject, () => Promise.reject(new RangeError('left')));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(left).rejects.toThrow('left');
    }
    await circuit.execute('a', async () => trouble);
    // Nor is what was met forgotten for it.
    await expect(
      circuit.execute('b', () => Promise.reject(new RangeError('left'))),
    ).rejects.toThrow('left');
    await circuit.execute('b', async () => trouble);
    await expect(circuit.execute('c', async () => trouble)).rejects.toBeInstanceOf(CircuitOpen);
  });
});

describe('the circuits of a host and its tenants', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test('that of a tenant stays open when that of the host lets its trial not pass', async () => {
    const changes: CircuitChange[] = [];
    const through = createCircuitBreakers({
      upstream: 'graph',
      telemetry: {
        ...createTelemetry({ level: 'silent' }),
        circuitChanged: (change) => void changes.push(change),
      },
      pauseMs: 10_000,
    });
    const meet = async (tenantId: string, subject: string) =>
      void (await through(tenantId, subject, async () => trouble));
    // oxlint-disable no-await-in-loop -- one after the other
    for (let index = 0; index < 8; index += 1) await meet('a', `number ${index}`);
    vi.setSystemTime(Date.now() + 9_000);
    for (const tenantId of ['b', 'c', 'd', 'e']) await meet(tenantId, 'number');
    // oxlint-enable no-await-in-loop
    const opened = [
      { upstream: 'graph', state: 'open', tenantId: 'a' },
      { upstream: 'graph', state: 'open', tenantId: null },
    ];
    expect(changes).toEqual(opened);
    vi.setSystemTime(Date.now() + 1_000);
    const work = vi.fn<() => Promise<HttpReading>>(async () => answer(200));
    await expect(through('a', 'number 0', work)).rejects.toBeInstanceOf(CircuitOpen);
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
