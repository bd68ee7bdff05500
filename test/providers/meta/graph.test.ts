// How the Graph client sends requests, where the token goes, and which failure each response becomes.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Credentials, ReadOptions, UpstreamFailure } from '../../../src/numbers/provider.ts';
import {
  createGraphClient,
  type GraphClient,
  type GraphClientOptions,
  type GraphReply,
  type GraphResult,
} from '../../../src/providers/meta/graph.ts';
import {
  type GraphOperation,
  maxBatchOperations,
} from '../../../src/providers/meta/graph-operation.ts';
import {
  createTestSimulator,
  type Fault,
  type TestSimulator,
  type SimulatorOptions,
} from '../../simulator/simulator.ts';
import { createTelemetry } from '../../../src/telemetry.ts';

const token = 'EAAcanaryTokenOfTheShop0123456789';
const appSecret = 'canary app secret';
const credentials: Credentials = { accessToken: token, appSecret };
const wabaId = '102290129340398';
const phoneId = '106540352242922';
const otherPhoneId = '106540352242923';

const fleet: SimulatorOptions = {
  phones: [phoneId, otherPhoneId].map((id) => ({
    id,
    wabaId,
    fields: { quality_rating: 'GREEN', status: 'CONNECTED' },
    profile: { about: 'Hello' },
  })),
  wabas: [{ id: wabaId, fields: { name: 'Lucky Shrub' } }],
  tokens: [{ token, wabaIds: [wabaId], appSecret }],
};

const phone: GraphOperation = {
  block: 'phone',
  id: phoneId,
  wabaId,
  fields: ['quality_rating', 'status'],
};
const otherPhone: GraphOperation = { ...phone, id: otherPhoneId };
const waba: GraphOperation = { block: 'waba', id: wabaId, wabaId, fields: ['name'] };
const profile: GraphOperation = { block: 'profile', id: phoneId, wabaId, fields: ['about'] };
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

type ClientOptions = Partial<Pick<GraphClientOptions, 'attemptTimeoutMs' | 'version'>>;

interface Opened extends AsyncDisposable {
  readonly graph: GraphClient;
  /** What was logged, one line of JSON each. */
  readonly lines: readonly string[];
}

function openClient(
  url: string,
  fetch: typeof globalThis.fetch,
  options: ClientOptions = {},
): Omit<Opened, keyof AsyncDisposable> {
  const lines: string[] = [];
  const telemetry = createTelemetry({ level: 'trace', write: (line) => void lines.push(line) });
  const graph = createGraphClient({
    url: new URL(url),
    version: 'v26.0',
    fetch,
    telemetry,
    ...options,
  });
  return { graph, lines };
}

function open(
  options: SimulatorOptions & ClientOptions = {},
): Opened & { readonly simulator: TestSimulator } {
  const { attemptTimeoutMs, version, ...more } = options;
  const simulator = createTestSimulator({ ...fleet, ...more });
  const client = openClient('https://graph.example', simulator.fetch, {
    ...(attemptTimeoutMs === undefined ? {} : { attemptTimeoutMs }),
    ...(version === undefined ? {} : { version }),
  });
  return {
    simulator,
    ...client,
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  };
}

/** A server for responses that the simulator cannot give. */
async function openServer(
  listener: RequestListener,
  options: ClientOptions & {
    readonly path?: string;
    readonly fetch?: typeof globalThis.fetch;
  } = {},
): Promise<Opened> {
  const { path = '', fetch = globalThis.fetch, ...more } = options;
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    ...openClient(`http://127.0.0.1:${port}${path}`, fetch, more),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function responding(body: string, headers: Record<string, string> = {}, status = 200) {
  return ((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
  }) satisfies RequestListener;
}

const methods = ['get', 'batch'] as const;

/** The result of one operation, sent alone or as the first of a batch. */
async function send(
  graph: GraphClient,
  method: (typeof methods)[number],
  operation: GraphOperation = phone,
  used: Credentials = credentials,
): Promise<GraphResult> {
  const reply =
    method === 'get'
      ? await graph.get(operation, used, readOptions)
      : await graph.batch([operation, otherPhone], used, readOptions);
  return toFirst(reply);
}

function toFirst({ results }: GraphReply): GraphResult {
  const [first] = results;
  if (first === undefined) throw new Error('no result');
  return first;
}

function toFailure(result: GraphResult): UpstreamFailure {
  if (result.ok) throw new Error('expected a failure');
  return result.failure;
}

describe('a request', () => {
  test('one operation is one GET with its fields, on the node or the profile edge', async () => {
    await using upstream = open();
    expect(await upstream.graph.get(phone, credentials, readOptions)).toMatchObject({
      results: [{ ok: true, json: { id: phoneId, quality_rating: 'GREEN', status: 'CONNECTED' } }],
    });
    expect(await upstream.graph.get(profile, credentials, readOptions)).toMatchObject({
      results: [{ ok: true, json: { data: [{ about: 'Hello' }] } }],
    });
    expect(upstream.simulator.calls).toMatchObject([
      { method: 'GET', path: `/v26.0/${phoneId}`, query: { fields: 'quality_rating,status' } },
      { method: 'GET', path: `/v26.0/${phoneId}/whatsapp_business_profile` },
    ]);
  });

  test('a batch is one POST, with a result for each operation in order', async () => {
    await using upstream = open();
    const { results } = await upstream.graph.batch(
      [waba, otherPhone, phone, profile],
      credentials,
      readOptions,
    );
    expect(results).toMatchObject([
      { json: { id: wabaId } },
      { json: { id: otherPhoneId } },
      { json: { id: phoneId } },
      { json: { data: [{ about: 'Hello' }] } },
    ]);
    expect(upstream.simulator.calls).toMatchObject([{ method: 'POST', path: '/v26.0/' }]);
  });

  test('a batch may have 50 operations', async () => {
    await using upstream = open();
    const operations = Array.from({ length: maxBatchOperations }, () => phone);
    const { results } = await upstream.graph.batch(operations, credentials, readOptions);
    expect(results.filter((result) => result.ok)).toHaveLength(50);
  });

  test('the path of the base URL is kept', async () => {
    const seen: (string | undefined)[] = [];
    await using upstream = await openServer(
      (request, response) => {
        seen.push(request.url);
        response.end(request.method === 'GET' ? '{}' : '[]');
      },
      { path: '/proxy/graph/' },
    );
    await upstream.graph.get(waba, { accessToken: token, appSecret: null }, readOptions);
    await upstream.graph.batch([waba], credentials, readOptions);
    expect(seen).toEqual([`/proxy/graph/v26.0/${wabaId}?fields=name`, '/proxy/graph/v26.0/']);
  });

  test.each(['1234', '123456789012345678901', '10654035224292a', '../me', '١٢٣٤٥٦', ''])(
    'an invalid id such as %j is not put into a URL, and fails only its own operation',
    async (id) => {
      await using upstream = open();
      const bad = { ...phone, id };
      const unsent = { ok: false, attempted: false, failure: { code: 'META_ACCESS_DENIED' } };
      expect(await upstream.graph.get(bad, credentials, readOptions)).toMatchObject({
        results: [unsent],
      });
      expect(await upstream.graph.batch([bad], credentials, readOptions)).toMatchObject({
        results: [unsent],
      });
      expect(upstream.simulator.calls).toEqual([]);
      expect(
        await upstream.graph.batch([phone, bad, waba], credentials, readOptions),
      ).toMatchObject({
        results: [{ json: { id: phoneId } }, unsent, { json: { id: wabaId } }],
      });
      expect(upstream.simulator.calls).toMatchObject([
        { operations: [`phone ${phoneId}`, `waba ${wabaId}`] },
      ]);
    },
  );
});

describe('credentials', () => {
  test.each(methods)(
    'by %s, the token is in the Authorization header and nowhere else',
    async (method) => {
      await using upstream = open();
      upstream.simulator.setFault(otherPhoneId, { kind: 'error', code: 190 });
      const results = [
        await send(upstream.graph, method),
        await send(upstream.graph, method, otherPhone),
        await send(upstream.graph, method, phone, { accessToken: `${token}wrong`, appSecret }),
      ];
      expect(results.map((result) => result.ok)).toEqual([true, false, false]);
      expect(upstream.simulator.calls[0]?.headers['authorization']).toBe(`Bearer ${token}`);
      const elsewhere = upstream.simulator.calls.map(({ headers, ...call }) => ({
        ...call,
        headers: { ...headers, authorization: '' },
      }));
      const all = JSON.stringify([elsewhere, results, upstream.lines]);
      expect(upstream.lines).not.toEqual([]);
      expect(all).not.toContain(token);
      expect(all).not.toContain(appSecret);
    },
  );

  test.each(methods)('by %s, Meta can verify the appsecret_proof', async (method) => {
    await using upstream = open();
    expect(await send(upstream.graph, method)).toMatchObject({ ok: true });
  });

  test('a batch and each of its operations carry the proof', async () => {
    await using upstream = open();
    await send(upstream.graph, 'batch');
    const form = new URLSearchParams(upstream.simulator.calls[0]?.body);
    const proof = form.get('appsecret_proof');
    expect(proof).toMatch(/^[0-9a-f]{64}$/);
    const item = { relative_url: expect.stringContaining(`&appsecret_proof=${proof}`) };
    expect(JSON.parse(form.get('batch') ?? '')).toMatchObject([item, item]);
  });

  describe.each(methods)('by %s', (method) => {
    test.each(['another secret', null])(
      'an app secret of %j is reported as wrong',
      async (secret) => {
        await using upstream = open();
        const used = { accessToken: token, appSecret: secret };
        expect(toFailure(await send(upstream.graph, method, phone, used))).toMatchObject({
          code: 'META_ACCESS_DENIED',
          transient: false,
          message: expect.stringContaining('requires a proof'),
          solution: expect.stringContaining("Store the app's secret"),
        });
      },
    );
  });

  test.each(['with\nnewline', 'with\0zero', 'with space', 'ключ', ''])(
    'a token that is not valid in a header (%j) is not sent',
    async (accessToken) => {
      await using upstream = open();
      const result = await send(upstream.graph, 'get', phone, { accessToken, appSecret: null });
      expect(result).toMatchObject({ attempted: false, failure: { code: 'META_ACCESS_DENIED' } });
      expect(upstream.simulator.calls).toEqual([]);
    },
  );
});

const denied = { code: 'META_ACCESS_DENIED', transient: false, retryAt: null };
const throttled = { code: 'META_RATE_LIMITED', transient: true };
const unavailable = { code: 'META_UNAVAILABLE', transient: true, retryAt: null };
const broken = { code: 'META_UNAVAILABLE', transient: false, retryAt: null };

interface ErrorCase {
  readonly code: number;
  readonly subcode?: number;
  readonly transient?: boolean;
  readonly expected: object;
  readonly says: string;
  readonly advises: string;
}

const permission = {
  expected: denied,
  says: 'lacks a permission',
  advises: 'whatsapp_business_management',
};
const limited = { expected: throttled, says: 'throttling', advises: 'Try again later' };
const temporary = { expected: unavailable, says: 'temporary error', advises: 'Try again later' };
const unknown = { expected: broken, says: 'rejected', advises: "the gateway's operator" };

const errorCases: readonly ErrorCase[] = [
  { code: -1, ...temporary },
  { code: 0, expected: denied, says: 'not authenticate', advises: 'Store a new one' },
  { code: 1, ...temporary },
  { code: 2, transient: true, ...temporary },
  { code: 3, expected: denied, says: 'capability', advises: 'type Business' },
  { code: 4, ...limited },
  { code: 5, expected: denied, says: 'IP address', advises: 'allowlist' },
  { code: 10, ...permission },
  { code: 17, ...limited },
  { code: 32, ...limited },
  {
    code: 33,
    expected: { ...denied, code: 'META_NUMBER_MISSING' },
    says: 'deleted',
    advises: 'number remove',
  },
  { code: 100, ...unknown },
  { code: 100, transient: true, ...unknown, expected: { ...broken, transient: true } },
  { code: 100, subcode: 33, expected: denied, says: 'phone number id', advises: 'number update' },
  { code: 101, expected: denied, says: 'not know the access token', advises: 'App Dashboard' },
  { code: 102, expected: denied, says: 'session', advises: 'new token' },
  { code: 102, subcode: 463, expected: denied, says: 'expired', advises: 'system user' },
  { code: 104, expected: denied, says: 'requires a valid', advises: 'Store a new one' },
  { code: 190, expected: denied, says: 'rejected the access token', advises: 'Store a new one' },
  { code: 190, subcode: 452, expected: denied, says: 'session', advises: 'new token' },
  { code: 190, subcode: 456, expected: denied, says: 'malformed', advises: 'Copy it again' },
  {
    code: 190,
    subcode: 458,
    expected: denied,
    says: 'removed the app',
    advises: 'Connect the app',
  },
  { code: 190, subcode: 459, expected: denied, says: 'security check', advises: 'works again' },
  { code: 190, subcode: 460, expected: denied, says: 'password', advises: 'new token' },
  {
    code: 190,
    subcode: 461,
    expected: denied,
    says: 'installed the app again',
    advises: 'new token',
  },
  { code: 190, subcode: 463, expected: denied, says: 'expired', advises: 'system user' },
  { code: 190, subcode: 464, expected: denied, says: 'security check', advises: 'works again' },
  { code: 190, subcode: 465, expected: denied, says: 'no longer exists', advises: 'another user' },
  { code: 190, subcode: 466, expected: denied, says: 'revoked', advises: 'new one' },
  { code: 190, subcode: 467, expected: denied, says: 'logged out', advises: 'never logs out' },
  { code: 190, subcode: 468, expected: denied, says: 'long time', advises: 'system user' },
  { code: 190, subcode: 490, expected: denied, says: 'security check', advises: 'works again' },
  { code: 190, subcode: 493, expected: denied, says: 'long time', advises: 'system user' },
  { code: 190, subcode: 492, expected: denied, says: 'no role', advises: 'Assign one' },
  { code: 200, ...permission },
  { code: 299, ...permission },
  { code: 341, ...limited },
  { code: 368, expected: denied, says: 'policies', advises: 'Appeal' },
  { code: 613, ...limited },
  { code: 803, expected: denied, says: 'phone number id', advises: 'number update' },
  { code: 2500, expected: broken, says: 'cannot parse', advises: 'META_GRAPH_VERSION' },
  { code: 2635, expected: broken, says: 'retired', advises: 'META_GRAPH_VERSION' },
  { code: 80_001, ...limited },
  { code: 80_007, ...limited },
  { code: 80_008, ...limited },
  { code: 130_429, ...limited },
  { code: 130_497, expected: denied, says: 'countries', advises: 'Messaging Policy' },
  { code: 131_000, ...temporary },
  { code: 131_005, ...permission },
  { code: 131_016, expected: unavailable, says: 'unavailable', advises: 'Try again later' },
  { code: 131_031, expected: denied, says: 'locked', advises: 'unlock' },
  { code: 131_042, expected: denied, says: 'charge', advises: 'payment method' },
  { code: 131_045, expected: denied, says: 'not registered', advises: 'Register it' },
  { code: 131_057, expected: unavailable, says: 'maintenance', advises: 'in some minutes' },
  { code: 133_004, expected: unavailable, says: 'unavailable', advises: 'Try again later' },
  { code: 133_005, expected: denied, says: 'PIN', advises: 'reset it' },
  { code: 133_006, expected: denied, says: 'verified again', advises: 'verification code' },
  { code: 133_008, expected: denied, says: 'too often', advises: 'Wait' },
  { code: 133_010, expected: denied, says: 'not registered', advises: 'Register it with its PIN' },
  { code: 133_015, expected: denied, says: 'deleted a moment ago', advises: 'five minutes' },
  { code: 133_016, expected: denied, says: 'deregistered', advises: '72 hours' },
  { code: 987_654, ...unknown },
  { code: 987_654, transient: true, ...unknown, expected: { ...broken, transient: true } },
];

/** Refusals that only Meta's wording tells apart, as people have reported them. */
const wordings: readonly (readonly [number, string, Omit<ErrorCase, 'code'>])[] = [
  [
    200,
    'API access blocked.',
    { expected: denied, says: 'blocked the app', advises: 'App Dashboard' },
  ],
  [
    190,
    'API access deactivated. To reactivate, go to the app dashboard.',
    { expected: denied, says: 'blocked the app', advises: 'App Dashboard' },
  ],
  [
    190,
    'Error validating application. Application has been deleted.',
    { expected: denied, says: 'was deleted', advises: 'an app that exists' },
  ],
  [
    101,
    'Error validating application. Cannot get application info due to a system error.',
    { expected: denied, says: 'not know the access token', advises: 'App Dashboard' },
  ],
  [
    200,
    '(#200) Access to this data is temporarily disabled for non-active apps or apps that have not recently accessed this data due to changes we are making to the Facebook Platform.',
    { expected: denied, says: 'not active', advises: 'live mode' },
  ],
  [
    200,
    '(#200) Access to this data is temporarily disabled for non-active accounts due to changes we are making to the Facebook Platform',
    { expected: denied, says: 'not active', advises: 'live mode' },
  ],
  [
    200,
    '(#200) Cannot call API for app 634974688087057 on behalf of user 104300',
    { expected: denied, says: 'may not act', advises: 'connect the app again' },
  ],
  [
    190,
    'Error validating access token: The user has not authorized application 634974688087057.',
    { expected: denied, says: 'may not act', advises: 'connect the app again' },
  ],
  [
    368,
    'It looks like you were misusing this feature by going too fast. You’ve been blocked from using it.',
    { expected: limited.expected, says: 'owner of the access token', advises: 'some hours' },
  ],
  [
    368,
    'You have been temporarily blocked from performing this action.',
    { expected: limited.expected, says: 'owner of the access token', advises: 'some hours' },
  ],
  [
    368,
    '(#368) Temporarily blocked for policies violations',
    { expected: denied, says: 'policies', advises: 'Appeal' },
  ],
  [
    200,
    '(#200) Provide valid app ID',
    { expected: denied, says: 'no access token', advises: 'system user' },
  ],
  [
    2500,
    'An active access token must be used to query information about the current user.',
    { expected: denied, says: 'no access token', advises: 'system user' },
  ],
  [
    190,
    'Invalid OAuth access token - Cannot parse access token',
    { expected: denied, says: 'malformed or incomplete', advises: 'Copy it again' },
  ],
  [
    190,
    'Malformed access token EAAG…',
    { expected: denied, says: 'malformed or incomplete', advises: 'Copy it again' },
  ],
  [
    190,
    '(#190) This method must be called with a Page Access Token',
    { expected: denied, says: 'of a type', advises: 'system user' },
  ],
  [
    2500,
    'Unknown path components: /106540352242922',
    { expected: broken, says: 'Graph API version', advises: 'META_GRAPH_VERSION' },
  ],
  [
    100,
    '(#100) Need permission on either WhatsApp Business Account or owner/shared business',
    permission,
  ],
  [100, '(#100) Missing Permission', permission],
  [100, '(#100) Missing permissions', permission],
  [100, '(#100) Requires whatsapp_business_management permission', permission],
  [10, '(#10) Application does not have permission for this action', permission],
  [200, '(#200) You do not have permission to access this field.', permission],
];

describe.each(methods)('an error of Graph, by %s', (method) => {
  test.each(errorCases)(
    'code $code/$subcode (transient: $transient) has its failure code and our message, whatever the status',
    async ({ expected, says, advises, ...error }) => {
      await using upstream = open();
      const message = `Object with ID '${phoneId}' and token ${token}`;
      for (const status of [400, 401, 500]) {
        upstream.simulator.setFault(phoneId, { kind: 'error', ...error, message, status });
        // oxlint-disable-next-line no-await-in-loop -- one fault at a time
        const failure = toFailure(await send(upstream.graph, method));
        expect(failure).toMatchObject({
          ...expected,
          message: expect.stringContaining(says),
          solution: expect.stringContaining(advises),
          metaCode: error.code,
          metaSubcode: error.subcode ?? null,
          fbtraceId: expect.stringMatching(/^A[\w-]{22}$/),
        });
        expect(JSON.stringify(failure)).not.toContain(token);
      }
      expect(upstream.lines.join('')).not.toContain(phoneId);
    },
  );

  test.each(wordings)(
    'code %i with the message %j is a refusal of its own',
    async (code, message, { expected, says, advises }) => {
      await using upstream = open();
      upstream.simulator.setFault(phoneId, { kind: 'error', code, message });
      expect(toFailure(await send(upstream.graph, method))).toMatchObject({
        ...expected,
        message: expect.stringContaining(says),
        solution: expect.stringContaining(advises),
        metaCode: code,
      });
    },
  );

  test('an unknown WABA id is explained in terms of a WABA id', async () => {
    await using upstream = open();
    const result = await send(upstream.graph, method, { ...waba, id: '102290129340000' });
    expect(toFailure(result)).toMatchObject({
      metaCode: 100,
      metaSubcode: 33,
      message: expect.stringContaining('WhatsApp Business account id'),
      solution: expect.stringContaining("the account's id, not a phone number id"),
    });
  });

  test('a field that the node does not have is named in the result', async () => {
    await using upstream = open();
    const result = await send(upstream.graph, method, {
      ...phone,
      fields: ['status', 'horoscope'],
    });
    expect(result).toMatchObject({
      refusedField: 'horoscope',
      failure: {
        ...broken,
        metaCode: 100,
        message: expect.stringContaining('does not have a field'),
        solution: expect.stringContaining('META_GRAPH_VERSION'),
      },
    });
  });

  test('a throttled read has the time to retry at, from the minutes of the usage header', async () => {
    await using upstream = open();
    upstream.simulator.setFault(phoneId, { kind: 'throttled', minutes: 17 });
    const earliest = Date.now() + 17 * 60_000;
    const { code, retryAt } = toFailure(await send(upstream.graph, method));
    expect(code).toBe('META_RATE_LIMITED');
    expect(Date.parse(retryAt ?? '')).toBeGreaterThanOrEqual(earliest);
    expect(Date.parse(retryAt ?? '')).toBeLessThanOrEqual(Date.now() + 17 * 60_000);
  });
});

const unusable = { ...unavailable, metaCode: null, metaSubcode: null };

describe.each(['fetch', 'server'])('a broken response of the simulator as a %s', (kind) => {
  const openSimulator = async (attemptTimeoutMs = 5_000) => {
    const simulator = createTestSimulator(fleet);
    const [url, fetch] =
      kind === 'server'
        ? [(await simulator.listen()).url, globalThis.fetch]
        : ['https://graph.example', simulator.fetch];
    return { simulator, graph: openClient(url, fetch, { attemptTimeoutMs }).graph };
  };
  const transientFaults: readonly Fault[] = [
    { kind: 'html', status: 502 },
    { kind: 'html', status: 503 },
    { kind: 'truncated' },
    { kind: 'oversized' },
    { kind: 'oversized', bytes: 64 * 1024 * 1024 },
    { kind: 'redirect' },
    { kind: 'reset' },
  ];

  test.each(transientFaults)('$kind is META_UNAVAILABLE, and transient', async (fault) => {
    const { simulator, graph } = await openSimulator();
    await using _ = simulator;
    simulator.setFault('*', fault);
    for (const method of methods) {
      // oxlint-disable-next-line no-await-in-loop -- sequential, to count the calls
      expect(toFailure(await send(graph, method))).toMatchObject(unusable);
    }
    // Redirects that were followed would be further calls.
    expect(simulator.calls).toHaveLength(2);
  });

  test.each([{ kind: 'hang' }, { kind: 'stall' }, { kind: 'latency', ms: 60_000 }] as Fault[])(
    '$kind is META_TIMEOUT, and transient: the timeout covers the body',
    async (fault) => {
      const { simulator, graph } = await openSimulator(20);
      await using _ = simulator;
      simulator.setFault('*', fault);
      for (const method of methods) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(toFailure(await send(graph, method))).toMatchObject({
          ...unusable,
          code: 'META_TIMEOUT',
        });
      }
    },
  );

  test.each([{ kind: 'hang' }, { kind: 'stall' }] as Fault[])(
    "an aborted call rejects with its signal's reason during $kind",
    async (fault) => {
      const { simulator, graph } = await openSimulator();
      await using _ = simulator;
      simulator.setFault('*', fault);
      const caller = new AbortController();
      const reason = new Error('the caller has gone');
      const sent = graph.get(phone, credentials, { ...readOptions, signal: caller.signal });
      await expect.poll(() => simulator.calls.length, { interval: 1 }).toBe(1);
      caller.abort(reason);
      await expect(sent).rejects.toBe(reason);
    },
  );
});

describe('an unusual response', () => {
  test('an aborted call closes the connection', async () => {
    const arrived = Promise.withResolvers<IncomingMessage>();
    await using upstream = await openServer((request) => arrived.resolve(request));
    const caller = new AbortController();
    const sent = upstream.graph.get(phone, credentials, { ...readOptions, signal: caller.signal });
    const closed = once((await arrived.promise).socket, 'close');
    caller.abort(new Error('gone'));
    await expect(sent).rejects.toThrow('gone');
    await closed;
  });

  test('a call with an aborted signal sends nothing', async () => {
    await using upstream = open();
    const reason = new Error('gone');
    await expect(
      upstream.graph.get(phone, credentials, { ...readOptions, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    expect(upstream.simulator.calls).toEqual([]);
  });

  test('a body that never ends is cut off at the timeout', async () => {
    await using upstream = await openServer(
      (_request, response) => {
        const drip = setInterval(() => response.write(' '), 1);
        response.once('close', () => clearInterval(drip));
      },
      { attemptTimeoutMs: 30 },
    );
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject({ code: 'META_TIMEOUT' });
  });

  test('the timeout covers the body even when fetch ignores the signal', async () => {
    await using upstream = await openServer((_request, response) => void response.write('{'), {
      attemptTimeoutMs: 30,
      fetch: (input, init) => fetch(input, { ...init, signal: null }),
    });
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject({ code: 'META_TIMEOUT' });
  });

  test('a response that is too large closes the connection', async () => {
    const closed = Promise.withResolvers<boolean>();
    // So long that it cannot be what closes the connection.
    const attemptTimeoutMs = 600_000;
    await using upstream = await openServer(
      (_request, response) => {
        response.once('close', () => closed.resolve(response.writableFinished));
        response.write(' '.repeat(2 * 1024 * 1024));
      },
      { attemptTimeoutMs },
    );
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject(unusable);
    expect(await closed.promise).toBe(false);
  });

  test('a response may have 1 MiB and no byte more', async () => {
    const size = 1024 * 1024;
    await using full = await openServer(responding('{}'.padEnd(size)));
    await using overfull = await openServer(responding('{}'.padEnd(size + 1)));
    expect(await send(full.graph, 'get')).toMatchObject({ ok: true });
    expect(toFailure(await send(overfull.graph, 'get'))).toMatchObject(unusable);
  });

  test.each(['', 'null', '[]', '"text"', '17', '{', '<html>', '\u0000'])(
    'a body of %j is META_UNAVAILABLE for a node',
    async (body) => {
      await using upstream = await openServer(responding(body));
      expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject(unusable);
    },
  );

  test.each(['{"error":"denied"}', '{"error":null}', '{"error":{"message":"?"}}'])(
    'an envelope without a code (%s) is META_UNAVAILABLE, even with status 200',
    async (body) => {
      await using upstream = await openServer(responding(body));
      expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject(unusable);
    },
  );

  test('an error with status 200 is a failure', async () => {
    await using upstream = await openServer(responding('{"error":{"code":"190"}}'));
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject({
      ...denied,
      metaCode: 190,
    });
  });

  test('an object with status 500 is a failure', async () => {
    await using upstream = await openServer(responding(`{"id":"${phoneId}"}`, {}, 500));
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject(unusable);
  });

  test('status 429 without a code is throttling, with the time of Retry-After', async () => {
    const headers = { 'retry-after': '90' };
    await using upstream = await openServer(responding('<html>Slow down</html>', headers, 429));
    const earliest = Date.now() + 90_000;
    const failure = toFailure(await send(upstream.graph, 'get'));
    expect(failure).toMatchObject({ ...throttled, metaCode: null });
    expect(Date.parse(failure.retryAt ?? '')).toBeGreaterThanOrEqual(earliest);
  });

  test.each([
    ['Sun, 22 Nov 2026 12:00:00 GMT', '2026-11-22T12:00:00.000Z'],
    ['later', null],
    ['-5', null],
    ['99999999999999999999', null],
    ['Sat, 13 Sep 275760 00:00:01 GMT', null],
  ])('Retry-After: %s is read as %s', async (header, retryAt) => {
    const body = '{"error":{"code":4}}';
    await using upstream = await openServer(responding(body, { 'retry-after': header }, 400));
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject({ ...throttled, retryAt });
  });

  test.each(['9999999', 'Fri, 31 Dec 9999 23:59:59 GMT', 'Sat, 13 Sep 275760 00:00:00 GMT'])(
    'Retry-After: %s pauses an account for at most a day',
    async (header) => {
      const [body, headers] = ['{"error":{"code":4}}', { 'retry-after': header }];
      await using upstream = await openServer(responding(body, headers, 400));
      const failure = toFailure(await send(upstream.graph, 'get'));
      const ms = Date.parse(failure.retryAt ?? '') - Date.now();
      expect(Math.round(ms / 60_000)).toBe(24 * 60);
    },
  );

  test('a code beyond 32 bits is dropped', async () => {
    const body = '{"error":{"code":3000000000,"error_subcode":-2147483649}}';
    await using upstream = await openServer(responding(body, {}, 400));
    expect(toFailure(await send(upstream.graph, 'get'))).toMatchObject({
      metaCode: null,
      metaSubcode: null,
    });
  });

  test.each([
    ['{"error":{"code":1,"fbtrace_id":"Abody"}}', 'Aheader', 'Abody'],
    ['{"error":{"code":1}}', 'Aheader', 'Aheader'],
    ['{"error":{"code":1,"fbtrace_id":"<script>"}}', 'Aheader', 'Aheader'],
    ['{"error":{"code":1,"fbtrace_id":17}}', 'a b', null],
    ['<html>', 'Aheader', 'Aheader'],
  ])('the trace id of %s with header %s is %s', async (body, header, fbtraceId) => {
    await using upstream = await openServer(responding(body, { 'x-fb-trace-id': header }, 500));
    expect(toFailure(await send(upstream.graph, 'get')).fbtraceId).toBe(fbtraceId);
  });
});

describe('a batch', () => {
  test('reports a null item as a transient failure, and returns the others', async () => {
    await using upstream = open();
    upstream.simulator.setFault(phoneId, { kind: 'null-item' });
    const { results } = await upstream.graph.batch([phone, otherPhone], credentials, readOptions);
    expect(results).toMatchObject([
      { ok: false, attempted: true, failure: { ...unusable } },
      { ok: true },
    ]);
  });

  const good = { code: 200, body: `{"id":"${phoneId}"}` };
  test.each([
    ['a list that is too short', [good]],
    ['an item without a body', [good, { code: 200 }]],
    ['an item without a code', [good, { body: '{}' }]],
    ['an item that is a number', [good, 17]],
    ['an item with half a body', [good, { code: 200, body: '{"id":' }]],
    ['an item with HTML', [good, { code: 502, body: '<html>' }]],
    ['an item with a list', [good, { code: 200, body: '[]' }]],
    ['an item with a body of its own kind', [good, { code: 200, body: { id: otherPhoneId } }]],
  ])('%s fails only the missing operation', async (_title, items) => {
    await using upstream = await openServer(responding(JSON.stringify(items)));
    const { results } = await upstream.graph.batch([phone, otherPhone], credentials, readOptions);
    expect(results).toMatchObject([
      { ok: true, json: { id: phoneId } },
      { ok: false, failure: unusable },
    ]);
  });

  test('an item has a status of its own', async () => {
    const items = [good, { code: 429, body: '<html>' }];
    await using upstream = await openServer(responding(JSON.stringify(items)));
    const { results } = await upstream.graph.batch([phone, otherPhone], credentials, readOptions);
    expect(results).toMatchObject([{ ok: true }, { failure: throttled }]);
  });

  test('more items than operations are ignored', async () => {
    await using upstream = await openServer(responding(JSON.stringify([good, good, good])));
    const { results } = await upstream.graph.batch([phone, otherPhone], credentials, readOptions);
    expect(results).toHaveLength(2);
  });

  test('that is refused as a whole fails each operation with the same failure', async () => {
    await using upstream = open({ tokens: [{ token, wabaIds: [wabaId], state: 'expired' }] });
    const { results } = await upstream.graph.batch([phone, waba], credentials, readOptions);
    const refusal = { ok: false, attempted: true, failure: { ...denied, metaSubcode: 463 } };
    expect(results).toMatchObject([refusal, refusal]);
  });

  test.each(['{}', '{"id":"1"}', 'null', '"[]"'])(
    'a body of %s fails each operation',
    async (body) => {
      await using upstream = await openServer(responding(body));
      const { results } = await upstream.graph.batch([phone, waba], credentials, readOptions);
      expect(results).toMatchObject([{ failure: unusable }, { failure: unusable }]);
    },
  );
});

describe('headers', () => {
  test('usage is returned budget by budget, and its highest percentage is logged', async () => {
    const business = {
      [wabaId]: [
        {
          type: 'whatsapp_business_management',
          call_count: 12,
          total_cputime: 91,
          total_time: 3,
          estimated_time_to_regain_access: 0,
        },
        { type: 'whatsapp', call_count: 7, estimated_time_to_regain_access: 4 },
      ],
    };
    await using upstream = await openServer(
      responding(`{"id":"${phoneId}"}`, {
        'x-app-usage': '{"call_count":5,"total_cputime":40,"total_time":6}',
        'x-business-use-case-usage': JSON.stringify(business),
      }),
    );
    const { usage } = await upstream.graph.get(phone, credentials, readOptions);
    expect(usage).toEqual({
      appPercent: 40,
      businesses: [
        {
          businessId: wabaId,
          type: 'whatsapp_business_management',
          percent: 91,
          regainMinutes: 0,
        },
        { businessId: wabaId, type: 'whatsapp', percent: 7, regainMinutes: 4 },
      ],
    });
    expect(JSON.parse(upstream.lines[0] ?? '')).toMatchObject({
      upstream: 'graph',
      operations: 1,
      outcome: 'ok',
      status: 200,
      usagePercent: 91,
    });
  });

  test.each(['{', 'null', '[]', '17', '{"a":1}', '{"a":[1,null,{"call_count":"x"}]}'])(
    'usage of %s never fails a read',
    async (text) => {
      const headers = { 'x-app-usage': text, 'x-business-use-case-usage': text };
      await using upstream = await openServer(responding('{"id":"1"}', headers));
      expect(await send(upstream.graph, 'get')).toMatchObject({ ok: true });
    },
  );

  test('an absurd time to regain access is bounded', async () => {
    const usage = JSON.stringify({ [wabaId]: [{ estimated_time_to_regain_access: 1e300 }] });
    await using upstream = await openServer(
      responding('{"error":{"code":80008}}', { 'x-business-use-case-usage': usage }, 400),
    );
    const { retryAt } = toFailure(await send(upstream.graph, 'get'));
    expect(Date.parse(retryAt ?? '')).toBeGreaterThan(Date.now());
  });

  test('a response of another version than the one requested is logged once', async () => {
    await using upstream = open({ minVersion: 28, maxVersion: 28 });
    await send(upstream.graph, 'get');
    await send(upstream.graph, 'batch');
    const warnings = upstream.lines.map((line) => JSON.parse(line)).filter((it) => it.answered);
    expect(warnings).toMatchObject([{ requested: 'v26.0', answered: 'v28.0', level: 40 }]);
  });

  test('a response of the requested version logs no warning', async () => {
    await using upstream = open();
    await send(upstream.graph, 'get');
    expect(upstream.lines.map((line) => JSON.parse(line))).toMatchObject([{ outcome: 'ok' }]);
  });

  test('a failed request is logged with its code, its status and its trace id', async () => {
    await using upstream = open();
    upstream.simulator.setFault(otherPhoneId, { kind: 'error', code: 190 });
    const { results } = await upstream.graph.batch([phone, otherPhone], credentials, readOptions);
    const fbtraceId = results[1]?.ok === false ? results[1].failure.fbtraceId : '';
    expect(upstream.lines.map((line) => JSON.parse(line))).toMatchObject([
      { operations: 2, outcome: 'META_ACCESS_DENIED', status: 200, fbtraceId },
    ]);
  });
});
