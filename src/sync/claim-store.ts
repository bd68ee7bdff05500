// The SQL of sync that is not of one tenant: by which a process takes subjects that are due, and how far all are behind.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, toTextArray } from '../database/statement.ts';
import type { Subject } from './store.ts';

export interface Claim {
  /** The process; see numbers/lease.ts. */
  readonly holder: string;
  /** How long a lease lasts while the process is alive. */
  readonly leaseMs: number;
  readonly maxReads: number;
  readonly maxOfTenant: number;
  /** The tenant of each subject that this process is reading. */
  readonly readingTenants: readonly string[];
  /** Only what was asked for. */
  readonly onlyRequests: boolean;
}

/** Takes subjects that are due, and that no other process is reading. */
export async function claimSubjectsAcrossTenants(
  database: Database,
  claim: Claim,
): Promise<readonly Subject[]> {
  const rows = await database.callAcrossTenants(
    claimSubjects({
      holder: claim.holder,
      leaseMs: String(claim.leaseMs),
      maxReads: String(claim.maxReads),
      maxOfTenant: String(claim.maxOfTenant),
      readingTenants: toTextArray(claim.readingTenants),
      onlyRequests: String(claim.onlyRequests),
    }),
  );
  // Neither of the two is ever null.
  return rows.map(([tenantId, subjectId]) => ({ tenantId: tenantId!, subjectId: subjectId! }));
}

const claimSubjects = prepare(
  'claim_sync',
  ['holder', 'leaseMs', 'maxReads', 'maxOfTenant', 'readingTenants', 'onlyRequests'],
  ({ holder, leaseMs, maxReads, maxOfTenant, readingTenants, onlyRequests }) => sql`
    select tenant_id, subject_id from claim_sync(${holder}, ${leaseMs}::text::float8, ${maxReads}::text::integer,
      ${maxOfTenant}::text::integer, ${readingTenants}::text::text[], ${onlyRequests}::text::boolean)`,
);

export interface SyncMeasurement {
  /** How long the most overdue read has been due; null when nothing is planned. */
  readonly lagSeconds: number | null;
  /** How old the oldest good reading of a number at Meta is, without numbers whose reads fail; null without any. */
  readonly oldestSeconds: number | null;
}

export async function measureSyncAcrossTenants(database: Database): Promise<SyncMeasurement> {
  const measure = sql<SyncMeasurement>`
    select lag_seconds as "lagSeconds", oldest_seconds as "oldestSeconds" from measure_sync()`;
  const { rows } = await database.acrossTenants((functions) => measure.execute(functions));
  return rows[0] ?? { lagSeconds: null, oldestSeconds: null };
}
