// The SQL of sync: what is due, the runs in which it is read, and what they found.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { StoredCredentials } from '../numbers/credentials.ts';
import { listCalls, settleCalls, type UncountedCalls } from './call-store.ts';
import type { MinuteCalls, SyncKind, SyncPause } from './plan.ts';

/** An account of a tenant, by Meta's id, or the tenant's numbers of the session engine. */
export interface Subject {
  readonly tenantId: string;
  readonly subjectId: string;
}

/** The subject of a tenant's numbers of the session engine. */
export const engineSubject = 'engine';

export interface DueRead {
  readonly kind: SyncKind;
  /** Of a REQUEST, as in `ReadRequest`; as of what names nothing for other kinds. */
  readonly phones: readonly string[] | null;
  readonly profiles: readonly string[];
  readonly readsAccount: boolean;
  /** When it was last asked for, or last given another token. */
  readonly requestedAt: Date | null;
  /** How many times in a row it has failed. */
  readonly failures: number;
}

/** What is known of an account from its last run. */
export interface SubjectState {
  readonly quota: number;
  readonly pages: number;
  readonly numbers: number;
  readonly isRisky: boolean;
  readonly readsHealth: boolean;
  /** Numbers that the last complete lists did not have, and since when, in milliseconds. */
  readonly missing: Readonly<Record<string, number>>;
}

/** A number of the subject. */
export interface SyncNumber {
  readonly id: string;
  readonly number: string;
  readonly phoneNumberId: string | null;
  /** Null without any. */
  readonly credentials: StoredCredentials | null;
  /** What is stored of the phone; null when nothing was read. */
  readonly phone: Readonly<Record<string, unknown>> | null;
  /** The code of the failure or the obstacle of the last read of the phone. */
  readonly failure: string | null;
  /** Meta's codes of that. */
  readonly metaCode: number | null;
  readonly metaSubcode: number | null;
  readonly observedAt: Date | null;
  /** When it was last tried to read the phone, also from a list. */
  readonly attemptedAt: Date | null;
  readonly profileObservedAt: Date | null;
}

export interface Run {
  /** The database's time, at which the reads of the run count as sent. */
  readonly at: Date;
  readonly due: readonly DueRead[];
  readonly state: SubjectState;
  /** When a token of the account was last stored; null when all are as they were when it was planned. */
  readonly tokenStoredAt: Date | null;
  /** Whether Meta refused the list of the account when it was last read by the plan. */
  readonly isListRefused: boolean;
  readonly numbers: readonly SyncNumber[];
  /** Of the background in the last hour. */
  readonly calls: MinuteCalls;
}

/** What is to be read of a subject that this process has claimed. Null when the lease was lost, or nothing is due any more. */
export async function beginRun(
  database: Database,
  { tenantId, subjectId }: Subject,
  { holder, onlyRequests }: { readonly holder: string; readonly onlyRequests: boolean },
): Promise<Run | null> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const state = await findState(transaction, tenantId, subjectId, holder);
      if (state === undefined) return null;
      const due = await startDueReads(transaction, tenantId, subjectId, onlyRequests);
      if (due.length === 0) {
        await releaseSubject(transaction, tenantId, subjectId, holder);
        return null;
      }
      const { at, tokenStoredAt, isListRefused, ...rest } = state;
      return {
        at,
        due,
        tokenStoredAt,
        isListRefused,
        state: rest,
        numbers: await listNumbers(transaction, tenantId, subjectId),
        calls: await listCalls(transaction, tenantId, subjectId),
      };
    },
    'nothing',
    'SYNC',
  );
}

async function findState(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
  holder: string,
): Promise<(SubjectState & Pick<Run, 'at' | 'tokenStoredAt' | 'isListRefused'>) | undefined> {
  const { rows } = await sql<SubjectState & Pick<Run, 'at' | 'tokenStoredAt' | 'isListRefused'>>`
    select clock_timestamp()::timestamptz(3) as at, s.quota, s.pages, s.numbers, s.is_risky as "isRisky",
      s.reads_health as "readsHealth", s.missing,
      (select p.requested_at from sync_plan p
        where p.tenant_id = ${tenantId} and p.subject_id = s.subject_id and p.kind = 'SWEEP') as "tokenStoredAt",
      coalesce((select q.last_error from sync_plan q
        where q.tenant_id = ${tenantId} and q.subject_id = s.subject_id and q.kind = 'SWEEP') = 'META_ACCESS_DENIED',
        false) as "isListRefused"
    from sync_subject s
    where s.tenant_id = ${tenantId} and s.subject_id = ${subjectId} and s.lease_holder = ${holder}`.execute(
    transaction,
  );
  return rows[0];
}

/** A further request is read so many milliseconds after the last one began, together with those that come before. */
export const mergedMs = 2_000;

async function startDueReads(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
  onlyRequests: boolean,
): Promise<readonly DueRead[]> {
  const { rows } = await sql<DueRead>`
    update sync_plan p set started_at = clock_timestamp(),
      -- What is asked for from here on is not part of this run.
      due_at = case p.kind when 'REQUEST' then clock_timestamp() + ${mergedMs} * interval '1 millisecond' else p.due_at end
    where p.tenant_id = ${tenantId} and p.subject_id = ${subjectId} and p.due_at <= clock_timestamp()
      and (p.kind = 'REQUEST' or not ${onlyRequests})
    returning p.kind, p.phones, p.profiles, p.kind = 'REQUEST' and coalesce(p.reads_account, p.phones is null) as "readsAccount",
      p.requested_at as "requestedAt", p.failures`.execute(transaction);
  return rows;
}

function isOfSubject(subjectId: string) {
  return subjectId === engineSubject
    ? sql`n.provider <> 'META'`
    : sql`n.waba_id = ${subjectId} and n.provider = 'META'`;
}

async function listNumbers(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
): Promise<readonly SyncNumber[]> {
  const { rows } = await sql<
    Omit<SyncNumber, 'credentials'> & { sealed: string | null; credentialId: string | null }
  >`
    select n.id, n.number, n.phone_number_id as "phoneNumberId",
      coalesce(own.sealed, shared.sealed) as sealed,
      case when own.sealed is null then shared.id end as "credentialId", phone.data as phone,
      newest.failure ->> 'code' as failure, (newest.failure ->> 'metaCode')::integer as "metaCode",
      (newest.failure ->> 'metaSubcode')::integer as "metaSubcode", phone.attempted_at as "attemptedAt",
      phone.observed_at as "observedAt", profile.observed_at as "profileObservedAt"
    from whatsapp_number n
    left join number_credential own on own.tenant_id = n.tenant_id and own.number_id = n.id
    left join credential shared on shared.tenant_id = n.tenant_id and shared.id = n.credential_id
    left join number_snapshot phone on phone.tenant_id = n.tenant_id and phone.number_id = n.id and phone.block = 'phone'
    left join number_snapshot profile on profile.tenant_id = n.tenant_id and profile.number_id = n.id
      and profile.block = 'profile'
    cross join lateral (
      select ${newestFailureOf('phone')} as failure
    ) newest
    where n.tenant_id = ${tenantId} and ${isOfSubject(subjectId)}
    order by n.id`.execute(transaction);
  return rows.map((row) => {
    const { sealed, credentialId } = row;
    return Object.assign(row, { credentials: sealed === null ? null : { sealed, credentialId } });
  });
}

/** What is stored of the phones of these numbers, by the id of the number. */
export async function readPhoneData(
  database: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, unknown>> {
  if (ids.length === 0) return new Map();
  const rows = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('number_snapshot')
        .select(['number_id', 'data'])
        .where('tenant_id', '=', tenantId)
        .where('block', '=', 'phone')
        .where('number_id', 'in', ids)
        .execute(),
    'nothing',
  );
  return new Map(rows.map(({ number_id: id, data }) => [id, data]));
}

/** What became of one kind of read. */
export interface ReadResult {
  readonly kind: SyncKind;
  /** When it is due next; null for a REQUEST that was served. */
  readonly dueAt: Date | null;
  /** The code of its failure; null when it succeeded. */
  readonly error: string | null;
  /** After a read that succeeded: the account is late when there was no other one for so long. Null for a REQUEST. */
  readonly lateAfterSeconds: number | null;
  /** As it was at the beginning of the run. */
  readonly requestedAt: Date | null;
  /** Of a REQUEST that is due again, what has not been read. */
  readonly left?: Pick<DueRead, 'phones' | 'profiles' | 'readsAccount'>;
}

export interface RunResult {
  readonly state: Pick<SubjectState, 'quota' | 'pages' | 'readsHealth' | 'missing'>;
  /** Those of the list that the tenant does not have; null when it was not read. */
  readonly unknownNumbers: number | null;
  readonly hasChanged: boolean;
  /** Why nothing is read until a time although it is due; null when it is. */
  readonly pause: SyncPause | null;
  readonly calls: UncountedCalls;
  /** How often the subject is to be read depends on what was stored in the run. */
  readonly toResults: (isRisky: boolean) => readonly ReadResult[];
}

/** Stores what a run found and ends its lease. A run whose lease was lost changes nothing. */
export async function endRun(
  database: Database,
  { tenantId, subjectId }: Subject,
  holder: string,
  result: RunResult,
): Promise<void> {
  const { state, pause } = result;
  await database.withTenant(
    tenantId,
    async (transaction) => {
      await settleCalls(transaction, { tenantId, subjectId }, result.calls);
      const { rows } = await sql<{ isRisky: boolean }>`
        update sync_subject s set lease_holder = null, lease_until = null, quota = ${state.quota}, pages = ${state.pages},
          reads_health = ${state.readsHealth}, missing = ${JSON.stringify(state.missing)}::jsonb,
          unknown_numbers = coalesce(${result.unknownNumbers}::integer, s.unknown_numbers), pause = ${pause?.reason ?? null}::text,
          paused_until = ${pause?.until ?? null}::timestamptz,
          changed_at = case when ${result.hasChanged} then clock_timestamp() else s.changed_at end,
          numbers = status.numbers, is_risky = status.is_risky or ${result.hasChanged}
            or coalesce(s.changed_at > clock_timestamp() - interval '1 hour', false)
        from (${selectRisk(tenantId, subjectId)}) status
        where s.tenant_id = ${tenantId} and s.subject_id = ${subjectId} and s.lease_holder = ${holder}
        returning s.is_risky as "isRisky"`.execute(transaction);
      const [row] = rows;
      if (row === undefined) return;
      await updatePlan(transaction, tenantId, subjectId, result.toResults(row.isRisky), pause);
    },
    'nothing',
    'SYNC',
  );
}

/**
 * Why the last attempt at a block did not read it, as JSON: of a row of `number_snapshot`, by its name in the query. An obstacle
 * is newer than the failure if no attempt was made since; see migrations/0025_store_obstacles.ts.
 */
export function newestFailureOf(snapshot: string) {
  const table = sql.table(snapshot);
  return sql`coalesce(case when ${table}.obstacle_at >= ${table}.attempted_at then ${table}.obstacle end, ${table}.failure)`;
}

/** What was read last of a number that is missing at Meta says nothing about the account. */
function selectRisk(tenantId: string, subjectId: string) {
  return sql`
    select count(*)::integer as numbers,
      coalesce(bool_or(n.quality_rating in ('YELLOW', 'RED') or n.meta_status <> 'CONNECTED' or n.failing or n.account_failing
        or n.restriction is not null) filter (where not n.failing or not exists (
          select from number_snapshot f
          where f.tenant_id = n.tenant_id and f.number_id = n.number_id and f.block = 'phone'
            and ${newestFailureOf('f')} ->> 'code' = 'META_NUMBER_MISSING'
        )), false) as is_risky
    from number_status n where n.tenant_id = ${tenantId} and n.waba_id = ${subjectId}`;
}

/** What was asked for again during the run stays due. */
async function updatePlan(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
  results: readonly ReadResult[],
  pause: SyncPause | null,
): Promise<void> {
  const rows = results.map(({ left, ...result }) => Object.assign(result, left));
  await sql`
    update sync_plan p set due_at = coalesce(r."dueAt", 'infinity'),
      phones = case when p.kind <> 'REQUEST' then p.phones when r."dueAt" is null then '{}' else r.phones end,
      profiles = case when p.kind = 'REQUEST' and r."dueAt" is not null then r.profiles else '{}' end,
      reads_account = case when r."dueAt" is not null then r."readsAccount" end,
      last_ok_at = case when r.error is null then p.started_at else p.last_ok_at end,
      late_after_seconds = r."lateAfterSeconds", last_error = r.error, failures = case when r.error is null then 0 else p.failures + 1 end
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as r(kind text, "dueAt" timestamptz, error text, "requestedAt" timestamptz, phones text[], profiles text[],
        "readsAccount" boolean, "lateAfterSeconds" float8)
    where p.tenant_id = ${tenantId} and p.subject_id = ${subjectId} and p.kind = r.kind
      and p.requested_at is not distinct from r."requestedAt"`.execute(transaction);
  if (pause?.isOfAll !== true) return;
  await sql`
    update sync_plan p set due_at = ${pause.until}
    where p.tenant_id = ${tenantId} and p.subject_id = ${subjectId} and p.due_at < ${pause.until}
      -- What was asked for since its last run began stays due.
      and p.kind <> 'REQUEST' and (p.requested_at is null or p.requested_at <= p.started_at)`.execute(
    transaction,
  );
}

async function releaseSubject(
  transaction: TenantTransaction,
  tenantId: string,
  subjectId: string,
  holder: string,
): Promise<void> {
  await sql`
    update sync_subject s set lease_holder = null, lease_until = null
    where s.tenant_id = ${tenantId} and s.subject_id = ${subjectId} and s.lease_holder = ${holder}`.execute(
    transaction,
  );
}

/** Ends a run that was interrupted: what was due stays due. */
export async function abandonRun(
  database: Database,
  { tenantId, subjectId }: Subject,
  holder: string,
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) => releaseSubject(transaction, tenantId, subjectId, holder),
    'nothing',
  );
}

/**
 * Ends the lease of a subject that had no number when its run began, and deletes it unless one was added meanwhile. Its row
 * is locked first, which waits for additions that keep it; see migrations/0038_keep_plans_of_new_numbers.ts.
 */
export async function deleteSubject(
  database: Database,
  { tenantId, subjectId }: Subject,
  holder: string,
): Promise<void> {
  await database.withTenant(
    tenantId,
    async (transaction) => {
      const ofRun = sql`s.tenant_id = ${tenantId} and s.subject_id = ${subjectId} and s.lease_holder = ${holder}`;
      await sql`select from sync_subject s where ${ofRun} for update`.execute(transaction);
      await sql`
        delete from sync_subject s where ${ofRun} and not exists (
          select from whatsapp_number n where n.tenant_id = ${tenantId} and ${isOfSubject(subjectId)}
        )`.execute(transaction);
      await releaseSubject(transaction, tenantId, subjectId, holder);
    },
    'nothing',
  );
}
