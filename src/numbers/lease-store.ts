// Owns the SQL on who may read upstream: the leases of those who are reading, and the accounts whose budget is spent.
// What they have read is in store.ts.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Block, Pause } from './provider.ts';

/** One thing to read upstream: a block of a number, or the account that several numbers share. */
export interface Subject {
  readonly block: Block;
  /** The number's id; for `waba` Meta's id of the account. */
  readonly id: string;
}

export interface Lease {
  /** Ours to read now. */
  readonly granted: readonly Subject[];
  /** Read and stored by somebody else since we asked. */
  readonly satisfied: readonly Subject[];
  /** Being read by somebody else. */
  readonly held: readonly Subject[];
  /** The database's clock: the time of what is read from here on. */
  readonly observedAt: Date;
  /** Sealed credentials by number id. */
  readonly credentials: ReadonlyMap<string, string>;
  /** Accounts that are to be read less, or not at all, and until when on the clock of this process. */
  readonly pauses: ReadonlyMap<string, Pause>;
}

export interface LeaseRequest {
  readonly tenantId: string;
  /** `reader/reading`: a reader never reads a subject twice at a time, so what it still holds was left behind. */
  readonly holder: string;
  readonly subjects: readonly Subject[];
  /** How long ago the caller asked, at the time of the call: what was stored since then is an answer to it. */
  readonly askedMsAgo: number;
  readonly leaseMs: number;
  /** Numbers whose credentials are wanted. */
  readonly numberIds: readonly string[];
}

interface LeaseRow extends Subject {
  readonly satisfied: boolean;
  readonly now: Date;
  /** Null when there are none. */
  readonly pauses: Readonly<Record<string, PauseRow>> | null;
}

interface PauseRow {
  readonly percent: Pause['spentPercent'];
  /** Until it is over. */
  readonly ms: number;
}

/** Makes sure that of all processes one reads a subject at a time, and that nobody reads what was just read. */
export async function acquireLease(database: Database, request: LeaseRequest): Promise<Lease> {
  const { tenantId, holder } = request;
  const calledAt = performance.now();
  // The wait for a connection would otherwise count as time in which nobody had asked yet.
  const toAskedMsAgo = () => request.askedMsAgo + performance.now() - calledAt;
  const claim = async (transaction: TenantTransaction): Promise<Lease> => {
    const ours = await claimSubjects(transaction, request);
    // After the lease, never before: a reading that ended in between is stored by now and is seen here.
    const rows = await listSubjects(transaction, request, toAskedMsAgo());
    const satisfied = rows.filter((row) => row.satisfied);
    const needless = satisfied.filter((row) => ours.has(toSubjectKey(row)));
    await deleteLeases(transaction, tenantId, holder, needless);
    const credentials = await transaction
      .selectFrom('number_credential')
      .select(['number_id', 'sealed'])
      .where('tenant_id', '=', tenantId)
      .where('number_id', '=', sql<string>`any(${request.numberIds}::text[])`)
      .execute();
    return {
      granted: rows.filter((row) => !row.satisfied && ours.has(toSubjectKey(row))),
      satisfied,
      held: rows.filter((row) => !row.satisfied && !ours.has(toSubjectKey(row))),
      observedAt: rows[0]?.now ?? new Date(),
      credentials: new Map(credentials.map((row) => [row.number_id, row.sealed])),
      pauses: toPauses(rows[0]?.pauses ?? {}),
    };
  };
  const lease = await database.withTenant(tenantId, claim, 'nothing');
  // What another process has stored is answered as live from now on, and memory must not fall behind that.
  if (lease.satisfied.length > 0) database.changes.tell({ tenantId, keys: false });
  return lease;
}

/** Answers the keys of those that are now the holder's. */
async function claimSubjects(
  transaction: TenantTransaction,
  { tenantId, holder, subjects, leaseMs }: LeaseRequest,
): Promise<ReadonlySet<string>> {
  // In the order of the key, so that two processes can never wait for each other.
  const granted = await sql<{ subject: string }>`
    insert into refresh_lease (tenant_id, subject, holder, expires_at)
    select ${tenantId}, block || ':' || id, ${holder},
      clock_timestamp() + ${leaseMs}::float8 * interval '1 millisecond'
    from ${toAsked(subjects)} order by block || ':' || id
    on conflict (tenant_id, subject) do update
      set holder = excluded.holder, expires_at = excluded.expires_at
      where refresh_lease.expires_at <= clock_timestamp()
        or split_part(refresh_lease.holder, '/', 1) = split_part(excluded.holder, '/', 1)
    returning subject`.execute(transaction);
  return new Set(granted.rows.map((row) => row.subject));
}

async function listSubjects(
  transaction: TenantTransaction,
  { tenantId, subjects }: LeaseRequest,
  askedMsAgo: number,
): Promise<readonly LeaseRow[]> {
  const { rows } = await sql<LeaseRow>`
    select asked.block, asked.id, clock_timestamp()::timestamptz(3) as now,
      coalesce(greatest(n.recorded_at, w.recorded_at) >=
        clock_timestamp() - ${askedMsAgo}::float8 * interval '1 millisecond', false) as satisfied,
      (select jsonb_object_agg(b.account, jsonb_build_object('percent', b.spent_percent,
          'ms', extract(epoch from b.spent_until - clock_timestamp()) * 1000))
        from graph_budget b
        where b.tenant_id = ${tenantId} and b.spent_until > clock_timestamp()) as pauses
    from ${toAsked(subjects)}
    left join number_snapshot n
      on n.tenant_id = ${tenantId} and n.number_id = asked.id and n.block = asked.block
    left join waba_snapshot w
      on asked.block = 'waba' and w.tenant_id = ${tenantId} and w.waba_id = asked.id`.execute(
    transaction,
  );
  return rows;
}

/** Subjects as a table with the name `asked`. */
function toAsked(subjects: readonly Subject[]) {
  return sql`jsonb_to_recordset(${JSON.stringify(subjects)}::jsonb) as asked(block text, id text)`;
}

/** `block:id`, the name of a subject. */
export function toSubjectKey({ block, id }: Subject): string {
  return `${block}:${id}`;
}

/** Only those that the holder still has. */
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

/** Of two for one account the one of the higher part stays, and of two for the same part the later one. */
export async function recordBudgets(
  transaction: TenantTransaction,
  tenantId: string,
  pauses: ReadonlyMap<string, Pause>,
): Promise<void> {
  if (pauses.size === 0) return;
  const now = Date.now();
  const rows = [...pauses].map(([account, { spentPercent: percent, until }]) => ({
    account,
    percent,
    ms: until.getTime() - now,
  }));
  // In the order of the key, so that two processes can never wait for each other.
  await sql`
    insert into graph_budget (tenant_id, account, spent_percent, spent_until)
    select ${tenantId}, account, percent, clock_timestamp() + ms * interval '1 millisecond'
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
      as spent(account text, percent smallint, ms float8)
    order by account
    on conflict (tenant_id, account) do update
      set spent_percent = excluded.spent_percent, spent_until = excluded.spent_until
      where graph_budget.spent_until <= clock_timestamp()
        or (graph_budget.spent_percent, graph_budget.spent_until)
          < (excluded.spent_percent, excluded.spent_until)`.execute(transaction);
}

// Intervals travel, not times: the clocks of two processes may differ by more than Meta wants us to wait.
function toPauses(rows: Readonly<Record<string, PauseRow>>): ReadonlyMap<string, Pause> {
  const now = Date.now();
  return new Map(
    Object.entries(rows).map(([account, { percent, ms }]) => [
      account,
      { spentPercent: percent, until: new Date(now + ms) },
    ]),
  );
}
