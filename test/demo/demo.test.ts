import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { createMeter } from '../../src/http/request-context.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { type DemoAnnouncement, openDemo } from '../../src/demo/demo.ts';
import { type DemoMetaNumber, demoNumbers, demoTenants, demoWabas } from '../../src/demo/fleet.ts';
import { type ErrorCode, errorCatalogue } from '../../src/errors.ts';
import { largeTenant } from '../../src/demo/large-fleet.ts';
import { createGateway, type Gateway, type GatewayOverrides } from '../../src/gateway.ts';
import { type WhatsAppNumber } from '../../src/numbers/number.ts';
import { connectionStates, providers } from '../../src/numbers/provider.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { verdicts } from '../../src/numbers/reason.ts';
import { toWord, type VocabularyName, vocabularies } from '../../src/numbers/vocabulary.ts';
import { createTestSimulator } from '../simulator/simulator.ts';
import {
  openTestDatabase,
  openTestPostgresUrl,
  prepareDataDirectory,
  type TestDatabase,
  type TestPostgresUrl,
} from '../harness.ts';

interface Started extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly announcement: DemoAnnouncement;
}

/** The past of a number, as GraphQL has it. */
interface Past {
  readonly number: string;
  readonly createdAt: string;
  readonly health: { readonly sendability: { readonly verdict: string } };
  readonly timeline: readonly { readonly value: string | null; readonly certainty: string }[];
  readonly history: {
    readonly nodes: readonly { readonly kind: string; readonly occurredAt: string }[];
  };
}

const neverAborted = new AbortController().signal;

async function start(
  environment: Readonly<Record<string, string>>,
  overrides: GatewayOverrides = {},
): Promise<Started> {
  const config = parseConfig(readEnvironment({ LOG_LEVEL: 'silent', ...environment }));
  const demo = await openDemo(config);
  const gateway = await createGateway(demo.config, { ...demo.overrides, ...overrides });
  const announcement = await demo.seed(gateway);
  return { gateway, announcement, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
}

/** A first start on PostgreSQL, which is faster than on PGlite. */
async function startFirst(environment: Readonly<Record<string, string>> = {}): Promise<Started> {
  const database = await openTestDatabase('PostgreSQL', { migrated: false });
  return await start({ DATA_DIR: directory, ...environment }, { database });
}

let seeded: TestPostgresUrl;

/** A copy of the database that a first start has left. */
async function openSeededDatabase(): Promise<TestDatabase> {
  return await openTestDatabase('PostgreSQL', { copyOf: seeded });
}

async function startSeeded(): Promise<Started> {
  return await start({ DATA_DIR: directory }, { database: await openSeededDatabase() });
}

async function listFleet({ numbers }: Gateway): Promise<readonly WhatsAppNumber[]> {
  const tenants = Object.values(demoTenants);
  const lists = tenants.map(({ id }) => numbers.list(toOperatorAccess(id)));
  return (await Promise.all(lists)).flat();
}

async function listKeys({ access }: Gateway) {
  const tenants = Object.values(demoTenants);
  return (await Promise.all(tenants.map(({ id }) => access.listKeys(id)))).flat();
}

async function refresh({ numbers }: Gateway, id: string): Promise<WhatsAppNumber> {
  const access = toOperatorAccess(demoTenants.acme.id);
  return await numbers.get(access, { id, refresh: [] }, neverAborted);
}

// Everything but the ages has to stay the same.
function withoutAges(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (name, it: unknown) => (name === 'ageSeconds' ? undefined : it)),
  );
}

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-demo-'));
  seeded = await openTestPostgresUrl({ migrated: false });
  const database = await openTestDatabase('PostgreSQL', { of: seeded, migrated: false });
  const { gateway } = await start({ DATA_DIR: directory }, { database });
  await gateway[Symbol.asyncDispose]();
});

afterAll(async () => {
  await seeded?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

describe('a start', () => {
  afterEach(() => void vi.useRealTimers());

  test('disposes of everything that only seeding needed', async () => {
    const database = await openTestDatabase('PostgreSQL', { migrated: false });
    const { config, overrides, seed } = await openDemo(
      parseConfig(readEnvironment({ DATA_DIR: directory, LOG_LEVEL: 'silent' })),
    );
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    await using gateway = await createGateway(config, { ...overrides, database });
    const before = vi.getTimerCount();
    expect(before).toBeGreaterThan(0);
    await seed(gateway);
    expect(vi.getTimerCount()).toBe(before);
    await expect(gateway.ready()).resolves.toBeUndefined();
  });

  test('keeps keys, ids and data across restarts, and stores no key in plain text', async () => {
    const folder = join(directory, 'first');
    await prepareDataDirectory(folder);
    const starts: { readonly announcement: DemoAnnouncement; readonly fleet: unknown }[] = [];
    for (let round = 0; round < 2; round += 1) {
      // oxlint-disable-next-line no-await-in-loop -- the second start has to find what the first one left
      await using started = await start({ DATA_DIR: folder });
      const { gateway, announcement } = started;
      // oxlint-disable-next-line no-await-in-loop -- see above
      const [fleet, keys] = await Promise.all([listFleet(gateway), listKeys(gateway)]);
      starts.push({ announcement, fleet: withoutAges({ fleet, keys }) });
      expect(fleet).toHaveLength(Object.keys(demoNumbers).length);
    }
    expect(starts[1]).toEqual(starts[0]);

    const secrets = [
      starts[0]?.announcement.tenantKey,
      starts[0]?.announcement.numberKey,
      'demo-token-retail',
    ].filter((secret) => secret !== undefined);
    expect(secrets).toHaveLength(3);
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    const contents = files
      .filter((file) => file.isFile())
      .map((file) => readFile(join(file.parentPath, file.name)));
    for (const content of await Promise.all(contents)) {
      expect(secrets.filter((secret) => content.includes(secret))).toEqual([]);
    }
  });

  test('completes a seeding that was interrupted', async () => {
    await using database = await openSeededDatabase();
    const first = await start({ DATA_DIR: directory }, { database });
    const whole = toConditions(await listFleet(first.gateway));
    const keys = await listKeys(first.gateway);
    await database.query(`delete from whatsapp_number where id > 'wa_acme_l'`);
    await database.query(`delete from number_snapshot where number_id < 'wa_acme_h'`);
    await database.query(`delete from waba_snapshot where waba_id > '200000000015'`);
    await database.query(`delete from api_key where name = 'Demo tenant key'`);
    await database.query(`update api_key set revoked_at = null`);
    // The account that Meta rate-limits may be read again.
    await database.query('delete from graph_budget');

    const second = await start({ DATA_DIR: directory }, { database });
    expect(toConditions(await listFleet(second.gateway))).toEqual(whole);
    const again = await listKeys(second.gateway);
    expect(again.map(toKeyFacts).toSorted()).toEqual(keys.map(toKeyFacts).toSorted());
    expect(second.announcement).toEqual(first.announcement);
  });

  test('keeps what was changed since the first start', async () => {
    await using database = await openSeededDatabase();
    const first = await start({ DATA_DIR: directory }, { database });
    await first.gateway.numbers.setState('wa_acme_shop', 'CLOSE');
    await refresh(first.gateway, 'wa_acme_gifts');
    const before = withoutAges(await listFleet(first.gateway));
    const second = await start({ DATA_DIR: directory }, { database });
    expect(withoutAges(await listFleet(second.gateway))).toEqual(before);
  });

  test('sends no request to a configured Meta while seeding, and reads from it afterwards', async () => {
    await using real = createTestSimulator();
    const { url } = await real.listen();
    await using started = await startFirst({ META_GRAPH_URL: url });
    expect(real.calls).toEqual([]);
    // It does not have the demo's numbers.
    const number = await refresh(started.gateway, 'wa_acme_sales');
    expect(number.health.freshness?.error).toMatchObject({ metaCode: 100, metaSubcode: 33 });
    expect(real.calls.length).toBeGreaterThan(0);
    const fair = (await listFleet(started.gateway)).find(({ id }) => id === 'wa_acme_fair');
    expect(fair?.health.freshness?.error).toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('sends no request to a configured session engine while seeding, and reads from it afterwards', async () => {
    await using engine = createTestSimulator({
      sessionEngineKey: 'engine-key',
      instances: [{ instanceName: 'acme-54', state: 'connecting' }],
    });
    const { url } = await engine.listen();
    const environment = { SESSION_ENGINE_URL: url, SESSION_ENGINE_KEY: 'engine-key' };
    await using started = await startFirst(environment);
    expect(engine.calls).toEqual([]);
    expect(await refresh(started.gateway, 'wa_acme_kiosk')).toMatchObject({ state: 'CONNECTING' });
    expect(await refresh(started.gateway, 'wa_acme_gifts')).toMatchObject({
      health: { sendable: true },
    });
  });
});

describe('the secrets', () => {
  test('are generated once, in a file and directory that only their owner can access', async () => {
    const folder = join(directory, 'deep', 'secrets');
    const { config } = await openDemo(parseConfig(readEnvironment({ DATA_DIR: folder })));
    const path = join(folder, 'demo-secrets.json');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    const text = await readFile(path, 'utf8');
    expect(JSON.parse(text)).toMatchObject({ API_KEY_PEPPER: config.apiKeyPepper });
    await openDemo(parseConfig(readEnvironment({ DATA_DIR: folder })));
    expect(await readFile(path, 'utf8')).toBe(text);
  });

  test('are the same in processes that start at the same time', async () => {
    const config = parseConfig(readEnvironment({ DATA_DIR: join(directory, 'at-once') }));
    const demos = await Promise.all(Array.from({ length: 20 }, () => openDemo(config)));
    const keys = demos.map(({ overrides }) => overrides.graphiqlKeys?.tenant);
    const peppers = demos.map((demo) => demo.config.apiKeyPepper);
    const encryptionKeys = demos.map((demo) =>
      demo.config.encryptionKeys[0]?.key.export().toString('hex'),
    );
    for (const secrets of [keys, peppers, encryptionKeys]) expect(new Set(secrets).size).toBe(1);
    expect(await readdir(join(directory, 'at-once'))).toEqual(['demo-secrets.json']);
  });

  test('come from the environment where it sets them', async () => {
    const folder = join(directory, 'given');
    const given = {
      DATA_DIR: folder,
      ENCRYPTION_KEYS: `mine:${Buffer.alloc(32, 7).toString('base64')}`,
      API_KEY_PEPPER: 'a pepper of at least thirty-two characters',
    };
    const { config } = await openDemo(parseConfig(readEnvironment(given)));
    expect(config.encryptionKeys.map(({ id }) => id)).toEqual(['mine']);
    expect(config.apiKeyPepper).toBe(given.API_KEY_PEPPER);
    await expect(stat(folder)).rejects.toThrow('ENOENT');
  });

  test('that are unreadable are reported, not replaced', async () => {
    const folder = join(directory, 'broken');
    await mkdir(folder);
    const path = join(folder, 'demo-secrets.json');
    for (const text of ['', '{"ENCRYPTION_KEYS":"secret"', 'null', '{}', '{"API_KEY_PEPPER":1}']) {
      // oxlint-disable-next-line no-await-in-loop -- one file, one text after the other
      await writeFile(path, text);
      const opening = openDemo(parseConfig(readEnvironment({ DATA_DIR: folder })));
      // oxlint-disable-next-line no-await-in-loop -- see above
      await expect(opening).rejects.toThrow("does not hold the demo's secrets");
      // oxlint-disable-next-line no-await-in-loop -- see above
      expect(await readFile(path, 'utf8')).toBe(text);
    }
  });
});

describe('the tenant with many numbers', () => {
  test('has 1,000 numbers in 12 accounts of 3 portfolios, of many kinds, and completes them when it starts again', async () => {
    await using database = await openSeededDatabase();
    const { gateway } = await start({ DATA_DIR: directory }, { database });
    const count = async () => {
      const { counts } = await gateway.fleet.list(toOperatorAccess(largeTenant.id), {
        filter: {},
        order: { field: 'ATTENTION', direction: 'DESC' },
        selection: { facets: true, wabas: 20, portfolios: 20, page: false, projection: null },
      });
      return counts!;
    };
    const { totalCount, facets, wabas, portfolios } = await count();
    expect(totalCount).toBe(1_000);
    expect(wabas).toHaveLength(12);
    expect(portfolios.map(({ name, messagingLimitTier }) => [name, messagingLimitTier])).toEqual(
      expect.arrayContaining([
        ['Atlas Food', 'TIER_100K'],
        ['Atlas Fitness', 'TIER_10K'],
        ['Atlas Beauty', 'TIER_2K'],
      ]),
    );
    expect(facets.verdict.map(({ value }) => value).toSorted()).toEqual(['NO', 'UNKNOWN', 'YES']);
    expect(facets.qualityRating.length).toBeGreaterThan(3);
    expect(facets.metaStatus.length).toBeGreaterThan(3);
    await database.query(`delete from whatsapp_number where tenant_id = $1 and number like '%7'`, [
      largeTenant.id,
    ]);
    await start({ DATA_DIR: directory }, { database });
    expect((await count()).facets).toEqual(facets);
  }, 60_000);

  test('has a past of 40 days, with times in which nothing was observed, that ends with what is so', async () => {
    await using database = await openSeededDatabase();
    const { gateway, announcement } = await start({ DATA_DIR: directory }, { database });
    const read = async (filter = 'null') => {
      const query = `{ fleet(first: 60, filter: ${filter}) { nodes {
        id number createdAt health { sendability { verdict } }
        timeline(field: VERDICT, from: "${new Date(Date.now() - 30 * 86_400_000).toISOString()}") { value certainty }
        history(first: 30) { nodes { kind occurredAt } }
      } } }`;
      const headers = { 'content-type': 'application/json', 'x-api-key': announcement.fleetKey };
      const body = JSON.stringify({ query });
      const request = new Request('http://demo.invalid/graphql', { method: 'POST', headers, body });
      const response = await gateway.fetch(request);
      const { data, errors } = (await response.json()) as {
        readonly data: { readonly fleet: { readonly nodes: readonly Past[] } };
        readonly errors?: unknown;
      };
      expect(errors).toBeUndefined();
      return data.fleet.nodes;
    };
    const numbers = await read();
    const observed = numbers.filter(({ timeline }) => timeline.at(-1)?.certainty === 'OBSERVED');
    expect(observed.length).toBeGreaterThan(30);
    for (const { number, timeline, history, health, createdAt } of observed) {
      const kinds = history.nodes.map(({ kind }) => kind);
      const times = history.nodes.map(({ occurredAt }) => occurredAt);
      expect([number, timeline.at(-1)?.value]).toEqual([number, health.sendability.verdict]);
      expect(timeline.filter(({ certainty }) => certainty === 'UNOBSERVED').length).toBeGreaterThan(
        1,
      );
      expect(kinds.filter((kind) => kind === 'GAP')).toHaveLength(2);
      expect(times).toEqual(times.toSorted().toReversed());
      expect(Date.now() - Date.parse(createdAt)).toBeGreaterThan(39 * 86_400_000);
    }
    // Some that can send could not for a while.
    const sending = await read('{ verdicts: [YES] }');
    const kinds = sending.map(({ timeline }) => timeline.some(({ value }) => value === 'NO'));
    expect(new Set(kinds)).toEqual(new Set([true, false]));

    // Another start adds nothing.
    await start({ DATA_DIR: directory }, { database });
    expect((await read()).map(({ history }) => history)).toEqual(
      numbers.map(({ history }) => history),
    );
  }, 60_000);

  test('can be read live by its token', async () => {
    await using started = await startSeeded();
    const [number] = await started.gateway.numbers.list(toOperatorAccess(largeTenant.id));
    const access = toOperatorAccess(largeTenant.id);
    const request = { id: number!.id, refresh: [] };
    const { health } = await started.gateway.numbers.get(access, request, neverAborted);
    expect(health.freshness).toMatchObject({ source: 'LIVE', error: null });
  }, 60_000);
});

describe('the fleet', () => {
  let started: Started;
  let fleet: readonly WhatsAppNumber[];

  beforeAll(async () => {
    started = await startSeeded();
    fleet = await listFleet(started.gateway);
  });

  afterAll(() => started?.[Symbol.asyncDispose]());

  test('includes each connection state, provider and verdict', () => {
    expect(new Set(fleet.map((it) => it.state))).toEqual(new Set(connectionStates));
    expect(new Set(fleet.map((it) => it.provider))).toEqual(new Set(providers));
    const found = fleet.map((it) => it.health.sendability.verdict);
    expect(new Set(found)).toEqual(new Set(verdicts));
  });

  const healthFields: readonly (readonly [
    VocabularyName,
    (number: WhatsAppNumber) => string | null | undefined,
  ])[] = [
    ['QualityRating', ({ health }) => health.qualityRating],
    ['MessagingLimitTier', ({ health }) => health.messagingLimitTier],
    ['MetaStatus', ({ health }) => health.metaStatus],
  ];

  test.each(healthFields)(
    'includes each value of %s, null, and an unrecognized one',
    (vocabulary, read) => {
      const found = new Set(fleet.map((it) => toWord(vocabulary, read(it) ?? null)));
      const words = Object.keys(vocabularies[vocabulary].words);
      expect(found).toEqual(new Set([...words, 'UNRECOGNIZED', null]));
    },
  );

  test.each<readonly [VocabularyName, (number: WhatsAppNumber) => string | null | undefined]>([
    ['NameStatus', ({ meta }) => meta?.phone?.value?.nameStatus],
    ['PlatformType', ({ meta }) => meta?.phone?.value?.platformType],
    ['AccountMode', ({ meta }) => meta?.phone?.value?.accountMode],
    ['ThroughputLevel', ({ meta }) => meta?.phone?.value?.throughputLevel],
  ])('includes each value of %s', (vocabulary, read) => {
    const found = new Set(fleet.map((it) => toWord(vocabulary, read(it) ?? null)));
    expect([...found]).toEqual(expect.arrayContaining(Object.keys(vocabularies[vocabulary].words)));
  });

  test('includes each error a refresh can end with', () => {
    const found = fleet.flatMap(({ health, meta }) =>
      [health.freshness, meta?.phone, meta?.profile, meta?.waba]
        .map((it) => (it && 'freshness' in it ? it.freshness : it)?.error?.code)
        .filter((code) => code !== undefined),
    );
    // These are errors of a request, never of the refresh of a number.
    const ofRequests: readonly ErrorCode[] = [
      'UNAUTHENTICATED',
      'FORBIDDEN',
      'NUMBER_NOT_FOUND',
      'NOT_FOUND',
      'METHOD_NOT_ALLOWED',
      'INVALID_REQUEST',
      'INCIDENT_NOT_FOUND',
      'INVALID_CURSOR',
      'CURSOR_EXPIRED',
      'CURSOR_UNKNOWN',
      'URI_TOO_LONG',
      'QUERY_TOO_COMPLEX',
      'PERSISTED_QUERY_NOT_FOUND',
      'PERSISTED_QUERY_NOT_SUPPORTED',
      'PERSISTED_QUERY_MISMATCH',
      'RATE_LIMITED',
      'TOO_MANY_STREAMS',
      'TENANT_NOT_FOUND',
      'KEY_NOT_FOUND',
      'CREDENTIAL_NOT_FOUND',
      'WEBHOOK_NOT_FOUND',
      'ENDPOINT_NOT_FOUND',
      'CONFLICT',
      'INTERNAL',
    ];
    expect(new Set([...found, ...ofRequests])).toEqual(new Set(Object.keys(errorCatalogue)));
    expect(found.filter((code) => (ofRequests as readonly string[]).includes(code))).toEqual([]);
  });

  test('includes each freshness: never fetched, fresh and stale, each with and without an error', () => {
    const facts = new Set(
      fleet.map(({ health: { freshness } }) =>
        freshness === null
          ? 'never fetched'
          : `${freshness.observedAt === null ? 'no value' : freshness.stale ? 'stale' : 'fresh'}, ${freshness.error === null ? 'no error' : 'error'}`,
      ),
    );
    expect(facts).toEqual(
      new Set([
        'never fetched',
        'no value, error',
        // Of a session engine that was never asked.
        'no value, no error',
        'fresh, no error',
        'fresh, error',
        'stale, no error',
        'stale, error',
      ]),
    );
  });

  // The verdicts, `sendable`, and the most severe reason.
  test.each([
    ['FLAGGED', 'wa_acme_offers', 'YES', 'YES', true, 'INFORMS PHONE_NUMBER'],
    ['RESTRICTED', 'wa_acme_club', 'NO', 'YES', false, 'BLOCKS PHONE_NUMBER'],
    ['a payment method that fails', 'wa_acme_hotel', 'NO', 'YES', false, 'BLOCKS WABA'],
    ['a disabled account', 'wa_acme_bets', 'NO', 'NO', false, 'BLOCKS WABA'],
    ['a migrated number', 'wa_acme_nantes', 'NO', 'NO', false, 'BLOCKS PHONE_NUMBER'],
    ['a deleted number', 'wa_acme_lille', 'NO', 'NO', false, 'BLOCKS PHONE_NUMBER'],
    ['a dead token', 'wa_acme_school', 'UNKNOWN', 'UNKNOWN', false, 'INCONCLUSIVE SNAPSHOT'],
    ['a blocked app', 'wa_acme_gym', 'UNKNOWN', 'UNKNOWN', false, 'INCONCLUSIVE SNAPSHOT'],
    ['refused fields', 'wa_acme_tours', 'YES', 'YES', true, ''],
    [
      'the id of a number as that of its account',
      'wa_acme_mill',
      'YES',
      'YES',
      true,
      'INFORMS WABA',
    ],
    ['swapped ids', 'wa_acme_farm', 'UNKNOWN', 'UNKNOWN', false, 'INCONCLUSIVE SNAPSHOT'],
    ['the id of another account', 'wa_acme_port', 'YES', 'YES', true, 'INFORMS WABA'],
    ['wrong digits', 'wa_acme_craft', 'YES', 'YES', true, 'INFORMS PHONE_NUMBER'],
    ['a missing instance', 'wa_acme_lost', 'NO', 'NO', false, 'BLOCKS CONNECTION'],
    [
      'a refused engine key',
      'wa_acme_market',
      'UNKNOWN',
      'UNKNOWN',
      false,
      'INCONCLUSIVE SNAPSHOT',
    ],
    [
      'an engine without a state',
      'wa_acme_bazaar',
      'UNKNOWN',
      'UNKNOWN',
      false,
      'INCONCLUSIVE SNAPSHOT',
    ],
    ['an engine that is down', 'wa_acme_fair', 'YES', 'YES', true, ''],
    [
      'an engine that was never asked',
      'wa_acme_kiosk',
      'UNKNOWN',
      'UNKNOWN',
      false,
      'INCONCLUSIVE SNAPSHOT',
    ],
  ] as const)('shows %s: %s', (_, id, verdict, replyVerdict, sendable, says) => {
    const health = fleet.find((number) => number.id === id)?.health;
    expect(health).toMatchObject({ sendable, sendability: { verdict, replyVerdict } });
    const [first] = health?.sendability.reasons ?? [];
    expect(first === undefined ? '' : `${first.effect} ${first.entity}`).toBe(says);
  });

  test('reports an expired token on refresh, and keeps the old value', async () => {
    const before = fleet.find(({ id }) => id === 'wa_acme_school');
    const after = await refresh(started.gateway, 'wa_acme_school');
    expect(after.health.freshness?.error).toMatchObject({
      code: 'META_ACCESS_DENIED',
      metaCode: 190,
      metaSubcode: 463,
    });
    expect(after.meta?.phone?.value).toEqual(before?.meta?.phone?.value);
    expect(after.meta?.phone?.value?.qualityRating).toBe('GREEN');
    expect(after.health.freshness?.ageSeconds).toBeGreaterThan(26 * 3_600 - 1);
  });

  test('stores what the simulated Meta returns, except where a row demonstrates a change', async () => {
    const steady = Object.entries(demoNumbers)
      .filter(([, it]) => 'waba' in it && getTenant(it) === 'acme')
      .filter(([, it]) => it.refresh === undefined && !('was' in it))
      .map(([id]) => id);
    const access = toOperatorAccess(demoTenants.acme.id);
    const requests = steady.map((id) => ({ id, refresh: [] }));
    const live = await started.gateway.numbers.getMany(access, requests, neverAborted);
    const compared = live.map((after) => {
      if (after instanceof Error) throw after;
      const before = fleet.find(({ id }) => id === after.id);
      if (before?.meta === null) return null;
      const [then, now] = [before?.meta, after.meta].map((meta) => [
        after.id,
        meta?.phone?.value,
        meta?.profile?.value,
      ]);
      expect(now).toEqual(then);
      return after.id;
    });
    expect(compared.filter((id) => id !== null).length).toBeGreaterThan(15);
    expect(await refresh(started.gateway, 'wa_acme_garden')).toMatchObject({
      health: { qualityRating: 'YELLOW' },
    });
  });

  test('announces keys of the right scope, and hints at usable keys only', async () => {
    const { access, numbers } = started.gateway;
    const { tenantKey, numberKey, tenantId, numberId } = started.announcement;
    const identify = (key: string) =>
      access.authenticate({
        headers: new Headers({ 'x-api-key': key }),
        receivedAt: performance.now(),
        clientAddress: 'unknown',
        meter: createMeter(),
      });
    expect(await identify(tenantKey)).toMatchObject({ tenantId, numberId: null });
    const numberAccess = await identify(numberKey);
    expect(numberAccess).toMatchObject({ tenantId, numberId });
    const [number, foreign] = await numbers.getMany(
      numberAccess,
      [numberId, 'wa_borealis_booking'].map((id) => ({ id, refresh: null })),
      neverAborted,
    );
    expect(number).toMatchObject({ provider: 'META', health: { sendable: true } });
    expect(foreign).toMatchObject({ code: 'NUMBER_NOT_FOUND' });
    const hinted = (await numbers.list(numberAccess))
      .filter(({ id }) => ['wa_acme_sales', 'wa_acme_support'].includes(id))
      .map(({ id, apiKeys }) => [id, apiKeys.map(({ name }) => name)] as const);
    expect(Object.fromEntries(hinted)).toEqual({
      wa_acme_sales: ['Sales CRM', 'Sales dashboard'],
      wa_acme_support: ['Support desk'],
    });
  });

  test('has a unique phone number in each row', () => {
    const rows = Object.values(demoNumbers);
    expect(rows.length).toBeGreaterThanOrEqual(24);
    expect(new Set(rows.map(({ line }) => line)).size).toBe(rows.length);
    expect(new Set(fleet.map(({ number }) => number)).size).toBe(rows.length);
  });
});

function getTenant(number: (typeof demoNumbers)[string]): string {
  return 'waba' in number ? demoWabas[(number as DemoMetaNumber).waba].tenant : number.tenant;
}

/** What a client sees of the fleet, without times. */
function toConditions(fleet: readonly WhatsAppNumber[]) {
  return Object.fromEntries(
    fleet.map(({ id, state, health, meta }) => [
      id,
      [
        state,
        health.qualityRating,
        health.metaStatus,
        health.sendability.verdict,
        health.freshness?.error?.code,
        meta?.profile?.value?.about,
        meta?.waba?.value?.name,
        meta?.waba?.freshness.error?.code,
      ],
    ]),
  );
}

function toKeyFacts(key: Awaited<ReturnType<typeof listKeys>>[number]): string {
  return [key.tenantId, key.name, key.keyLast4, key.numberId, key.revokedAt !== null].join(' ');
}
