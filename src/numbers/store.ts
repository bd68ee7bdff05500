// The SQL that writes numbers, their credentials and their snapshots.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { deleteLeases, recordBudgets, type Subject, toSubjectKey } from './lease-store.ts';
import type { ConnectionState, Pause, ProviderName, UpstreamFailure } from './provider.ts';

export async function findTenantOfNumberAcrossTenants(
  database: Database,
  numberId: string,
): Promise<string | undefined> {
  const query = sql<{ id: string | null }>`select find_tenant_of_number(${numberId}) as id`;
  const { rows } = await database.acrossTenants((functions) => query.execute(functions));
  return rows[0]?.id ?? undefined;
}

export interface NewNumberRow {
  readonly id?: string;
  readonly instance_name: string | null;
  readonly number: string;
  readonly name: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  readonly phone_number_id: string | null;
  readonly waba_id: string | null;
}

/** `seal` encrypts the credentials for the id, which is known only after the insertion. Null stores none. */
export async function insertNumber(
  database: Database,
  tenantId: string,
  row: NewNumberRow,
  seal: ((numberId: string) => string) | null,
): Promise<string> {
  return await database.withTenant(tenantId, async (transaction) => {
    const { id } = await transaction
      .insertInto('whatsapp_number')
      .values({ tenant_id: tenantId, ...row })
      .returning('id')
      .executeTakeFirstOrThrow();
    if (seal !== null) await upsertCredential(transaction, tenantId, id, seal(id));
    return id;
  });
}

export async function updateCredential(
  database: Database,
  tenantId: string,
  numberId: string,
  sealed: string,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    upsertCredential(transaction, tenantId, numberId, sealed),
  );
}

async function upsertCredential(
  transaction: TenantTransaction,
  tenantId: string,
  numberId: string,
  sealed: string,
): Promise<void> {
  await transaction
    .insertInto('number_credential')
    .values({ tenant_id: tenantId, number_id: numberId, sealed })
    .onConflict((conflict) => conflict.columns(['tenant_id', 'number_id']).doUpdateSet({ sealed }))
    .execute();
}

/** Counts as an observation at the present time, which a trigger stores. */
export async function updateState(
  database: Database,
  tenantId: string,
  numberId: string,
  state: ConnectionState,
): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    transaction
      .updateTable('whatsapp_number')
      .set({ state })
      .where('tenant_id', '=', tenantId)
      .where('id', '=', numberId)
      .execute(),
  );
}

/**
 * What was read, to be stored. The data of an account are stored by its own id for all of its numbers; a failure is stored
 * by the id of the number whose credentials were used, of an account too.
 */
export interface Reading extends Subject {
  /** Null when the read failed. */
  readonly data: object | null;
  readonly failure: UpstreamFailure | null;
  /** The connection state that follows from the data, if any. */
  readonly state: ConnectionState | null;
  /** The verdict on sending that the data of a phone supports, if any. */
  readonly verdict?: 'YES' | 'NO' | null;
}

export interface ReadingsToRecord {
  readonly tenantId: string;
  readonly holder: string;
  /** When the reads were sent. */
  readonly observedAt: Date;
  readonly readings: readonly Reading[];
  /** The leases to release, whether or not there is a reading. */
  readonly leased: readonly Subject[];
  /** Accounts whose budget is spent, and until when. */
  readonly pauses?: ReadonlyMap<string, Pause>;
}

/**
 * Stores readings and releases their leases. A good block replaces an older one and never a newer one; a failure leaves
 * the last good value where it is. A state that was changed after the read was sent stays. Returns the keys of the
 * subjects that were stored: nothing is stored for a number or a tenant that was deleted meanwhile.
 */
export async function recordReadings(
  database: Database,
  request: ReadingsToRecord,
): Promise<ReadonlySet<string>> {
  const { tenantId, readings } = request;
  const record = async (transaction: TenantTransaction): Promise<readonly Subject[]> => {
    const ofWabas = readings.filter(isOfWaba);
    const ofNumbers = readings.filter((reading) => !isOfWaba(reading));
    const present = await lockNumbers(transaction, { ...request, readings: ofNumbers });
    const stored = ofNumbers.filter(({ id }) => present.has(id));
    await upsertNumberSnapshots(transaction, { ...request, readings: stored });
    await upsertWabaSnapshots(transaction, { ...request, readings: ofWabas });
    await recordBudgets(transaction, tenantId, request.pauses ?? new Map());
    await deleteLeases(transaction, tenantId, request.holder, request.leased);
    return [...stored, ...ofWabas];
  };
  try {
    const stored = await database.withTenant(tenantId, record, 'numbers');
    return new Set(stored.map(toSubjectKey));
  } catch (error) {
    if (!isTenantDeleted(error)) throw error;
    return new Set();
  }
}

// 23503 is foreign_key_violation. The numbers are locked, so it is the tenant that is gone, and all its numbers with it.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
function isTenantDeleted(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === '23503';
}

async function upsertNumberSnapshots(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<void> {
  if (readings.length === 0) return;
  await sql`
    insert into number_snapshot as old
      (tenant_id, number_id, block, data, observed_at, attempted_at, recorded_at, failure, verdict)
    select ${tenantId}, read.id, read.block, read.data, ${observedAtOf(observedAt)}, read.failure, read.verdict
    from jsonb_to_recordset(${JSON.stringify(readings)}::jsonb)
      as read(block text, id text, data jsonb, failure jsonb, verdict text)
    order by read.id, read.block
    on conflict (tenant_id, number_id, block) do update set ${merge},
      -- A reading without the evidence for a verdict keeps the last one that was supported.
      verdict = case when excluded.observed_at >= coalesce(old.observed_at, '-infinity')
        then coalesce(excluded.verdict, old.verdict) else old.verdict end`.execute(transaction);
}

async function upsertWabaSnapshots(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<void> {
  if (readings.length === 0) return;
  await sql`
    insert into waba_snapshot as old
      (tenant_id, waba_id, data, observed_at, attempted_at, recorded_at, failure)
    select ${tenantId}, read.id, read.data, ${observedAtOf(observedAt)}, read.failure
    from jsonb_to_recordset(${JSON.stringify(readings)}::jsonb)
      as read(id text, data jsonb, failure jsonb)
    order by read.id
    on conflict (tenant_id, waba_id) do update set ${merge}`.execute(transaction);
}

/** The values of `observed_at`, `attempted_at` and `recorded_at`. */
function observedAtOf(observedAt: Date) {
  return sql`case when read.data is not null then ${observedAt}::timestamptz(3) end,
    ${observedAt}::timestamptz(3), clock_timestamp()`;
}

/** Readings may arrive in any order: the newest good value and the newest attempt stay. */
const merge = sql`
  data = case when excluded.observed_at >= coalesce(old.observed_at, '-infinity')
    then excluded.data else old.data end,
  observed_at = greatest(old.observed_at, excluded.observed_at),
  attempted_at = greatest(old.attempted_at, excluded.attempted_at),
  recorded_at = excluded.recorded_at,
  failure = case when excluded.attempted_at >= old.attempted_at
    then excluded.failure else old.failure end`;

/**
 * Locks the numbers, so that none is deleted before the foreign keys of its snapshots are checked, and returns the ids of
 * those that exist. A good reading of a block changes the number, and its state if one follows from the block.
 */
async function lockNumbers(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<ReadonlySet<string>> {
  if (readings.length === 0) return new Set();
  const { rows } = await sql<{ id: string }>`
    with read as (
      select id, max(state) as state, bool_or(data is not null) as good
      from jsonb_to_recordset(${JSON.stringify(readings)}::jsonb) as read(id text, state text, data jsonb)
      group by id
    ), locked as materialized (
      -- In the order of the key, so that two processes cannot deadlock.
      select n.id from whatsapp_number n
      where n.tenant_id = ${tenantId} and n.id in (select id from read)
      order by n.id for no key update
    ), updated as (
      update whatsapp_number n set
        updated_at = greatest(n.updated_at, ${observedAt}::timestamptz(3)),
        state = case when read.state is not null and n.state_observed_at <= ${observedAt}::timestamptz(3)
          then read.state else n.state end,
        state_observed_at = case when read.state is not null
          then greatest(n.state_observed_at, ${observedAt}::timestamptz(3)) else n.state_observed_at end
      from read join locked on locked.id = read.id
      where n.tenant_id = ${tenantId} and n.id = read.id and read.good
    )
    select id from locked`.execute(transaction);
  return new Set(rows.map(({ id }) => id));
}

function isOfWaba({ block, data }: Reading): boolean {
  return block === 'waba' && data !== null;
}
