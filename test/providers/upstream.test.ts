// What keeps an upstream in trouble from costing more than it must: turns, circuits in use, quarantine and budgets.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ReadOptions, Target } from '../../src/numbers/provider.ts';
import { createBulkhead } from '../../src/providers/bulkhead.ts';
import { createGraphClient, type GraphClientOptions } from '../../src/providers/meta/graph.ts';
import { createMetaProvider } from '../../src/providers/meta/meta.ts';
import {
  createPilotStatusProvider,
  type PilotStatusProviderOptions,
} from '../../src/providers/pilot-status.ts';
import { createSimulator } from '../../src/simulator/simulator.ts';
import { type CircuitChange, createTelemetry } from '../../src/telemetry.ts';

const signal = new AbortController().signal;

describe('the room for requests', () => {
  test('20 for the process, 4 for each tenant, and a quiet tenant does not wait for a noisy one', async () => {
    const enter = createBulkhead();
    const gate = Promise.withResolvers<void>();
    const begun: string[] = [];
    const work = (tenantId: string) =>
      enter(tenantId, signal, async () => {
        begun.push(tenantId);
        await gate.promise;
      });
    const noisy = Array.from({ length: 1_000 }, () => work('noisy'));
    const quiet = work('quiet');
    await vi.waitFor(() => expect(begun).toContain('quiet'));
    expect(begun.filter((tenant) => tenant === 'noisy')).toHaveLength(4);
    const others = Array.from({ length: 40 }, (_, index) => work(`tenant ${index}`));
    await vi.waitFor(() => expect(begun).toHaveLength(20));
    gate.resolve();
    await Promise.all([...noisy, quiet, ...others]);
    expect(begun).toHaveLength(1_041);
  });

  test('who gives up while waiting leaves at once, and the next one takes the turn', async () => {
    const enter = createBulkhead({ perProcess: 1 });
    const gate = Promise.withResolvers<string>();
    const first = enter('a', signal, () => gate.promise);
    const caller = new AbortController();
    const left = enter('b', caller.signal, async () => 'never begun');
    const next = enter('c', signal, async () => 'next');
    caller.abort();
    await expect(left).rejects.toMatchObject({ isTaskCancelledError: true });
    gate.resolve('first');
    expect(await Promise.all([first, next])).toEqual(['first', 'next']);
  });
});

const wabaId = '102290129340398';
const phone = { block: 'phone', id: '106540352242922', wabaId, fields: ['status'] } as const;
const owner = { accessToken: 'EAAowner', appSecret: null };

function open(options: Partial<GraphClientOptions> = {}) {
  const simulator = createSimulator({
    phones: Array.from({ length: 20 }, (_, index) => ({
      id: String(Number(phone.id) + index),
      wabaId,
      fields: { status: 'CONNECTED' },
      profile: null,
    })),
    wabas: [{ id: wabaId, fields: {} }],
  });
  const graph = createGraphClient({
    url: new URL('https://graph.example'),
    version: 'v26.0',
    fetch: simulator.fetch,
    telemetry: createTelemetry({ level: 'silent' }),
    ...options,
  });
  const ask = async (
    more: Partial<ReadOptions> = {},
    credentials = owner,
    id: string = phone.id,
  ) => {
    const reading = { tenantId: 'a', signal, deadlineAt: performance.now() + 8_000, ...more };
    const { results } = await graph.get({ ...phone, id }, credentials, {
      pauses: new Map(),
      onUpstreamCall: () => {},
      ...reading,
    });
    return results[0]!;
  };
  return { simulator, ask, [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose]() };
}

describe('a refused token', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test.each([190, 10, 200, 299])(
    'with code %i three times is not sent again for half a minute, and another one is',
    async (code) => {
      await using upstream = open();
      upstream.simulator.setFault(phone.id, { kind: 'error', code });
      const refused = { ok: false, failure: { code: 'META_ACCESS_DENIED', metaCode: code } };
      for (const attempted of [true, true, true, false]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(await upstream.ask()).toMatchObject({ ...refused, attempted });
      }
      expect(upstream.simulator.calls).toHaveLength(3);
      upstream.simulator.setFault(phone.id, null);
      const replaced = { ...owner, accessToken: 'EAAreplaced' };
      expect(await upstream.ask({}, replaced)).toMatchObject({ ok: true });
      vi.setSystemTime(Date.now() + 30_000);
      expect(await upstream.ask()).toMatchObject({ ok: true });
    },
  );

  test('never opens a circuit', async () => {
    await using upstream = open();
    upstream.simulator.setFault('*', { kind: 'error', code: 190 });
    for (let index = 0; index < 50; index += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await upstream.ask({ tenantId: `t${index}` }, { ...owner, accessToken: `EAAdead${index}` });
    }
    upstream.simulator.setFault('*', null);
    expect(await upstream.ask({}, { ...owner, accessToken: 'EAAgood' })).toMatchObject({
      ok: true,
    });
  });
});

describe('a host without answers', () => {
  test('is not asked once several tenants agree, and says when to come back', async () => {
    await using upstream = open();
    upstream.simulator.setFault('*', { kind: 'reset' });
    for (const tenantId of ['a', 'b', 'c', 'd', 'e']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await upstream.ask({ tenantId })).toMatchObject({ attempted: true });
    }
    expect(await upstream.ask({ tenantId: 'f' })).toMatchObject({
      attempted: false,
      failure: { code: 'META_UNAVAILABLE', transient: true, retryAt: expect.any(String) },
    });
  });

  test('is told from one whose answers our own deadline did not wait for', async () => {
    await using upstream = open();
    upstream.simulator.setFault('*', { kind: 'hang' });
    const late = Array.from({ length: 10 }, (_, index) =>
      upstream.ask({ tenantId: `t${index}`, deadlineAt: performance.now() + 100 }),
    );
    const tooLate = { attempted: true, failure: { code: 'META_TIMEOUT' } };
    expect(await Promise.all(late)).toMatchObject(late.map(() => tooLate));
    upstream.simulator.setFault('*', null);
    expect(await upstream.ask({ tenantId: 'b' })).toMatchObject({ ok: true });
  });

  test('for one tenant alone is there for the others', async () => {
    await using upstream = open();
    upstream.simulator.setFault('*', { kind: 'reset' });
    for (let index = 0; index < 12; index += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await upstream.ask({}, owner, String(Number(phone.id) + index));
    }
    expect(upstream.simulator.calls).toHaveLength(8);
    upstream.simulator.setFault('*', null);
    expect(await upstream.ask({ tenantId: 'b' })).toMatchObject({ ok: true });
  });
});

describe('a session engine without answers', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  const down = {
    ok: false,
    attempted: false,
    failure: {
      code: 'UNAVAILABLE',
      transient: true,
      message: expect.stringContaining('is not asked for a moment'),
    },
  };

  test('is not asked once several tenants agree, and is asked again when one request got through', async () => {
    await using engine = openEngine();
    const { simulator, changes, ask } = engine;
    simulator.setFault('*', { kind: 'reset' });
    // oxlint-disable no-await-in-loop -- one after the other
    for (const tenantId of ['a', 'b', 'c', 'd', 'e']) {
      expect(await ask({ tenantId })).toMatchObject([{ attempted: true }]);
    }
    // oxlint-enable no-await-in-loop
    expect(changes).toEqual([{ upstream: 'session engine', state: 'open', tenantId: null }]);
    const retryAt = new Date(Date.now() + 5_000).toISOString();
    expect(await ask({ tenantId: 'f' })).toMatchObject([{ ...down, failure: { retryAt } }]);
    expect(await ask({ tenantId: 'f' })).toMatchObject([down]);
    expect(simulator.calls).toHaveLength(5);

    // Still down: the one that tries is the only one that is sent.
    vi.setSystemTime(Date.now() + 5_000);
    expect(await ask({ tenantId: 'f' })).toMatchObject([{ attempted: true }]);
    expect(await ask({ tenantId: 'g' })).toMatchObject([down]);
    expect(simulator.calls).toHaveLength(6);

    simulator.setFault('*', null);
    vi.setSystemTime(Date.now() + 5_000);
    const hold = simulator.hold('*');
    const trial = ask({ tenantId: 'f' });
    await hold.arrived;
    expect(await ask({ tenantId: 'g' })).toMatchObject([down]);
    hold.release();
    expect(await trial).toMatchObject([{ ok: true }]);
    expect(await ask({ tenantId: 'g' })).toMatchObject([{ ok: true }]);
    expect(changes.at(-1)).toEqual({ upstream: 'session engine', state: 'closed', tenantId: null });
  });

  test('keeps a tenant with many numbers waiting for few of them', async () => {
    await using engine = openEngine({ attemptTimeoutMs: 50 });
    engine.simulator.setFault('*', { kind: 'hang' });
    const reads = await engine.ask({}, 100);
    // Eight prove it; as each of the first seven gave up, one more had begun.
    expect(engine.simulator.calls.length).toBeLessThanOrEqual(15);
    const unsent = reads.filter((read) => read?.ok === false && !read.attempted);
    expect(unsent).toHaveLength(100 - engine.simulator.calls.length);
    for (const read of unsent) expect(read).toMatchObject(down);
    engine.simulator.setFault('*', null);
    expect(await engine.ask({ tenantId: 'b' })).toMatchObject([{ ok: true }]);
  });

  test('is told from one whose answers our own deadline did not wait for', async () => {
    await using engine = openEngine();
    engine.simulator.setFault('*', { kind: 'hang' });
    const deadlineAt = performance.now() + 100;
    const tenants = ['a', 'b', 'c', 'd', 'e'];
    const late = await Promise.all(
      tenants.map((tenantId) => engine.ask({ tenantId, deadlineAt }, 8)),
    );
    const message = expect.stringContaining('did not answer in time');
    for (const read of late.flat()) {
      expect(read).toMatchObject({ attempted: true, failure: { message } });
    }
    expect(engine.changes).toEqual([]);
  });

  test('is told from one that refuses, or that has trouble with one instance', async () => {
    await using engine = openEngine();
    engine.simulator.setFault('shop 0', { kind: 'error', code: 0 });
    for (let index = 0; index < 20; index += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await engine.ask()).toMatchObject([{ attempted: true }]);
    }
    engine.simulator.setFault('*', { kind: 'throttled' });
    const refused = await engine.ask({}, 20);
    expect(refused.filter((read) => read?.ok === false && read.attempted)).toHaveLength(20);
    expect(engine.changes).toEqual([]);
  });
});

function openEngine(options: Pick<PilotStatusProviderOptions, 'attemptTimeoutMs'> = {}) {
  const targets = Array.from({ length: 100 }, (_, index) => ({
    numberId: `wa_${index}`,
    phoneNumberId: null,
    wabaId: null,
    instanceName: `shop ${index}`,
    credentials: null,
    blocks: ['connection'] as const,
  }));
  const simulator = createSimulator({
    instances: targets.map(({ instanceName }) => ({ instanceName, state: 'open' })),
  });
  const changes: CircuitChange[] = [];
  const provider = createPilotStatusProvider({
    sessionEngine: { url: new URL('https://engine.example'), key: 'any' },
    fetch: simulator.fetch,
    telemetry: {
      ...createTelemetry({ level: 'silent' }),
      circuitChanged: (change) => void changes.push(change),
    },
    ...options,
  });
  const ask = async (more: Partial<ReadOptions> = {}, count = 1) => {
    const deadlineAt = performance.now() + 8_000;
    const reading = {
      tenantId: 'a',
      signal,
      deadlineAt,
      pauses: new Map(),
      onUpstreamCall: () => {},
      ...more,
    };
    const observations = await provider.read(targets.slice(0, count), reading);
    return observations.map(({ reads }) => reads.connection);
  };
  return { simulator, changes, ask, [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose]() };
}

describe('a spent budget', () => {
  test('keeps the account from being asked until the stated minute', async () => {
    await using upstream = open();
    const pauses: ReadOptions['pauses'] = new Map();
    upstream.simulator.setFault(phone.id, { kind: 'throttled', minutes: 17 });
    expect(await upstream.ask({ pauses })).toMatchObject({ attempted: true });
    upstream.simulator.setFault(phone.id, null);
    const { until } = pauses.get(wabaId)!;
    expect(until.getTime() - Date.now()).toBeGreaterThan(16 * 60_000);
    expect(await upstream.ask({ pauses })).toMatchObject({
      attempted: false,
      failure: { code: 'META_RATE_LIMITED', retryAt: until.toISOString() },
    });
    expect(upstream.simulator.calls).toHaveLength(1);
  });
});

const toTargets = (count: number): readonly Target[] =>
  Array.from({ length: count }, (_, index) => ({
    numberId: `wa_${index}`,
    phoneNumberId: String(Number(phone.id) + index),
    wabaId,
    instanceName: null,
    credentials: owner,
    blocks: ['phone'],
  }));

async function openBudget(hourlyCalls: number) {
  const phones = toTargets(hourlyCalls).map(({ phoneNumberId }) => ({
    id: phoneNumberId!,
    wabaId,
    fields: { status: 'CONNECTED' },
    profile: null,
  }));
  const simulator = createSimulator({ phones, wabas: [{ id: wabaId, fields: {}, hourlyCalls }] });
  const telemetry = createTelemetry({ level: 'silent' });
  const graph = createGraphClient({
    url: new URL('https://graph.example'),
    version: 'v26.0',
    fetch: simulator.fetch,
    telemetry,
  });
  const provider = createMetaProvider({ graph, telemetry, retryDelayMs: 1 });
  const pauses: ReadOptions['pauses'] = new Map();
  const read = async (count: number) => {
    const deadlineAt = performance.now() + 8_000;
    const reading = {
      tenantId: 'a',
      signal,
      deadlineAt,
      pauses,
      onUpstreamCall: () => {},
    };
    simulator.clearCalls();
    const observations = await provider.read(toTargets(count), reading);
    return {
      operations: simulator.calls.flatMap(({ operations }) => operations).length,
      reads: observations.map(({ reads }) => reads.phone!),
    };
  };
  return { simulator, read, [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose]() };
}

describe('a budget that runs out', () => {
  const good = { ok: true };
  const scarce = { ok: false, attempted: false, failure: { code: 'META_RATE_LIMITED' } };

  test.each([
    [74, 3],
    // The first retry reaches what ends the second.
    [75, 2],
    [76, 1],
  ])(
    'with %i percent spent, what may succeed later is asked for %i times',
    async (percent, times) => {
      await using budget = await openBudget(100);
      await budget.read(percent - 1);
      budget.simulator.setFault(phone.id, { kind: 'error', code: 2, transient: true });
      const { operations, reads } = await budget.read(1);
      expect(reads).toMatchObject([{ ok: false, failure: { metaCode: 2 } }]);
      expect(operations).toBe(times);
    },
  );

  test('above 90 percent numbers are read one at a time, at 100 none', async () => {
    await using budget = await openBudget(100);
    await budget.read(90);
    expect((await budget.read(2)).reads).toMatchObject([good, good]);
    const many = await budget.read(2);
    expect(many.reads).toMatchObject([scarce, scarce]);
    expect(many.operations).toBe(0);
    for (let percent = 93; percent <= 100; percent += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await budget.read(1)).reads).toMatchObject([good]);
    }
    const one = await budget.read(1);
    expect(one.reads).toMatchObject([scarce]);
    expect(one.operations).toBe(0);
  });
});
