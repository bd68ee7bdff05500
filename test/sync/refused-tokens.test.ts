// Accounts whose numbers have several access tokens, when Meta refuses one of them.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkSync } from '../../src/admin/sync-checks.ts';
import type { TestClock } from '../clock.ts';
import { type TestGateway, type TestTenant, toHealthyPhone } from '../harness.ts';
import { openInSimulatedTime, type SimulatedTime } from './simulated-time.ts';

const minute = 60_000;

const toCredentials = (accessToken: string) => ({ accessToken, appSecret: null });

describe('in simulated time', () => {
  let opened: SimulatedTime;
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeAll(async () => {
    opened = await openInSimulatedTime();
    ({ clock, gateway } = opened);
    gateway.gateway.sync.start();
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  beforeEach(async () => {
    // The accounts of other tests are not read.
    await gateway.database.query('delete from whatsapp_number');
    tenant = await gateway.addTenant();
  });

  /** An account in which so many numbers have the first token, and one has the second. */
  const openAccount = async (ofFirst: number) => {
    const tokens = { first: `EAAfirst-${tenant.id}`, second: `EAAsecond-${tenant.id}` };
    const one = await tenant.addNumber({ credentials: toCredentials(tokens.first) });
    const { wabaId } = one;
    const firsts = [one];
    while (firsts.length < ofFirst) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      firsts.push(await tenant.addNumber({ wabaId, credentials: toCredentials(tokens.first) }));
    }
    const second = await tenant.addNumber({ wabaId, credentials: toCredentials(tokens.second) });
    const setToken = (which: keyof typeof tokens, state?: 'expired', of = wabaId) =>
      gateway.simulator.setToken({
        token: tokens[which],
        wabaIds: [of],
        ...(state === undefined ? {} : { state }),
      });
    setToken('first');
    setToken('second');
    const countLists = () =>
      gateway.simulator.calls.filter(({ operations }) =>
        operations.includes(`phone_numbers ${wabaId}`),
      ).length;
    return { wabaId, firsts, second, setToken, countLists };
  };
  const see = async (id: string) => {
    const { body } = await tenant.graphql<{
      number: {
        health: { sendable: boolean; freshness: { error: { metaCode: number | null } | null } };
      };
    }>(`{ number(id: "${id}") { health { sendable freshness { error { metaCode } } } } }`);
    const { sendable, freshness } = body.data!.number.health;
    return { sendable, metaCode: freshness.error?.metaCode ?? null };
  };
  const findState = async () => {
    const { body } = await tenant.rest<{ accounts: readonly { state: string }[] }>('/v1/sync');
    return body.accounts[0]?.state;
  };
  const request = async (wabaId: string, phones: readonly string[]) => {
    const { sync } = gateway.gateway;
    await gateway.database.withTenant(
      tenant.id,
      (transaction) => sync.request(transaction, tenant.id, [{ wabaId, phones }]),
      'nothing',
    );
    sync.wake();
  };

  const sendable = { sendable: true, metaCode: null };
  const dead = { sendable: false, metaCode: 190 };

  test('the dead token of one number pauses neither the list nor the other numbers', async () => {
    const { wabaId, firsts, second, setToken, countLists } = await openAccount(2);
    setToken('second', 'expired');
    await clock.advance(minute);
    await request(wabaId, [second.phoneNumberId]);
    await clock.advance(minute);
    expect(await see(second.id)).toEqual(dead);
    gateway.simulator.clearCalls();
    await clock.advance(11 * minute);
    expect(countLists()).toBeGreaterThanOrEqual(2);
    expect(await findState()).toBe('ON_TIME');
    expect(await see(firsts[0]!.id)).toEqual(sendable);
    expect(await see(second.id)).toEqual(dead);
  });

  test('a caller who meets a dead token has the other numbers with it read', async () => {
    const { firsts, second, setToken } = await openAccount(2);
    await clock.advance(minute);
    await gateway.database.query(
      `update sync_plan set due_at = clock_timestamp() + interval '1 hour'`,
    );
    setToken('first', 'expired');
    await tenant.rest(`/v1/numbers/${firsts[0]!.id}?refresh=1`);
    await clock.advance(minute);
    expect(await see(firsts[1]!.id)).toEqual(dead);
    expect(await see(second.id)).toEqual(sendable);
  });

  test('an unlisted number whose own token is dead does not pause the account', async () => {
    const { firsts, second, setToken, countLists } = await openAccount(2);
    const fields = { display_phone_number: `+${second.number}` };
    gateway.simulator.setPhone(toHealthyPhone(second.phoneNumberId, '99', fields));
    setToken('second', 'expired', '99');
    await clock.advance(minute);
    gateway.simulator.clearCalls();
    await clock.advance(11 * minute);
    expect(await findState()).toBe('ON_TIME');
    expect(countLists()).toBeGreaterThanOrEqual(2);
    expect(await see(firsts[0]!.id)).toEqual(sendable);
    expect(await see(second.id)).toEqual(dead);
  });

  test('the numbers of the dead token are failing although another one reads the list, and it is left out', async () => {
    const { firsts, second, setToken, countLists } = await openAccount(3);
    await clock.advance(minute);
    expect(await see(firsts[1]!.id)).toEqual(sendable);
    setToken('first', 'expired');
    await clock.advance(6 * minute);
    expect(await Promise.all(firsts.map(({ id }) => see(id)))).toEqual([dead, dead, dead]);
    expect(await see(second.id)).toEqual(sendable);
    // That holds after a caller has tried one of them.
    await tenant.rest(`/v1/numbers/${firsts[0]!.id}?refresh=1`);
    gateway.simulator.clearCalls();
    await gateway.database.query(
      `update sync_plan set due_at = clock_timestamp() where kind in ('ACCOUNT', 'PROFILE')`,
    );
    await clock.advance(10 * minute);
    // Once a minute, because numbers fail, and with one token each time.
    expect(countLists()).toBeLessThanOrEqual(12);
    expect(await findState()).toBe('ON_TIME');
    expect(await Promise.all(firsts.map(({ id }) => see(id)))).toEqual([dead, dead, dead]);
    expect(await see(second.id)).toEqual(sendable);
  });

  test('a dead token is not stored for the numbers of another one, which cannot list the account', async () => {
    const { firsts, second, setToken } = await openAccount(2);
    for (const { phoneNumberId, number } of firsts) {
      const fields = { display_phone_number: `+${number}` };
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, '99', fields));
    }
    setToken('first', undefined, '99');
    setToken('second', 'expired');
    await clock.advance(minute);
    expect(await Promise.all(firsts.map(({ id }) => see(id)))).toEqual([sendable, sendable]);
    expect(await see(second.id)).toEqual(dead);
  });

  test('numbers of an account whose list is refused are read one by one, and that is said', async () => {
    const { firsts, setToken } = await openAccount(2);
    for (const { phoneNumberId, number } of firsts) {
      const fields = { display_phone_number: `+${number}` };
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, '99', fields));
    }
    setToken('first', undefined, '99');
    setToken('second', undefined, '98');
    await clock.advance(minute);
    gateway.simulator.clearCalls();
    await clock.advance(16 * minute);
    expect(await findState()).toBe('LATE');
    const checks = await checkSync(gateway.gateway);
    expect(checks.map(({ detail }) => detail).join()).toContain(
      "refuses the list of the account's numbers",
    );
    await gateway.database.query('update sync_subject set pages = 3');
    const [planned] = (await gateway.gateway.sync.report(tenant.id)).accounts;
    expect(planned?.plannedCallsPerHour).toBeGreaterThanOrEqual(36);
    const read = gateway.simulator.calls.flatMap(({ operations }) => operations);
    expect(read).toContain(`phone ${firsts[0]!.phoneNumberId}`);
    expect(read.join(' ')).not.toContain('phone_numbers');
  });
});
