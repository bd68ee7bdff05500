// The contract of all providers, how many requests each sends, and what a refused field or token fails.

import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { toGraphFields } from '../../src/numbers/meta.ts';
import type {
  Block,
  Credentials,
  Provider,
  ReadOptions,
  Target,
} from '../../src/numbers/provider.ts';
import { createGraphClient } from '../../src/providers/meta/graph.ts';
import { createMetaProvider } from '../../src/providers/meta/meta.ts';
import { createPilotStatusProvider } from '../../src/providers/pilot-status.ts';
import {
  createTestSimulator,
  type Fault,
  type SimulatedPhone,
  type TestSimulator,
  type SimulatorOptions,
} from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';

const wabaId = '102290129340398';
const otherWabaId = '102290129340399';
const engineKey = 'canary engine key';
const readOptions: ReadOptions = {
  tenantId: 'tenant',
  signal: new AbortController().signal,
  onUpstreamCall: () => {},
  get deadlineAt() {
    return performance.now() + 60_000;
  },
  get pauses() {
    return new Map();
  },
};

/** The id of the simulated phone with this number. */
function toPhoneId(index: number): string {
  return String(106_540_352_000_000 + index);
}

function toCredentials(name: string): Credentials {
  return { accessToken: `EAA${name}`, appSecret: null };
}

function toPhone(index: number, more: Partial<SimulatedPhone> = {}): SimulatedPhone {
  return {
    id: toPhoneId(index),
    wabaId,
    fields: {
      display_phone_number: `+55 11 ${index}`,
      quality_rating: 'GREEN',
      status: 'CONNECTED',
      is_official_business_account: true,
      is_on_biz_app: false,
      health_status: { can_send_message: 'AVAILABLE', entities: [] },
    },
    profile: { about: `Shop ${index}`, vertical: 'RETAIL', websites: ['https://shop.example/'] },
    ...more,
  };
}

const fleet: SimulatorOptions = {
  phones: Array.from({ length: 120 }, (_, index) => toPhone(index)),
  wabas: [
    { id: wabaId, fields: { name: 'Lucky Shrub', currency: 'BRL' } },
    { id: otherWabaId, fields: { name: 'Other' } },
  ],
  instances: ['open', 'connecting', 'close', 'hibernating'].map((state, index) => ({
    instanceName: `shop ${index}`,
    state,
  })),
  sessionEngineKey: engineKey,
};

function toTarget(index: number, more: Partial<Target> = {}): Target {
  return {
    numberId: `wa_${index}`,
    phoneNumberId: toPhoneId(index),
    wabaId,
    instanceName: `shop ${index}`,
    // A new object for each target, as when each is decrypted from its own row.
    credentials: toCredentials('owner'),
    blocks: ['phone', 'profile', 'waba'],
    ...more,
  };
}

function toTargets(count: number, more: Partial<Target> = {}): readonly Target[] {
  return Array.from({ length: count }, (_, index) => toTarget(index, more));
}

/** Targets with all blocks of the provider. */
function toTargetsOf({ blocks }: Provider, count: number): readonly Target[] {
  return toTargets(count, { blocks });
}

interface Opened extends AsyncDisposable {
  readonly provider: Provider;
  readonly simulator: TestSimulator;
  readonly lines: readonly string[];
}

interface OpenOptions extends SimulatorOptions {
  readonly attemptTimeoutMs?: number;
}

function open(
  options: OpenOptions,
  create: (
    fetch: typeof globalThis.fetch,
    telemetry: ReturnType<typeof createTelemetry>,
    timeout: { readonly attemptTimeoutMs?: number },
  ) => Provider,
): Opened {
  const { attemptTimeoutMs, ...more } = options;
  const simulator = createTestSimulator({ ...fleet, ...more });
  const lines: string[] = [];
  const telemetry = createTelemetry({ level: 'trace', write: (line) => void lines.push(line) });
  const timeout = attemptTimeoutMs === undefined ? {} : { attemptTimeoutMs };
  return {
    simulator,
    lines,
    provider: create(simulator.fetch, telemetry, timeout),
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  };
}

function openMeta(options: OpenOptions = {}): Opened {
  return open(options, (fetch, telemetry, timeout) =>
    createMetaProvider({
      retryDelayMs: 1,
      telemetry,
      graph: createGraphClient({
        url: new URL('https://graph.example'),
        version: 'v26.0',
        fetch,
        telemetry,
        ...timeout,
      }),
    }),
  );
}

function openPilotStatus(options: OpenOptions = {}): Opened {
  const sessionEngine = { url: new URL('https://engine.example'), key: engineKey };
  return open(options, (fetch, telemetry, timeout) =>
    createPilotStatusProvider({ sessionEngine, fetch, telemetry, ...timeout }),
  );
}

const contract: readonly {
  readonly name: string;
  readonly openProvider: (options?: OpenOptions) => Opened;
  readonly toIds: (target: Target) => readonly (string | null)[];
}[] = [
  {
    name: 'META',
    openProvider: openMeta,
    toIds: (target) => [target.phoneNumberId, target.wabaId],
  },
  { name: 'PILOT_STATUS', openProvider: openPilotStatus, toIds: (it) => [it.instanceName] },
];

describe.each(contract)('the provider $name', ({ openProvider, toIds }) => {
  const faults: readonly Fault[] = [
    { kind: 'error', code: 1, status: 500 },
    { kind: 'error', code: 190, status: 401 },
    { kind: 'throttled' },
    { kind: 'html' },
    { kind: 'truncated' },
    { kind: 'wrong-types' },
    { kind: 'empty-data' },
    { kind: 'oversized' },
    { kind: 'redirect' },
    { kind: 'reset' },
    { kind: 'hang' },
    { kind: 'stall' },
    { kind: 'null-item' },
  ];
  test('returns one observation for each target, in their order, with each requested block', async () => {
    await using upstream = openProvider();
    const targets = toTargetsOf(upstream.provider, 3).toReversed();
    const observations = await upstream.provider.read(targets, readOptions);
    expect(observations.map(({ numberId }) => numberId)).toEqual(['wa_2', 'wa_1', 'wa_0']);
    for (const { reads } of observations) {
      expect(Object.keys(reads).toSorted()).toEqual(upstream.provider.blocks.toSorted());
      expect(Object.values(reads).map((read) => read.ok)).not.toContain(false);
    }
  });

  test('sends nothing when there are no targets or no blocks', async () => {
    await using upstream = openProvider();
    expect(await upstream.provider.read([], readOptions)).toEqual([]);
    expect(await upstream.provider.read([toTarget(0, { blocks: [] })], readOptions)).toEqual([
      { numberId: 'wa_0', reads: {} },
    ]);
    expect(upstream.simulator.calls).toEqual([]);
  });

  test.each(faults)('returns a result for each block during $kind', async (fault) => {
    await using upstream = openProvider({ attemptTimeoutMs: 20 });
    upstream.simulator.setFault('*', fault);
    const targets = toTargetsOf(upstream.provider, 4);
    const observations = await upstream.provider.read(targets, readOptions);
    expect(observations.map(({ numberId }) => numberId)).toEqual(targets.map((it) => it.numberId));
    const reads = observations.flatMap((it) => Object.values(it.reads));
    expect(reads).toHaveLength(4 * upstream.provider.blocks.length);
    for (const read of reads.filter((it) => !it.ok)) {
      expect(read).toMatchObject({
        attempted: true,
        failure: { code: expect.any(String), message: expect.stringMatching(/^[A-Z].*\.$/) },
      });
    }
  });

  test('returns a failure without an attempt when an id or a token is not stored', async () => {
    await using upstream = openProvider();
    const { blocks } = upstream.provider;
    const nothing = { phoneNumberId: null, wabaId: null, instanceName: null, credentials: null };
    const [observation] = await upstream.provider.read(
      [toTarget(0, { ...nothing, blocks })],
      readOptions,
    );
    for (const block of blocks) {
      expect(observation?.reads[block]).toMatchObject({
        ok: false,
        attempted: false,
        failure: { transient: false },
      });
    }
    expect(upstream.simulator.calls).toEqual([]);
  });

  test("rejects with the signal's reason, before it sends a request and while it waits", async () => {
    await using upstream = openProvider();
    const targets = toTargetsOf(upstream.provider, 2);
    const reason = new Error('the caller has gone');
    await expect(
      upstream.provider.read(targets, { ...readOptions, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    expect(upstream.simulator.calls).toEqual([]);
    const caller = new AbortController();
    const holds = toIds(targets[1]!).map((id) => upstream.simulator.hold(id!));
    const read = upstream.provider.read(targets, { ...readOptions, signal: caller.signal });
    await holds[0]?.arrived;
    caller.abort(reason);
    await expect(read).rejects.toBe(reason);
  });

  test('puts no secret into results and logs', async () => {
    await using upstream = openProvider({ tokens: [] });
    upstream.simulator.setFault('*', {
      kind: 'error',
      code: 190,
      message: `EAAowner ${engineKey}`,
    });
    const targets = toTargetsOf(upstream.provider, 5);
    const observations = await upstream.provider.read(targets, readOptions);
    const said = JSON.stringify([observations, upstream.lines]);
    expect(upstream.lines).not.toEqual([]);
    expect(said).not.toContain('EAAowner');
    expect(said).not.toContain(engineKey);
  });
});

describe('META, requests', () => {
  test.each([
    { count: 1, blocks: ['phone'], requests: 1 },
    { count: 1, blocks: ['phone', 'profile', 'waba'], requests: 3 },
    { count: 3, blocks: ['phone'], requests: 3 },
    { count: 4, blocks: ['phone'], requests: 1 },
    { count: 25, blocks: ['phone', 'profile', 'waba'], requests: 2 },
    { count: 25, blocks: ['waba'], requests: 1 },
    { count: 50, blocks: ['phone'], requests: 1 },
    { count: 51, blocks: ['phone'], requests: 2 },
    { count: 120, blocks: ['phone', 'profile', 'waba'], requests: 5 },
  ] as const)('$count numbers of one WABA with $blocks cost $requests', async (row) => {
    await using upstream = openMeta();
    const targets = toTargets(row.count, { blocks: row.blocks });
    const observations = await upstream.provider.read(targets, readOptions);
    expect(upstream.simulator.calls).toHaveLength(row.requests);
    const reads = observations.flatMap(({ reads: it }) => Object.values(it));
    expect(reads.filter((read) => read.ok)).toHaveLength(row.count * row.blocks.length);
  });

  test('each number gets its own result, however many share a batch', async () => {
    await using upstream = openMeta();
    const observations = await upstream.provider.read(toTargets(120), readOptions);
    expect(observations).toMatchObject(
      Array.from({ length: 120 }, (_, index) => ({
        reads: {
          phone: { value: { displayPhoneNumber: `+55 11 ${index}` } },
          profile: { value: { about: `Shop ${index}` } },
        },
      })),
    );
  });

  test('only the requested blocks are read', async () => {
    await using upstream = openMeta();
    await upstream.provider.read(
      [
        toTarget(0, { blocks: ['phone'] }),
        toTarget(1, { blocks: ['profile'] }),
        toTarget(2, { blocks: [] }),
      ],
      readOptions,
    );
    expect(upstream.simulator.calls.flatMap((call) => call.operations).toSorted()).toEqual([
      `phone ${toPhoneId(0)}`,
      `profile ${toPhoneId(1)}`,
    ]);
  });

  test('the WABAs are in the first batch', async () => {
    await using upstream = openMeta();
    await upstream.provider.read(
      [...toTargets(60), toTarget(70, { wabaId: otherWabaId })],
      readOptions,
    );
    const batches = upstream.simulator.calls.map((call) => call.operations.slice(0, 3));
    expect(batches).toContainEqual([
      `waba ${wabaId}`,
      `waba ${otherWabaId}`,
      `phone ${toPhoneId(0)}`,
    ]);
  });

  test('a number that is there twice is read once', async () => {
    await using upstream = openMeta();
    const twin = toTarget(0, { numberId: 'wa_twin' });
    const [first, second] = await upstream.provider.read([toTarget(0), twin], readOptions);
    expect(second?.reads).toEqual(first?.reads);
    expect(upstream.simulator.calls).toHaveLength(3);
  });

  test('numbers with different tokens do not share a batch', async () => {
    await using upstream = openMeta();
    const targets = Array.from({ length: 8 }, (_, index) =>
      toTarget(index, { credentials: toCredentials(index % 2 === 0 ? 'even' : 'odd') }),
    );
    await upstream.provider.read(targets, readOptions);
    const bearers = upstream.simulator.calls.map((call) => call.headers['authorization']);
    expect(bearers.toSorted()).toEqual(['Bearer EAAeven', 'Bearer EAAodd']);
  });
});

const risky = [
  'health_status',
  'is_on_biz_app',
  'is_official_business_account',
  'webhook_configuration',
];

describe('META, refused fields', () => {
  test.each([
    ['health_status', { healthStatus: null }],
    ['is_on_biz_app', { isOnBusinessApp: null }],
    ['is_official_business_account', { isOfficialBusinessAccount: null }],
  ])('a refused %s makes only that member null, with one more request', async (field, lost) => {
    await using upstream = openMeta();
    const target = toTarget(0, { blocks: ['phone'] });
    const [healthy] = await upstream.provider.read([target], readOptions);
    upstream.simulator.setFault(toPhoneId(0), { kind: 'unknown-field', field });
    const [observation] = await upstream.provider.read([target], readOptions);
    const value = healthy?.reads.phone?.ok === true ? healthy.reads.phone.value : null;
    expect(observation?.reads.phone).toEqual({ ok: true, value: { ...value, ...lost } });
    expect(value).toMatchObject({ isOnBusinessApp: false, healthStatus: expect.any(Object) });
    expect(upstream.simulator.calls).toHaveLength(1 + 2);
  });

  test.each([
    ['phone', toPhoneId(0), 'quality_rating', 'qualityRating', 'status'],
    ['profile', toPhoneId(0), 'vertical', 'vertical', 'about'],
    ['waba', wabaId, 'currency', 'currency', 'name'],
  ] as const)(
    'in %s, on %s, a refused %s makes %s null, not %s',
    async (block, id, field, lost, kept) => {
      await using upstream = openMeta();
      upstream.simulator.setFault(id, { kind: 'unknown-field', field });
      const [observation] = await upstream.provider.read(
        [toTarget(0, { blocks: [block] })],
        readOptions,
      );
      expect(observation?.reads[block]).toMatchObject({
        ok: true,
        value: { [lost]: null, [kept]: expect.any(String) },
      });
    },
  );

  test('the second request has every field but the refused one', async () => {
    await using upstream = openMeta();
    const field = 'health_status';
    upstream.simulator.setFault(toPhoneId(0), { kind: 'unknown-field', field });
    await upstream.provider.read([toTarget(0, { blocks: ['phone'] })], readOptions);
    const requested = upstream.simulator.calls.map(
      (call) => call.query['fields']?.split(',') ?? [],
    );
    expect(requested[0]).toEqual(toGraphFields('phone'));
    expect(requested[1]).toEqual(toGraphFields('phone').filter((name) => name !== field));
  });

  test.each([
    ['another node', { id: '1234567890', status: 'BANNED' }],
    ['a node without an id', { status: 'BANNED' }],
    ['nothing', {}],
  ])('a response with %s is a failure', async (_, answer) => {
    await using upstream = await openServer(
      () => 'none',
      () => JSON.stringify(answer),
    );
    const [observation] = await upstream.provider.read(
      [toTarget(0, { blocks: ['phone', 'waba'] })],
      readOptions,
    );
    const failed = { ok: false, attempted: true, failure: { code: 'META_UNAVAILABLE' } };
    expect(observation?.reads).toMatchObject({ phone: failed, waba: failed });
  });

  test('the second requests of several numbers share a batch', async () => {
    await using upstream = openMeta();
    for (const index of [3, 4, 5, 6]) {
      upstream.simulator.setFault(toPhoneId(index), { kind: 'unknown-field', field: risky[0]! });
    }
    const observations = await upstream.provider.read(toTargets(25), readOptions);
    const sizes = upstream.simulator.calls.map((call) => call.operations.length);
    // The first two requests may arrive in either order.
    expect([sizes.slice(0, 2).toSorted(), ...sizes.slice(2)]).toEqual([[1, 50], 4]);
    const reads = observations.flatMap(({ reads: it }) => Object.values(it));
    expect(reads.filter((read) => read.ok)).toHaveLength(75);
  });

  test.each([
    [10, ''],
    [200, ''],
    [294, ''],
    [100, '(#100) Need permission on either WhatsApp Business Account or owner/shared business'],
    [100, '(#100) Missing Permission'],
  ])(
    'code %i on a phone because of its risky fields makes only them null: %s',
    async (code, message) => {
      await using upstream = await openServer(
        (fields) => fields.find((field) => risky.includes(field)),
        JSON.stringify({ error: { code, message } }),
      );
      const target = toTarget(0, { blocks: ['phone'] });
      const [observation] = await upstream.provider.read([target], readOptions);
      expect(observation?.reads.phone).toMatchObject({
        ok: true,
        value: { status: 'CONNECTED', healthStatus: null },
      });
      // All fields, a probe, both halves, and each risky field.
      expect(upstream.requested).toHaveLength(8);
    },
  );

  test.each([10, 200])('code %i for all fields of a phone is a denial', async (code) => {
    await using upstream = openMeta();
    upstream.simulator.setFault(toPhoneId(0), { kind: 'error', code });
    const [observation] = await upstream.provider.read(
      [toTarget(0, { blocks: ['phone'] })],
      readOptions,
    );
    expect(observation?.reads.phone).toMatchObject({
      ok: false,
      failure: { code: 'META_ACCESS_DENIED', metaCode: code },
    });
    // All fields, and a probe.
    expect(upstream.simulator.calls).toHaveLength(2);
  });

  test.each([
    ['waba', wabaId],
    ['profile', toPhoneId(0)],
  ] as const)(
    'a denied %s is requested once more, to see whether any of it can be read',
    async (block, id) => {
      await using upstream = openMeta();
      upstream.simulator.setFault(id, { kind: 'error', code: 200 });
      await upstream.provider.read([toTarget(0, { blocks: [block] })], readOptions);
      expect(upstream.simulator.calls).toHaveLength(2);
    },
  );

  test('a transient failure of the risky fields fails the block, and erases none of them', async () => {
    const refused = '{"error":{"code":100,"message":"Tried accessing nonexisting field (status)"}}';
    await using upstream = await openServer(
      (fields) => fields.find((field) => risky.includes(field)),
      (fields) => (fields.includes('status') ? refused : '{"error":{"code":2}}'),
    );
    const [observation] = await upstream.provider.read(
      [toTarget(0, { blocks: ['phone'] })],
      readOptions,
    );
    expect(observation?.reads.phone).toMatchObject({
      ok: false,
      failure: { code: 'META_UNAVAILABLE', transient: true, metaCode: 2 },
    });
  });
});

test.each(['{"id":{"toString":1}}', '{"id":["100000000001"]}', '{"id":null}', '{}'])(
  'META: a response of %s is a failure',
  async (body) => {
    const telemetry = createTelemetry({ level: 'silent' });
    const fetch = async () => Response.json(JSON.parse(body));
    const url = new URL('https://graph.example');
    const graph = createGraphClient({ url, version: 'v26.0', fetch, telemetry });
    const provider = createMetaProvider({ retryDelayMs: 1, telemetry, graph });
    const [observation] = await provider.read([toTarget(0, { blocks: ['phone'] })], readOptions);
    expect(observation?.reads.phone).toMatchObject({
      ok: false,
      failure: { code: 'META_UNAVAILABLE' },
    });
  },
);

describe('META, partial failures', () => {
  test('null items are retried, and only those', async () => {
    await using upstream = openMeta();
    for (const index of [1, 2]) {
      upstream.simulator.setFault(toPhoneId(index), { kind: 'null-item', times: 1 });
    }
    const targets = toTargets(10, { blocks: ['phone'] });
    const observations = await upstream.provider.read(targets, readOptions);
    expect(observations.filter(({ reads }) => reads.phone?.ok)).toHaveLength(10);
    expect(upstream.simulator.calls.flatMap((call) => call.operations).slice(10)).toEqual([
      `phone ${toPhoneId(1)}`,
      `phone ${toPhoneId(2)}`,
    ]);
  });

  test('items that stay null are META_UNAVAILABLE after three attempts', async () => {
    await using upstream = openMeta();
    for (const { phoneNumberId } of toTargets(5)) {
      upstream.simulator.setFault(phoneNumberId!, { kind: 'null-item' });
    }
    const observations = await upstream.provider.read(
      toTargets(5, { blocks: ['phone'] }),
      readOptions,
    );
    for (const { reads } of observations) {
      expect(reads.phone).toMatchObject({ failure: { code: 'META_UNAVAILABLE', transient: true } });
    }
    expect(upstream.simulator.calls).toHaveLength(3);
  });

  test('a number that fails does not fail the others of its batch', async () => {
    await using upstream = openMeta();
    upstream.simulator.setFault(toPhoneId(2), { kind: 'error', code: 368 });
    const observations = await upstream.provider.read(toTargets(5), readOptions);
    const failed = observations.flatMap(({ numberId, reads }) =>
      Object.entries(reads)
        .filter(([, read]) => !read.ok)
        .map(([block]) => `${numberId} ${block}`),
    );
    expect(failed.toSorted()).toEqual(['wa_2 phone', 'wa_2 profile']);
  });

  test.each([{ kind: 'reset' }, { kind: 'hang' }, { kind: 'oversized' }] as const)(
    'one operation with $kind breaks its batch, and after two retries fails alone',
    async (fault) => {
      await using upstream = openMeta({ attemptTimeoutMs: 50 });
      upstream.simulator.setFault(toPhoneId(20), fault);
      const targets = toTargets(80, { blocks: ['phone'] });
      const observations = await upstream.provider.read(targets, readOptions);
      const failed = observations.filter(({ reads }) => !reads.phone?.ok);
      expect(failed.map(({ numberId }) => numberId)).toEqual(['wa_20']);
      const sizes = upstream.simulator.calls.map((call) => call.operations.length);
      expect(sizes.slice(0, 2).toSorted()).toEqual([30, 50]);
      expect(sizes.slice(2, 9).toSorted()).toEqual([2, 8, 8, 8, 8, 8, 8]);
      expect(sizes.slice(9)).toEqual(Array.from({ length: 8 }, () => 1));
    },
  );

  test('the dead token of one number does not fail numbers with another', async () => {
    await using upstream = openMeta({
      tokens: [
        { token: 'EAAowner', wabaIds: [wabaId] },
        { token: 'EAAdead', wabaIds: [wabaId], state: 'expired' },
      ],
    });
    const blocks: readonly Block[] = ['phone'];
    const [dead, alive] = await upstream.provider.read(
      [toTarget(0, { blocks, credentials: toCredentials('dead') }), toTarget(1, { blocks })],
      readOptions,
    );
    expect(dead?.reads.phone).toMatchObject({ failure: { metaCode: 190, metaSubcode: 463 } });
    expect(alive?.reads.phone).toMatchObject({ ok: true });
  });
});

describe('META, a WABA that numbers share', () => {
  const tokens = [
    { token: 'EAAowner', wabaIds: [wabaId] },
    { token: 'EAAdead', wabaIds: [wabaId], state: 'expired' as const },
    { token: 'EAAforeign', wabaIds: [otherWabaId] },
  ];
  const dead = toCredentials('dead');
  const foreign = toCredentials('foreign');
  const good = { ok: true, value: { id: wabaId, name: 'Lucky Shrub' } };

  test('is read with the token that works, for all of them', async () => {
    await using upstream = openMeta({ tokens });
    const targets = [toTarget(0, { credentials: dead }), toTarget(1)];
    const [first, second] = await upstream.provider.read(targets, readOptions);
    expect(first?.reads).toMatchObject({ phone: { ok: false }, waba: good });
    expect(second?.reads).toMatchObject({ phone: { ok: true }, waba: good });
  });

  test('is read again with a token that has just worked, before one that has not', async () => {
    await using upstream = openMeta({ tokens });
    const targets = [
      toTarget(0, { credentials: dead }),
      toTarget(1, { credentials: foreign }),
      toTarget(2),
    ];
    const observations = await upstream.provider.read(targets, readOptions);
    expect(observations.map(({ reads }) => reads.waba)).toMatchObject([good, good, good]);
  });

  test('is read once when the first token works, whatever the others are', async () => {
    await using upstream = openMeta({ tokens });
    await upstream.provider.read([toTarget(0), toTarget(1, { credentials: dead })], readOptions);
    const requested = upstream.simulator.calls.flatMap((call) => call.operations);
    expect(requested.filter((operation) => operation === `waba ${wabaId}`)).toHaveLength(1);
  });

  test('is returned for a number without a token, whose other blocks fail', async () => {
    await using upstream = openMeta({ tokens });
    const targets = [toTarget(0, { credentials: null }), toTarget(1, { blocks: ['phone'] })];
    const [observation] = await upstream.provider.read(targets, readOptions);
    const missing = {
      ok: false,
      attempted: false,
      failure: {
        code: 'META_ACCESS_DENIED',
        message: expect.stringContaining('No access token is stored for this number'),
      },
    };
    expect(observation?.reads).toMatchObject({ phone: missing, profile: missing, waba: good });
  });

  test('fails with the first refusal when no token works, after at most two attempts', async () => {
    await using upstream = openMeta({ tokens });
    const targets = ['dead', 'unknown', 'unknown too', 'and this'].map((name, index) =>
      toTarget(index, { blocks: ['waba'], credentials: toCredentials(name.replaceAll(' ', '')) }),
    );
    const observations = await upstream.provider.read(targets, readOptions);
    for (const { reads } of observations) {
      expect(reads.waba).toMatchObject({ ok: false, failure: { metaCode: 190, metaSubcode: 463 } });
    }
    expect(upstream.simulator.calls).toHaveLength(2);
  });

  test('is not read with another token after a failure that is not a denial', async () => {
    await using upstream = openMeta();
    upstream.simulator.setFault(wabaId, { kind: 'throttled' });
    const targets = [toTarget(0, { blocks: ['waba'] }), toTarget(1, { credentials: dead })];
    const [observation] = await upstream.provider.read(targets, readOptions);
    expect(observation?.reads.waba).toMatchObject({ failure: { code: 'META_RATE_LIMITED' } });
    const requested = upstream.simulator.calls.flatMap((call) => call.operations);
    expect(requested.filter((operation) => operation === `waba ${wabaId}`)).toHaveLength(1);
  });
});

async function readProfile(options: SimulatorOptions, fault: Fault | null = null) {
  await using upstream = openMeta(options);
  upstream.simulator.setFault(toPhoneId(0), fault);
  const target = toTarget(0, { blocks: ['profile'] });
  const [observation] = await upstream.provider.read([target], readOptions);
  return observation?.reads.profile;
}

describe('META, the profile', () => {
  const nothing = {
    about: null,
    email: null,
    websites: null,
    vertical: null,
    address: null,
    description: null,
    profilePictureUrl: null,
  };
  const value = {
    ...nothing,
    about: 'Shop 0',
    vertical: 'RETAIL',
    websites: ['https://shop.example/'],
  };

  test('is the same, flat or nested, with nulls or without', async () => {
    for (const profileShape of ['flat', 'nested'] as const) {
      for (const emitNulls of [false, true]) {
        // oxlint-disable-next-line no-await-in-loop -- one simulator after the other
        expect(await readProfile({ profileShape, emitNulls })).toEqual({ ok: true, value });
      }
    }
  });

  test('that was never filled in is read as empty', async () => {
    expect(await readProfile({ phones: [toPhone(0, { profile: null })] })).toEqual({
      ok: true,
      value: nothing,
    });
    expect(await readProfile({}, { kind: 'missing-vertical' })).toEqual({
      ok: true,
      value: { ...value, vertical: null },
    });
  });

  test.each(['{}', '{"data":null}', '{"data":{}}', '{"data":[null]}', '{"data":["text"]}', '[]'])(
    '%s is META_UNAVAILABLE',
    async (body) => {
      await using upstream = await openServer(() => 'always', body);
      const target = toTarget(0, { blocks: ['profile'] });
      const [observation] = await upstream.provider.read([target], readOptions);
      expect(observation?.reads.profile).toMatchObject({
        ok: false,
        attempted: true,
        failure: { code: 'META_UNAVAILABLE', transient: true },
      });
    },
  );
});

describe('PILOT_STATUS', () => {
  const connection: Partial<Target> = { blocks: ['connection'], credentials: null };

  test("translates the engine's states", async () => {
    await using upstream = openPilotStatus();
    const observations = await upstream.provider.read(toTargets(4, connection), readOptions);
    expect(observations.map(({ reads }) => reads.connection)).toEqual([
      { ok: true, value: { state: 'OPEN', instanceExists: true } },
      { ok: true, value: { state: 'CONNECTING', instanceExists: true } },
      { ok: true, value: { state: 'CLOSE', instanceExists: true } },
      {
        ok: false,
        attempted: true,
        failure: expect.objectContaining({ code: 'ENGINE_INVALID_RESPONSE', transient: true }),
      },
    ]);
    expect(upstream.simulator.calls[0]).toMatchObject({
      method: 'GET',
      path: '/instance/connectionState/shop%200',
      headers: { apikey: engineKey },
    });
  });

  test('has no blocks and sends nothing without an engine', async () => {
    await using upstream = open({}, (fetch, telemetry) =>
      createPilotStatusProvider({ sessionEngine: null, fetch, telemetry }),
    );
    expect(upstream.provider.blocks).toEqual([]);
    expect(await upstream.provider.read(toTargets(2, connection), readOptions)).toEqual([
      { numberId: 'wa_0', reads: {} },
      { numberId: 'wa_1', reads: {} },
    ]);
    expect(upstream.simulator.calls).toEqual([]);
  });

  test('fails when the key is refused', async () => {
    await using upstream = openPilotStatus({ sessionEngineKey: 'another key' });
    const [observation] = await upstream.provider.read([toTarget(0, connection)], readOptions);
    expect(observation?.reads.connection).toMatchObject({
      attempted: true,
      failure: {
        code: 'ENGINE_ACCESS_DENIED',
        transient: false,
        message: expect.stringContaining('refused the gateway'),
        solution: expect.stringContaining('SESSION_ENGINE_KEY'),
      },
    });
  });

  test('finds an instance that does not exist closed', async () => {
    await using upstream = openPilotStatus({ instances: [] });
    const [observation] = await upstream.provider.read([toTarget(0, connection)], readOptions);
    expect(observation?.reads.connection).toEqual({
      ok: true,
      value: { state: 'CLOSE', instanceExists: false },
    });
  });

  test.each([
    [{ kind: 'hang' }, 'UNAVAILABLE', 'Timed out'],
    [{ kind: 'reset' }, 'UNAVAILABLE', 'connection to the session engine failed'],
    [{ kind: 'oversized' }, 'UNAVAILABLE', 'larger than'],
    [{ kind: 'html', status: 503 }, 'UNAVAILABLE', 'returned an error'],
    [{ kind: 'throttled' }, 'UNAVAILABLE', 'returned an error'],
    [{ kind: 'truncated' }, 'ENGINE_INVALID_RESPONSE', 'response is invalid'],
    [{ kind: 'wrong-types' }, 'ENGINE_INVALID_RESPONSE', 'response is invalid'],
    [{ kind: 'empty-data' }, 'ENGINE_INVALID_RESPONSE', 'response is invalid'],
  ] as [Fault, string, string][])('during %j fails with %s: %s', async (fault, code, says) => {
    await using upstream = openPilotStatus({ attemptTimeoutMs: 250 });
    upstream.simulator.setFault('shop 0', fault);
    const targets = [toTarget(0, connection), toTarget(1, connection)];
    const [first, second] = await upstream.provider.read(targets, readOptions);
    expect(first?.reads.connection).toMatchObject({
      failure: { code, transient: true, message: expect.stringContaining(says) },
    });
    expect(second?.reads.connection).toMatchObject({ ok: true });
  });

  test.each(['.', '..', '', '\ud800'])(
    'an instance named %j is never sent',
    async (instanceName) => {
      await using upstream = openPilotStatus();
      const target = toTarget(0, { ...connection, instanceName });
      const [observation] = await upstream.provider.read([target], readOptions);
      expect(observation?.reads.connection).toMatchObject({ ok: false, attempted: false });
      expect(upstream.simulator.calls).toEqual([]);
    },
  );

  test('an instance name with special characters stays one segment of the path, after the base path', async () => {
    const paths: (string | undefined)[] = [];
    await using upstream = await listen((request, response) => {
      paths.push(request.url);
      response.end('{"instance":{"state":"open"}}');
    });
    const provider = createPilotStatusProvider({
      sessionEngine: { url: new URL('/base/', upstream.url), key: engineKey },
      fetch: globalThis.fetch,
      telemetry: createTelemetry({ level: 'silent' }),
    });
    const target = toTarget(0, { ...connection, instanceName: 'a/../b?c#d é' });
    const [observation] = await provider.read([target], readOptions);
    expect(observation?.reads.connection).toMatchObject({ ok: true });
    expect(paths).toEqual(['/base/instance/connectionState/a%2F..%2Fb%3Fc%23d%20%C3%A9']);
  });

  test('sends at most eight requests at once', async () => {
    await using upstream = openPilotStatus({
      instances: toTargets(20).map((it) => ({ instanceName: it.instanceName!, state: 'open' })),
    });
    const hold = upstream.simulator.hold('*');
    const read = upstream.provider.read(toTargets(20, connection), readOptions);
    await hold.arrived;
    await expect.poll(() => upstream.simulator.calls.length, { interval: 1 }).toBe(8);
    hold.release();
    const observations = await read;
    expect(observations.filter(({ reads }) => reads.connection?.ok)).toHaveLength(20);
  });
});

interface Listening extends AsyncDisposable {
  readonly url: string;
}

async function listen(listener: RequestListener): Promise<Listening> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Refusing extends AsyncDisposable {
  readonly provider: Provider;
  /** The fields of each request, in order of arrival. */
  readonly requested: readonly (readonly string[])[];
}

/** A Graph API that refuses requests by their fields, which the simulator cannot. */
async function openServer(
  findRefused: (fields: readonly string[]) => string | undefined,
  toRefusal: string | ((fields: readonly string[]) => string) = '',
): Promise<Refusing> {
  const requested: string[][] = [];
  const toBody = (id: string | undefined, fields: readonly string[]): string => {
    const refused = findRefused(fields);
    if (refused === undefined) return JSON.stringify({ id, status: 'CONNECTED' });
    const message = `(#100) Tried accessing nonexisting field (${refused})`;
    if (toRefusal === '') return JSON.stringify({ error: { code: 100, message } });
    return typeof toRefusal === 'string' ? toRefusal : toRefusal(fields);
  };
  const answer = (path: string): string => {
    const { pathname, searchParams } = new URL(path, 'http://loopback');
    const fields = searchParams.get('fields')?.split(',') ?? [];
    requested.push(fields);
    return toBody(pathname.split('/').at(-1), fields);
  };
  const { url, ...disposable } = await listen(async (request, response) => {
    if (request.method !== 'POST') return void response.end(answer(request.url ?? ''));
    const batch = new URLSearchParams(await text(request)).get('batch') ?? '[]';
    const items = JSON.parse(batch) as readonly { readonly relative_url: string }[];
    const bodies = items.map((item) => answer(item.relative_url));
    response.end(JSON.stringify(bodies.map((body) => ({ code: 200, headers: [], body }))));
  });
  const telemetry = createTelemetry({ level: 'silent' });
  const graph = createGraphClient({
    url: new URL(url),
    version: 'v26.0',
    fetch: globalThis.fetch,
    telemetry,
  });
  const provider = createMetaProvider({ graph, telemetry, retryDelayMs: 1 });
  return { provider, requested, ...disposable };
}
