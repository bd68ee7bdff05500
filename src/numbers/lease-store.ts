// The SQL of leases: which process may read what upstream, and which processes are alive.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { prepare, toTextArray } from '../database/statement.ts';
import { type PauseRow, toPauses } from './budget-store.ts';
import type { StoredCredentials } from './credentials.ts';
import { readCredentials } from './number-store.ts';
import type { Block, Pause } from './provider.ts';

/** What can be read upstream by one read: a block of a number, or an account that several numbers share. */
export interface Subject {
  readonly block: Block;
  /** The number's id; for `waba` Meta's id of the account. */
  readonly id: string;
}

/** A subject, and the numbers that it is to be read for: several only for an account. */
export interface RequestedSubject extends Subject {
  readonly numberIds: readonly string[];
}

export interface Lease {
  /** To be read by the caller. */
  readonly granted: readonly RequestedSubject[];
  /** Read and stored by another process since the request arrived. */
  readonly satisfied: readonly RequestedSubject[];
  /** Being read by another process. */
  readonly held: readonly RequestedSubject[];
  /** The database's time, at which the reads of the granted subjects count as sent. */
  readonly observedAt: Date;
  /** Sealed credentials by number id; empty when nothing was granted. */
  readonly credentials: ReadonlyMap<string, StoredCredentials>;
  /** Accounts that are to be read less, or not at all, and until when on the clock of this process. */
  readonly pauses: ReadonlyMap<string, Pause>;
}

export interface LeaseRequest {
  readonly tenantId: string;
  /**
   * `process/refresh`. A process reads a subject for one refresh at a time, so a lease of an earlier refresh of this process
   * is stale and may be replaced.
   */
  readonly holder: string;
  readonly subjects: readonly RequestedSubject[];
  /** How long before this call the request arrived: what was stored since then satisfies it. */
  readonly receivedMsAgo: number;
  readonly leaseMs: number;
  /** Numbers whose credentials are needed for what is granted. */
  readonly numberIds: readonly string[];
  /** Processes that have died; see `findDeadHolders`. Their leases are taken over. */
  readonly deadHolders?: readonly string[];
}

interface LeaseRow extends Subject {
  readonly satisfied: boolean;
  readonly now: Date;
  /** Null when there are none. */
  readonly pauses: Readonly<Record<string, PauseRow>> | null;
}

/** Grants each subject to one process at a time, and skips subjects that were stored after the request arrived. */
export async function acquireLease(database: Database, request: LeaseRequest): Promise<Lease> {
  const { tenantId, holder, subjects } = request;
  const calledAt = performance.now();
  const acquire = async (transaction: TenantTransaction): Promise<Lease> => {
    const ours = await claimSubjects(transaction, request);
    // After the claim: what was read before it by another process is stored by now, and is found here. The time is taken
    // here too, or the wait for a connection would count as time before the request arrived.
    const receivedMsAgo = request.receivedMsAgo + performance.now() - calledAt;
    const rows = await listSubjects(transaction, { ...request, receivedMsAgo });
    const satisfied = new Set(rows.filter((row) => row.satisfied).map(toSubjectKey));
    const isOurs = (subject: Subject) => ours.has(toSubjectKey(subject));
    const isSatisfied = (subject: Subject) => satisfied.has(toSubjectKey(subject));
    const needless = subjects.filter((subject) => isOurs(subject) && isSatisfied(subject));
    await deleteLeases(transaction, tenantId, holder, needless);
    const granted = subjects.filter((subject) => isOurs(subject) && !isSatisfied(subject));
    return {
      granted,
      satisfied: subjects.filter(isSatisfied),
      held: subjects.filter((subject) => !isOurs(subject) && !isSatisfied(subject)),
      observedAt: rows[0]?.now ?? new Date(),
      credentials:
        granted.length === 0
          ? new Map()
          : await readCredentials(transaction, tenantId, request.numberIds),
      pauses: toPauses(rows[0]?.pauses ?? {}),
    };
  };
  const lease = await database.withTenant(tenantId, acquire, 'nothing');
  // What another process has stored is reported as live from now on, and cached responses must not be older than that.
  if (lease.satisfied.length > 0) database.changes.tell({ tenantId, keys: false });
  return lease;
}

/** Returns the keys of the subjects that are leased by the holder from now on. */
async function claimSubjects(
  transaction: TenantTransaction,
  { tenantId, holder, subjects, leaseMs, deadHolders = [] }: LeaseRequest,
): Promise<ReadonlySet<string>> {
  // In the order of the key, so that two processes cannot deadlock.
  const claimed = await sql<{ subject: string }>`
    insert into refresh_lease (tenant_id, subject, holder, expires_at)
    select ${tenantId}, block || ':' || id, ${holder},
      clock_timestamp() + ${leaseMs}::float8 * interval '1 millisecond'
    from ${requestedTable(subjects)} order by block || ':' || id
    on conflict (tenant_id, subject) do update
      set holder = excluded.holder, expires_at = excluded.expires_at
      where refresh_lease.expires_at <= clock_timestamp()
        or split_part(refresh_lease.holder, '/', 1) = split_part(excluded.holder, '/', 1)
        or split_part(refresh_lease.holder, '/', 1) = any(${deadHolders}::text[])
    returning subject`.execute(transaction);
  return new Set(claimed.rows.map((row) => row.subject));
}

// A subject is also satisfied if an attempt was stored for each of the requested numbers, successful or not. The previous
// release stores failed attempts at an account in waba_snapshot, and these satisfy no request.
async function listSubjects(
  transaction: TenantTransaction,
  { tenantId, subjects, receivedMsAgo }: LeaseRequest,
): Promise<readonly LeaseRow[]> {
  const { rows } = await sql<LeaseRow>`
    with received as materialized (
      select clock_timestamp() - ${receivedMsAgo}::float8 * interval '1 millisecond' as at
    )
    select requested.block, requested.id, clock_timestamp()::timestamptz(3) as now,
      coalesce(w.recorded_at >= received.at and w.attempted_at = w.observed_at, false)
        or not exists (
          select from jsonb_array_elements_text(requested."numberIds") as number(id)
          where not exists (
            select from number_snapshot n
            where n.tenant_id = ${tenantId} and n.number_id = number.id
              and n.block = requested.block and n.recorded_at >= received.at
          )
        ) as satisfied,
      (select jsonb_object_agg(b.account, jsonb_build_object('percent', b.spent_percent,
          'ms', extract(epoch from b.spent_until - clock_timestamp()) * 1000))
        from graph_budget b
        where b.tenant_id = ${tenantId} and b.spent_until > clock_timestamp()) as pauses
    from received cross join ${requestedTable(subjects)}
    left join waba_snapshot w
      on requested.block = 'waba' and w.tenant_id = ${tenantId} and w.waba_id = requested.id`.execute(
    transaction,
  );
  return rows;
}

/** The subjects as a table with the name `requested`. */
function requestedTable(subjects: readonly RequestedSubject[]) {
  return sql`jsonb_to_recordset(${JSON.stringify(subjects)}::jsonb)
    as requested(block text, id text, "numberIds" jsonb)`;
}

/** `block:id`, the name of a subject. */
export function toSubjectKey({ block, id }: Subject): string {
  return `${block}:${id}`;
}

/** Deletes those that the holder still has. */
export async function deleteLeases(
  transaction: TenantTransaction,
  tenantId: string,
  holder: string,
  subjects: readonly Subject[],
): Promise<void> {
  if (subjects.length === 0) return;
  await transaction
    .deleteFrom('refresh_lease')
    .where('tenant_id', '=', tenantId)
    .where('holder', '=', holder)
    .where('subject', '=', sql<string>`any(${subjects.map(toSubjectKey)}::text[])`)
    .execute();
}

/**
 * The processes that hold leases of the tenant which have not expired, by subject key. The same statement for all who
 * wait, so that they share one read.
 */
export async function listLeaseHolders(
  database: Database,
  tenantId: string,
): Promise<ReadonlyMap<string, string>> {
  const rows = await database.readTenant(tenantId, selectLeases({ tenantId }));
  // Neither of the two is ever null.
  return new Map(rows.map(([subject, holder]) => [subject!, holder!]));
}

const selectLeases = prepare(
  'leases',
  ['tenantId'],
  ({ tenantId }) => sql`
    select l.subject, split_part(l.holder, '/', 1) from refresh_lease l
    where l.tenant_id = ${tenantId} and l.expires_at > clock_timestamp()`,
);

/**
 * Those of the processes that have not renewed their row in time. A process of the previous release has no row, and is not
 * among them: its leases are valid until they expire. Rows belong to no tenant.
 */
export async function findDeadHoldersAcrossTenants(
  database: Database,
  holders: readonly string[],
): Promise<readonly string[]> {
  const statement = selectDeadHolders({ holders: toTextArray(holders) });
  const rows = await database.callAcrossTenants(statement);
  return rows.map(([holder]) => holder!);
}

const selectDeadHolders = prepare(
  'dead_holders',
  ['holders'],
  ({ holders }) => sql`
    select holder from lease_holder
    where holder = any(${holders}::text::text[]) and alive_until <= clock_timestamp()`,
);

/**
 * Keeps the leases of this process valid for so many milliseconds from now on, and forgets processes that died so long ago
 * that their leases have expired.
 */
export async function renewHolderAcrossTenants(
  database: Database,
  holder: string,
  aliveMs: number,
): Promise<void> {
  await database.callAcrossTenants(renewHolder({ holder, aliveMs: String(aliveMs) }));
}

const renewHolder = prepare(
  'renew_holder',
  ['holder', 'aliveMs'],
  ({ holder, aliveMs }) => sql`
    with forgotten as (
      delete from lease_holder
      where holder <> ${holder} and alive_until < clock_timestamp() - interval '1 hour'
    )
    insert into lease_holder (holder, alive_until)
    values (${holder}, clock_timestamp() + ${aliveMs}::text::float8 * interval '1 millisecond')
    on conflict (holder) do update set alive_until = excluded.alive_until`,
);
