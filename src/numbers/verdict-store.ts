// The SQL that counts the numbers of all tenants by verdict.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { staleAfterSeconds } from './number.ts';
import { rulesVersion } from './phone-reasons.ts';
import { forTenantChunksAcrossTenants } from '../database/process-store.ts';
import type { Verdict } from './reason.ts';

/** The numbers of all tenants by each of their two verdicts. */
export type VerdictCounts = Readonly<
  Record<'verdict' | 'replyVerdict', Readonly<Record<Verdict, number>>>
>;

/**
 * Counts in several statements, so that none takes long. `connectionsAreRead`: whether a session engine is configured, so
 * that connection states can be stale too.
 */
export async function countVerdictsAcrossTenants(
  database: Database,
  connectionsAreRead: boolean,
): Promise<VerdictCounts> {
  const total = {
    verdict: { YES: 0, NO: 0, UNKNOWN: 0 },
    replyVerdict: { YES: 0, NO: 0, UNKNOWN: 0 },
  };
  await forTenantChunksAcrossTenants(database, async (ids) => {
    const count = sql<VerdictCountRow>`
      select verdict, reply_verdict, numbers from count_numbers_by_verdicts(${ids}::text[],
        ${staleAfterSeconds}::integer, ${connectionsAreRead}::boolean, ${rulesVersion}::integer)`;
    const { rows } = await database.acrossTenants((functions) => count.execute(functions));
    for (const { verdict, reply_verdict: replyVerdict, numbers } of rows) {
      total.verdict[verdict] += Number(numbers);
      total.replyVerdict[replyVerdict] += Number(numbers);
    }
  });
  return total;
}

interface VerdictCountRow {
  readonly verdict: Verdict;
  readonly reply_verdict: Verdict;
  readonly numbers: string | number;
}
