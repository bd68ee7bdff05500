// Accounts of whose numbers Meta refuses a field in lists.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { TestClock } from '../clock.ts';
import type { TestGateway, TestTenant } from '../harness.ts';
import { openInSimulatedTime, type SimulatedTime } from './simulated-time.ts';
import { changePhone } from '../../src/simulator/changes.ts';

const minute = 60_000;

describe('in simulated time', () => {
  let opened: SimulatedTime;
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeAll(async () => {
    opened = await openInSimulatedTime({ SYNC_HEALTH_SECONDS: '300' });
    ({ clock, gateway } = opened);
    gateway.gateway.sync.start();
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  beforeEach(async () => {
    // The accounts of other tests are not read.
    await gateway.database.query('delete from whatsapp_number');
    tenant = await gateway.addTenant();
  });

  test.each([
    ['by its name', 'unknown-field'],
    ['without a name', 'denied-field'],
  ] as const)(
    'one that no verdict needs is left out when it is refused %s, and keeps its value',
    async (_, kind) => {
      const credentials = { accessToken: `EAAof-two-numbers-${kind}`, appSecret: null };
      const { id, wabaId, phoneNumberId } = await tenant.addNumber({ credentials });
      const other = await tenant.addNumber({ wabaId, credentials });
      const callbackUrl = 'https://shop.example/webhooks';
      gateway.simulator.setWaba({ id: wabaId, fields: { name: 'Shop' }, callbackUrl });
      await clock.advance(minute);
      gateway.simulator.setFault(wabaId, { kind, field: 'webhook_configuration' });
      gateway.simulator.change(changePhone(phoneNumberId, { verified_name: 'Other shop' }));
      gateway.simulator.clearCalls();
      await clock.advance(6 * minute);
      const read = gateway.simulator.calls.flatMap(({ operations }) => operations);
      expect(new Set(read)).toEqual(new Set([`phone_numbers ${wabaId}`]));
      // One a minute after the change, and the refused one.
      expect(read.length).toBeLessThanOrEqual(8);
      expect(await see(id)).toEqual({
        name: 'Other shop',
        url: callbackUrl,
        age: expect.any(Number),
      });
      expect((await see(other.id)).age).toBeLessThan(6 * 60);
      const [subject] = await gateway.database.query<{ reads_health: boolean }>(
        'select reads_health from sync_subject where subject_id = $1',
        [wabaId],
      );
      expect(subject).toEqual({ reads_health: true });
    },
  );

  test('a change that only reads of single numbers show makes their account read more often', async () => {
    const credentials = { accessToken: 'EAAof-single-reads', appSecret: null };
    const { wabaId, phoneNumberId } = await tenant.addNumber({ credentials });
    gateway.simulator.setFault(wabaId, { kind: 'unknown-field', field: 'health_status' });
    await clock.advance(6 * minute);
    const findSubject = async () => {
      const [subject] = await gateway.database.query<object>(
        'select reads_health, is_risky from sync_subject where subject_id = $1',
        [wabaId],
      );
      return subject;
    };
    expect(await findSubject()).toEqual({ reads_health: false, is_risky: false });
    gateway.simulator.change(changePhone(phoneNumberId, { is_on_biz_app: true }));
    await clock.advance(6 * minute);
    expect(await findSubject()).toEqual({ reads_health: false, is_risky: true });
  });

  const see = async (id: string) => {
    const [row] = await gateway.database.query<{ name: string; url: string; at: Date }>(
      `select data ->> 'verifiedName' as name, data ->> 'webhookUrl' as url, observed_at as at from number_snapshot
       where number_id = $1 and block = 'phone'`,
      [id],
    );
    const { name, url, at } = row!;
    return { name, url, age: (clock.now().getTime() - at.getTime()) / 1_000 };
  };
});
