// Reads that webhooks ask for: when they are made, how many, and that they survive the process that was asked.

import { describe, expect, test, vi } from 'vitest';
import { mergeRequests, selectRequested } from '../../src/sync/requested-numbers.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

test('numbers are chosen by their digits, whatever the form, or by their id; otherwise all are read', () => {
  const brazilian = { id: 'a', number: '5511999999999', phoneNumberId: '1' };
  const other = { id: 'b', number: '15550783881', phoneNumberId: '2' };
  const all = [brazilian, other];
  expect(selectRequested(all, ['551199999999'])).toEqual([brazilian]);
  expect(selectRequested(all, ['2'])).toEqual([other]);
  expect(selectRequested(all, ['2', '551199999999'])).toEqual([other, brazilian]);
  expect(selectRequested(all, ['3'])).toBeNull();
  expect(selectRequested(all, null)).toBeNull();
});

test('the requests of one transaction are one for each account', () => {
  expect(
    mergeRequests([
      { wabaId: '1', phones: ['a'] },
      { wabaId: '2', phones: ['b'] },
      { wabaId: '1', phones: ['c', 'a'], profiles: ['c', 'd'] },
      { wabaId: '1', phones: [], profiles: ['d'], readsAccount: true },
      { wabaId: '2', phones: null },
      { wabaId: '3', phones: null, readsAccount: false },
    ]),
  ).toEqual([
    { wabaId: '1', phones: ['a', 'c'], profiles: ['c', 'd'], readsAccount: true },
    { wabaId: '2', phones: null, profiles: [], readsAccount: true },
    { wabaId: '3', phones: null, profiles: [], readsAccount: false },
  ]);
});

async function openAccount(gateway: TestGateway) {
  const tenant = await gateway.addTenant();
  const first = await tenant.addNumber();
  const { wabaId } = first;
  const second = await tenant.addNumber({ wabaId });
  const { sync } = gateway.gateway;
  const request = async (...phones: readonly string[]) => {
    await gateway.database.withTenant(tenant.id, (transaction) =>
      sync.request(transaction, tenant.id, [
        { wabaId, phones: phones.length === 0 ? null : phones },
      ]),
    );
  };
  const listCalls = () => gateway.simulator.calls.flatMap(({ operations }) => operations);
  return { tenant, first, second, wabaId, sync, request, listCalls };
}

describe('the requests for an account', () => {
  test('are read at once; those of the next two seconds are one read after them', async () => {
    await using gateway = await openTestGateway();
    const { first, second, sync, request, listCalls } = await openAccount(gateway);
    gateway.gateway.startJobs();
    await request(first.phoneNumberId);
    sync.wake();
    const startedAt = performance.now();
    await vi.waitFor(() => expect(listCalls()).toEqual([`phone ${first.phoneNumberId}`]), {
      timeout: 5_000,
    });
    await request(first.phoneNumberId);
    await request(second.phoneNumberId);
    await request(first.phoneNumberId);
    sync.wake();
    await vi.waitFor(() => expect(listCalls()).toHaveLength(3), { timeout: 8_000 });
    expect(performance.now() - startedAt).toBeGreaterThan(1_900);
    expect(listCalls().slice(1).toSorted()).toEqual(
      [`phone ${first.phoneNumberId}`, `phone ${second.phoneNumberId}`].toSorted(),
    );
  });

  test('for the account and all its numbers take two calls', async () => {
    await using gateway = await openTestGateway();
    const { wabaId, sync, request, listCalls } = await openAccount(gateway);
    await request();
    sync.wake();
    await vi.waitFor(() =>
      expect(listCalls()).toEqual([`phone_numbers ${wabaId}`, `waba ${wabaId}`]),
    );
  });

  test('of the previous release, which names no blocks, are read as it would read them', async () => {
    await using gateway = await openTestGateway();
    const { tenant, wabaId, sync, listCalls } = await openAccount(gateway);
    await gateway.database.query(
      `insert into sync_plan (tenant_id, subject_id, kind, due_at, phones, requested_at)
       values ($1, $2, 'REQUEST', now(), null, now())`,
      [tenant.id, wabaId],
    );
    sync.wake();
    await vi.waitFor(() =>
      expect(listCalls()).toEqual([`phone_numbers ${wabaId}`, `waba ${wabaId}`]),
    );
  });

  test('are read by another process when the one that was asked has died', async () => {
    await using gateway = await openTestGateway();
    const { wabaId, request, listCalls } = await openAccount(gateway);
    // Nobody is woken, as if the process had died after its commit.
    await request();
    await using other = await openTestGateway({
      database: gateway.database,
      fetch: gateway.simulator.fetch,
      environment: { ENCRYPTION_KEYS: gateway.environment['ENCRYPTION_KEYS']! },
    });
    other.gateway.startJobs();
    await vi.waitFor(() => expect(listCalls()).toContain(`phone_numbers ${wabaId}`), {
      timeout: 5_000,
    });
  });

  test('stay due while they are refused for a moment, and are made again', async () => {
    await using gateway = await openTestGateway();
    const { wabaId, sync, request } = await openAccount(gateway);
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 2, transient: true });
    await request();
    sync.wake();
    const findDue = async () => {
      const [row] = await gateway.database.query<{ due: boolean; last_error: string | null }>(
        `select isfinite(due_at) as due, last_error from sync_plan where kind = 'REQUEST'`,
      );
      return row;
    };
    const patient = { timeout: 5_000 };
    await vi.waitFor(
      async () => expect(await findDue()).toEqual({ due: true, last_error: 'META_UNAVAILABLE' }),
      patient,
    );
    gateway.simulator.setFault(wabaId, null);
    await gateway.database.query(`update sync_plan set due_at = now() where kind = 'REQUEST'`);
    sync.wake();
    await vi.waitFor(
      async () => expect(await findDue()).toEqual({ due: false, last_error: null }),
      patient,
    );
  });
});
