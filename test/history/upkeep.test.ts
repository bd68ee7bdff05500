// Tests what time changes: verdicts that expire, gaps between reads, and changes that are too old to be kept.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deleteOld } from '../../src/database/retention.ts';
import { changeRetention } from '../../src/history/store.ts';
import { recordExpired, startExpiry } from '../../src/history/upkeep.ts';
import { recordReadings } from '../../src/numbers/store.ts';
import { databases, openTestGateway, type TestGateway } from '../harness.ts';

const readAt = new Date('2026-05-01T10:00:00.000Z');
/** The first moment at which the age of the read is more than an hour. */
const expiresAt = new Date('2026-05-01T11:00:01.000Z');

/** Stores a good read of a number that can send. */
async function read(
  { database }: TestGateway,
  { tenantId, id, observedAt }: { tenantId: string; id: string; observedAt: Date },
  block: 'phone' | 'connection' = 'phone',
): Promise<void> {
  const canSendMessage = 'AVAILABLE';
  const types = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'];
  const entities = types.map((entityType) => ({
    entityType,
    canSendMessage,
    additionalInfo: [],
    errors: [],
  }));
  const healthStatus = { canSendMessage, entities };
  const phone = {
    status: 'CONNECTED',
    nameStatus: 'APPROVED',
    platformType: 'CLOUD_API',
    healthStatus,
  };
  const data = block === 'phone' ? phone : { instanceExists: true };
  const readings = [{ block, id, data, failure: null, state: 'OPEN' as const }];
  await recordReadings(database, { tenantId, holder: 'test', observedAt, leased: [], readings });
}

async function listChanges({ database }: TestGateway, tenantId: string, kinds: readonly string[]) {
  const rows = await database.query<Record<string, string>>(
    `select kind, field, previous_value as previous, new_value as value, source,
       to_char(occurred_at at time zone 'UTC', 'HH24:MI:SS') as time
     from number_change where tenant_id = $1 and kind = any($2) order by sequence`,
    [tenantId, kinds],
  );
  return rows.map(({ kind, field, previous, value, source, time }) =>
    [kind, field ?? '-', `${previous} -> ${value}`, source, time].join(' '),
  );
}

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('a verdict that expires is recorded once, by whichever process comes first', async () => {
    const { id: tenantId, addNumber } = await gateway.addTenant();
    const { id } = await addNumber();
    await read(gateway, { tenantId, id, observedAt: readAt });
    const { database } = gateway;
    const record = (at: Date) =>
      recordExpired({ database, now: () => at, connectionsAreRead: true });
    await record(new Date(expiresAt.getTime() - 1));
    const fresh = [
      'VERDICT VERDICT UNKNOWN -> YES READ 10:00:00',
      'VERDICT REPLY_VERDICT UNKNOWN -> YES READ 10:00:00',
    ];
    expect(await listChanges(gateway, tenantId, ['VERDICT'])).toEqual(fresh);

    await Promise.all([record(expiresAt), record(expiresAt)]);
    await record(new Date(expiresAt.getTime() + 60_000));
    const expired = [
      ...fresh,
      'VERDICT VERDICT YES -> UNKNOWN CLOCK 11:00:01',
      'VERDICT REPLY_VERDICT YES -> UNKNOWN CLOCK 11:00:01',
    ];
    expect(await listChanges(gateway, tenantId, ['VERDICT'])).toEqual(expired);

    const observedAt = new Date('2026-05-01T12:30:00.000Z');
    await read(gateway, { tenantId, id, observedAt });
    expect(await listChanges(gateway, tenantId, ['VERDICT', 'GAP'])).toEqual([
      ...expired,
      'GAP - 2026-05-01T11:00:01.000Z -> 2026-05-01T12:30:00.000Z READ 12:30:00',
      'VERDICT VERDICT UNKNOWN -> YES READ 12:30:00',
      'VERDICT REPLY_VERDICT UNKNOWN -> YES READ 12:30:00',
    ]);
    await record(observedAt);
    expect(await listChanges(gateway, tenantId, ['VERDICT'])).toHaveLength(6);
  });

  test('a gap is recorded although no process was running when it began', async () => {
    const { id: tenantId, addNumber } = await gateway.addTenant();
    const { id } = await addNumber();
    await read(gateway, { tenantId, id, observedAt: readAt });
    const observedAt = new Date('2026-05-01T12:30:00.000Z');
    await read(gateway, { tenantId, id, observedAt });
    expect(await listChanges(gateway, tenantId, ['GAP'])).toEqual([
      'GAP - 2026-05-01T11:00:01.000Z -> 2026-05-01T12:30:00.000Z READ 12:30:00',
    ]);
  });

  test('a state of a session expires only where a session engine is read', async () => {
    const { id: tenantId, addNumber } = await gateway.addTenant();
    const { id } = await addNumber({ provider: 'PILOT_STATUS', instanceName: 'shop' });
    await gateway.database.query(
      "update whatsapp_number set state_observed_at = '2026-01-01Z' where id = $1",
      [id],
    );
    await read(gateway, { tenantId, id, observedAt: readAt }, 'connection');
    const before = await listChanges(gateway, tenantId, ['VERDICT']);
    const { database } = gateway;
    const request = { database, now: () => expiresAt };
    await recordExpired({ ...request, connectionsAreRead: false });
    expect(await listChanges(gateway, tenantId, ['VERDICT'])).toEqual(before);
    await recordExpired({ ...request, connectionsAreRead: true });
    expect((await listChanges(gateway, tenantId, ['VERDICT'])).slice(before.length)).toEqual([
      'VERDICT VERDICT YES -> UNKNOWN CLOCK 11:00:01',
      'VERDICT REPLY_VERDICT YES -> UNKNOWN CLOCK 11:00:01',
    ]);
  });

  test('changes that a transaction left without a place get one, in the order in which they were made', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const { database } = gateway;
    await database.query("set default_transaction_isolation = 'serializable'");
    await database.query("update whatsapp_number set name = 'a' where id = $1", [id]);
    await database.query("update whatsapp_number set name = 'b' where id = $1", [id]);
    await database.query('reset default_transaction_isolation');
    expect(await database.query('select from number_change where sequence is null')).toHaveLength(
      2,
    );
    const announced = database.changes.waitForChange(tenant.id, { timeoutMs: 10_000 });
    await recordExpired({ database, now: () => new Date(), connectionsAreRead: true });
    await announced;
    expect(
      await database.query(
        'select sequence::integer, new_value from number_change where tenant_id = $1 and sequence > 1 order by 1',
        [tenant.id],
      ),
    ).toEqual([
      { sequence: 2, new_value: 'a' },
      { sequence: 3, new_value: 'b' },
    ]);
  });

  test('changes older than the retention are deleted, and cursors before them expire', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const { database } = gateway;
    const { history } = gateway.gateway;
    for (const name of ['a', 'b', 'c']) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await database.query('update whatsapp_number set name = $1 where id = $2', [name, id]);
    }
    // The second one seems to be younger than the third one: what follows a change that stays, stays too.
    await database.query(
      "update number_change set recorded_at = now() - interval '401 days' where tenant_id = $1 and sequence in (1, 3)",
      [tenant.id],
    );
    const clean = () =>
      deleteOld({ database, now: () => new Date(), retention: changeRetention, days: 400 });
    const sequences = async () =>
      (
        await database.query(
          'select sequence::integer from number_change where tenant_id = $1 order by 1',
          [tenant.id],
        )
      ).map(({ sequence }) => sequence);
    expect(await clean()).toBe(true);
    expect(await sequences()).toEqual([2, 3, 4]);
    await database.query(
      "update number_change set recorded_at = now() - interval '401 days' where tenant_id = $1",
      [tenant.id],
    );
    await clean();
    expect(await sequences()).toEqual([]);
    const access = { tenantId: tenant.id } as Parameters<typeof history.readChanges>[0];
    const readAfter = (after: string | null) =>
      history.readChanges(access, { after, first: 1, filter: {} });
    const { cursor } = await readAfter(null);
    expect(await readAfter(cursor)).toMatchObject({ changes: [] });
    await expect(readAfter(cursor.replace(/4$/, '3'))).rejects.toMatchObject({
      code: 'CURSOR_EXPIRED',
      status: 410,
    });
  });
});

test('the job records what expires without being asked', async () => {
  await using gateway = await openTestGateway();
  const { id: tenantId, addNumber } = await gateway.addTenant();
  const { id } = await addNumber();
  await read(gateway, { tenantId, id, observedAt: readAt });
  const { database } = gateway;
  // What the read has announced must not count.
  await database.changes.catchUp();
  const changed = database.changes.waitForChange(tenantId, { timeoutMs: 10_000 });
  await using job = startExpiry({
    database,
    now: () => expiresAt,
    connectionsAreRead: true,
    onFailure: (error) => {
      throw error;
    },
  });
  await changed;
  await job[Symbol.asyncDispose]();
  expect(await listChanges(gateway, tenantId, ['VERDICT'])).toHaveLength(4);
});
