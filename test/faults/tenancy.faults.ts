// The leak test of test/database/tenancy.test.ts at full length.

import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { openTestDatabase } from '../harness.ts';
import { addRows, inspectConnections, rowOf, runInterleaved } from '../database/tenancy-probe.ts';
import { report } from './figures.ts';

test('20,000 interleaved transactions over 8 connections see no row of another tenant', async () => {
  const connections = 8;
  await using database = await openTestDatabase('PostgreSQL', { connections });
  const tenants = Array.from({ length: 20 }, (_, index) => `t${index}`);
  // oxlint-disable-next-line no-await-in-loop -- one connection
  for (const tenant of tenants) await addRows(database.query, tenant);
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));
  const load = { transactions: 20_000, tenants, connections, seed };
  const result = await runInterleaved(database, load);
  const after = await inspectConnections(database, connections, Object.keys(rowOf));
  expect(after.connections).toBe(connections);
  expect(
    report(
      '20,000 transactions over 8 connections, a tenth failing midway: 0 rows of another tenant, no setting left on any connection',
      `${result.foreignRows} of another tenant among ${result.ownRows + result.foreignRows} rows, ${result.failed} failed, ${result.leftovers + after.complaints.length} settings left on ${after.connections} connections (seed ${seed})`,
      result.foreignRows === 0 &&
        result.ownRows > 20_000 &&
        result.failed === 2_000 &&
        result.leftovers + after.complaints.length === 0,
    ),
  ).toBe(true);
});
