// The SQL that counts the numbers of all tenants by verdict, and the lease that lets one process at a time do so.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { rulesVersion } from './phone-reasons.ts';
import type { Verdict } from './reason.ts';

/** The numbers of all tenants by each of their two verdicts. */
export type VerdictCounts = Readonly<
  Record<'verdict' | 'replyVerdict', Readonly<Record<Verdict, number>>>
>;

export interface VerdictCountRequest {
  readonly staleAfterSeconds: number;
  /** Whether a session engine is configured, so that connection states can be stale too. */
  readonly connectionsAreRead: boolean;
}

/** Counts in several statements, so that none takes long. */
export async function countVerdictsAcrossTenants(
  database: Database,
  { staleAfterSeconds, connectionsAreRead }: VerdictCountRequest,
): Promise<VerdictCounts> {
  const list = sql<{ id: string }>`select id from list_tenants() order by id`;
  return await database.acrossTenants(async (functions) => {
    const ids = (await list.execute(functions)).rows.map(({ id }) => id);
    const total = {
      verdict: { YES: 0, NO: 0, UNKNOWN: 0 },
      replyVerdict: { YES: 0, NO: 0, UNKNOWN: 0 },
    };
    for (const chunk of takeChunks(ids)) {
      const count = sql<VerdictCountRow>`
        select verdict, reply_verdict, numbers from count_numbers_by_verdicts(${chunk}::text[],
          ${staleAfterSeconds}::integer, ${connectionsAreRead}::boolean, ${rulesVersion}::integer)`;
      // oxlint-disable-next-line no-await-in-loop -- the next chunk depends on how long this one takes
      const { rows } = await count.execute(functions);
      for (const { verdict, reply_verdict: replyVerdict, numbers } of rows) {
        total.verdict[verdict] += Number(numbers);
        total.replyVerdict[replyVerdict] += Number(numbers);
      }
    }
    return total;
  });
}

interface VerdictCountRow {
  readonly verdict: Verdict;
  readonly reply_verdict: Verdict;
  readonly numbers: string | number;
}

const maxChunk = 1_000;
/** Far below the time limit of a statement. */
const chunkMs = 250;

/** Chunks of tenants, each as large as the time that the previous one took allows. */
function* takeChunks(ids: readonly string[]): Iterable<readonly string[]> {
  let size = 50;
  for (let at = 0; at < ids.length;) {
    const chunk = ids.slice(at, at + size);
    const startedAt = performance.now();
    yield chunk;
    at += chunk.length;
    const affordable = (chunk.length * chunkMs) / (performance.now() - startedAt);
    size = Math.min(Math.max(1, Math.round(affordable)), maxChunk);
  }
}

const leaseName = 'count numbers by verdict';

/** Takes or renews the lease. False while another process holds it. `holder` identifies this process among all. */
export async function claimCountingAcrossTenants(
  database: Database,
  holder: string,
  leaseMs: number,
): Promise<boolean> {
  const claim = sql`
    insert into process_lease as held (name, holder, expires_at)
    values (${leaseName}, ${holder}, clock_timestamp() + ${leaseMs}::float8 * interval '1 millisecond')
    on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where held.holder = excluded.holder or held.expires_at <= clock_timestamp()
    returning name`;
  const { rows } = await database.acrossTenants((functions) => claim.execute(functions));
  return rows.length > 0;
}

/** Lets another process count at once. */
export async function releaseCountingAcrossTenants(
  database: Database,
  holder: string,
): Promise<void> {
  const release = sql`
    delete from process_lease where name = ${leaseName} and holder = ${holder}`;
  await database.acrossTenants((functions) => release.execute(functions));
}
