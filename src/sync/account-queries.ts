// The SQL that says how sync reads the accounts of a tenant.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { SubjectState } from './store.ts';

/** What is known of an account, whether or not it is being read in the background. */
export interface SubjectRow extends Pick<SubjectState, 'quota' | 'isRisky' | 'readsHealth'> {
  readonly wabaId: string;
  readonly numbers: number;
  /** Those that its last list had and the tenant does not. */
  readonly unknownNumbers: number;
  readonly lastSweepAt: Date | null;
  readonly nextSweepAt: Date | null;
  readonly pause: 'BUDGET' | 'TOKEN' | null;
  readonly pausedUntil: Date | null;
}

/** The accounts of a tenant, those with the most numbers first. */
export async function listSubjects(
  database: Database,
  tenantId: string,
): Promise<readonly SubjectRow[]> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<SubjectRow>`
        select s.subject_id as "wabaId", counted.numbers,
          case when counted.is_registered then greatest(s.quota, 5000) else s.quota end as quota,
          s.is_risky as "isRisky", s.reads_health as "readsHealth", s.unknown_numbers as "unknownNumbers",
          p.last_ok_at as "lastSweepAt", p.due_at as "nextSweepAt",
          case when s.paused_until > clock_timestamp() then s.pause end as pause, s.paused_until as "pausedUntil"
        from sync_subject s
        join sync_plan p on p.tenant_id = s.tenant_id and p.subject_id = s.subject_id and p.kind = 'SWEEP'
        cross join lateral (
          select count(*)::integer as numbers, coalesce(bool_or(n.meta_status = 'CONNECTED'), false) as is_registered
          from number_status n where n.tenant_id = ${tenantId} and n.waba_id = s.subject_id
        ) counted
        where s.tenant_id = ${tenantId} and counted.numbers > 0
        order by counted.numbers desc, s.subject_id`.execute(transaction),
    'nothing',
  );
  return rows;
}
