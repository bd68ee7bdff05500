// The reads that events make due: of which numbers, how many, and when.

import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  createDueReads,
  type DueNumbers,
  selectDue,
  toDueNumbers,
} from '../../src/webhooks/due-reads.ts';
import type { MetaEvent } from '../../src/webhooks/event.ts';
import { openTestGateway, toHealthyPhone } from '../harness.ts';

const toEvent = (field: string, value: object = {}, wabaId = '1'): MetaEvent => ({
  digest: '',
  wabaId,
  field,
  event: null,
  phone: null,
  payload: JSON.stringify(value),
  happenedAt: null,
  outcome: 'RECEIVED',
});

describe('what an event makes due', () => {
  const number = { display_phone_number: '15550783881' };

  test.each([
    ['phone_number_quality_update', number, ['15550783881']],
    ['phone_number_name_update', number, ['15550783881']],
    ['security', number, ['15550783881']],
    ['security', {}, 'all'],
    [
      'account_alerts',
      { entity_type: 'PHONE_NUMBER', entity_id: '106540352242922' },
      ['106540352242922'],
    ],
    ['account_alerts', { entity_type: 'PHONE_NUMBER', entity_id: 106_540_352 }, ['106540352']],
    ['account_alerts', { entity_type: 'BUSINESS', entity_id: '506914307656634' }, 'all'],
    ['account_update', { event: 'DISABLED_UPDATE' }, 'all'],
    ['account_review_update', { decision: 'APPROVED' }, 'all'],
    ['business_capability_update', { max_phone_numbers_per_waba: 25 }, 'all'],
    ['message_template_status_update', { event: 'APPROVED' }, null],
    ['next_year_update', {}, null],
  ])('%s %j: %j', (field, value, expected) => {
    const due = toDueNumbers(toEvent(field, value));
    expect(due === null ? null : (due.phones ?? 'all')).toEqual(expected);
  });

  test('is all of an account when the payload was too large', () => {
    expect(toDueNumbers({ ...toEvent('account_update'), payload: null })).toEqual({ phones: null });
  });
});

test('numbers are chosen by their digits, whatever the form, or by their id; otherwise all are read', () => {
  const brazilian = { id: 'a', number: '5511999999999', phoneNumberId: '1' };
  const other = { id: 'b', number: '15550783881', phoneNumberId: '2' };
  const all = [brazilian, other];
  expect(selectDue(all, { phones: ['551199999999'] })).toEqual([brazilian]);
  expect(selectDue(all, { phones: ['2'] })).toEqual([other]);
  expect(selectDue(all, { phones: ['2', '551199999999'] })).toEqual([other, brazilian]);
  expect(selectDue(all, { phones: ['3'] })).toEqual(all);
  expect(selectDue(all, { phones: null })).toEqual(all);
});

function open() {
  const reads: { account: string; due: DueNumbers; end: (error?: Error) => void }[] = [];
  const failures: unknown[] = [];
  const dueReads = createDueReads({
    windowMs: 2_000,
    onFailure: (error) => failures.push(error),
    read: ({ tenantId, wabaId }, due) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const end = (error?: Error) => (error === undefined ? resolve() : reject(error));
      reads.push({ account: `${tenantId} ${wabaId}`, due, end });
      return promise;
    },
  });
  const begin = (field: string, value: object, wabaId = '1') =>
    dueReads.begin('t', [toEvent(field, value, wabaId)]);
  return { reads, failures, dueReads, begin };
}

const phone = (digits: string) => ['security', { display_phone_number: digits }] as const;

describe('the reads of an account', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  test('begin at once; those of the next two seconds are one read after them', async () => {
    const { reads, begin } = open();
    begin(...phone('1'));
    await vi.advanceTimersByTimeAsync(0);
    expect(reads.map(({ due }) => due)).toEqual([{ phones: ['1'] }]);
    reads[0]!.end();
    for (const digits of ['2', '3', '2']) begin(...phone(digits));
    await vi.advanceTimersByTimeAsync(1_999);
    expect(reads).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(reads.map(({ due }) => due)).toEqual([{ phones: ['1'] }, { phones: ['2', '3'] }]);
  });

  test('never run twice at a time, however long one takes', async () => {
    const { reads, begin } = open();
    begin('account_update', {});
    await vi.advanceTimersByTimeAsync(0);
    begin(...phone('2'));
    begin('account_update', {});
    await vi.advanceTimersByTimeAsync(60_000);
    expect(reads).toHaveLength(1);
    reads[0]!.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(reads.map(({ due }) => due)).toEqual([{ phones: null }, { phones: null }]);
  });

  test('are one for the events of one delivery, and one for each account', async () => {
    const { reads, dueReads } = open();
    dueReads.begin('t', [
      toEvent(...phone('1')),
      toEvent(...phone('2')),
      toEvent('account_update', {}, '2'),
    ]);
    await vi.advanceTimersByTimeAsync(0);
    expect(reads.map(({ account, due }) => [account, due.phones])).toEqual([
      ['t 1', ['1', '2']],
      ['t 2', null],
    ]);
  });

  test('go on after a failure, which is reported', async () => {
    const { reads, failures, begin } = open();
    begin(...phone('1'));
    await vi.advanceTimersByTimeAsync(0);
    reads[0]!.end(new Error('no database'));
    begin(...phone('2'));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(failures).toEqual([new Error('no database')]);
    expect(reads).toHaveLength(2);
  });

  test('end with the process, without another one', async () => {
    const { reads, failures, dueReads, begin } = open();
    begin(...phone('1'));
    await vi.advanceTimersByTimeAsync(0);
    begin(...phone('2'));
    const disposed = dueReads[Symbol.asyncDispose]();
    reads[0]!.end(new Error('aborted'));
    await disposed;
    expect([reads.length, failures]).toEqual([1, []]);
  });
});

test('a number has its new quality within moments of the webhook, and a repetition reads nothing', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { id, number, phoneNumberId, wabaId } = await tenant.addNumber();
  const { id: other } = await tenant.addNumber({ wabaId });
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  const appSecret = 'a-secret-of-the-app-0123456789';
  const { path } = await gateway.gateway.webhooks.add({
    tenantId: tenant.id,
    proof: 'SIGNED',
    appSecrets: [appSecret],
  });
  const deliver = async (time: number, value: object) => {
    const changes = [{ field: 'phone_number_quality_update', value }];
    const entry = [{ id: wabaId, time, changes }];
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    const signature = createHmac('sha256', appSecret).update(body).digest('hex');
    const headers = { 'x-hub-signature-256': `sha256=${signature}` };
    expect((await gateway.rest(path, { method: 'POST', body, headers })).status).toBe(200);
  };
  const readQuality = async (of: string) =>
    (await tenant.rest<{ health: { qualityRating: string | null } }>(`/v1/numbers/${of}`)).body
      .health.qualityRating;
  const fields = { display_phone_number: `+${number}`, quality_rating: 'RED' };
  gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
  gateway.simulator.clearCalls();
  const event = { display_phone_number: number, event: 'FLAGGED', current_limit: 'TIER_1K' };
  await deliver(1, event);
  await vi.waitFor(async () => expect(await readQuality(id)).toBe('RED'), { timeout: 5_000 });
  expect(await readQuality(other)).toBeNull();
  const calls = gateway.simulator.calls.length;
  await deliver(1, event);
  await deliver(1, event);
  expect(gateway.simulator.calls).toHaveLength(calls);
});
