// The SQL that counts the calls of the background, by the minute in which they were made.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { MinuteCalls } from './plan.ts';

/** As `Subject` in store.ts. */
interface CountedSubject {
  readonly tenantId: string;
  readonly subjectId: string;
}

/** Those that still count; see `findAffordable` in plan.ts. */
export async function listCalls(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
): Promise<MinuteCalls> {
  const { rows } = await sql<MinuteCalls[number]>`
    select c.minute, c.calls from sync_call c
    where c.tenant_id = ${tenantId} and c.subject_id = ${subjectId}
      and c.minute > clock_timestamp() - interval '61 minutes'`.execute(transaction);
  return rows;
}

/**
 * Counts calls before they are made, so that those of a process that dies are counted too. Returns in which minute; null when
 * the subject was deleted.
 */
export async function addCalls(
  database: Database,
  { tenantId, subjectId }: CountedSubject,
  calls: number,
): Promise<Date | null> {
  return await database.withTenant(
    tenantId,
    (transaction) => insertCalls(transaction, tenantId, subjectId, calls),
    'nothing',
  );
}

async function insertCalls(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
  calls: number,
): Promise<Date | null> {
  const { rows } = await sql<{ minute: Date }>`
    with forgotten as (
      delete from sync_call c where c.tenant_id = ${tenantId} and c.subject_id = ${subjectId}
        and c.minute < clock_timestamp() - interval '2 hours'
    )
    insert into sync_call as old (tenant_id, subject_id, minute, calls)
    select s.tenant_id, s.subject_id, date_trunc('minute', clock_timestamp()), ${calls}::integer from sync_subject s
    where s.tenant_id = ${tenantId} and s.subject_id = ${subjectId} for key share
    on conflict (tenant_id, subject_id, minute) do update set calls = old.calls + excluded.calls
    returning minute`.execute(transaction);
  return rows[0]?.minute ?? null;
}

/** Calls that were made beyond those that were counted; negative when they were fewer. */
export interface UncountedCalls {
  readonly calls: number;
  /** In which the first were counted; null when none were. */
  readonly since: Date | null;
}

/** Fewer calls than were counted are taken from the minute in which they were counted, so that no other one allows more. */
export async function settleCalls(
  transaction: TenantTransaction,
  { tenantId, subjectId }: CountedSubject,
  { calls, since }: UncountedCalls,
): Promise<void> {
  if (calls > 0) await insertCalls(transaction, tenantId, subjectId, calls);
  if (calls >= 0 || since === null) return;
  await sql`
    update sync_call c set calls = greatest(0, c.calls + ${calls})
    where c.tenant_id = ${tenantId} and c.subject_id = ${subjectId} and c.minute = ${since}`.execute(
    transaction,
  );
}
