// What the reads in the background find besides values: numbers that the account no longer has, accounts that need more reads
// than others, and access tokens that were replaced.

import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestClock } from '../clock.ts';
import { type TestGateway, type TestTenant, toHealthyPhone } from '../harness.ts';
import { openInSimulatedTime, type SimulatedTime } from './simulated-time.ts';
import { removePhone } from '../../src/simulator/changes.ts';
import { followNotices } from '../../src/webhooks/notice-upkeep.ts';

const minute = 60_000;
const hour = 60 * minute;
/** Of several numbers. */
const credentials = { accessToken: 'EAAof-several-numbers-0123456789', appSecret: null };

const toSeconds = (time: Date) => Math.floor(time.getTime() / 1_000);

describe('in simulated time', () => {
  let opened: SimulatedTime;
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeEach(async () => {
    opened = await openInSimulatedTime();
    ({ clock, gateway } = opened);
    tenant = await gateway.addTenant();
  });
  afterEach(() => opened[Symbol.asyncDispose]());

  interface Seen {
    readonly sendable: boolean;
    readonly freshness: { readonly error: { readonly code: string } | null };
    readonly sendability: {
      readonly verdict: string;
      readonly replyVerdict: string;
      readonly reasons: readonly { readonly text: string; readonly effect: string }[];
    };
  }

  const see = async (id: string): Promise<Seen> => {
    const { body } = await tenant.graphql<{ number: { health: Seen } }>(
      `{ number(id: "${id}") { health { sendable freshness { error { code } } sendability { verdict replyVerdict reasons { text effect } } } } }`,
    );
    const { health } = body.data!.number;
    const { body: rest } = await tenant.rest<{ sendability: object }>(
      `/v1/numbers/${id}?include=sendability`,
    );
    expect(rest.sendability).toMatchObject({
      ...health.sendability,
      reasons: health.sendability.reasons.map((reason) => expect.objectContaining(reason)),
    });
    return health;
  };
  const listFailing = async () => {
    const { body } = await tenant.rest<{ data: readonly { id: string }[] }>(
      '/v1/fleet?failing=true&verdict=UNKNOWN&replyVerdict=UNKNOWN',
    );
    return body.data.map(({ id }) => id);
  };
  const text = 'The number is no longer in the account: the list of its numbers at Meta lacks it.';
  const missing = {
    sendable: false,
    freshness: { error: { code: 'META_NUMBER_MISSING' } },
    sendability: {
      verdict: 'UNKNOWN',
      replyVerdict: 'UNKNOWN',
      reasons: [{ text, effect: 'INCONCLUSIVE' }],
    },
  };
  const present = {
    sendable: true,
    sendability: { verdict: 'YES', replyVerdict: 'YES', reasons: [] },
  };

  test('a number that two complete lists lack is no longer in the account, until it is listed again', async () => {
    const { id: other, wabaId } = await tenant.addNumber({ credentials });
    const { id, phoneNumberId, number } = await tenant.addNumber({ wabaId, credentials });
    gateway.gateway.sync.start();
    await clock.advance(6 * minute);
    expect(await see(id)).toMatchObject(present);
    const { cursor } = (await tenant.rest<{ cursor: string }>('/v1/changes')).body;
    gateway.simulator.change(removePhone(phoneNumberId));
    await clock.advance(10 * minute);
    expect(await see(id)).toMatchObject(missing);
    expect(await see(other)).toMatchObject(present);
    expect(await listFailing()).toEqual([id]);
    // Each further list says the same, and so does a read of its own id.
    await clock.advance(10 * minute);
    expect(await see(id)).toMatchObject(missing);
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    expect(gateway.simulator.calls.at(-1)?.operations.join()).toContain(phoneNumberId);
    expect(await see(id)).toMatchObject(missing);
    // It says nothing about the account.
    expect(await isRisky()).toBe(false);
    const { body } = await tenant.rest<{ changes: readonly Record<string, string | null>[] }>(
      `/v1/changes?after=${cursor}&number=${id}&kind=VERDICT,READ_FAILING`,
    );
    const changes = body.changes.map(({ kind, field, previousValue, newValue, source }) =>
      [kind, field, previousValue, newValue, source].join(' '),
    );
    expect(changes.toSorted()).toEqual([
      'READ_FAILING PHONE  META_ACCESS_DENIED SYNC',
      'READ_FAILING PHONE META_ACCESS_DENIED META_NUMBER_MISSING SYNC',
      'READ_FAILING PROFILE  META_ACCESS_DENIED READ',
      'VERDICT REPLY_VERDICT YES UNKNOWN SYNC',
      'VERDICT VERDICT YES UNKNOWN SYNC',
    ]);
    const fields = { display_phone_number: `+${number}` };
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
    await clock.advance(5 * minute);
    expect(await see(id)).toMatchObject(present);
    expect(await listFailing()).toEqual([]);
  });

  test('a number that can be read although the list lacks it is in order, and is read by itself', async () => {
    const { wabaId } = await tenant.addNumber({ credentials });
    const { id, phoneNumberId, number } = await tenant.addNumber({ wabaId, credentials });
    gateway.gateway.sync.start();
    await clock.advance(6 * minute);
    // In another account, which the same token sees.
    const fields = { display_phone_number: `+${number}` };
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, '99', fields));
    // A read that fails for a moment is no evidence that it is missing.
    gateway.simulator.setFault(phoneNumberId, { kind: 'error', code: 2, transient: true });
    await clock.advance(16 * minute);
    expect(await see(id)).toMatchObject({ freshness: { error: { code: 'META_UNAVAILABLE' } } });
    gateway.simulator.setFault(phoneNumberId, null);
    gateway.simulator.clearCalls();
    await clock.advance(11 * minute);
    const read = gateway.simulator.calls.flatMap(({ operations }) => operations);
    expect(read).toContain(`phone ${phoneNumberId}`);
    expect(await see(id)).toMatchObject({ sendable: true, freshness: { error: null } });
    // Its reads go on.
    gateway.simulator.clearCalls();
    await clock.advance(16 * minute);
    expect(gateway.simulator.calls.flatMap(({ operations }) => operations)).toContain(
      `phone ${phoneNumberId}`,
    );
  });

  test('a list that one token reads says nothing of numbers that have another token', async () => {
    const { wabaId } = await tenant.addNumber({ credentials });
    await tenant.addNumber({ wabaId, credentials });
    const { id, phoneNumberId, number } = await tenant.addNumber({ wabaId });
    const fields = { display_phone_number: `+${number}` };
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, '99', fields));
    gateway.gateway.sync.start();
    await clock.advance(70 * minute);
    expect(await see(id)).toMatchObject({ sendable: true, freshness: { error: null } });
  });

  test('a list that ends early says nothing', async () => {
    const { wabaId } = await tenant.addNumber({ credentials });
    const { id, phoneNumberId } = await tenant.addNumber({ wabaId, credentials });
    gateway.gateway.sync.start();
    await clock.advance(6 * minute);
    gateway.simulator.change(removePhone(phoneNumberId));
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 2, transient: true });
    await clock.advance(20 * minute);
    expect(await see(id)).toMatchObject({ sendable: true });
  });

  const isRisky = async () => {
    const [row] = await gateway.database.query<{ is_risky: boolean }>(
      'select is_risky from sync_subject',
    );
    return row?.is_risky;
  };

  test('an account with a restriction in force is read five times as often, until that ends', async () => {
    const { wabaId } = await tenant.addNumber();
    const appSecret = 'a-secret-of-the-app-0123456789';
    const { path } = await gateway.gateway.webhooks.add({
      tenantId: tenant.id,
      proof: 'SIGNED',
      appSecrets: [appSecret],
    });
    gateway.gateway.sync.start();
    await clock.advance(6 * minute);
    expect(await isRisky()).toBe(false);
    const restriction = {
      restriction_type: 'RESTRICTED_UTILITY_TEMPLATES',
      expiration: toSeconds(new Date(clock.now().getTime() + hour)),
    };
    const value = { event: 'ACCOUNT_RESTRICTION', restriction_info: [restriction] };
    const change = {
      id: wabaId,
      time: toSeconds(clock.now()),
      changes: [{ field: 'account_update', value }],
    };
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry: [change] });
    const signature = createHmac('sha256', appSecret).update(body).digest('hex');
    const headers = { 'x-hub-signature-256': `sha256=${signature}` };
    expect((await gateway.rest(path, { method: 'POST', body, headers })).status).toBe(200);
    await clock.advance(10 * minute);
    expect(await isRisky()).toBe(true);
    gateway.simulator.clearCalls();
    await clock.advance(30 * minute);
    const lists = gateway.simulator.calls.filter(({ path: of }) => of.endsWith('numbers'));
    expect(Math.abs(lists.length - 30)).toBeLessThanOrEqual(2);
    await clock.advance(hour);
    await followNotices({ database: gateway.database, now: clock.now, sync: gateway.gateway.sync });
    await clock.advance(5 * minute);
    expect(await isRisky()).toBe(false);
  });

  /** An account with one number, and another one that appears there while it is read. */
  const openGrowing = async (mode: 'REPORT' | 'IMPORT' | 'OFF') => {
    const { wabaId } = await tenant.addNumber({ credentials });
    await gateway.gateway.onboarding.setWatchMode(tenant.id, wabaId, mode);
    gateway.gateway.sync.start();
    await clock.advance(10 * minute);
    const { cursor } = (await tenant.rest<{ cursor: string }>('/v1/changes')).body;
    const fields = { display_phone_number: '+55 11 98888-0001', verified_name: 'Second shop' };
    gateway.simulator.setPhone(toHealthyPhone('810000000009', wabaId, fields));
    await clock.advance(10 * minute);
    const { body: listed } =
      await tenant.rest<readonly { name: string; number: string }[]>('/v1/numbers');
    const { body: report } = await tenant.rest<{ accounts: readonly { newNumberCount: number }[] }>(
      '/v1/sync',
    );
    const { body: feed } = await tenant.rest<{ changes: readonly Record<string, unknown>[] }>(
      `/v1/changes?after=${cursor}&kind=ADDED`,
    );
    return { listed, newNumbers: report.accounts[0]?.newNumberCount, added: feed.changes };
  };

  test('a number that is new in an account is imported if that is set, once, and read', async () => {
    const { listed, newNumbers, added } = await openGrowing('IMPORT');
    expect(listed).toHaveLength(2);
    expect(listed[1]).toMatchObject({
      name: 'Second shop',
      number: '5511988880001',
      provider: 'META',
    });
    expect(newNumbers).toBe(0);
    expect(added.length).toBeGreaterThan(0);
    expect(new Set(added.map(({ source }) => source))).toEqual(new Set(['SYNC']));
    const shared = await gateway.gateway.onboarding.credentials.list(tenant.id);
    expect(shared).toHaveLength(1);
    const { body } = await tenant.rest<{ data: readonly { name: string }[] }>(
      '/v1/fleet?verdict=YES',
    );
    expect(body.data.map(({ name }) => name)).toContain('Second shop');
    // Nothing is imported again.
    gateway.simulator.clearCalls();
    await clock.advance(10 * minute);
    const others = gateway.simulator.calls.filter(({ path }) => path.includes('debug_token'));
    expect(others).toEqual([]);
  });

  test('a number that is new in an account is reported, unless that is off', async () => {
    expect(await openGrowing('REPORT')).toMatchObject({ listed: [{}], newNumbers: 1, added: [] });
  });

  test('a number that is new in an account is ignored if that is set', async () => {
    expect(await openGrowing('OFF')).toMatchObject({ listed: [{}], newNumbers: 0, added: [] });
  });

  test('an account whose token was refused is read at once when another token is stored', async () => {
    const { id, wabaId, phoneNumberId } = await tenant.addNumber();
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 190 });
    gateway.gateway.sync.start();
    await clock.advance(hour);
    expect(gateway.simulator.calls).toHaveLength(1);
    expect(await findState()).toBe('PAUSED_TOKEN');
    gateway.simulator.setFault(wabaId, null);
    gateway.addSecrets('EAAanother-token-0123456789');
    await gateway.numbers.setCredentials(id, {
      accessToken: 'EAAanother-token-0123456789',
      appSecret: null,
    });
    expect(await findState()).toBe('ON_TIME');
    gateway.simulator.clearCalls();
    await clock.advance(30_000);
    expect(gateway.simulator.calls.flatMap(({ operations }) => operations)).toEqual([
      `phone_numbers ${wabaId}`,
      `waba ${wabaId}`,
      `profile ${phoneNumberId}`,
    ]);
    expect(await see(id)).toMatchObject(present);
  });

  const findState = async () => {
    const { body } = await tenant.rest<{ accounts: readonly { state: string }[] }>('/v1/sync');
    return body.accounts[0]?.state;
  };

  test('a token that is stored while the one before is being tried is tried too', async () => {
    const ended = 'EAAended-token-0123456789';
    const { id, wabaId } = await tenant.addNumber({
      credentials: { accessToken: ended, appSecret: null },
    });
    gateway.addSecrets('EAAanother-token-0123456789');
    gateway.simulator.setToken({ token: ended, wabaIds: [wabaId], state: 'expired' });
    gateway.simulator.setToken({ token: 'EAAanother-token-0123456789', wabaIds: [wabaId] });
    const hold = gateway.simulator.hold('*');
    gateway.gateway.sync.start();
    const running = clock.advance(1_000);
    await hold.arrived;
    await gateway.numbers.setCredentials(id, {
      accessToken: 'EAAanother-token-0123456789',
      appSecret: null,
    });
    hold.release();
    await running;
    await clock.advance(minute);
    expect(await see(id)).toMatchObject(present);
  });
});
