// The SQL by which others make reads due: what a webhook or an operator asks for, and lists after a refused token.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { mergeRequests, type ReadRequest } from './requested-numbers.ts';
import { mergedMs } from './store.ts';

/** Makes reads due, in the transaction that knows of the need. Those of accounts that nothing is planned for are ignored. */
export async function requestReads(
  transaction: TenantTransaction,
  tenantId: string,
  requests: readonly ReadRequest[],
): Promise<void> {
  const merged = mergeRequests(requests);
  if (merged.length === 0) return;
  // In the order of the key, so that two transactions cannot deadlock.
  await sql`
    insert into sync_plan as old (tenant_id, subject_id, kind, due_at, phones, profiles, reads_account, requested_at)
    select s.tenant_id, s.subject_id, 'REQUEST', clock_timestamp(), r.phones, r.profiles, r."readsAccount", clock_timestamp()
    from jsonb_to_recordset(${JSON.stringify(merged)}::jsonb)
      as r("wabaId" text, phones text[], profiles text[], "readsAccount" boolean)
    join sync_subject s on s.tenant_id = ${tenantId} and s.subject_id = r."wabaId"
    order by s.subject_id
    on conflict (tenant_id, subject_id, kind) do update set
      due_at = least(old.due_at, greatest(clock_timestamp(), old.started_at + ${mergedMs} * interval '1 millisecond')),
      phones = case when old.phones is null and isfinite(old.due_at) or excluded.phones is null then null
        else array(select distinct unnest(coalesce(old.phones, '{}') || excluded.phones) order by 1) end,
      profiles = array(select distinct unnest(old.profiles || excluded.profiles) order by 1),
      reads_account = excluded.reads_account
        or isfinite(old.due_at) and coalesce(old.reads_account, old.phones is null),
      requested_at = greatest(excluded.requested_at, old.requested_at + interval '1 millisecond')`.execute(
    transaction,
  );
}

/** Makes the lists of accounts due, unless Meta has refused them: then they wait until another token may be accepted. */
export async function hastenSweeps(
  database: Database,
  tenantId: string,
  wabaIds: readonly string[],
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) =>
      sql`
        update sync_plan p set due_at = least(p.due_at,
          greatest(clock_timestamp(), p.started_at + ${mergedMs} * interval '1 millisecond'))
        where p.tenant_id = ${tenantId} and p.subject_id = any(${wabaIds}::text[]) and p.kind = 'SWEEP'
          and p.last_error is distinct from 'META_ACCESS_DENIED'`.execute(transaction),
    'nothing',
    'SYNC',
  );
}
