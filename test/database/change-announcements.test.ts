// That the triggers of the database announce every change that makes a response outdated, whichever program makes it.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Change, NotificationSession } from '../../src/database/change-feed.ts';
import { databases, openTestDatabase, type TestDatabase } from '../harness.ts';
import { addRows, rowOf } from './tenancy-probe.ts';

/** Tables whose changes make no response outdated. */
const unannounced: ReadonlySet<string> = new Set([
  'audit',
  'graph_budget',
  'kysely_migration',
  'kysely_migration_lock',
  'number_credential',
  'account_watch',
  'lease_holder',
  'process_lease',
  'rate_count',
  'refresh_lease',
  'tenant',
  // Written with the rows of tables that announce their changes.
  'feed_position',
  'number_change',
  // No response of the APIs has them.
  'meta_event',
  'webhook_endpoint',
  'alert_condition',
  'alert_delivery',
  'alert_endpoint',
  'sync_call',
  'sync_plan',
  'sync_subject',
  'alert_position',
]);

const data = (tenantId: string | null): Change => ({ tenantId, keys: false });
const keys = (tenantId: string | null): Change => ({ tenantId, keys: true });

/** A row for each of the tenants t1, t2 and so on. */
const addSnapshots = (first: number, last: number) =>
  `insert into waba_snapshot (tenant_id, waba_id, attempted_at)
   select 't' || n, '20001', now() from generate_series(${first}, ${last}) n`;

const rename = (tenant: string) =>
  `update whatsapp_number set name = name || '!' where tenant_id = '${tenant}'`;

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;
  let session: NotificationSession;
  let heartbeat = Promise.withResolvers<void>();
  const heard: Change[] = [];

  beforeAll(async () => {
    database = await openTestDatabase(kind);
    for (const tenant of ['a', 'b']) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      await addRows(database.query, tenant);
    }
    session = await database.listenToNotifications({
      onChange(message) {
        const { tenant, keys: isOfKeys } = JSON.parse(message);
        heard.push({ tenantId: tenant, keys: isOfKeys });
      },
      onHeartbeat: () => heartbeat.resolve(),
      onLost: (cause) => heartbeat.reject(cause),
    });
  });
  afterAll(async () => {
    await session[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    heard.length = 0;
  });

  async function hear(...statements: readonly string[]): Promise<readonly Change[]> {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    for (const statement of statements) await database.query(statement);
    heartbeat = Promise.withResolvers();
    await session.sendHeartbeat('heard');
    await heartbeat.promise;
    return heard.toSorted((one, other) =>
      String(one.tenantId).localeCompare(String(other.tenantId)),
    );
  }

  test('every table either announces all its changes, of sessions without triggers too, or changes no response', async () => {
    const rows = await database.query<{ name: string; triggers: string[] }>(
      `select c.relname as name, array(
         select t.tgname || ' ' || t.tgenabled::text from pg_trigger t
         where t.tgrelid = c.oid and t.tgname like 'announce%' order by t.tgname) as triggers
       from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')`,
    );
    const announcing = rows.filter(({ name }) => !unannounced.has(name));
    expect(announcing.map(({ name }) => name).toSorted()).toEqual([
      'account_notice',
      'api_key',
      'credential',
      'incident',
      'incident_member',
      'number_snapshot',
      'number_status',
      'waba_snapshot',
      'whatsapp_number',
    ]);
    for (const { triggers } of announcing) {
      expect(triggers).toEqual([
        'announce_delete A',
        'announce_insert A',
        'announce_truncate A',
        'announce_update A',
      ]);
    }
  });

  test.each([
    [
      'an insert',
      `insert into waba_snapshot (tenant_id, waba_id, attempted_at) values ('a', '30001', now())`,
    ],
    [
      'an upsert',
      `${rowOf['waba_snapshot']!.replaceAll('$t', 'a')} on conflict (tenant_id, waba_id) do update set data = '{}'`,
    ],
    ['an update', `update whatsapp_number set state = 'CLOSE' where tenant_id = 'a'`],
    [
      'an update that changes nothing',
      `update number_snapshot set data = data where tenant_id = 'a'`,
    ],
    ['a delete', `delete from waba_snapshot where tenant_id = 'a' and waba_id = '30001'`],
    [
      'a merge',
      `merge into number_snapshot s using (values ('a', 'wa_a')) v(tenant_id, number_id)
       on s.tenant_id = v.tenant_id and s.number_id = v.number_id
       when matched then update set data = '{"merged": true}'`,
    ],
  ])('%s announces its tenant', async (_, statement) => {
    expect(new Set(await hear(statement))).toEqual(new Set([data('a')]));
  });

  test('a transaction announces each of its tenants once, whatever it does', async () => {
    expect(await hear(`begin`, rename('a'), rename('b'), rename('a'), 'commit')).toEqual([
      data('a'),
      data('b'),
    ]);
  });

  test('one statement for several tenants announces each of them', async () => {
    expect(await hear(`update whatsapp_number set name = 'Shop'`)).toEqual([data('a'), data('b')]);
  });

  test('a change that is rolled back, or that affects no row, is not announced', async () => {
    expect(
      await hear(
        'begin',
        `update whatsapp_number set name = 'x'`,
        'rollback',
        `delete from waba_snapshot where false`,
      ),
    ).toEqual([]);
  });

  test('a row that moves from one tenant to another announces both', async () => {
    expect(
      await hear(
        `insert into waba_snapshot (tenant_id, waba_id, attempted_at) values ('a', '30002', now())`,
        `update waba_snapshot set tenant_id = 'b' where waba_id = '30002'`,
      ),
    ).toEqual([data('a'), data('a'), data('b')]);
  });

  test('rows that a foreign key deletes are announced too', async () => {
    expect(
      await hear(
        `insert into whatsapp_number (tenant_id, id, number, name, provider, state)
         values ('a', 'wa_gone', '5511999999990', 'Gone', 'PILOT_STATUS', 'OPEN')`,
        `insert into api_key (tenant_id, id, name, key_prefix, key_last4, hash, number_id)
         values ('a', 'key_gone', 'Gone', 'ps_abcd', 'wxyz', 'gone', 'wa_gone')`,
      ),
    ).toEqual([data('a'), keys('a')]);
    heard.length = 0;
    const announced = await hear(`delete from whatsapp_number where id = 'wa_gone'`);
    expect(announced).toContainEqual(data('a'));
    expect(announced).toContainEqual(keys('a'));
  });

  test.each([
    ['revoked', 'revoked_at = now()'],
    ['given another expiry', `expires_at = now() + interval '1 day'`],
    ['given another hash', `hash = 'another'`],
    ['used and renamed', `last_used_at = now(), name = 'Renamed'`],
  ])('a key that is %s announces that keys have changed', async (_, change) => {
    expect(await hear(`update api_key set ${change} where tenant_id = 'a'`)).toEqual([keys('a')]);
  });

  test('the use of a key is not announced', async () => {
    expect(await hear(`update api_key set last_used_at = clock_timestamp()`)).toEqual([]);
  });

  test('a change in a session with triggers switched off is announced', async () => {
    expect(
      await hear(
        'begin',
        'set local session_replication_role = replica',
        `update api_key set revoked_at = now() where tenant_id = 'b'`,
        `update whatsapp_number set name = 'Copied' where tenant_id = 'a'`,
        'commit',
      ),
    ).toEqual([data('a'), keys('b')]);
  });

  test('up to a hundred tenants are announced one by one, more than that as all tenants', async () => {
    await database.query(
      `insert into tenant (id, name) select 't' || n, 'Many' from generate_series(1, 201) n`,
    );
    const hundred = await hear(addSnapshots(1, 100));
    expect(new Set(hundred.map(({ tenantId }) => tenantId)).size).toBe(100);
    heard.length = 0;
    expect(await hear(addSnapshots(101, 201))).toEqual([data(null)]);
  });

  test('a tenant whose id is too long for a message is announced as all tenants', async () => {
    const id = 'x'.repeat(9_000);
    await database.query(`insert into tenant (id, name) values ($1, 'Long')`, [id]);
    await database.query(
      `insert into waba_snapshot (tenant_id, waba_id, attempted_at) values ($1, '20001', now())`,
      [id],
    );
    expect(await hear()).toEqual([data(null)]);
  });

  test('truncating a table announces all tenants', async () => {
    expect(await hear('truncate number_snapshot')).toEqual([data(null)]);
    heard.length = 0;
    expect(await hear('truncate api_key')).toEqual([keys(null)]);
  });
});
