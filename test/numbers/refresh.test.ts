import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NewNumber, toOperatorAccess } from '../../src/numbers/numbers.ts';
import { waitForRelease } from '../../src/numbers/lease.ts';
import { acquireLease, renewHolderAcrossTenants } from '../../src/numbers/lease-store.ts';
import { type Reading, recordReadings } from '../../src/numbers/store.ts';
import type { MetaBlock } from '../../src/numbers/meta.ts';
import { toAppKey } from '../../src/providers/meta/credential-key.ts';
import {
  createDigits,
  databases,
  openTestDatabase,
  openTestGateway,
  openTestPostgresUrl,
  type TestDatabase,
  type TestGateway,
  toHealthyPhone,
} from '../harness.ts';

const never = new AbortController().signal;

describe.each(databases)('a live reading on %s', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('100 simultaneous refreshes of one number over both APIs are one read', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    gateway.simulator.clearCalls();
    const { arrived, release } = gateway.simulator.hold(phoneNumberId);
    const query = `{ number(id: "${id}", refresh: true) { health { qualityRating } } }`;
    const asked = Array.from({ length: 50 }, () => [
      tenant.rest(`/v1/numbers/${id}?refresh=1`),
      tenant.graphql(query),
    ]).flat();
    await arrived;
    release();
    const replies = await Promise.all(asked);
    expect(replies.map((reply) => reply.status)).toEqual(replies.map(() => 200));
    const operations = gateway.simulator.calls.flatMap((call) => call.operations);
    expect(operations.filter((operation) => operation === `phone ${phoneNumberId}`)).toHaveLength(
      1,
    );
    expect(operations).toHaveLength(3);
  });

  test('a failed read keeps the last good value and reports the failure', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const before = await refresh(gateway, tenant.id, id);
    gateway.simulator.setFault(phoneNumberId, { kind: 'error', code: 2, transient: true });
    const after = await refresh(gateway, tenant.id, id);
    gateway.simulator.setFault(phoneNumberId, null);
    expect(after.health.qualityRating).toBe('GREEN');
    expect(after.health.freshness).toMatchObject({
      observedAt: before.health.freshness?.observedAt,
      source: 'SNAPSHOT',
      error: { code: 'META_UNAVAILABLE', metaCode: 2, transient: true },
    });
    expect(Date.parse(after.health.freshness!.attemptedAt!)).toBeGreaterThan(
      Date.parse(before.health.freshness!.attemptedAt!),
    );
  });

  test('a read without the evidence for a verdict keeps the last verdict that was supported', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    expect(await refresh(gateway, tenant.id, id)).toMatchObject({
      health: { sendable: true, sendability: { verdict: 'YES' } },
    });
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, { health_status: null }));
    expect(await refresh(gateway, tenant.id, id)).toMatchObject({
      health: { sendable: true, sendability: { verdict: 'UNKNOWN' } },
    });
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, { status: 'BANNED' }));
    expect(await refresh(gateway, tenant.id, id)).toMatchObject({ health: { sendable: false } });
  });

  test('an attempt that was not made changes no timestamp', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ credentials: null });
    const { health, updatedAt, createdAt } = await refresh(gateway, tenant.id, id);
    expect(health.freshness).toMatchObject({
      observedAt: null,
      attemptedAt: null,
      error: { code: 'META_ACCESS_DENIED' },
    });
    expect(updatedAt).toEqual(createdAt);
    const times = await gateway.database.query(
      `select distinct observed_at, attempted_at::text from number_snapshot where number_id = $1`,
      [id],
    );
    expect(times).toEqual([{ observed_at: null, attempted_at: '-infinity' }]);
  });

  test('a character that the database cannot store is replaced, and the rest of the block is stored', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ profile: { about: 'a\0b\ud800c' } });
    const { meta } = await refresh(gateway, tenant.id, id);
    expect(meta?.profile).toMatchObject({
      value: { about: 'a\ufffdb\ufffdc' },
      freshness: { source: 'LIVE' },
    });
  });

  test('an id with a NUL is a missing number', async () => {
    const tenant = await gateway.addTenant();
    await expect(refresh(gateway, tenant.id, 'wa_\0')).rejects.toMatchObject({
      code: 'NUMBER_NOT_FOUND',
    });
  });

  test('a read that cannot be stored releases its lease', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const { arrived, release } = gateway.simulator.hold(phoneNumberId);
    const reading = refresh(gateway, tenant.id, id);
    await arrived;
    await gateway.database.query(
      `alter table number_snapshot add constraint test_refusal check (number_id <> '${id}')`,
    );
    release();
    await expect(reading).rejects.toThrow('test_refusal');
    const leases = await gateway.database.query(
      'select 1 from refresh_lease where tenant_id = $1',
      [tenant.id],
    );
    await gateway.database.query('alter table number_snapshot drop constraint test_refusal');
    expect(leases).toEqual([]);
  });

  test('a state that other software writes during a read is not overwritten', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber({ state: 'OPEN' });
    const { arrived, release } = gateway.simulator.hold(phoneNumberId);
    const reading = refresh(gateway, tenant.id, id);
    await arrived;
    await gateway.database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [id]);
    release();
    expect(await reading).toMatchObject({ state: 'CLOSE', health: { metaStatus: 'CONNECTED' } });
  });

  test('a state that Meta contradicts is replaced by the one that follows from Meta', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ state: 'OPEN', phone: { status: 'BANNED' } });
    expect(await refresh(gateway, tenant.id, id)).toMatchObject({
      state: 'CLOSE',
      isFullyConnected: false,
    });
  });

  test('the last caller to disconnect aborts the read, an earlier one does not', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const first = new AbortController();
    const second = new AbortController();
    gateway.simulator.clearCalls();
    const { arrived, release } = gateway.simulator.hold(phoneNumberId);
    const phoneOnly = (signal: AbortSignal) => refresh(gateway, tenant.id, id, signal);
    const left = phoneOnly(first.signal);
    const stayed = phoneOnly(second.signal);
    await arrived;
    first.abort(new Error('left early'));
    await expect(left).rejects.toThrow('left early');
    second.abort(new Error('left last'));
    await expect(stayed).rejects.toThrow('left last');
    release();
    // Nothing was stored and nothing is leased, so the next refresh reads again.
    const { health } = await refresh(gateway, tenant.id, id);
    expect(health.freshness?.source).toBe('LIVE');
    const statuses = gateway.simulator.calls
      .filter((call) => call.operations.includes(`phone ${phoneNumberId}`))
      .map((call) => call.status);
    expect(statuses).toEqual([0, 200]);
  });

  test('readings that arrive in any order leave the newest one, whether it succeeded or failed', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const start = Date.parse('2026-01-01T00:00:00Z');
    const readings = Array.from({ length: 60 }, (_, index) => ({
      observedAt: new Date(start + index * 1_000),
      reading: toReading(id, index),
    }));
    for (const { observedAt, reading } of shuffle(readings)) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await recordReadings(gateway.database, {
        tenantId: tenant.id,
        holder: 'test',
        observedAt,
        readings: [reading],
        leased: [],
      });
    }
    const [row] = await gateway.database.query(
      `select data ->> 'about' as about, observed_at, attempted_at, failure from number_snapshot where number_id = $1`,
      [id],
    );
    // Every third one failed; 59 did not.
    expect(row).toMatchObject({
      about: 'reading 59',
      observed_at: readings[59]!.observedAt,
      attempted_at: readings[59]!.observedAt,
      failure: null,
    });
  });
});

/** Secrets that several processes have in common. */
const shared = {
  ENCRYPTION_KEYS: `shared:${randomBytes(32).toString('base64')}`,
  API_KEY_PEPPER: 'a pepper that all processes know, of course',
};

describe('several processes on one PostgreSQL', () => {
  let database: TestDatabase;
  let one: TestGateway;
  let other: TestGateway;
  beforeAll(async () => {
    database = await openTestDatabase('PostgreSQL');
    one = await openTestGateway({ database, environment: shared });
    other = await openTestGateway({ database, environment: shared });
  });
  afterAll(async () => {
    await one[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });

  test('a process waits for the read of another one instead of reading too', async () => {
    const tenant = await one.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    other.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, { quality_rating: 'RED' }));
    const { arrived, release } = one.simulator.hold(phoneNumberId);
    const first = refresh(one, tenant.id, id);
    await arrived;
    const others = Array.from({ length: 50 }, () => refresh(other, tenant.id, id));
    release();
    const numbers = await Promise.all([first, ...others]);
    expect(new Set(numbers.map((number) => number.health.qualityRating))).toEqual(
      new Set(['GREEN']),
    );
    expect(new Set(numbers.map((number) => number.health.freshness?.source))).toEqual(
      new Set(['LIVE']),
    );
    expect(other.simulator.calls).toEqual([]);
  });

  test('300 refreshes over three gateways are one request to Meta', async () => {
    await using third = await openTestGateway({ database, environment: shared });
    const gateways = [one, other, third];
    const tenant = await one.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    for (const gateway of gateways) {
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId));
      gateway.simulator.clearCalls();
    }
    const holds = gateways.map((gateway) => gateway.simulator.hold(phoneNumberId));
    const asked = gateways.flatMap((gateway) =>
      Array.from({ length: 100 }, () =>
        gateway.numbers.getStatus(toOperatorAccess(tenant.id), id, never),
      ),
    );
    await Promise.race(holds.map(({ arrived }) => arrived));
    for (const { release } of holds) release();
    const numbers = await Promise.all(asked);
    expect(new Set(numbers.map(({ health }) => health.freshness?.source))).toEqual(
      new Set(['LIVE']),
    );
    const requests = gateways.flatMap(({ simulator }) => simulator.calls);
    console.log(`300 refreshes over three gateways: ${requests.length} request to Meta`);
    expect(requests).toHaveLength(1);
  });

  test('an account whose rate limit one process has used up is not read by the others, which report no attempt', async () => {
    const tenant = await one.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    other.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId));
    one.simulator.setFault(phoneNumberId, { kind: 'throttled', minutes: 17 });
    await expect(
      one.numbers.getStatus(toOperatorAccess(tenant.id), id, never),
    ).rejects.toMatchObject({ code: 'META_RATE_LIMITED' });
    const [before] = await readAttempts(id);
    other.simulator.clearCalls();
    const refused = other.numbers.getStatus(toOperatorAccess(tenant.id), id, never);
    await expect(refused).rejects.toMatchObject({
      code: 'META_RATE_LIMITED',
      details: { retryAt: expect.stringMatching(/Z$/) },
    });
    expect(other.simulator.calls).toEqual([]);
    expect(await readAttempts(id)).toEqual([before]);
    // The pause is over.
    await database.query('update graph_budget set spent_until = now() where tenant_id = $1', [
      tenant.id,
    ]);
    const number = await other.numbers.getStatus(toOperatorAccess(tenant.id), id, never);
    expect(number.health.freshness).toMatchObject({ source: 'LIVE', error: null });
  });

  test('a rate limit that one process has nearly used up is kept by the others for refreshes of single numbers', async () => {
    const tenant = await one.addTenant();
    const credentials = { accessToken: 'EAAboth', appSecret: null };
    const { id, phoneNumberId, wabaId } = await tenant.addNumber({ credentials });
    const second = await tenant.addNumber({ wabaId, credentials });
    for (const { simulator } of [one, other]) {
      for (const it of [phoneNumberId, second.phoneNumberId]) {
        simulator.setPhone(toHealthyPhone(it, wabaId));
      }
    }
    const read = (gateway: TestGateway, ...ids: readonly string[]) =>
      gateway.numbers.getMany(
        toOperatorAccess(tenant.id),
        ids.map((it) => ({ id: it, refresh: ['phone'] })),
        never,
      );
    one.simulator.setWaba({ id: wabaId, fields: {}, hourlyCalls: 13 });
    for (let times = 0; times < 6; times += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await read(one, id, second.id);
    }
    expect(
      await database.query('select account, spent_percent from graph_budget where tenant_id = $1', [
        tenant.id,
      ]),
    ).toEqual([{ account: `${wabaId} ${toAppKey(credentials)}`, spent_percent: 90 }]);
    other.simulator.clearCalls();
    const scarce = { health: { freshness: { error: { code: 'META_RATE_LIMITED' } } } };
    expect(await read(other, id, second.id)).toMatchObject([scarce, scarce]);
    expect(other.simulator.calls).toEqual([]);
    const live = { health: { freshness: { source: 'LIVE', error: null } } };
    expect(await read(other, id)).toMatchObject([live]);
  });

  test('a number that is deleted while a batch is stored costs no other number its reading', async () => {
    const tenant = await one.addTenant();
    const [gone, kept] = [await tenant.addNumber(), await tenant.addNumber()];
    const readings = [toReading(gone.id, 0), toReading(kept.id, 1)];
    await database.query('begin');
    await database.query('delete from whatsapp_number where id = $1', [gone.id]);
    const recording = recordReadings(one.database, {
      tenantId: tenant.id,
      holder: 'test',
      observedAt: new Date(),
      readings,
      leased: [],
    });
    await untilBlocked(database);
    await database.query('commit');
    const recorded = await recording;
    const rows = await database.query<{ number_id: string }>(
      'select number_id from number_snapshot where tenant_id = $1',
      [tenant.id],
    );
    expect(rows).toEqual([{ number_id: kept.id }]);
    expect([...recorded]).toEqual([`profile:${kept.id}`]);
  });

  const readAttempts = (id: string) =>
    database.query('select attempted_at, recorded_at from number_snapshot where number_id = $1', [
      id,
    ]);

  test('408 readings that are stored concurrently in any order leave the newest ones', async () => {
    const tenant = await one.addTenant();
    const made = await Promise.all(Array.from({ length: 8 }, () => tenant.addNumber()));
    const ids = made.map(({ id }) => id);
    const start = Date.parse('2026-01-01T00:00:00Z');
    const writes = shuffle(
      ids.flatMap((id) => Array.from({ length: 51 }, (_, index) => ({ id, index }))),
    ).values();
    const write = async () => {
      for (const { id, index } of writes) {
        // oxlint-disable-next-line no-await-in-loop -- each writer stores one after the other
        await recordReadings(database, {
          tenantId: tenant.id,
          holder: 'test',
          observedAt: new Date(start + index * 1_000),
          readings: [toReading(id, index)],
          leased: [],
        });
      }
    };
    await Promise.all(Array.from({ length: 8 }, write));
    const rows = await database.query(
      `select data ->> 'about' as about, attempted_at, failure is null as good
       from number_snapshot where tenant_id = $1`,
      [tenant.id],
    );
    // 50 is not one of those that failed.
    const right = { about: 'reading 50', attempted_at: new Date(start + 50_000), good: true };
    const wrong = rows.filter((row) => !isDeepStrictEqual(row, right));
    console.log(`408 shuffled writes: ${wrong.length} wrong results of ${rows.length}`);
    expect(rows).toHaveLength(8);
    expect(wrong).toEqual([]);
  });

  test('a lease without a row of its holder is valid until it expires, and no longer', async () => {
    const tenant = await one.addTenant();
    const { id } = await tenant.addNumber();
    const subjects = [{ block: 'phone', id, numberIds: [id] } as const];
    const request = { tenantId: tenant.id, subjects, receivedMsAgo: 0, numberIds: [] };
    const dead = await acquireLease(database, { ...request, holder: 'dead', leaseMs: 60_000 });
    expect(dead.granted).toMatchObject(subjects);
    const waiting = await acquireLease(database, { ...request, holder: 'alive', leaseMs: 60_000 });
    expect(waiting).toMatchObject({ granted: [], held: subjects });
    await database.query(
      `update refresh_lease set expires_at = now() - interval '1 second' where subject = $1`,
      [`phone:${id}`],
    );
    const late = await acquireLease(database, { ...request, holder: 'alive', leaseMs: 60_000 });
    expect(late.granted).toMatchObject(subjects);
  });

  test('100 waits of 1.5 s for leases of another process are 100 claims and at most 4 polls each, and read no credentials', async () => {
    await using waiting = await openTestGateway({ database, deadlineMs: 1_500 });
    const tenant = await waiting.addTenant();
    const made = await database.query<{ id: string }>(
      `insert into whatsapp_number (tenant_id, number, name, provider, state, phone_number_id, waba_id)
       select $1, '5511' || i, 'Number', 'META', 'OPEN', (10000000 + i)::text, '70000'
       from generate_series(1, 100) i returning id`,
      [tenant.id],
    );
    await database.query(
      `insert into refresh_lease (tenant_id, subject, holder, expires_at)
       select $1, 'phone:' || id, 'other/1', now() + interval '1 minute' from unnest($2::text[]) n(id)`,
      [tenant.id, made.map(({ id }) => id)],
    );
    database.clearStatements();
    const asked = made.map(({ id }) =>
      waiting.numbers.getStatus(toOperatorAccess(tenant.id), id, never),
    );
    const outcomes = await Promise.allSettled(asked);
    const count = (part: string) => database.statements.filter((it) => it.includes(part)).length;
    const [claims, polls] = [count('into refresh_lease'), count('from refresh_lease l')];
    console.log(`100 waits of 1.5 s: ${claims} claims of leases, ${polls} polls`);
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['rejected']));
    expect([claims, count('number_credential')]).toEqual([100, 0]);
    expect(polls).toBeLessThanOrEqual(400);
  });

  test('no database connection is held while Meta is read', async () => {
    await using narrow = await openTestDatabase('PostgreSQL', { connections: 1 });
    await using gateway = await openTestGateway({ database: narrow });
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const { arrived, release } = gateway.simulator.hold(phoneNumberId);
    const reading = refresh(gateway, tenant.id, id);
    await arrived;
    expect(await gateway.numbers.list(toOperatorAccess(tenant.id))).toHaveLength(1);
    release();
    expect((await reading).health.freshness?.source).toBe('LIVE');
  });
});

test('a refresh takes over from a process that died while it read the number', async () => {
  await using url = await openTestPostgresUrl();
  await using database = await openTestDatabase('PostgreSQL', { of: url });
  await using survivor = await openTestGateway({ database, environment: shared });
  const victim = await openTestDatabase('PostgreSQL', { of: url });
  await using killed = await openTestGateway({ database: victim, environment: shared });
  const tenant = await survivor.addTenant();
  const { id, phoneNumberId, wabaId } = await tenant.addNumber();
  killed.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId));
  const { arrived, release } = killed.simulator.hold(phoneNumberId);
  const lost = killed.numbers
    .getStatus(toOperatorAccess(tenant.id), id, never)
    .catch((error: unknown) => error);
  await arrived;
  // From here on the process neither renews nor releases its lease.
  await victim[Symbol.asyncDispose]();
  const startedAt = performance.now();
  const number = await survivor.numbers.getStatus(toOperatorAccess(tenant.id), id, never);
  expect(number.health.freshness).toMatchObject({ source: 'LIVE', error: null });
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  release();
  expect(await lost).toBeInstanceOf(Error);
});

describe('numbers that share an account', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
    gateway.simulator.setToken({ token: goodToken, wabaIds: 'all' });
    gateway.simulator.setToken({ token: deadToken, wabaIds: 'all', state: 'invalid' });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const [goodToken, deadToken] = ['EAAgood'.padEnd(40, '0'), 'EAAdead'.padEnd(40, '0')];
  const denied = { source: 'SNAPSHOT', error: { code: 'META_ACCESS_DENIED', metaCode: 190 } };

  async function addPair() {
    const tenant = await gateway.addTenant();
    const good = await tenant.addNumber({
      credentials: { accessToken: goodToken, appSecret: null },
    });
    const { wabaId } = good;
    const phoneNumberId = createDigits();
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId));
    const dead = await tenant.addNumber({
      credentials: { accessToken: deadToken, appSecret: null },
      wabaId,
      phoneNumberId,
    });
    const show = async (id: string, ...blocks: readonly MetaBlock[]) => {
      const access = toOperatorAccess(tenant.id);
      const request = { id, refresh: blocks.length === 0 ? null : blocks };
      return (await gateway.numbers.get(access, request, never)).meta?.waba;
    };
    return { good: good.id, dead: dead.id, wabaId, show };
  }

  test('do not show the dead token of one another', async () => {
    const { good, dead, show } = await addPair();
    const first = await show(good, 'waba');
    expect(first?.freshness).toMatchObject({ source: 'LIVE', error: null });
    expect(await show(dead, 'waba')).toMatchObject({ value: first?.value, freshness: denied });
    expect((await show(dead))?.freshness).toMatchObject(denied);
    expect((await show(good))?.freshness).toMatchObject({
      error: null,
      attemptedAt: first?.freshness.attemptedAt,
    });
    // The account has been read since that failure.
    await show(good, 'waba');
    expect((await show(dead))?.freshness).toMatchObject({ error: null });
  });

  test('read the account with their own tokens when the one in flight is dead', async () => {
    const { good, dead, wabaId, show } = await addPair();
    const { arrived, release } = gateway.simulator.hold(wabaId);
    const first = show(dead, 'waba');
    await arrived;
    const second = show(good, 'waba');
    release();
    expect((await second)?.freshness).toMatchObject({ source: 'LIVE', error: null });
    await first;
  });
});

test('leases are taken over once their holder has not renewed them in time', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  const subjects = [{ block: 'phone', id: 'wa_1', numberIds: ['wa_1'] }] as const;
  const claim = { tenantId: 'a', subjects, receivedMsAgo: 0, numberIds: [], leaseMs: 60_000 };
  const waiting = { tenantId: 'a', subjects, signal: never };
  const wait = (ms: number) =>
    waitForRelease(database, { ...waiting, deadlineAt: performance.now() + ms });
  const renew = (ms: number) => renewHolderAcrossTenants(database, 'one', ms);
  await renew(60_000);
  await acquireLease(database, { ...claim, holder: 'one/1' });
  expect(await wait(100)).toBeNull();
  await renew(-1);
  expect(await wait(1_000)).toEqual(['one']);
  const deadHolders = ['one'];
  const { granted } = await acquireLease(database, { ...claim, holder: 'other/1', deadHolders });
  expect(granted).toEqual(subjects);
});

test('the state of a non-Meta number is read from the session engine, and a failure keeps the stored one', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const unofficial: Partial<NewNumber> = { provider: 'PILOT_STATUS', state: 'OPEN' };
  const { id, instanceName } = await tenant.addNumber(unofficial);
  gateway.simulator.setInstance({ instanceName, state: 'close' });
  expect(await refresh(gateway, tenant.id, id)).toMatchObject({
    state: 'CLOSE',
    meta: null,
    health: { sendable: false, freshness: { source: 'LIVE', error: null } },
  });
  gateway.simulator.setFault(instanceName, { kind: 'reset' });
  expect(await refresh(gateway, tenant.id, id)).toMatchObject({
    state: 'CLOSE',
    health: { freshness: { source: 'SNAPSHOT', error: { code: 'UNAVAILABLE' } } },
  });
});

test('a number that is deleted during its read is not found, and the others are read', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const [gone, there] = [await tenant.addNumber(), await tenant.addNumber()];
  const { arrived, release } = gateway.simulator.hold(gone.phoneNumberId);
  const projection = '{ id health { freshness { source } } }';
  const reading = tenant.graphql<Readonly<Record<string, unknown>>>(
    `{ a: numbers { id } b: number(id: "${gone.id}", refresh: true) ${projection} c: number(id: "${there.id}", refresh: true) ${projection} }`,
  );
  await arrived;
  await gateway.database.query('delete from whatsapp_number where id = $1', [gone.id]);
  release();
  const { status, body } = await reading;
  expect([status, body.errors]).toMatchObject([
    200,
    [{ path: ['b'], extensions: { code: 'NUMBER_NOT_FOUND' } }],
  ]);
  const { body: stored } = await tenant.graphql(`{ number(id: "${there.id}") ${projection} }`);
  expect(stored.data).toMatchObject({ number: { health: { freshness: { source: 'SNAPSHOT' } } } });
});

test('a tenant that is deleted during a read of its number is answered 404', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { id, phoneNumberId } = await tenant.addNumber();
  const { arrived, release } = gateway.simulator.hold(phoneNumberId);
  const reading = tenant.rest(`/v1/numbers/${id}?refresh=1`);
  await arrived;
  for (const table of ['api_key', 'whatsapp_number', 'refresh_lease', 'audit']) {
    // oxlint-disable-next-line no-await-in-loop -- each refers to the ones after it
    await gateway.database.query(`delete from ${table} where tenant_id = $1`, [tenant.id]);
  }
  await gateway.database.query('delete from tenant where id = $1', [tenant.id]);
  release();
  expect((await reading).status).toBe(404);
});

test('a connection state that was not confirmed for an hour is inconclusive, even if it was never read', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'OPEN' });
  const show = async () => {
    const { body } = await tenant.graphql<{ numbers: readonly unknown[] }>(
      '{ numbers { health { sendable sendability { verdict } freshness { stale attemptedAt } } } }',
    );
    return body.data?.numbers;
  };
  const freshness = { stale: false, attemptedAt: null };
  // What was given with the number is no observation; what other software writes is one.
  expect(await show()).toEqual([
    {
      health: {
        sendable: false,
        sendability: { verdict: 'UNKNOWN' },
        freshness: { ...freshness, stale: true },
      },
    },
  ]);
  const write = `update whatsapp_number set state = $2 where id = $1`;
  await gateway.database.query(write, [id, 'CLOSE']);
  await gateway.database.query(write, [id, 'OPEN']);
  expect(await show()).toEqual([
    { health: { sendable: true, sendability: { verdict: 'YES' }, freshness } },
  ]);
  await gateway.database.query(
    `update whatsapp_number set created_at = now() - interval '2 hours',
       state_observed_at = now() - interval '61 minutes' where id = $1`,
    [id],
  );
  expect(await show()).toEqual([
    {
      health: {
        sendable: true,
        sendability: { verdict: 'UNKNOWN' },
        freshness: { ...freshness, stale: true },
      },
    },
  ]);
});

/** Resolves once a session of this database waits for a lock. */
async function untilBlocked(database: TestDatabase): Promise<void> {
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- until it is blocked
    const [row] = await database.query<{ blocked: number }>(
      `select count(*)::int as blocked from pg_locks l join pg_stat_activity a on a.pid = l.pid
       where not l.granted and a.datname = current_database()`,
    );
    if (row?.blocked !== 0) return;
  }
}

async function refresh(
  gateway: TestGateway,
  tenantId: string,
  id: string,
  signal: AbortSignal = never,
) {
  return await gateway.numbers.get(toOperatorAccess(tenantId), { id, refresh: [] }, signal);
}

function toReading(id: string, index: number): Reading {
  const subject = { block: 'profile', id, state: null } as const;
  const failure = {
    code: 'META_UNAVAILABLE',
    message: 'failed',
    solution: null,
    transient: true,
    retryAt: null,
    metaCode: 2,
    metaSubcode: null,
    fbtraceId: null,
  } as const;
  return index % 3 === 0
    ? { ...subject, data: null, failure }
    : { ...subject, data: { about: `reading ${index}` }, failure: null };
}

function shuffle<T>(items: readonly T[]): readonly T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ item }) => item);
}
