// How requests to an upstream in trouble are limited: circuits, bulkhead, quarantine and usage budgets.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ReadOptions, Target } from '../../src/numbers/provider.ts';
import { createGraphClient, type GraphClientOptions } from '../../src/providers/meta/graph.ts';
import { createMetaProvider } from '../../src/providers/meta/meta.ts';
import {
  createPilotStatusProvider,
  type PilotStatusProviderOptions,
} from '../../src/providers/pilot-status.ts';
import { createTestSimulator } from '../simulator/simulator.ts';
import { type CircuitChange, createTelemetry } from '../../src/telemetry.ts';

const signal = new AbortController().signal;

const wabaId = '102290129340398';
const phone = { block: 'phone', id: '106540352242922', wabaId, fields: ['status'] } as const;
const owner = { accessToken: 'EAAowner', appSecret: null };

function open(options: Partial<GraphClientOptions> = {}) {
  const simulator = createTestSimulator({
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

test('a read without a free connection by its deadline, or beyond the queue of its tenant, is not sent', async () => {
  await using upstream = open({ maxPerTenant: 1, maxQueuedPerTenant: 1 });
  const hold = upstream.simulator.hold('*');
  const first = upstream.ask();
  await hold.arrived;
  const queued = upstream.ask({ deadlineAt: performance.now() + 50 });
  const unsent = { ok: false, attempted: false };
  const code = 'META_TIMEOUT';
  expect(await upstream.ask()).toMatchObject({
    ...unsent,
    failure: {
      code,
      message: 'Too many reads are waiting for a connection to Meta.',
      solution: 'Try again later.',
    },
  });
  expect(await queued).toMatchObject({
    ...unsent,
    failure: {
      code,
      message: 'Timed out waiting for a free connection to Meta.',
      solution: 'Try again.',
    },
  });
  hold.release();
  expect(await first).toMatchObject({ ok: true });
  expect(upstream.simulator.calls).toHaveLength(1);
});

describe('the quarantine', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  test.each([190, 10, 200, 299])(
    'does not send a token refused three times with code %i for 30 seconds; a new token is sent',
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

  test('refused tokens never open a circuit', async () => {
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

describe('Meta without responses', () => {
  test('is not sent requests after those of several tenants failed, and the failure says when to retry', async () => {
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

  test('opens no circuit when our own deadline ended the requests', async () => {
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

  test('for the requests of one tenant still serves the others', async () => {
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

describe('the session engine', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  const down = {
    ok: false,
    attempted: false,
    failure: {
      code: 'UNAVAILABLE',
      transient: true,
      message: expect.stringContaining('are paused'),
    },
  };

  test('is not sent requests after those of several tenants failed, until a trial succeeds', async () => {
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

    // Still down: only the trial is sent.
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

  test('without responses, is sent few requests of a tenant with many numbers', async () => {
    await using engine = openEngine({ attemptTimeoutMs: 50 });
    engine.simulator.setFault('*', { kind: 'hang' });
    const reads = await engine.ask({}, 100);
    // Eight failures open the circuit; each of the first seven had freed a slot for one more.
    expect(engine.simulator.calls.length).toBeLessThanOrEqual(15);
    const unsent = reads.filter((read) => read?.ok === false && !read.attempted);
    expect(unsent).toHaveLength(100 - engine.simulator.calls.length);
    for (const read of unsent) expect(read).toMatchObject(down);
    engine.simulator.setFault('*', null);
    expect(await engine.ask({ tenantId: 'b' })).toMatchObject([{ ok: true }]);
  });

  test('is sent at most 8 requests per tenant and 40 per process at once, of 1,000 reads', async () => {
    await using engine = openEngine();
    const { simulator, ask } = engine;
    const hold = simulator.hold('*');
    const reads = Array.from({ length: 900 }, () => ask());
    await hold.arrived;
    const others = Array.from({ length: 100 }, (_, index) => ask({ tenantId: `t${index % 10}` }));
    await vi.waitFor(() => expect(simulator.calls.length).toBeGreaterThanOrEqual(40));
    expect(simulator.calls).toHaveLength(40);
    hold.release();
    const results = (await Promise.all([...reads, ...others])).flat();
    expect(results.filter((read) => read?.ok)).toHaveLength(1_000);
  });

  test('opens no circuit when our own deadline ended the requests', async () => {
    await using engine = openEngine();
    engine.simulator.setFault('*', { kind: 'hang' });
    const deadlineAt = performance.now() + 100;
    const tenants = ['a', 'b', 'c', 'd', 'e'];
    const late = await Promise.all(
      tenants.map((tenantId) => engine.ask({ tenantId, deadlineAt }, 8)),
    );
    const message = expect.stringContaining('Timed out waiting for a response');
    for (const read of late.flat()) {
      expect(read).toMatchObject({ attempted: true, failure: { message } });
    }
    expect(engine.changes).toEqual([]);
  });

  test('opens no circuit when it refuses requests or fails for one instance', async () => {
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
  const simulator = createTestSimulator({
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

describe('a usage budget that is spent', () => {
  test('pauses reads of the account until the minute that Meta named', async () => {
    await using upstream = open();
    const pauses: ReadOptions['pauses'] = new Map();
    upstream.simulator.setFault(phone.id, { kind: 'throttled', minutes: 17 });
    expect(await upstream.ask({ pauses })).toMatchObject({ attempted: true });
    upstream.simulator.setFault(phone.id, null);
    const { until } = [...pauses.values()][0]!;
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
  const simulator = createTestSimulator({
    phones,
    wabas: [{ id: wabaId, fields: {}, hourlyCalls }],
  });
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

describe('a usage budget that runs out', () => {
  const good = { ok: true };
  const paused = { ok: false, attempted: false, failure: { code: 'META_RATE_LIMITED' } };

  test.each([
    [74, 3],
    // The first retry spends what the second would need.
    [75, 2],
    [76, 1],
  ])(
    'with %i percent spent, a read with a transient failure is sent %i times',
    async (percent, times) => {
      await using budget = await openBudget(100);
      await budget.read(percent - 1);
      budget.simulator.setFault(phone.id, { kind: 'error', code: 2, transient: true });
      const { operations, reads } = await budget.read(1);
      expect(reads).toMatchObject([{ ok: false, failure: { metaCode: 2 } }]);
      expect(operations).toBe(times);
    },
  );

  test('above 90 percent only single numbers are read, at 100 percent none', async () => {
    await using budget = await openBudget(100);
    await budget.read(90);
    expect((await budget.read(2)).reads).toMatchObject([good, good]);
    const many = await budget.read(2);
    expect(many.reads).toMatchObject([paused, paused]);
    expect(many.operations).toBe(0);
    for (let percent = 93; percent <= 100; percent += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await budget.read(1)).reads).toMatchObject([good]);
    }
    const one = await budget.read(1);
    expect(one.reads).toMatchObject([paused]);
    expect(one.operations).toBe(0);
  });
});
