// That the places of changes are the order of their commits, without gaps, and that no commit of other software fails or
// waits because of the feed. `npm run test:faults -- feed` has longer runs, and others on PostgreSQL 15.

import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openTestDatabase, openTestPostgresUrl, type TestPostgresUrl } from '../harness.ts';
import { type Connection, failsWithoutFeed, runRandomCommits } from './random-commits.ts';

const seed = Number(process.env['COMMIT_SEED'] ?? Math.floor(Math.random() * 1_000_000));

describe('on PostgreSQL', () => {
  let database: TestPostgresUrl;
  let made: AsyncDisposableStack;
  beforeEach(async () => {
    made = new AsyncDisposableStack();
    database = made.use(await openTestPostgresUrl());
  });
  afterEach(() => made.disposeAsync());

  async function connect(): Promise<Client> {
    const client = new Client({ connectionString: database.ownerUrl });
    await client.connect();
    made.defer(() => client.end());
    return client;
  }

  test(`random transactions of eight writers (COMMIT_SEED=${seed})`, async () => {
    const result = await runRandomCommits({
      connect,
      seed,
      writers: 8,
      transactions: 40,
      isolations: ['read committed', 'read committed', 'repeatable read'],
    });
    expect(result).toMatchObject({ problems: [], deadlocks: 0 });
    expect(result.failures.filter((failure) => !failsWithoutFeed(failure))).toEqual([]);
    expect(result.commits).toBeGreaterThan(100);
  });

  test(`random SERIALIZABLE transactions (COMMIT_SEED=${seed})`, async () => {
    const result = await runRandomCommits({
      connect,
      seed,
      writers: 4,
      transactions: 20,
      isolations: ['serializable', 'read committed'],
    });
    expect(result).toMatchObject({ problems: [], deadlocks: 0 });
    // Without the feed too: the tables are so small that all transactions read the same page.
    expect(
      new Set(result.failures.map(({ code }) => code)).difference(new Set(['40001', '57014'])),
    ).toEqual(new Set());
  });

  /** Numbers `n1` to `n2000` of tenant `t`. */
  async function addNumbers(): Promise<Client> {
    const client = await connect();
    await client.query(`insert into tenant (id, name) values ('t', 'T')`);
    await client.query(
      `insert into whatsapp_number (tenant_id, id, number, name, provider, state)
       select 't', 'n' || n, '5511' || n, 'Number', 'PILOT_STATUS', 'OPEN' from generate_series(1, 2000) n`,
    );
    return client;
  }

  test('two SERIALIZABLE transactions that change different numbers both commit', async () => {
    const one = await addNumbers();
    const other = await connect();
    for (const client of [one, other]) {
      // oxlint-disable no-await-in-loop -- one after the other
      await client.query('begin isolation level serializable');
      // Locks of rows, as in a table that is not small.
      await client.query('set local enable_seqscan = off');
      // oxlint-enable no-await-in-loop
    }
    await one.query(close(1));
    await other.query(close(2000));
    await one.query('commit');
    await other.query('commit');
    expect(await countAwaiting(one)).toBe(2);
    await one.query(close(3));
    expect(await countAwaiting(one)).toBe(0);
  });

  test('a transaction that makes constraints immediate lets others of the tenant commit before it', async () => {
    const one = await addNumbers();
    const other = await connect();
    await other.query("set lock_timeout = '10s'");
    await one.query('begin');
    await one.query(close(1));
    await one.query('set constraints all immediate');
    await one.query(close(2));
    await other.query('begin');
    await other.query(close(3));
    const waiting = one.query(close(3));
    await other.query('commit');
    await waiting;
    await one.query('commit');
    await other.query(close(4));
    const { rows } = await one.query(
      `select number_id as number from number_change where kind = 'FIELD' order by sequence`,
    );
    expect(rows.map(({ number }) => number)).toEqual(['n3', 'n1', 'n2', 'n4']);
  });

  test('a commit waits for the order at most half a second, and its changes get their places later', async () => {
    const one = await addNumbers();
    const other = await connect();
    await other.query('begin');
    await other.query('select from feed_position for update');
    await one.query(close(1));
    expect(await countAwaiting(one)).toBe(1);
    await other.query('rollback');
    await other.query('select number_changes_left()');
    expect(await countAwaiting(one)).toBe(0);
  });

  test('a commit that is cancelled while it waits for the order is committed', async () => {
    const one = await addNumbers();
    const other = await connect();
    await other.query('begin');
    await other.query('select from feed_position for update');
    const { rows } = await one.query('select pg_backend_pid() as process');
    const closing = one.query(close(1));
    const isWaiting = async () => {
      const { rows: waits } = await other.query(
        `select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
        [rows[0].process],
      );
      return waits.length > 0;
    };
    // oxlint-disable-next-line no-await-in-loop -- until it waits
    while (!(await isWaiting()));
    await other.query('select pg_cancel_backend($1)', [rows[0].process]);
    await closing;
    await other.query('rollback');
    expect(await countAwaiting(other)).toBe(1);
  });

  test('a session whose triggers are off records nothing', async () => {
    const client = await addNumbers();
    await client.query('set session_replication_role = replica');
    await client.query(close(1));
    const { rows } = await client.query(`select from number_change where kind = 'FIELD'`);
    expect(rows).toEqual([]);
  });
});

test(`random transactions on PGlite (COMMIT_SEED=${seed})`, async () => {
  await using database = await openTestDatabase('PGlite');
  const connection: Connection = {
    query: async (text, values = []) => ({ rows: await database.query(text, values) }),
  };
  const result = await runRandomCommits({
    connect: async () => connection,
    isSingleSession: true,
    seed,
    writers: 1,
    transactions: 20,
    isolations: ['read committed', 'repeatable read', 'serializable'],
  });
  expect(result.problems).toEqual([]);
  expect(result.failures.filter((failure) => !failsWithoutFeed(failure))).toEqual([]);
});

function close(number: number): string {
  return `update whatsapp_number set state = 'CLOSE' where tenant_id = 't' and id = 'n${number}'`;
}

async function countAwaiting(client: Client): Promise<number> {
  const { rows } = await client.query('select from number_change where sequence is null');
  return rows.length;
}
