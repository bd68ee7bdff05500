// Thousands of random transactions and readings: the order of commits on PostgreSQL 18 and 15, and the folded feed.

import { existsSync } from 'node:fs';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { openTestDatabase, openTestPostgresUrl } from '../harness.ts';
import { failsWithoutFeed, runRandomCommits } from '../history/random-commits.ts';
import { runRandomReadings } from '../history/random-readings.ts';
import { report } from './figures.ts';
import { openRestartablePostgres } from './restartable-postgres.ts';

const seed = Number(process.env['COMMIT_SEED'] ?? 1);
const transactions = Number(process.env['COMMIT_TRANSACTIONS'] ?? 1_000);
const steps = Number(process.env['FOLD_STEPS'] ?? 10_000);
const writers = 8;

/** Of Debian's package postgresql-15. */
const programsOf15 = '/usr/lib/postgresql/15/bin';
const versions = [
  { version: 18, programs: null },
  ...(existsSync(programsOf15) ? [{ version: 15, programs: programsOf15 }] : []),
];

test.each(versions)(
  `${writers} writers of random transactions on PostgreSQL $version (COMMIT_SEED=${seed})`,
  async ({ version, programs }) => {
    await using made = new AsyncDisposableStack();
    const server = made.use(await openRestartablePostgres(programs));
    {
      await using database = await openDatabase({ kind: 'postgres', url: server.url });
      await database.migrate();
    }
    const connect = async () => {
      const client = new Client({ connectionString: server.url });
      await client.connect();
      made.defer(() => client.end());
      return client;
    };
    const startedAt = performance.now();
    const result = await runRandomCommits({
      connect,
      seed,
      writers,
      transactions,
      isolations: ['read committed', 'read committed', 'repeatable read'],
    });
    const seconds = (performance.now() - startedAt) / 1_000;
    const { problems, failures, deadlocks, commits, rollbacks, changes, pages } = result;
    const own = failures.filter(failsWithoutFeed);
    expect(
      report(
        `random transactions on PostgreSQL ${version}: no gap, nothing missed or reordered, no failure because of the feed, no deadlock`,
        `${problems.length} problems ${problems.slice(0, 3).join(' ')}, ${failures.length - own.length} failures, ${deadlocks} deadlocks in ${commits} commits, ${rollbacks} rollbacks, and ${own.length} transactions that fail without the feed too; ${changes} changes, 4 readers with ${pages} pages, ${Math.round(commits / seconds)} commits a second`,
        problems.length === 0 && failures.length === own.length && deadlocks === 0,
      ),
    ).toBe(true);
  },
);

test(
  `folding the feed of two gateways on PostgreSQL gives what is stored (FOLD_SEED=${seed})`,
  { timeout: 3_600_000 },
  async () => {
    await using of = await openTestPostgresUrl();
    await using one = await openTestDatabase('PostgreSQL', { of });
    await using other = await openTestDatabase('PostgreSQL', { of });
    const result = await runRandomReadings({ databases: [one, other], seed, steps });
    expect(judgeFold('two gateways on PostgreSQL', result)).toBe(true);
  },
);

test(
  `folding the feed on PGlite gives what is stored (FOLD_SEED=${seed})`,
  { timeout: 3_600_000 },
  async () => {
    await using database = await openTestDatabase('PGlite');
    const result = await runRandomReadings({ databases: [database], seed, steps });
    expect(judgeFold('PGlite', result)).toBe(true);
  },
);

function judgeFold(
  where: string,
  { problems, changes, comparisons }: Awaited<ReturnType<typeof runRandomReadings>>,
): boolean {
  return report(
    `${steps} random readings and commits on ${where}: the folded feed is what is stored, with every page size`,
    `${problems.length} differences ${problems.slice(0, 3).join(' ')} in ${changes} changes; verdicts compared ${comparisons} times`,
    problems.length === 0,
  );
}
