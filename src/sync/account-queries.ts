// The SQL that says how sync reads the accounts of a tenant, and its numbers of the session engine.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { engineSubject, newestFailureOf, type SubjectState } from './store.ts';

/** What is known of a subject, whether or not it is being read in the background. */
export interface SubjectRow extends Pick<
  SubjectState,
  'quota' | 'pages' | 'isRisky' | 'readsHealth'
> {
  readonly subjectId: string;
  readonly numbers: number;
  /** Those that the last list of the account had and the tenant does not. */
  readonly unknownNumbers: number;
  /** When the list of the account, or the states at the session engine, were last read. */
  readonly lastReadAt: Date | null;
  readonly nextReadAt: Date;
  /** When the oldest of what is stored was read; numbers that were never read, or that Meta refuses, are left out. Null without any. */
  readonly oldestReadAt: Date | null;
  /** Of the background, in the last hour. */
  readonly calls: number;
  readonly pause: 'BUDGET' | 'TOKEN' | null;
  readonly pausedUntil: Date | null;
  /** The code of the failure of the last list of the account, or of the last read of the session engine; null if it succeeded. */
  readonly listError: string | null;
  /** The code of the newest failure among the kinds of read that fail. */
  readonly lastError: string | null;
}

/** Those with the most numbers first; without those that have none any more. */
export async function listSubjects(
  database: Database,
  tenantId: string,
): Promise<readonly SubjectRow[]> {
  const { rows } = await database.withTenant(
    tenantId,
    (transaction) =>
      sql<SubjectRow>`
        with counted as (
          select case n.provider when 'META' then n.waba_id else ${engineSubject} end as subject_id,
            count(*)::integer as numbers, coalesce(bool_or(n.meta_status = 'CONNECTED'), false) as is_registered,
            min(n.observed_at) filter (where isfinite(n.observed_at)
              and not (n.failing and coalesce(refused.code in ('META_ACCESS_DENIED', 'META_NUMBER_MISSING'), false))) as oldest
          from number_status n
          left join lateral (
            select ${newestFailureOf('f')} ->> 'code' as code
            from number_snapshot f
            where n.failing and f.tenant_id = ${tenantId} and f.number_id = n.number_id and f.block = 'phone'
          ) refused on true
          where n.tenant_id = ${tenantId} group by 1
        ), made as (
          select c.subject_id, sum(c.calls)::integer as calls from sync_call c
          where c.tenant_id = ${tenantId} and c.minute > clock_timestamp() - interval '61 minutes' group by 1
        ), failed as (
          select distinct on (f.subject_id) f.subject_id, f.last_error from sync_plan f
          where f.tenant_id = ${tenantId} and f.last_error is not null
          order by f.subject_id, f.started_at desc nulls last
        )
        select s.subject_id as "subjectId", counted.numbers,
          case when counted.is_registered and p.last_ok_at is null then 5000 else s.quota end as quota,
          s.pages, s.is_risky as "isRisky", s.reads_health as "readsHealth", s.unknown_numbers as "unknownNumbers",
          p.last_ok_at as "lastReadAt", p.due_at as "nextReadAt", counted.oldest as "oldestReadAt",
          coalesce(made.calls, 0) as calls, paused.pause,
          case when paused.pause is not null then s.paused_until end as "pausedUntil", failed.last_error as "lastError",
          p.last_error as "listError"
        from counted
        join sync_subject s on s.tenant_id = ${tenantId} and s.subject_id = counted.subject_id
        join sync_plan p on p.tenant_id = ${tenantId} and p.subject_id = s.subject_id
          and p.kind = case s.subject_id when ${engineSubject} then 'ENGINE' else 'SWEEP' end
        cross join lateral (select case when s.paused_until > clock_timestamp() then s.pause end as pause) paused
        left join made on made.subject_id = s.subject_id
        left join failed on failed.subject_id = s.subject_id
        order by counted.numbers desc, s.subject_id`.execute(transaction),
    'nothing',
  );
  return rows;
}
