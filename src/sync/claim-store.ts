// The SQL by which a process takes subjects that are due.

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
