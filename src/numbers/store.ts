// Owns the SQL that writes numbers, their credentials and their snapshots. How they are read is in shown-store.ts, who
// may read them upstream in lease-store.ts.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { deleteLeases, recordBudgets, type Subject } from './lease-store.ts';
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

/** `seal` makes the credentials' text once the id that it is bound to is known; null stores none. */
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

/** A change that somebody made, which counts as an observation of now: the trigger sets the times. */
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

/** What was read of one subject; `data` null means that the reading failed. */
export interface Reading extends Subject {
  readonly data: object | null;
  readonly failure: UpstreamFailure | null;
  /** The connection state that follows from the data, if it does. */
  readonly state: ConnectionState | null;
  /** The verdict on sending that follows from the data of a phone, if it does. */
  readonly verdict?: 'YES' | 'NO' | null;
}

export interface ReadingsToRecord {
  readonly tenantId: string;
  readonly holder: string;
  /** When the readings were sent. */
  readonly observedAt: Date;
  readonly readings: readonly Reading[];
  /** The lease to give back, whether or not there is a reading. */
  readonly leased: readonly Subject[];
  /** Accounts that are not to be read, and until when. */
  readonly pauses?: ReadonlyMap<string, Pause>;
}

/**
 * Stores what was read and gives the lease back. A good block replaces an older one and never a newer one; a failure
 * leaves the last good value where it is. A state that somebody else has changed since the reading was sent stays. Of a
 * number or a tenant that has gone meanwhile nothing is stored.
 */
export async function recordReadings(database: Database, request: ReadingsToRecord): Promise<void> {
  const { tenantId, readings } = request;
  const record = async (transaction: TenantTransaction): Promise<void> => {
    const ofNumbers = readings.filter((reading) => reading.block !== 'waba');
    const ofWabas = readings.filter((reading) => reading.block === 'waba');
    if (ofNumbers.length > 0) {
      await updateNumbers(transaction, { ...request, readings: ofNumbers });
      await upsertSnapshots(transaction, { ...request, readings: ofNumbers }, 'number_snapshot');
    }
    if (ofWabas.length > 0) {
      await upsertSnapshots(transaction, { ...request, readings: ofWabas }, 'waba_snapshot');
    }
    await recordBudgets(transaction, tenantId, request.pauses ?? new Map());
    await deleteLeases(transaction, tenantId, request.holder, request.leased);
  };
  try {
    await database.withTenant(tenantId, record, 'numbers');
  } catch (error) {
    if (!isOfNobody(error)) throw error;
  }
}

// A tenant, or in this very moment a number, that is not there any more: foreign_key_violation.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
function isOfNobody(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === '23503';
}

const snapshotKeys = {
  number_snapshot: { columns: sql`number_id, block`, values: sql`read.id, read.block` },
  waba_snapshot: { columns: sql`waba_id`, values: sql`read.id` },
};

const isPresent = {
  number_snapshot: (tenantId: string) =>
    sql`where exists (select from whatsapp_number n where n.id = read.id and n.tenant_id = ${tenantId})`,
  waba_snapshot: () => sql``,
};

// A reading without the evidence for a verdict leaves the last one that had it.
const verdict = {
  number_snapshot: {
    column: sql`, verdict`,
    value: sql`, read.verdict`,
    change: sql`,
      verdict = case when excluded.observed_at >= coalesce(number_snapshot.observed_at, '-infinity')
        then coalesce(excluded.verdict, number_snapshot.verdict) else number_snapshot.verdict end`,
  },
  waba_snapshot: { column: sql``, value: sql``, change: sql`` },
};

async function upsertSnapshots(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
  table: keyof typeof snapshotKeys,
): Promise<void> {
  const { columns, values } = snapshotKeys[table];
  const old = sql.table(table);
  await sql`
    insert into ${old} (tenant_id, ${columns}, data, observed_at, attempted_at, recorded_at, failure${verdict[table].column})
    select ${tenantId}, ${values}, read.data,
      case when read.data is not null then ${observedAt}::timestamptz(3) end,
      ${observedAt}::timestamptz(3), clock_timestamp(), read.failure${verdict[table].value}
    from jsonb_to_recordset(${toJson(readings)}::jsonb)
      as read(block text, id text, data jsonb, failure jsonb, verdict text)
    ${isPresent[table](tenantId)}
    order by read.id, read.block
    on conflict (tenant_id, ${columns}) do update set
      data = case when excluded.observed_at >= coalesce(${old}.observed_at, '-infinity')
        then excluded.data else ${old}.data end,
      observed_at = greatest(${old}.observed_at, excluded.observed_at),
      attempted_at = greatest(${old}.attempted_at, excluded.attempted_at),
      recorded_at = excluded.recorded_at,
      failure = case when excluded.attempted_at >= ${old}.attempted_at
        then excluded.failure else ${old}.failure end${verdict[table].change}`.execute(transaction);
}

// A number changes with each good reading of one of its blocks, and its state with those that tell it.
async function updateNumbers(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<void> {
  const good = readings.filter((reading) => reading.data !== null);
  await sql`
    with read as (
      select id, max(state) as state
      from jsonb_to_recordset(${toJson(good)}::jsonb) as read(id text, state text) group by id
    ), locked as (
      -- In the order of the key, so that two processes can never wait for each other.
      select n.id from whatsapp_number n
      where n.tenant_id = ${tenantId} and n.id in (select id from read)
      order by n.id for no key update
    )
    update whatsapp_number n set
      updated_at = greatest(n.updated_at, ${observedAt}::timestamptz(3)),
      state = case when read.state is not null and n.state_observed_at <= ${observedAt}::timestamptz(3)
        then read.state else n.state end,
      state_observed_at = case when read.state is not null
        then greatest(n.state_observed_at, ${observedAt}::timestamptz(3)) else n.state_observed_at end
    from read join locked on locked.id = read.id
    where n.tenant_id = ${tenantId} and n.id = read.id`.execute(transaction);
}

function toJson(value: unknown): string {
  return JSON.stringify(value);
}
