// Numbers that get an account while its restrictions change: both transactions are open at the same time, and neither sees what
// the other one writes.

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { followNotices } from '../../src/webhooks/notice-upkeep.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
  // A transaction that has written the account of a status waits while the test has this lock.
  await gateway.database.query(
    `create function wait_for_test() returns trigger language plpgsql as $$
     begin
       perform pg_advisory_xact_lock_shared(42);
       return null;
     end $$`,
  );
  await gateway.database.query(
    `create trigger wait_for_test after insert or update of waba_id on number_status
     for each row execute function wait_for_test()`,
  );
});
afterAll(() => gateway[Symbol.asyncDispose]());

async function openAccount() {
  const tenant = await gateway.addTenant();
  const { wabaId } = await tenant.addNumber();
  const request = { tenantId: tenant.id, proof: 'SIGNED', appSecrets: [appSecret] } as const;
  const { path } = await gateway.gateway.webhooks.add(request);
  const restrict = async (kind: string, endsAt: number, ageSeconds = 0): Promise<void> => {
    const restriction_info = [{ restriction_type: kind, expiration: endsAt }];
    const value = { event: 'ACCOUNT_RESTRICTION', restriction_info };
    const time = Math.floor(Date.now() / 1_000) - ageSeconds;
    const entry = [{ id: wabaId, time, changes: [{ field: 'account_update', value }] }];
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    const signature = createHmac('sha256', appSecret).update(body).digest('hex');
    const headers = { 'x-hub-signature-256': `sha256=${signature}` };
    expect((await gateway.rest(path, { method: 'POST', body, headers })).status).toBe(200);
  };
  return { tenant, wabaId, restrict };
}

/** Runs `change` until it has written a status, then `meanwhile` until it has ended or waits, and then both to their ends. */
async function interleave<T>(
  change: () => Promise<T>,
  meanwhile: () => Promise<unknown>,
): Promise<T> {
  const { query } = gateway.database;
  await query('select pg_advisory_lock(42)');
  const changing = change();
  await waitForLocks(1);
  const other = meanwhile();
  await Promise.race([other, waitForLocks(2)]);
  await query('select pg_advisory_unlock(42)');
  await other;
  return await changing;
}

/** Until so many transactions wait for a lock. */
async function waitForLocks(count: number): Promise<void> {
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- until they wait
    const waiting = await gateway.database.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    if (waiting.length >= count) return;
  }
}

async function readRestriction(id: string): Promise<string | null> {
  const [row] = await gateway.database.query<{ restriction: string | null }>(
    'select restriction from number_status where number_id = $1',
    [id],
  );
  return row!.restriction;
}

const tomorrow = () => Math.floor(Date.now() / 1_000) + 86_400;
const inTwoHours = () => new Date(Date.now() + 7_200_000);
const start = 'RESTRICTED_BIZ_INITIATED_MESSAGING';

test.each(['first', 'second'])(
  'a number that is added with the %s restriction of its account has it',
  async (which) => {
    const { tenant, wabaId, restrict } = await openAccount();
    if (which === 'second') await restrict('RESTRICTED_UTILITY_TEMPLATES', tomorrow(), 60);
    const { id } = await interleave(
      () => tenant.addNumber({ wabaId }),
      () => restrict(start, tomorrow()),
    );
    expect(await readRestriction(id)).toBe('START');
  },
);

test('a number that is moved to an account that is being restricted has the restriction', async () => {
  const { tenant, wabaId, restrict } = await openAccount();
  const { id } = await tenant.addNumber();
  await interleave(
    () => gateway.gateway.numbers.update(id, { wabaId }),
    () => restrict(start, tomorrow()),
  );
  expect(await readRestriction(id)).toBe('START');
});

test('a number that is added while a restriction ends does not keep it', async () => {
  const { tenant, wabaId, restrict } = await openAccount();
  await restrict(start, Math.floor(Date.now() / 1_000) + 3_600);
  const { database } = gateway;
  const { id } = await interleave(
    () => tenant.addNumber({ wabaId }),
    () => followNotices({ database, now: inTwoHours, sync: gateway.gateway.sync }),
  );
  expect(await readRestriction(id)).toBeNull();
});
