// That a read reaches the rows of its tenant and no others, takes one round trip, leaves nothing on the connection, and
// reports trouble. No statement names the tenant, so only row-level security keeps tenants apart.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../src/database/database.ts';
import {
  createSingleFlight,
  prepare,
  toTextArray,
  type TextRow,
} from '../../src/database/statement.ts';
import {
  databases,
  openTestDatabase,
  openTestPostgresUrl,
  type TestDatabase,
  type TestDatabaseOptions,
} from '../harness.ts';
import { addRows, rowOf, toStatement, toTenantColumn } from './tenancy-probe.ts';

const currentTenant = `select current_user::text, coalesce(current_setting('app.tenant_id', true), '')`;
const tenants = toStatement('select id from tenant');

async function openWithTenants(
  kind: (typeof databases)[number],
  options: TestDatabaseOptions = {},
): Promise<TestDatabase> {
  const database = await openTestDatabase(kind, options);
  for (const id of ['a', 'b']) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await addRows(database.query, id);
  }
  return database;
}

async function readOutside(database: Database): Promise<unknown> {
  return await database.callAcrossTenants(toStatement(currentTenant));
}

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await openWithTenants(kind, { connections: 1 });
  });

  afterAll(() => database[Symbol.asyncDispose]());

  test.each(Object.keys(rowOf))('%s: a tenant reads its own rows and no others', async (table) => {
    const read = toStatement(`select distinct ${toTenantColumn(table)} from ${table}`);
    expect(await database.readTenant('a', read)).toEqual([['a']]);
    expect(await database.readTenant('b', read)).toEqual([['b']]);
    for (const unknown of ['', 'c', ' a', 'A', '%']) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      expect(await database.readTenant(unknown, read)).toEqual([]);
    }
  });

  test('role and tenant end with the read, whether it succeeds or fails', async () => {
    const before = await readOutside(database);
    expect(before).toEqual([[expect.not.stringMatching(/^gateway_tenant$/), '']]);
    const inside = [['gateway_tenant', 'a']];
    expect(await database.readTenant('a', toStatement(currentTenant))).toEqual(inside);
    expect(await readOutside(database)).toEqual(before);
    for (const [statement, code] of [
      ['select 1 / 0', '22012'],
      ['select * from nothing', '42P01'],
      [`select * from find_api_key('x')`, '42501'],
    ] as const) {
      // oxlint-disable no-await-in-loop -- one connection
      await expect(database.readTenant('a', toStatement(statement))).rejects.toMatchObject({
        code,
      });
      expect(await readOutside(database)).toEqual(before);
      expect(await database.readTenant('b', tenants)).toEqual([['b']]);
      // oxlint-enable no-await-in-loop
    }
  });

  test('a tenant’s id is never executed as SQL', async () => {
    const name = `a', true), set_config('role', 'postgres', true); --`;
    expect(await database.readTenant(name, toStatement(currentTenant))).toEqual([
      ['gateway_tenant', name],
    ]);
  });

  test('a read cannot write', async () => {
    const change = toStatement(`update whatsapp_number set name = 'Changed' returning id`);
    await expect(database.readTenant('a', change)).rejects.toMatchObject({
      cause: { code: '25006' },
    });
    expect(await database.query('select distinct name from whatsapp_number')).toHaveLength(2);
  });

  test('a read sees what was committed before it', async () => {
    for (const name of ['One', 'Two']) {
      // oxlint-disable no-await-in-loop -- one after the other
      await database.withTenant('a', (transaction) =>
        transaction.updateTable('whatsapp_number').set({ name }).execute(),
      );
      const read = toStatement('select name from whatsapp_number');
      expect(await database.readTenant('a', read)).toEqual([[name]]);
      // oxlint-enable no-await-in-loop
    }
  });

  test('values of any content arrive unchanged, each in its place', async () => {
    const echo = prepare(
      'echo',
      ['text', 'texts'],
      ({ text, texts }) =>
        sql`select ${text}::text as one, to_json(${texts}::text::text[])::text as texts,
          null::text as nothing, ${text}::text as again, ${7}::text as known`,
    );
    for (const text of ['', 'x', `'"\\`, '{,}', 'null', 'é😀', ' a b\n', '€'.repeat(30_000)]) {
      const texts = [text, 'other', text];
      // oxlint-disable-next-line no-await-in-loop -- one connection
      const [row] = await database.readTenant('a', echo({ text, texts: toTextArray(texts) }));
      expect(row).toEqual([text, expect.any(String), null, text, '7']);
      expect(JSON.parse(row?.[1] ?? '')).toEqual(texts);
    }
    const [row] = await database.readTenant('a', echo({ text: 'x', texts: toTextArray([]) }));
    expect(row?.[1]).toBe('[]');
  });

  test('a read has two statements, the first of which sets the tenant', async () => {
    database.clearStatements();
    await database.readTenant('a', tenants);
    expect(database.statements).toEqual([expect.stringContaining('set_config'), tenants.sql]);
  });

  test('callers that request the same read before it is sent share it, and never that of another tenant', async () => {
    database.clearStatements();
    const asked = ['a', 'b', 'a', 'a', 'b'].map((tenant) => database.readTenant(tenant, tenants));
    expect(await Promise.all(asked)).toEqual([[['a']], [['b']], [['a']], [['a']], [['b']]]);
    expect(database.statements).toHaveLength(4);
  });

  test('a failure is reported to all callers that share the read, and not to later ones', async () => {
    const fail = toStatement('select 1 / 0');
    const asked = await Promise.allSettled([1, 2].map(() => database.readTenant('a', fail)));
    expect(asked.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    database.clearStatements();
    await expect(database.readTenant('a', fail)).rejects.toMatchObject({ code: '22012' });
    expect(database.statements).not.toEqual([]);
  });
});

test('a caller that requests a read which was already sent waits for its end, and then for another read', async () => {
  const sent: { readonly onSend: () => void; readonly end: (rows: TextRow[]) => void }[] = [];
  const read = createSingleFlight(async (_, onSend) => {
    const { promise, resolve } = Promise.withResolvers<readonly TextRow[]>();
    sent.push({ onSend, end: resolve });
    return await promise;
  });
  const first = read([tenants]);
  sent[0]!.onSend();
  const second = read([tenants]);
  expect(sent).toHaveLength(1);
  sent[0]!.end([['old']]);
  expect(await first).toEqual([['old']]);
  expect(sent).toHaveLength(2);
  expect(read([tenants])).toBe(second);
  sent[1]!.end([['new']]);
  expect(await second).toEqual([['new']]);
  void read([tenants]);
  expect(sent).toHaveLength(3);
});

describe('on PostgreSQL', () => {
  test('a read is one round trip, and so is finding a key', async () => {
    await using made = await openTestPostgresUrl();
    await using proxy = await openCountingProxy(made.url);
    await using database = await openDatabase({ kind: 'postgres', url: proxy.url });
    const requests = [
      () => database.readTenant('a', tenants),
      () => database.callAcrossTenants(toStatement(`select * from find_api_key('x')`)),
    ];
    // A new connection has to log in.
    await database.ping();
    for (const read of [...requests, ...requests]) {
      proxy.clear();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await read();
      expect(proxy.roundTrips()).toBe(1);
    }
  });

  test('a statement is prepared once on each connection, with one plan for all tenants, and limited in time', async () => {
    await using database = await openWithTenants('PostgreSQL', { connections: 1 });
    const look = toStatement(
      `select p.name, p.generic_plans::text, p.custom_plans::text,
         current_setting('statement_timeout'), current_setting('transaction_read_only')
       from pg_prepared_statements p where p.statement like '%pg_prepared_statements%'`,
    );
    for (const times of [1, 2, 3]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await database.readTenant('a', look)).toEqual([
        [look.name, String(times), '0', '2s', 'on'],
      ]);
    }
  });

  test('no read fails because a connection has lost a prepared statement or its result has changed', async () => {
    for (const spoil of [
      'deallocate all',
      'alter table tenant alter column name type varchar(100)',
    ]) {
      // oxlint-disable no-await-in-loop -- one after the other
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      const read = toStatement('select name from tenant');
      const expected = [['Tenant a']];
      expect(await database.readTenant('a', read)).toEqual(expected);
      if (spoil.startsWith('alter')) await database.query(spoil);
      else await database.acrossTenants((it) => sql.raw(spoil).execute(it));
      expect(await database.readTenant('a', read)).toEqual(expected);
      expect(await database.readTenant('a', read)).toEqual(expected);
      // oxlint-enable no-await-in-loop
    }
  });

  test.each([
    ['a statement that the connection does not know', 'deallocate all'],
    [
      'a statement whose result has changed',
      'alter table tenant alter column name type varchar(100)',
    ],
  ])('prepared statements are off for one minute after %s', async (_, spoil) => {
    const clock = { ms: 0 };
    const causes: Error[] = [];
    const pools: { readonly usesPreparedStatements: boolean }[] = [];
    await using database = await openWithTenants('PostgreSQL', {
      connections: 1,
      clock: () => clock.ms,
      onPreparedStatementsOff: (cause) => causes.push(cause),
      onPool: (pool) => pools.push(pool),
    });
    const read = toStatement(
      'select name, (select count(*)::text from pg_prepared_statements) from tenant',
    );
    const readPrepared = async () => Number((await database.readTenant('a', read))[0]?.[1]);
    expect(await readPrepared()).toBe(2);
    if (spoil.startsWith('alter')) await database.query(spoil);
    else await database.acrossTenants((it) => sql.raw(spoil).execute(it));
    const before = await readPrepared();
    expect(causes).toHaveLength(1);
    expect(pools[0]?.usesPreparedStatements).toBe(false);
    clock.ms = 59_999;
    await database.readTenant('a', toStatement('select id from tenant'));
    expect(await readPrepared()).toBe(before);
    clock.ms = 60_000;
    expect(pools[0]?.usesPreparedStatements).toBe(true);
    await database.readTenant('a', toStatement('select id from tenant'));
    expect(await readPrepared()).toBe(3);
    expect(causes).toHaveLength(1);
  });

  test.each([
    ['that succeed', (index: number) => `select ${index}::text`, 'fulfilled'],
    ['that fail', (index: number) => `select (${index} / 0)::text`, 'rejected'],
  ])(
    'a connection keeps at most 200 prepared statements, of reads %s',
    async (_, toText, status) => {
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      const read = (index: number) => database.readTenant('a', toStatement(toText(index)));
      const indexes = Array.from({ length: 220 }, (__, index) => index);
      for (const asked of [indexes, [0]]) {
        // oxlint-disable-next-line no-await-in-loop -- first all, then the first one again
        const found = await Promise.allSettled(asked.map(read));
        expect(new Set(found.map((result) => result.status))).toEqual(new Set([status]));
      }
      const count = toStatement('select count(*)::text from pg_prepared_statements');
      expect(await database.readTenant('a', count)).toEqual([['200']]);
    },
  );

  test('a statement that fails does not close the connection', async () => {
    await using database = await openWithTenants('PostgreSQL', { connections: 1 });
    const who = toStatement('select pg_backend_pid()::text');
    const before = await database.readTenant('a', who);
    const fail = toStatement('select 1 / 0');
    await expect(database.readTenant('a', fail)).rejects.toMatchObject({ code: '22012' });
    expect(await database.readTenant('a', who)).toEqual(before);
  });

  test('concurrent reads share round trips, and each returns the rows of its own tenant', async () => {
    await using made = await openTestPostgresUrl();
    await using proxy = await openCountingProxy(made.url);
    await using database = await openDatabase({ kind: 'postgres', url: proxy.url });
    const who = prepare('who', ['number'], ({ number }) => {
      const tenant = sql`current_setting('app.tenant_id') as tenant`;
      return sql`select ${tenant}, current_user::text as role, ${number}::text as number`;
    });
    const ask = async (count: number) => {
      const asked = Array.from({ length: count }, async (_, number) => {
        const tenant = `t${number % 7}`;
        const rows = await database.readTenant(tenant, who({ number: String(number) }));
        return { rows, expected: [[tenant, 'gateway_tenant', String(number)]] };
      });
      return await Promise.all(asked);
    };
    await ask(1);
    proxy.clear();
    for (const { rows, expected } of await ask(100)) expect(rows).toEqual(expected);
    expect(proxy.roundTrips()).toBeLessThan(40);
  });

  test('a read that returned many rows has a round trip of its own from then on', async () => {
    await using made = await openTestPostgresUrl();
    await using proxy = await openCountingProxy(made.url);
    const source = { kind: 'postgres', url: proxy.url } as const;
    await using database = await openDatabase(source, { connections: 1 });
    const count = prepare(
      'count',
      ['of', 'to'],
      ({ of, to }) => sql`select ${of}::text from generate_series(1, ${to}::int)`,
    );
    const ask = async (of: string) => {
      const statement = count({ of, to: of === 'large' ? '300' : '1' });
      return (await database.readTenant('a', statement)).length;
    };
    const countRoundTrips = async () => {
      proxy.clear();
      const sizes = await Promise.all(['one', 'two', 'large', 'three', 'four'].map(ask));
      return { roundTrips: proxy.roundTrips(), size: sizes[2] };
    };
    await ask('one');
    expect(await countRoundTrips()).toEqual({ roundTrips: 1, size: 300 });
    expect(await countRoundTrips()).toEqual({ roundTrips: 3, size: 300 });
  });

  test('a read that fails does not affect the reads that share its round trip', async () => {
    await using database = await openWithTenants('PostgreSQL', { connections: 1 });
    const divide = prepare(
      'divide',
      ['number', 'by'],
      ({ number, by }) =>
        sql`select current_setting('app.tenant_id') as tenant, (${number}::int / ${by}::int)::text as result`,
    );
    const spoilt = [new Set([0]), new Set([3, 4]), new Set([7]), new Set([0, 1, 2, 3, 4, 5, 6, 7])];
    // The first read of a connection has its own round trip, since it prepares the statement.
    for (const fails of [new Set([0]), ...spoilt]) {
      const asked = Array.from({ length: 8 }, (_, place) =>
        database.readTenant(
          `t${place}`,
          divide({ number: String(place), by: fails.has(place) ? '0' : '1' }),
        ),
      );
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const found = await Promise.allSettled(asked);
      const expected = found.map((_, place) =>
        fails.has(place) ? '22012' : [[`t${place}`, String(place)]],
      );
      expect(found.map((it) => (it.status === 'fulfilled' ? it.value : it.reason.code))).toEqual(
        expected,
      );
    }
    expect(await readOutside(database)).toEqual([
      [expect.not.stringMatching('gateway_tenant'), ''],
    ]);
  });

  test('all connections can be opened in advance, and no more than those', async () => {
    const count = `select count(*)::int as connections from pg_stat_activity
      where datname = current_database() and application_name = 'numbers-gateway'`;
    await using database = await openTestDatabase('PostgreSQL', { connections: 4 });
    await database.ping();
    await Promise.all([database.warm(), database.warm()]);
    expect(await database.query(count)).toEqual([{ connections: 4 }]);
  });

  describe('a database in trouble', { tags: ['clock'] }, () => {
    const unavailable = { code: 'UNAVAILABLE', status: 503, retryAfterSeconds: 1 };
    const sleep = toStatement('select pg_sleep(15)::text');

    test('that cannot be reached is UNAVAILABLE', async () => {
      const url = 'postgres://nobody@127.0.0.1:1/x';
      await using database = await openDatabase({ kind: 'postgres', url });
      await database.warm();
      await expect(database.readTenant('a', tenants)).rejects.toMatchObject(unavailable);
    });

    test('with all connections in use is UNAVAILABLE until one is released', async () => {
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      const [entered, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const holding = database.withTenant('a', async () => {
        entered.resolve();
        await release.promise;
      });
      await entered.promise;
      await expect(database.readTenant('a', tenants)).rejects.toMatchObject(unavailable);
      release.resolve();
      await holding;
      expect(await database.readTenant('a', tenants)).toEqual([['a']]);
    });

    test('that ends the connection of a read is UNAVAILABLE, and the next read gets another connection', async () => {
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      const read = database.readTenant('a', sleep).catch((error: unknown) => error);
      await untilOne(
        database,
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and query = '${sleep.sql}' and wait_event = 'PgSleep'`,
      );
      expect(await read).toMatchObject(unavailable);
      expect(await database.readTenant('a', tenants)).toEqual([['a']]);
    });

    test('that ends the connection of several reads is UNAVAILABLE for all of them', async () => {
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      const sleepFor = prepare(
        'sleep_for',
        ['seconds', 'place'],
        ({ seconds, place }) =>
          sql`select pg_sleep(${seconds}::float8)::text as slept, ${place}::text as place`,
      );
      await database.readTenant('a', sleepFor({ seconds: '0', place: '' }));
      const asked = Array.from({ length: 6 }, (_, place) =>
        database.readTenant('a', sleepFor({ seconds: '15', place: String(place) })),
      );
      const settled = Promise.allSettled(asked);
      await untilOne(
        database,
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and wait_event = 'PgSleep'`,
      );
      for (const result of await settled) {
        expect(result).toMatchObject({ status: 'rejected', reason: unavailable });
      }
      expect(await database.readTenant('a', tenants)).toEqual([['a']]);
    });

    test('that is too slow is UNAVAILABLE after two seconds', async () => {
      await using database = await openWithTenants('PostgreSQL', { connections: 1 });
      await expect(database.readTenant('a', sleep)).rejects.toMatchObject(unavailable);
      expect(await database.readTenant('a', tenants)).toEqual([['a']]);
    });
  });
});

/** Repeats the query, past the gateway, until it returns a row. */
async function untilOne(database: TestDatabase, text: string): Promise<void> {
  // oxlint-disable-next-line no-await-in-loop -- until it is there
  while ((await database.query(text)).length === 0);
}

interface CountingProxy extends AsyncDisposable {
  readonly url: string;
  /** How often the server has answered. */
  roundTrips(): number;
  clear(): void;
}

/** Forwards bytes and counts the changes of direction. */
async function openCountingProxy(url: string): Promise<CountingProxy> {
  const { hostname, port: farPort } = new URL(url);
  let answers = 0;
  let last = 'server';
  const server = createServer((client) => {
    const far = connect(Number(farPort), hostname);
    client.on('data', () => (last = 'client'));
    far.on('data', () => {
      if (last === 'client') answers += 1;
      last = 'server';
    });
    client.pipe(far).on('error', () => client.destroy());
    far.pipe(client).on('error', () => far.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(port) }).href,
    roundTrips: () => answers,
    clear: () => void (answers = 0),
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
