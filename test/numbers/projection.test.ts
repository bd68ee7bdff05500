// Tests that a projection reads the same values as a full read, from no other tables than it needs, that access to other
// members throws, and until when a number is valid.

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  staleAfterSeconds,
  toWhatsAppNumber,
  type WhatsAppNumber,
} from '../../src/numbers/number.ts';
import type { StoredBlock, StoredNumber } from '../../src/numbers/stored-number.ts';
import { fullProjection, type Projection, unionOf } from '../../src/numbers/projection.ts';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import type { MetaBlock } from '../../src/numbers/meta.ts';
import { type Block, providers } from '../../src/numbers/provider.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { listNumbers } from '../../src/numbers/number-queries.ts';
import { toRestriction } from './evidence.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  type TestGateway,
  type TestTenant,
  toHealthyPhone,
} from '../harness.ts';

const metas: readonly Projection['meta'][] = [
  null,
  [],
  ['phone'],
  ['profile'],
  ['waba'],
  ['phone', 'profile'],
  ['phone', 'waba'],
  ['profile', 'waba'],
  ['phone', 'profile', 'waba'],
];

const all: readonly Projection[] = [true, false].flatMap((details) =>
  [true, false].flatMap((apiKeys) =>
    (['nothing', 'summary', 'everything'] as const).flatMap((health) =>
      metas.flatMap((meta) =>
        [true, false].map((freshness) => ({ details, apiKeys, health, meta, freshness })),
      ),
    ),
  ),
);

const toTitle = ({ details, apiKeys, health, meta, freshness }: Projection) =>
  [
    details && 'details',
    apiKeys && 'keys',
    `health: ${health}`,
    `meta: ${meta?.join(' ') ?? 'no'}`,
    freshness && 'freshness',
  ]
    .filter(Boolean)
    .join(', ');

/** The members that the projection selects. */
function pick(number: WhatsAppNumber, projection: Projection): unknown {
  const { details, apiKeys, health, meta, freshness } = projection;
  const { id, provider, state, isFullyConnected } = number;
  const { instanceName, number: digits, name, createdAt, updatedAt } = number;
  const { labels, mutedUntil, muteNote } = number;
  const { qualityRating, messagingLimitTier, metaStatus, sendable } = number.health;
  return {
    id,
    provider,
    state,
    isFullyConnected,
    ...(details && { instanceName, number: digits, name, createdAt, updatedAt }),
    ...(details && { labels, mutedUntil, muteNote }),
    ...(apiKeys && { apiKeys: number.apiKeys }),
    ...(health === 'summary' && {
      health: { qualityRating, messagingLimitTier, metaStatus, sendable },
    }),
    ...(health === 'everything' && { health: number.health }),
    ...(meta !== null && {
      meta: number.meta && {
        numberId: id,
        fetchedAt: number.meta.fetchedAt,
        ...Object.fromEntries(meta.map((block) => [block, number.meta?.[block]])),
      },
    }),
    ...(freshness && { freshness: number.freshness }),
  };
}

// The expiry of a key is computed from the clock at each read.
function withoutChange({ validUntil: _changesAt, ...rest }: WhatsAppNumber): unknown {
  return rest;
}

const time = '2026-06-30T09:18:33.000Z';

describe.each(databases)('on %s', (database) => {
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeAll(async () => {
    gateway = await openTestGateway({ database, now: () => new Date(time) });
    tenant = await gateway.addTenant();
    await addFleet(gateway, tenant);
  });

  afterAll(() => gateway[Symbol.asyncDispose]());

  test.each(all.map((projection) => [toTitle(projection), projection] as const))(
    '%s',
    async (_, projection) => {
      const access = toOperatorAccess(tenant.id);
      const whole = await gateway.numbers.list(access);
      expect(whole.length).toBeGreaterThan(5);
      const expected = whole.map((number) => pick(number, projection));
      const listed = await gateway.numbers.list(access, projection);
      expect(listed.map(withoutChange)).toEqual(expected);
      const requests = whole.map(({ id }) => ({ id, refresh: null, projection }));
      const found = await gateway.numbers.getMany(access, requests, patience);
      expect(found.map((it) => withoutChange(it as WhatsAppNumber))).toEqual(expected);
    },
  );

  test('the fleet covers many conditions', async () => {
    const whole = await gateway.numbers.list(toOperatorAccess(tenant.id));
    const conditions = whole.map(({ health, meta }) => [
      health.sendable,
      health.sendability.verdict,
      health.freshness?.stale,
      health.freshness?.error?.code,
      meta && [meta.phone === null, meta.profile === null, meta.waba === null],
    ]);
    expect(new Set(conditions.map((it) => JSON.stringify(it))).size).toBeGreaterThanOrEqual(6);
  });

  test('usable keys are listed, oldest first', async () => {
    const { id } = await tenant.addNumber();
    const ends = new Date(Date.now() + 3_600_000);
    await tenant.addKey({ name: 'first', numberId: id });
    await tenant.addKey({ name: 'ending', numberId: id, expiresAt: ends });
    const revoked = await tenant.addKey({ name: 'revoked', numberId: id });
    await gateway.access.revokeKey(revoked.id);
    const expired = await tenant.addKey({ name: 'expired', numberId: id });
    await gateway.database.query(
      `update api_key set expires_at = now() - interval '1 second' where id = $1`,
      [expired.id],
    );
    const request = { id, refresh: null, projection: fullProjection };
    const number = await gateway.numbers.get(toOperatorAccess(tenant.id), request, patience);
    expect(number.apiKeys.map(({ name }) => name)).toEqual(['first', 'ending']);
    expect(Object.keys(number.apiKeys[0] ?? {})).toEqual(['name', 'keyPrefix', 'keyLast4']);
    // On the clock of the gateway, which is fixed to a time long before the database's.
    const left = (number.validUntil?.getTime() ?? 0) - Date.parse(time);
    expect(left).toBeGreaterThan(3_500_000);
    expect(left).toBeLessThanOrEqual(3_600_000);
  });
});

const patience = new AbortController().signal;

/** Numbers in many conditions. */
async function addFleet(gateway: TestGateway, tenant: TestTenant): Promise<void> {
  const read = async (id: string, ...refresh: readonly MetaBlock[]) => {
    const access = toOperatorAccess(tenant.id);
    await gateway.numbers.getMany(access, [{ id, refresh, projection: fullProjection }], patience);
  };
  const healthy = await tenant.addNumber();
  await read(healthy.id);
  await tenant.addKey({ numberId: healthy.id, expiresAt: new Date(Date.now() + 3_600_000) });
  await tenant.addNumber({ name: 'never read', state: 'CLOSE' });
  for (const block of ['phone', 'profile', 'waba'] as const) {
    // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
    await read((await tenant.addNumber({ name: `${block} alone` })).id, block);
  }
  await read((await tenant.addNumber({ phone: { status: 'FLAGGED' } })).id);
  const denied = { kind: 'error', code: 190 } as const;
  const failing = await tenant.addNumber({ name: 'failing' });
  gateway.simulator.setFault(failing.phoneNumberId, denied);
  await read(failing.id);
  const lost = await tenant.addNumber({ name: 'failing after a success' });
  await read(lost.id);
  gateway.simulator.setFault(lost.phoneNumberId, denied);
  await read(lost.id, 'phone');
  const silent = await tenant.addNumber({ name: 'without evidence after a yes' });
  await read(silent.id);
  const speechless = toHealthyPhone(silent.phoneNumberId, silent.wabaId, { health_status: null });
  gateway.simulator.setPhone(speechless);
  await read(silent.id, 'phone');
  const old = await tenant.addNumber({ name: 'read long ago, before verdicts were stored' });
  await read(old.id);
  await gateway.database.query(
    `update number_snapshot set verdict = null, observed_at = $2::timestamptz - interval '2 hours'
     where number_id = $1`,
    [old.id, time],
  );
  await read((await tenant.addNumber({ provider: 'PILOT_STATUS' })).id);
  await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'CONNECTING' });
}

test('times have milliseconds and are in UTC, whatever the format and time zone of the database', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  const [{ name } = { name: '' }] = await database.query<{ name: string }>(
    'select current_database() as name',
  );
  for (const setting of [`timezone = 'Asia/Kolkata'`, `datestyle = 'SQL, DMY'`]) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await database.query(`alter database ${name} set ${setting}`);
  }
  await using gateway = await openTestGateway({ database });
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  for (const at of [
    time,
    '2026-01-01T00:00:00.100Z',
    '2026-03-29T01:30:00.010Z',
    '1999-12-31T23:59:59.999Z',
  ]) {
    // oxlint-disable no-await-in-loop -- one after the other
    await database.query(
      'update whatsapp_number set created_at = $2, updated_at = $2 where id = $1',
      [id, at],
    );
    const times = { createdAt: at, updatedAt: at };
    expect((await tenant.rest(`/v1/numbers/${id}`)).body).toMatchObject(times);
    const { body } = await tenant.graphql(`{ number(id: "${id}") { createdAt updatedAt } }`);
    expect(body.data).toEqual({ number: times });
    // oxlint-enable no-await-in-loop
  }
});

test('a statement reads only the tables that the projection needs', async () => {
  await using database = await openTestDatabase('PGlite');
  const listTables = async (projection: Projection, ids?: readonly string[]) => {
    database.clearStatements();
    const request = { tenantId: 'a', projection, ...(ids && { ids }), now: new Date() };
    await listNumbers(database, request);
    const [, statement = ''] = database.statements;
    return new Set(statement.match(/\b(whatsapp_number|api_key|(number|waba)_snapshot)\b/g));
  };
  const nothing: Projection = { details: false, apiKeys: false, health: 'nothing', meta: null };
  for (const ids of [undefined, ['x']]) {
    // oxlint-disable no-await-in-loop -- one connection
    const tables = async (projection: Partial<Projection>) =>
      [...(await listTables({ ...nothing, ...projection }, ids))].toSorted();
    expect(await tables({})).toEqual(['whatsapp_number']);
    expect(await tables({ details: true })).toEqual(['whatsapp_number']);
    expect(await tables({ apiKeys: true })).toEqual(['api_key', 'whatsapp_number']);
    expect(await tables({ health: 'summary' })).toEqual(['number_snapshot', 'whatsapp_number']);
    expect(await tables({ health: 'everything' })).toEqual(['number_snapshot', 'whatsapp_number']);
    // oxlint-enable no-await-in-loop
  }
});

test('all projections together prepare 48 statements', async () => {
  await using database = await openTestDatabase('PGlite');
  for (const projection of all) {
    for (const ids of [null, ['x']]) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      await listNumbers(database, { tenantId: 'a', projection, ids, now: new Date() });
    }
  }
  const statements = database.statements.filter((it) => it.includes('from whatsapp_number'));
  expect(statements).toHaveLength(2 * all.length);
  expect(new Set(statements).size).toBe(48);
});

test('concurrent lists of one tenant share their parsed rows, which are frozen', async () => {
  await using gateway = await openTestGateway({ database: 'PostgreSQL' });
  const tenant = await gateway.addTenant();
  await tenant.addNumber();
  const request = { tenantId: tenant.id, projection: fullProjection, now: new Date() };
  const [first, second] = await Promise.all([
    listNumbers(gateway.database, request),
    listNumbers(gateway.database, request),
  ]);
  expect(second).toBe(first);
  expect([first, first[0], first[0]?.blocks, first[0]?.details].every(Object.isFrozen)).toBe(true);
  expect(await listNumbers(gateway.database, request)).not.toBe(first);
});

test('access to a member that is not selected throws', () => {
  const nothing: Projection = { details: false, apiKeys: false, health: 'nothing', meta: null };
  const number = toNumber(toStored({}), nothing, 0);
  for (const name of [
    ...(['instanceName', 'number', 'name', 'createdAt', 'updatedAt'] as const),
    ...(['apiKeys', 'health', 'meta', 'freshness'] as const),
  ]) {
    expect(() => number[name]).toThrow(`${name} was read, and the projection does not select it.`);
  }
  const { health, meta } = toNumber(
    toStored({ phone: toBlock(0) }),
    { ...nothing, health: 'summary', meta: ['waba'] },
    0,
  );
  expect(() => health.sendability).toThrow(
    'sendability was read, and the projection does not select it.',
  );
  expect(() => health.freshness).toThrow(
    'freshness was read, and the projection does not select it.',
  );
  expect(() => meta?.phone).toThrow('phone was read, and the projection does not select it.');
  expect(meta?.waba).toBeNull();
});

test('a union selects what each of its parts selects', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...all), { minLength: 1 }), (parts) => {
      const whole = unionOf(parts);
      const stored = toStored({ phone: toBlock(0), profile: toBlock(0), waba: toBlock(0) });
      const listMembers = (projection: Projection) => {
        const { health = {}, meta, ...own } = { ...toNumber(stored, projection, 0) };
        return [own, health, meta ?? {}].flatMap((it) => Object.keys(it));
      };
      const projection = new Set(parts.flatMap(listMembers));
      expect(new Set(listMembers(whole))).toEqual(projection);
    }),
  );
});

/** The number without its ages and the time until which it is valid. */
function look(stored: StoredNumber, projection: Projection, at: number): string {
  return JSON.stringify(toNumber(stored, projection, at), (name, value: unknown) =>
    name === 'ageSeconds' || name === 'validUntil' ? undefined : value,
  );
}

describe('a number', () => {
  const hour = 3_600_000;
  const moments = fc.integer({ min: -3 * hour, max: 3 * hour });
  // Access tokens inform from 30 days before their end.
  const ends = fc.option(fc.integer({ min: -30 * hour, max: 24 * 35 * hour }).map(toTime));
  const blocks = fc.record({
    data: fc.option(fc.constant({ status: 'CONNECTED', platformType: 'CLOUD_API' })),
    observedAt: fc.option(moments.map(toTime)),
    attemptedAt: moments.map(toTime),
    failure: fc.constant(null),
    verdict: fc.constantFrom('YES', 'NO', null),
    isSummary: fc.constant(false),
  });
  const stored = fc.record({
    id: fc.constant('wa_1'),
    provider: fc.constantFrom(...providers),
    state: fc.constantFrom('OPEN', 'CLOSE'),
    stateObservedAt: moments.map(toTime),
    details: fc.constant(null),
    restrictions: fc.constant([]),
    identity: fc.constant({ number: null, wabaId: null }),
    token: fc.option(fc.record({ expiresAt: ends, dataAccessExpiresAt: ends })),
    apiKeys: fc.array(
      fc.record({
        name: fc.string(),
        keyPrefix: fc.constant('ps_abcd'),
        keyLast4: fc.constant('wxyz'),
        expiresAt: fc.option(moments),
      }),
      { maxLength: 3 },
    ),
    blocks: fc.record({
      phone: fc.option(blocks, { nil: undefined }),
      profile: fc.option(blocks, { nil: undefined }),
      waba: fc.option(blocks, { nil: undefined }),
      connection: fc.option(blocks, { nil: undefined }),
    }),
  }) as fc.Arbitrary<StoredNumber>;
  const restrictions = fc.array(
    fc.record({
      kind: fc.constantFrom('RESTRICTED_BIZ_INITIATED_MESSAGING', 'RESTRICTED_UTILITY_TEMPLATES'),
      expiresAt: fc.option(moments.map(toTime)),
    }),
    { maxLength: 2 },
  );
  const restricted = fc.tuple(stored, restrictions).map(([number, listed]) =>
    Object.assign({}, number, {
      restrictions: listed.map(({ kind, expiresAt }) => toRestriction(kind, { expiresAt })),
    }),
  );
  const projection = fc.constantFrom(...all);
  test('does not change, but for ages, before the time until which it is valid', () => {
    fc.assert(
      fc.property(
        restricted,
        projection,
        moments,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (number, part, at, share) => {
          const { validUntil } = toNumber(number, part, at);
          const end = validUntil?.getTime() ?? at + 1_000 * hour;
          const between = Math.min(end - 1, at + Math.floor((end - at) * share));
          for (const moment of [between, end - 1]) {
            expect(look(number, part, moment)).toBe(look(number, part, at));
            expect(toNumber(number, part, moment).validUntil).toEqual(validUntil);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('changes at the time until which it is valid, which is in the future', () => {
    fc.assert(
      fc.property(stored, projection, moments, (number, part, at) => {
        const { validUntil } = toNumber(number, part, at);
        fc.pre(validUntil !== null);
        expect(validUntil.getTime()).toBeGreaterThan(at);
        expect(look(number, part, validUntil.getTime())).not.toBe(look(number, part, at));
      }),
      { numRuns: 2_000 },
    );
  });

  test('is valid until its evidence becomes stale or a key expires, whichever is first', () => {
    const number = toStored({ phone: toBlock(0), waba: toBlock(-hour / 2) });
    const keyed = { ...number, apiKeys: [toKey(null), toKey(5_000)] };
    const staleAt = new Date((staleAfterSeconds + 1) * 1_000);
    const part = { ...fullProjection, meta: ['phone'] as const, freshness: false };
    expect(toNumber(number, part, 0).validUntil).toEqual(staleAt);
    expect(toNumber(keyed, part, 0).validUntil).toEqual(new Date(5_000));
    expect(toNumber(keyed, part, 5_000).validUntil).toEqual(staleAt);
    expect(toNumber(number, fullProjection, 0).validUntil).toEqual(
      new Date(staleAt.getTime() - hour / 2),
    );
    expect(toNumber(number, part, staleAt.getTime()).validUntil).toBeNull();
    expect(toNumber(number, { ...part, health: 'summary', meta: [] }, 0).validUntil).toBeNull();
  });

  test('is valid until a restriction of its account ends, where it shows what that changes', () => {
    const number = toStored({ phone: toBlock(0), waba: toBlock(0) });
    const kind = 'RESTRICTED_UTILITY_TEMPLATES';
    const listed = [toRestriction(kind), toRestriction(kind, { expiresAt: toTime(5_000) })];
    const limited = { ...number, restrictions: listed };
    const nothing = { details: false, apiKeys: false, health: 'nothing', meta: null } as const;
    const validUntil = (part: Partial<Projection>) =>
      toNumber(limited, { ...nothing, ...part }, 0).validUntil?.getTime() ?? null;
    expect(validUntil({ health: 'summary' })).toBe(5_000);
    expect(validUntil({ meta: ['waba'] })).toBe(5_000);
    expect(validUntil({})).toBeNull();
    expect(validUntil({ meta: ['phone'] })).toBe((staleAfterSeconds + 1) * 1_000);
  });
});

function toNumber(stored: StoredNumber, projection: Projection, at: number): WhatsAppNumber {
  const readable: readonly Block[] =
    stored.provider === 'META' ? ['phone', 'profile', 'waba'] : ['connection'];
  const { sync } = parseConfig(readEnvironment({}));
  const outcomes = new Map();
  return toWhatsAppNumber(stored, projection, { now: new Date(at), readable, outcomes, sync });
}

function toStored(blocks: StoredNumber['blocks']): StoredNumber {
  return {
    id: 'wa_1',
    provider: 'META',
    state: 'OPEN',
    stateObservedAt: null,
    details: null,
    apiKeys: [],
    blocks,
    restrictions: [],
    identity: { number: null, wabaId: null },
  };
}

function toBlock(at: number): StoredBlock {
  const observedAt = toTime(at);
  return {
    data: {},
    observedAt,
    attemptedAt: observedAt,
    failure: null,
    obstacle: null,
    verdict: null,
    isSummary: false,
  };
}

function toKey(expiresAt: number | null): StoredNumber['apiKeys'][number] {
  return { name: 'Key', keyPrefix: 'ps_abcd', keyLast4: 'wxyz', expiresAt };
}

function toTime(at: number): string {
  return new Date(at).toISOString();
}
