// What both APIs say of the reads in the background: how often, when next, and whether that is on time.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestClock, type TestClock } from '../clock.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const minute = 60_000;

interface Account {
  readonly wabaId: string;
  readonly state: string;
  readonly lastSweepAt: string | null;
  readonly nextSweepAt: string | null;
}

interface Report {
  readonly accounts: readonly Account[];
  readonly accountCount: number;
  readonly engine: object | null;
}

const members = `wabaId numberCount newNumberCount cadenceSeconds attainable attainableCadenceSeconds
  plannedCallsPerHour budgetCallsPerHour usedPercent
  lastSweepAt nextSweepAt pausedUntil state lastError`;
const query = `{ sync { accounts { ${members} } accountCount engine { numberCount cadenceSeconds lastReadAt nextReadAt state } } }`;

describe('in simulated time', () => {
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  const open = async (environment: Readonly<Record<string, string>>) => {
    gateway = await openTestGateway({
      ...clock,
      database: 'PGlite',
      environment,
      syncPollMs: 30_000,
      simulator: { now: clock.now },
    });
    tenant = await gateway.addTenant();
  };

  beforeEach(() => {
    clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
  });
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]();
    clock[Symbol.dispose]();
  });

  /** The same over both APIs. */
  const read = async (): Promise<Report> => {
    const { body } = await tenant.graphql<{ sync: Report }>(query);
    const { body: rest } = await tenant.rest<Report>('/v1/sync');
    expect(rest).toEqual(body.data!.sync);
    return rest;
  };
  const readAccount = async () => (await read()).accounts[0]!;
  const ageOf = (time: string | null) => (clock.now().getTime() - Date.parse(time!)) / 1_000;

  test('an account is on time while its list is not older than the cadence and a minute', async () => {
    await open({ SYNC: 'on' });
    const { wabaId } = await tenant.addNumber();
    await tenant.addNumber({ wabaId });
    expect(await readAccount()).toMatchObject({ lastSweepAt: null, state: 'ON_TIME' });
    gateway.gateway.sync.start();
    await clock.advance(20 * minute);
    const report = await read();
    expect(report).toMatchObject({ accountCount: 1, engine: null });
    expect(report.accounts).toEqual([
      {
        wabaId,
        numberCount: 2,
        newNumberCount: 0,
        cadenceSeconds: 300,
        attainable: true,
        attainableCadenceSeconds: 300,
        plannedCallsPerHour: 16,
        budgetCallsPerHour: 2_375,
        usedPercent: expect.any(Number),
        lastSweepAt: expect.any(String),
        nextSweepAt: expect.any(String),
        pausedUntil: null,
        state: 'ON_TIME',
        lastError: null,
      },
    ]);
    expect(ageOf(report.accounts[0]!.lastSweepAt)).toBeLessThanOrEqual(300);
    expect(ageOf(report.accounts[0]!.nextSweepAt)).toBeLessThanOrEqual(0);
  });

  test('an account whose reads fail is late once the last good one is too old, and says with what code', async () => {
    await open({ SYNC: 'on' });
    const { wabaId } = await tenant.addNumber();
    gateway.gateway.sync.start();
    await clock.advance(20 * minute);
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 2, transient: true });
    await clock.advance(3 * minute);
    const { lastSweepAt } = await readAccount();
    // oxlint-disable no-await-in-loop -- one half of a minute after the other
    while (ageOf(lastSweepAt) < 330) {
      expect(await readAccount()).toMatchObject({ state: 'ON_TIME', lastSweepAt });
      await clock.advance(30_000);
    }
    // oxlint-enable no-await-in-loop
    await clock.advance(minute);
    expect(await readAccount()).toMatchObject({ state: 'LATE', lastError: 'META_UNAVAILABLE' });
    gateway.simulator.setFault(wabaId, null);
    await clock.advance(10 * minute);
    expect(await readAccount()).toMatchObject({ state: 'ON_TIME', lastError: null });
  });

  test('an account with a refused token is paused, and one that Meta limits too', async () => {
    await open({ SYNC: 'on' });
    const [refused, limited] = [await tenant.addNumber(), await tenant.addNumber()];
    gateway.simulator.setFault(refused.wabaId, { kind: 'error', code: 190 });
    gateway.simulator.setFault(limited.wabaId, { kind: 'error', code: 80_008 });
    gateway.gateway.sync.start();
    await clock.advance(minute);
    const { accounts } = await read();
    expect(accounts.find(({ wabaId }) => wabaId === refused.wabaId)).toMatchObject({
      state: 'PAUSED_TOKEN',
      lastError: 'META_ACCESS_DENIED',
      pausedUntil: expect.any(String),
    });
    expect(accounts.find(({ wabaId }) => wabaId === limited.wabaId)).toMatchObject({
      state: 'PAUSED_BUDGET',
      lastError: 'META_RATE_LIMITED',
    });
    const { body } = await tenant.graphql<{ sync: { late: number; accounts: readonly Account[] } }>(
      '{ sync { late: accountCount(states: [LATE]) accounts(states: [PAUSED_TOKEN, LATE]) { wabaId } } }',
    );
    expect(body.data!.sync).toEqual({ late: 0, accounts: [{ wabaId: refused.wabaId }] });
    const rest = await tenant.rest<Report>('/v1/sync?state=PAUSED_TOKEN,LATE');
    expect(rest.body.accounts.map(({ wabaId }) => wabaId)).toEqual([refused.wabaId]);
    expect(rest.body.accountCount).toBe(1);
  });

  test('an account of which no number is registered on the Cloud API has the small budget once it was read', async () => {
    await open({ SYNC: 'on' });
    await tenant.addNumber({ phone: { platform_type: 'ON_PREMISE' } });
    gateway.gateway.sync.start();
    await clock.advance(minute);
    expect(await readAccount()).toMatchObject({ budgetCallsPerHour: 95, attainable: true });
  });

  test('an account whose budget is too small for the cadence is late, and says that it is not attainable', async () => {
    await open({ SYNC: 'on', SYNC_SWEEP_SECONDS: '10', SYNC_BUDGET_SHARE: '0.05' });
    await tenant.addNumber();
    gateway.gateway.sync.start();
    await clock.advance(minute);
    expect(await readAccount()).toMatchObject({
      state: 'LATE',
      attainable: false,
      attainableCadenceSeconds: 16,
      plannedCallsPerHour: 369,
      budgetCallsPerHour: 237,
    });
  });

  test('an account whose list takes more than the budget has no attainable cadence', async () => {
    await open({ SYNC: 'on', SYNC_BUDGET_SHARE: '0.01' });
    await tenant.addNumber({ phone: { platform_type: 'ON_PREMISE' } });
    await gateway.database.query('update sync_subject set pages = 2');
    expect(await readAccount()).toMatchObject({
      attainable: false,
      attainableCadenceSeconds: null,
    });
  });

  test('with SYNC=off the state is OFF, and nothing is planned', async () => {
    await open({});
    await tenant.addNumber();
    expect(await readAccount()).toMatchObject({ state: 'OFF', nextSweepAt: null });
    const freshness = await readNextSyncs();
    expect(freshness).toEqual({ phone: null, profile: null, waba: null });
  });

  const readNextSyncs = async (): Promise<Readonly<Record<string, string | null>>> => {
    const [{ id } = { id: '' }] = (await tenant.rest<readonly { id: string }[]>('/v1/numbers'))
      .body;
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    const fields = 'freshness { nextSyncAt }';
    const { body } = await tenant.graphql<{
      number: { health: Fresh; meta: Readonly<Record<'phone' | 'profile' | 'waba', Fresh>> };
    }>(
      `query($id: ID!) { number(id: $id) { health { ${fields} } meta { phone { ${fields} } profile { ${fields} } waba { ${fields} } } } }`,
      { variables: { id } },
    );
    const { health, meta } = body.data!.number;
    const nextOf = ({ freshness }: Fresh) => freshness.nextSyncAt;
    expect(nextOf(health)).toBe(nextOf(meta.phone));
    const { body: rest } = await tenant.rest<{ freshness: Record<string, Fresh['freshness']> }>(
      `/v1/numbers/${id}?include=freshness`,
    );
    const next = {
      phone: nextOf(meta.phone),
      profile: nextOf(meta.profile),
      waba: nextOf(meta.waba),
    };
    const ofRest = ['phone', 'profile', 'waba'].map((name) => rest.freshness[name]!.nextSyncAt);
    expect(ofRest).toEqual(Object.values(next));
    return next;
  };
  interface Fresh {
    readonly freshness: { readonly nextSyncAt: string | null };
  }

  test('the freshness of each block says when it is read next, and that is when it is read', async () => {
    await open({ SYNC: 'on' });
    const { id, wabaId } = await tenant.addNumber();
    gateway.gateway.sync.start();
    await clock.advance(20 * minute);
    const next = await readNextSyncs();
    expect(-ageOf(next['phone']!)).toBeGreaterThan(0);
    expect(-ageOf(next['phone']!)).toBeLessThanOrEqual(900);
    expect(-ageOf(next['waba']!)).toBeLessThanOrEqual(21_600);
    // The profile was read for the request above.
    expect(-ageOf(next['profile']!)).toBeGreaterThanOrEqual(86_400);
    gateway.simulator.clearCalls();
    await clock.advance(Date.parse(next['phone']!) - clock.now().getTime() - 31_000);
    const listed = () =>
      gateway.simulator.calls.filter(({ query: sent }) =>
        sent['fields']?.includes('health_status'),
      );
    expect(listed()).toEqual([]);
    await clock.advance(62_000);
    expect(listed().map(({ path }) => path)).toEqual([`/v26.0/${wabaId}/phone_numbers`]);
    // A list and a fleet say the same.
    const field = 'id health { freshness { nextSyncAt } }';
    const { body } = await tenant.graphql<Record<string, unknown>>(
      `{ numbers { ${field} } fleet { nodes { ${field} } } }`,
    );
    const { numbers, fleet } = body.data as {
      numbers: readonly object[];
      fleet: { nodes: object[] };
    };
    expect(numbers).toEqual([{ id, health: { freshness: { nextSyncAt: expect.any(String) } } }]);
    expect(fleet.nodes).toEqual(numbers);
  });
});

describe('in pages', () => {
  test('accounts are ordered by their ids, and follow the last one of the page before', async () => {
    await using gateway = await openTestGateway({ database: 'PGlite' });
    const tenant = await gateway.addTenant();
    const added = await Promise.all(Array.from({ length: 5 }, () => tenant.addNumber()));
    const ids = added.map(({ wabaId }) => wabaId).toSorted();
    const page = async (search: string) => {
      const { body } = await tenant.rest<Report>(`/v1/sync?${search}`);
      return body.accounts.map(({ wabaId }) => wabaId);
    };
    expect(await page('limit=2')).toEqual(ids.slice(0, 2));
    expect(await page(`limit=2&after=${ids[1]}`)).toEqual(ids.slice(2, 4));
    expect(await page(`after=${ids[4]}`)).toEqual([]);
    const { body } = await tenant.graphql(`{ sync { accounts(first: 1001) { wabaId } } }`);
    expect(body.errors?.[0]).toMatchObject({ extensions: { code: 'INVALID_REQUEST' } });
    expect((await tenant.rest('/v1/sync?limit=1001')).status).toBe(400);
  });

  test('the numbers of the session engine are one line beside the accounts', async () => {
    await using gateway = await openTestGateway({ environment: { SYNC: 'on' } });
    const tenant = await gateway.addTenant();
    await tenant.addNumber({ provider: 'PILOT_STATUS' });
    const { body } = await tenant.rest<Report>('/v1/sync');
    expect(body).toMatchObject({
      accounts: [],
      accountCount: 0,
      engine: { numberCount: 1, cadenceSeconds: 60 },
    });
  });
});
