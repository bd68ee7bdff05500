// Tests that the status of each number is kept right, whoever writes what it is derived from.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { statusVersion } from '../../src/numbers/status.ts';
import { recordReadings } from '../../src/numbers/store.ts';
import { startStatusUpkeep, writeAllOutdated } from '../../src/numbers/status-upkeep.ts';
import { toPlainFailure } from '../../src/numbers/provider.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  type TestDatabase,
  type TestGateway,
} from '../harness.ts';

interface Status {
  readonly state: string;
  readonly qualityRating: string | null;
  readonly metaStatus: string | null;
  readonly verdict: string | null;
  readonly replyVerdict: string | null;
  readonly failing: boolean;
  readonly accountFailing: boolean;
  readonly portfolioId: string | null;
  readonly observedAt: Date | number;
  readonly verdictChangedAt: Date;
  readonly nameKey: string;
  readonly searchKey: string;
  readonly version: number;
  readonly rank: number;
  /** Changes with every write of the row. */
  readonly written: string;
}

async function readStatus({ query }: Pick<TestDatabase, 'query'>, id: string): Promise<Status> {
  const [status] = await query<Status>(
    `select state, quality_rating as "qualityRating", meta_status as "metaStatus", verdict,
       reply_verdict as "replyVerdict", failing, account_failing as "accountFailing",
       portfolio_id as "portfolioId", observed_at as "observedAt", verdict_changed_at as "verdictChangedAt",
       name_key as "nameKey", search_key as "searchKey", rules_version as version, rank, ctid::text as written
     from number_status where number_id = $1`,
    [id],
  );
  if (status === undefined) throw new Error(`number ${id} has no status`);
  return status;
}

/** Resolves once a session of this database waits for a lock. */
async function untilBlocked({ query }: Pick<TestDatabase, 'query'>): Promise<void> {
  const text = `select a.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where not l.granted and a.datname = current_database()`;
  // oxlint-disable-next-line no-await-in-loop -- until it is blocked
  while ((await query(text)).length === 0);
}

const live = (id: string) => `{ number(id: "${id}", refresh: true) { id } }`;

describe.each(databases)('on %s, the status of a number', (kind) => {
  let gateway: TestGateway;
  let now = new Date();
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind, now: () => now });
  });
  beforeEach(() => {
    now = new Date();
  });
  afterAll(() => gateway?.[Symbol.asyncDispose]());

  test('exists once it was added, without evidence', async () => {
    const tenant = await gateway.addTenant();
    const { id, number } = await tenant.addNumber({ name: '  Ação   ÉTÉ ' });
    expect(await readStatus(gateway.database, id)).toMatchObject({
      state: 'OPEN',
      qualityRating: null,
      verdict: null,
      failing: false,
      observedAt: -Infinity,
      nameKey: 'acao ete',
      searchKey: `acao ete\n\n${number}`,
      rank: 6,
    });
  });

  test('is written with a reading', async () => {
    const tenant = await gateway.addTenant();
    const { id, number } = await tenant.addNumber({
      name: 'Shop',
      phone: { status: 'RESTRICTED', quality_rating: 'TURQUOISE' },
      waba: { owner_business_info: { id: '77', name: 'Holding' } },
    });
    await tenant.graphql(live(id));
    expect(await readStatus(gateway.database, id)).toMatchObject({
      metaStatus: 'RESTRICTED',
      qualityRating: 'UNRECOGNIZED',
      verdict: 'NO',
      replyVerdict: 'YES',
      portfolioId: '77',
      searchKey: `shop\nlucky shrub\n${number}`,
      rank: 2,
    });
  });

  test('says when the verdict has changed, and not when it was confirmed', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    await tenant.graphql(live(id));
    const first = await readStatus(gateway.database, id);
    now = new Date(now.getTime() + 60_000);
    await tenant.graphql(live(id));
    const second = await readStatus(gateway.database, id);
    expect(second.verdictChangedAt).toEqual(first.verdictChangedAt);
    expect(second.observedAt).not.toEqual(first.observedAt);
    gateway.simulator.setFault(phoneNumberId, { kind: 'error', code: 368 });
    await tenant.graphql(live(id));
    const third = await readStatus(gateway.database, id);
    expect(third.verdictChangedAt.getTime()).toBeGreaterThan(first.verdictChangedAt.getTime());
    expect(third).toMatchObject({ failing: true, rank: 0 });
  });

  test('has a state that other software writes at once', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const before = await readStatus(gateway.database, id);
    await gateway.database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [id]);
    const after = await readStatus(gateway.database, id);
    expect(after).toMatchObject({ state: 'CLOSE', rank: 1, version: before.version });
    expect(after.verdictChangedAt.getTime()).toBeGreaterThan(before.verdictChangedAt.getTime());
    const { body } = await tenant.graphql<{ fleet: { totalCount: number } }>(
      '{ fleet(filter: {verdicts: [NO]}) { totalCount } }',
    );
    expect(body.data?.fleet.totalCount).toBe(1);
  });

  test('shows the name after the number was renamed', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ name: 'Before' });
    await gateway.numbers.update(id, { name: 'After' });
    expect(await readStatus(gateway.database, id)).toMatchObject({ nameKey: 'after' });
  });

  test('is deleted with the number', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await gateway.numbers.remove(id);
    expect(
      await gateway.database.query('select from number_status where number_id = $1', [id]),
    ).toEqual([]);
  });

  test('is not rewritten by a reading of its account that finds nothing new', async () => {
    const tenant = await gateway.addTenant();
    const waba = { owner_business_info: { id: '77', name: 'Holding' } };
    const { id, wabaId } = await tenant.addNumber({ waba });
    const sibling = await tenant.addNumber({ wabaId });
    await tenant.graphql(live(id));
    await tenant.graphql(live(sibling.id));
    const before = await readStatus(gateway.database, sibling.id);
    await tenant.graphql(live(id));
    expect(await readStatus(gateway.database, sibling.id)).toEqual(before);
  });

  test('follows its account, whichever number the account was read for', async () => {
    const tenant = await gateway.addTenant();
    const { id, wabaId } = await tenant.addNumber();
    const sibling = await tenant.addNumber({ wabaId });
    const failure = toPlainFailure('META_ACCESS_DENIED', false, 'No.');
    const reading = { block: 'waba', data: null, failure, state: null } as const;
    const base = { tenantId: tenant.id, holder: 'h', leased: [] };
    await recordReadings(gateway.database, {
      ...base,
      observedAt: new Date(),
      readings: [{ ...reading, id: sibling.id }],
    });
    expect(await readStatus(gateway.database, sibling.id)).toMatchObject({
      accountFailing: true,
      portfolioId: null,
      rank: 4,
    });
    const data = { id: wabaId, ownerBusinessId: '88', ownerBusinessName: 'Other' };
    await recordReadings(gateway.database, {
      ...base,
      observedAt: new Date(),
      readings: [{ ...reading, id: wabaId, data, failure: null }],
    });
    for (const number of [id, sibling.id]) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      expect(await readStatus(gateway.database, number)).toMatchObject({
        accountFailing: false,
        portfolioId: '88',
      });
    }
  });

  describe('that others have made outdated', () => {
    test('is written again: a reading, a new name and a number of the previous release', async () => {
      const { database } = gateway;
      const tenant = await gateway.addTenant();
      const { id } = await tenant.addNumber({ name: 'Old' });
      await tenant.graphql(live(id));
      const { version } = await readStatus(database, id);
      await database.query(
        `update number_snapshot set data = data || '{"qualityRating": "RED"}' where number_id = $1 and block = 'phone'`,
        [id],
      );
      await database.query(`update whatsapp_number set name = 'New' where id = $1`, [id]);
      await database.query(
        `insert into whatsapp_number (tenant_id, id, number, name, provider, state, instance_name)
         values ($1, 'wa_other', '5511999', 'Other', 'PILOT_STATUS', 'OPEN', 'other')`,
        [tenant.id],
      );
      expect(await readStatus(database, id)).toMatchObject({ version: 0, qualityRating: 'GREEN' });
      expect(await writeAllOutdated(database)).toEqual({ numbers: 2, isComplete: true });
      expect(await readStatus(database, id)).toMatchObject({
        version,
        qualityRating: 'RED',
        nameKey: 'new',
        rank: 3,
      });
      expect(await readStatus(database, 'wa_other')).toMatchObject({ version, nameKey: 'other' });
      expect(await writeAllOutdated(database)).toEqual({ numbers: 0, isComplete: true });
    });

    test('is written again after an account was read by the previous release', async () => {
      const { database } = gateway;
      const tenant = await gateway.addTenant();
      const { id, wabaId } = await tenant.addNumber();
      await database.query(
        `insert into waba_snapshot (tenant_id, waba_id, data, observed_at, attempted_at)
         values ($1, $2, '{"ownerBusinessId": "99"}', now(), now())`,
        [tenant.id, wabaId],
      );
      await writeAllOutdated(database);
      expect(await readStatus(database, id)).toMatchObject({ portfolioId: '99' });
    });

    test('is written for numbers that had none, in batches, by one job', async () => {
      const { database } = gateway;
      const tenants = [await gateway.addTenant(), await gateway.addTenant()];
      for (const { id } of tenants) {
        // oxlint-disable-next-line no-await-in-loop -- one connection
        await database.query(
          `insert into whatsapp_number (tenant_id, id, number, name, provider, state, instance_name)
           select $1, $1 || i, (5511000 + i)::text, 'Shop ' || i, 'PILOT_STATUS', 'OPEN', 'i' || i
           from generate_series(1, 700) i`,
          [id],
        );
      }
      const ids = tenants.map(({ id }) => id);
      await database.query('delete from number_status where tenant_id = any($1)', [ids]);
      const written = Promise.withResolvers<number>();
      await using upkeep = startStatusUpkeep({
        database,
        onWritten: written.resolve,
        onFailure: written.reject,
      });
      expect(await written.promise).toBe(1_400);
      expect(upkeep).toBeDefined();
      const rows = await database.query(
        'select from number_status where rules_version > 0 and tenant_id = any($1)',
        [ids],
      );
      expect(rows).toHaveLength(1_400);
    });

    test('is written again by this release after an older one has overwritten it', async () => {
      const { database } = gateway;
      const tenant = await gateway.addTenant();
      const { id } = await tenant.addNumber();
      await database.query(
        'update number_status set rules_version = rules_version + 1 where number_id = $1',
        [id],
      );
      // To a newer release, this one is the older one.
      await tenant.graphql(live(id));
      expect(await readStatus(database, id)).toMatchObject({ version: 0, qualityRating: 'GREEN' });
    });
  });
});

test('outdated rows are searched for during a small part of the time', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  await using gateway = await openTestGateway({ database });
  await gateway.addTenant();
  const failures: unknown[] = [];
  const onFailure = (error: unknown) => void failures.push(error);
  await using started = new AsyncDisposableStack();
  started.use(startStatusUpkeep({ database, onFailure, intervalMs: 0 }));
  database.clearStatements();
  const count = (name: string) => database.statements.filter((it) => it.includes(name)).length;
  // Each attempt begins with the lease.
  await expect.poll(() => count('process_lease'), { timeout: 20_000 }).toBeGreaterThan(100);
  expect(count('find_outdated_status')).toBeLessThan(50);
  expect(failures).toEqual([]);
});

test('a statement of other software that renames many numbers takes time in proportion to them', async () => {
  await using database = await openTestDatabase('PostgreSQL', { connections: 1 });
  await database.query(`insert into tenant (id, name) values ('t', 'T')`);
  await database.query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state)
     select 't', 'wa_' || i, (551100000000 + i)::text, 'N', 'PILOT_STATUS', 'OPEN' from generate_series(1, 8000) i`,
  );
  await writeAllOutdated(database);
  // The plan of the trigger is made for one row, and stays. Compared pair by pair, 8,000 rows would take half a minute.
  await database.query(`update whatsapp_number set name = 'First' where id = 'wa_1'`);
  await database.query(`set statement_timeout = '12s'`);
  await database.query(`update whatsapp_number set name = 'New'`);
  expect(await writeAllOutdated(database)).toEqual({ numbers: 8_000, isComplete: true });
});

test('a reading keeps the owner that another process has stored at the same time', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  await using gateway = await openTestGateway({ database });
  const tenant = await gateway.addTenant();
  const { id, wabaId } = await tenant.addNumber();
  // The transaction of the other process, which has read the account.
  await database.query('begin');
  await database.query(`select set_config('app.derives_status', 'on', true)`);
  await database.query(
    `insert into waba_snapshot (tenant_id, waba_id, data, observed_at, attempted_at)
     values ($1, $2, '{"ownerBusinessId": "88"}', now(), now())`,
    [tenant.id, wabaId],
  );
  await database.query(`update number_status set portfolio_id = '88' where number_id = $1`, [id]);
  const reading = { block: 'phone', id, failure: null, state: 'OPEN' } as const;
  const recorded = recordReadings(database, {
    tenantId: tenant.id,
    holder: 'h',
    leased: [],
    observedAt: new Date(),
    readings: [{ ...reading, data: { status: 'CONNECTED' } }],
  });
  await untilBlocked(database);
  await database.query('commit');
  await recorded;
  expect(await readStatus(database, id)).toMatchObject({
    metaStatus: 'CONNECTED',
    portfolioId: '88',
  });
});

test('software without rights on the status may write the state of a number', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  await using gateway = await openTestGateway({ database });
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  await database.query('begin');
  await database.query('create role writer_of_states');
  await database.query('grant usage on schema public to writer_of_states');
  await database.query('grant select, update (state) on whatsapp_number to writer_of_states');
  await database.query(`select set_config('app.tenant_id', $1, true)`, [tenant.id]);
  await database.query('set local role writer_of_states');
  await database.query(`update whatsapp_number set state = 'CONNECTING' where id = $1`, [id]);
  await database.query('reset role');
  expect(await readStatus(database, id)).toMatchObject({ state: 'CONNECTING' });
  await database.query('rollback');
});

test('a change of the words that are stored changes the version of the status', () => {
  const { QualityRating, MetaStatus, MessagingLimitTier } = vocabularies;
  const words = [QualityRating, MetaStatus, MessagingLimitTier].map((it) => Object.keys(it.words));
  // When the words differ, increment `statusVersion`: stored rows have UNRECOGNIZED for a word that was not known.
  expect([statusVersion, words.flat().join(' ')]).toEqual([
    203,
    'GREEN YELLOW RED UNKNOWN NA CONNECTED DISCONNECTED PENDING FLAGGED RESTRICTED RATE_LIMITED BANNED DELETED MIGRATED UNVERIFIED UNKNOWN TIER_50 TIER_250 TIER_1K TIER_2K TIER_10K TIER_100K TIER_UNLIMITED UNTIERED TIER_NOT_SET',
  ]);
});
