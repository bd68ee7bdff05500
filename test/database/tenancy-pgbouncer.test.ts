// That tenants are isolated behind PgBouncer in transaction mode, where each transaction may get another connection to
// PostgreSQL.

import { randomInt } from 'node:crypto';
import { sql } from 'kysely';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../src/database/database.ts';
import { openTestPostgresUrl, type TestPostgresUrl } from '../harness.ts';
import { hasPgBouncer, startPgBouncer } from './pgbouncer.ts';
import { addRows, probeIsolation, rowOf, runInterleaved, toStatement } from './tenancy-probe.ts';

describe.skipIf(!hasPgBouncer('isolation through PgBouncer'))(
  'behind PgBouncer in transaction mode',
  () => {
    const tenants = Array.from({ length: 10 }, (_, index) => `t${index}`);
    const made = new AsyncDisposableStack();
    let database: Database;
    const clock = { ms: 0 };
    const causes: Error[] = [];

    beforeAll(async () => {
      const postgres = made.use(await openTestPostgresUrl());
      await addTenants(postgres, [...tenants, 'a', 'b']);
      const url = await startPgBouncer(made, postgres);
      database = made.use(
        await openDatabase(
          { kind: 'postgres', url },
          {
            connections: 8,
            clock: () => clock.ms,
            onPreparedStatementsOff: (cause) => causes.push(cause),
          },
        ),
      );
    });

    afterAll(async () => {
      await made.disposeAsync();
    });

    test('the policies apply, and clients share connections', async () => {
      const ask = sql<{ role: string; process: number; exempt: boolean }>`
      select rolname as role, rolsuper or rolbypassrls as exempt, pg_backend_pid() as process
      from pg_roles where rolname = current_user`;
      const asked = Array.from({ length: 40 }, () =>
        database.withTenant('a', async (transaction) => (await ask.execute(transaction)).rows[0]),
      );
      const found = await Promise.all(asked);
      expect(found.every((row) => row?.role === 'gateway_tenant' && !row.exempt)).toBe(true);
      // Eight connections to PgBouncer share two to PostgreSQL.
      expect(new Set(found.map((row) => row?.process)).size).toBeLessThanOrEqual(2);
    });

    test('a tenant reaches its own rows and no others', async () => {
      expect(await probeIsolation(database, Object.keys(rowOf))).toEqual([]);
    });

    test('1,000 interleaved transactions, a tenth failing midway, see no row of another tenant', async () => {
      const seed = randomInt(2 ** 31);
      const load = { transactions: 1_000, tenants, connections: 8, seed };
      expect(await runInterleaved(database, load), `seed ${seed}`).toMatchObject({
        committed: 900,
        failed: 100,
        foreignRows: 0,
        leftovers: 0,
      });
    });

    test('no read fails while prepared statements are tried again every minute', async () => {
      const read = toStatement('select id from tenant');
      for (let minute = 0; minute < 5; minute += 1) {
        clock.ms += 60_000;
        const reads = tenants.map(async (tenant) => await database.readTenant(tenant, read));
        // oxlint-disable-next-line no-await-in-loop -- one minute after the other
        expect(await Promise.all(reads)).toEqual(tenants.map((tenant) => [[tenant]]));
      }
      expect(causes.length).toBeLessThanOrEqual(6);
    });

    test('a tenant’s transaction has its time limits', async () => {
      const ask = sql<{ statement: string; lock: string; idle: string }>`
      select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
        current_setting('idle_in_transaction_session_timeout') as idle`;
      const { rows } = await database.withTenant('a', (transaction) => ask.execute(transaction));
      expect(rows).toEqual([{ statement: '2s', lock: '1s', idle: '5s' }]);
    });
  },
);

async function addTenants(postgres: TestPostgresUrl, ids: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: postgres.ownerUrl });
  await client.connect();
  try {
    const query = async (text: string) => (await client.query(text)).rows as never;
    // oxlint-disable-next-line no-await-in-loop -- one connection
    for (const id of ids) await addRows(query, id);
  } finally {
    await client.end();
  }
}
