// The SQL that stores what was read of numbers and accounts.

import { type RawBuilder, sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { recordBudgets } from './budget-store.ts';
import type { StoredCredentials } from './credentials.ts';
import { followEndsByReads, listAccountHealth } from './notice-store.ts';
import { deleteLeases, type Subject, toSubjectKey } from './lease-store.ts';
import { readCredentials } from './number-store.ts';
import { rulesVersion } from './phone-reasons.ts';
import type { ConnectionState, Pause, UpstreamFailure } from './provider.ts';
import type { Verdicts } from './reason.ts';
import { updateStatusesOfAccounts, writeStatuses } from './status-store.ts';

/**
 * What was read, to be stored. The data of an account are stored by its own id for all of its numbers; a failure is stored
 * by the id of the number whose credentials were used, of an account too.
 */
export interface Reading extends Subject {
  /** The id that was read upstream: nothing is stored of a number that has another one in the meantime. Any if absent, for an attempt. */
  readonly address?: string | null;
  /** Null when the read failed. */
  readonly data: object | null;
  readonly failure: UpstreamFailure | null;
  /** False when nothing was sent: the failure is stored as an obstacle, and the last attempt stays. True if absent. */
  readonly attempted?: boolean;
  /** The connection state that follows from the data, if any. */
  readonly state: ConnectionState | null;
  /** The verdicts that the data of a phone support by themselves. */
  readonly verdicts?: Verdicts | null;
}

export interface ReadingsToRecord {
  readonly tenantId: string;
  readonly holder: string;
  /** When the reads were sent. */
  readonly observedAt: Date;
  readonly readings: readonly Reading[];
  /** The leases to release, whether or not there is a reading. */
  readonly leased: readonly Subject[];
  /** Of the numbers that have any, as they were stored when the reads began. */
  readonly credentials?: ReadonlyMap<string, StoredCredentials>;
  /** Whether nobody waits for the result; false if absent. */
  readonly isBackground?: boolean;
  /** Accounts whose budget is spent, and until when. */
  readonly pauses?: ReadonlyMap<string, Pause>;
}

/**
 * Stores readings and releases their leases. A good block replaces an older one and never a newer one; a failure leaves
 * the last good value where it is, and an obstacle the last attempt too. A state that was changed after the read was sent
 * stays. Returns the keys of the subjects that were stored: nothing is stored for a number or a tenant that was deleted
 * meanwhile, or that another id at Meta was stored for.
 */
export async function recordReadings(
  database: Database,
  request: ReadingsToRecord,
): Promise<ReadonlySet<string>> {
  const { tenantId, readings, isBackground = false } = request;
  const record = async (transaction: TenantTransaction): Promise<readonly Subject[]> => {
    const ofWabas = readings.filter(isOfWaba);
    const ofNumbers = readings.filter((reading) => !isOfWaba(reading));
    const current = await lockNumbers(transaction, { ...request, readings: ofNumbers });
    const ofCurrent = ofNumbers.filter((reading) => current.has(toSubjectKey(reading)));
    const stored = await omitOvercome(transaction, { ...request, readings: ofCurrent });
    await upsertNumberSnapshots(transaction, { ...request, readings: stored });
    const newest = await upsertWabaSnapshots(transaction, { ...request, readings: ofWabas });
    const ids = [...new Set(stored.map(({ id }) => id))];
    await writeStatuses(transaction, { tenantId, ids, at: request.observedAt });
    await updateStatusesOfAccounts(transaction, tenantId, newest, request.observedAt);
    await recordBudgets(transaction, tenantId, request.pauses ?? new Map());
    await deleteLeases(transaction, tenantId, request.holder, request.leased);
    return [...stored, ...ofWabas];
  };
  try {
    const stored = await database.withTenant(
      tenantId,
      record,
      'numbers',
      isBackground ? 'SYNC' : 'READ',
    );
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

/** Without obstacles of numbers for which other credentials were stored meanwhile. */
async function omitOvercome(
  transaction: TenantTransaction,
  { tenantId, readings, credentials = new Map() }: ReadingsToRecord,
): Promise<readonly Reading[]> {
  const isObstacle = ({ block, attempted }: Reading) =>
    attempted === false && block !== 'connection';
  const ids = [...new Set(readings.filter(isObstacle).map(({ id }) => id))];
  if (ids.length === 0) return readings;
  const stored = await readCredentials(transaction, tenantId, ids);
  return readings.filter(
    (reading) =>
      !isObstacle(reading) ||
      stored.get(reading.id)?.sealed === credentials.get(reading.id)?.sealed,
  );
}

async function upsertNumberSnapshots(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<void> {
  if (readings.length === 0) return;
  await sql`
    insert into number_snapshot as old
      (tenant_id, number_id, block, data, observed_at, attempted_at, recorded_at, failure, obstacle, obstacle_at,
        verdict, data_verdict, data_reply_verdict, rules_version, judged_at)
    select ${tenantId}, read.id, read.block, read.data, ${timesOf(observedAt, sql`read."attemptedAt"`)},
      read.failure, read.obstacle, read."obstacleAt",
      nullif(read.verdicts ->> 'verdict', 'UNKNOWN'), read.verdicts ->> 'verdict', read.verdicts ->> 'replyVerdict',
      ${rulesVersion}::smallint, ${observedAt}::timestamptz(3)
    from jsonb_to_recordset(${JSON.stringify(readings.map((it) => toRow(it, observedAt)))}::jsonb)
      as read(block text, id text, data jsonb, failure jsonb, "attemptedAt" timestamptz(3), obstacle jsonb,
        "obstacleAt" timestamptz(3), verdicts jsonb)
    order by read.id, read.block
    on conflict (tenant_id, number_id, block) do update set ${merge},
      obstacle = case when ${isNewest(observedAt)} and not ${confirmsMissing} then excluded.obstacle else old.obstacle end,
      obstacle_at = case when not ${isNewest(observedAt)} then old.obstacle_at
        when ${confirmsMissing} then excluded.attempted_at else excluded.obstacle_at end,
      -- A reading without the evidence for a verdict keeps the last one that was supported.
      verdict = case when ${isNewer} then coalesce(excluded.verdict, old.verdict) else old.verdict end,
      data_verdict = case when ${isNewer} then excluded.data_verdict else old.data_verdict end,
      data_reply_verdict = case when ${isNewer} then excluded.data_reply_verdict else old.data_reply_verdict end,
      rules_version = case when ${isNewer} then excluded.rules_version else old.rules_version end,
      judged_at = case when ${isNewer} then excluded.judged_at else old.judged_at end`.execute(
    transaction,
  );
}

/** Returns the readings of which no newer ones are stored. */
async function upsertWabaSnapshots(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<readonly Reading[]> {
  if (readings.length === 0) return [];
  const { rows } = await sql<{ id: string; isNewest: boolean }>`
    insert into waba_snapshot as old
      (tenant_id, waba_id, data, observed_at, attempted_at, recorded_at, failure)
    select ${tenantId}, read.id, read.data, ${timesOf(observedAt, sql`${observedAt}::timestamptz(3)`)}, read.failure
    from jsonb_to_recordset(${JSON.stringify(readings)}::jsonb)
      as read(id text, data jsonb, failure jsonb)
    order by read.id
    on conflict (tenant_id, waba_id) do update set ${merge}
    returning waba_id as id, observed_at = ${observedAt}::timestamptz(3) as "isNewest"`.execute(
    transaction,
  );
  const newest = new Set(rows.filter((row) => row.isNewest).map((row) => row.id));
  return readings.filter(({ id }) => newest.has(id));
}

/** A row of number_snapshot. */
function toRow({ block, id, data, failure, verdicts, attempted = true }: Reading, at: Date) {
  const what = attempted
    ? { failure, attemptedAt: at }
    : { obstacle: failure, obstacleAt: at, attemptedAt: '-infinity' };
  return { block, id, data, verdicts, ...what };
}

/** The values of `observed_at`, `attempted_at` and `recorded_at`. */
function timesOf(observedAt: Date, attemptedAt: RawBuilder<unknown>) {
  return sql`case when read.data is not null then ${observedAt}::timestamptz(3) end,
    ${attemptedAt}, clock_timestamp()`;
}

/** Whether the reading is at least as new as the last attempt and the last obstacle. An attempt ends the obstacle. */
function isNewest(observedAt: Date) {
  return sql`${observedAt}::timestamptz(3) >= greatest(old.attempted_at, old.obstacle_at)`;
}

/** Whether Meta does not know the id of a number that its account lacks; see `isUnknownId` in provider.ts. */
const confirmsMissing = sql`(old.obstacle ->> 'code' is not distinct from 'META_NUMBER_MISSING'
  and excluded.failure ->> 'code' is not distinct from 'META_ACCESS_DENIED'
  and (excluded.failure ->> 'metaCode' is not distinct from '803'
    or excluded.failure ->> 'metaCode' is not distinct from '100'
      and excluded.failure ->> 'metaSubcode' is not distinct from '33'))`;

const isNewer = sql`excluded.observed_at >= coalesce(old.observed_at, '-infinity')`;

/** Readings may arrive in any order: the newest good value and the newest attempt stay. */
const merge = sql`
  data = case when ${isNewer} then excluded.data else old.data end,
  observed_at = greatest(old.observed_at, excluded.observed_at),
  attempted_at = greatest(old.attempted_at, excluded.attempted_at),
  recorded_at = excluded.recorded_at,
  failure = case when excluded.attempted_at >= old.attempted_at
    then excluded.failure else old.failure end`;

/**
 * Locks the numbers, so that none is deleted or gets another id before its snapshots are written. Returns the keys of the
 * readings that belong to a number and to the id that it has. A good one changes the number, and its state if one follows
 * from the block.
 */
async function lockNumbers(
  transaction: TenantTransaction,
  { tenantId, observedAt, readings }: ReadingsToRecord,
): Promise<ReadonlySet<string>> {
  if (readings.length === 0) return new Set();
  const read = readings.map(({ block, id, address, state, data, attempted = true }) => ({
    block,
    id,
    address,
    state,
    good: data !== null,
    attempted,
    accounts: block === 'phone' ? listAccountHealth(data) : [],
  }));
  const { rows } = await sql<Subject>`
    with read as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(read)}::jsonb)
        as read(block text, id text, address text, state text, good boolean, attempted boolean,
        accounts jsonb)
    ), locked as materialized (
      -- In the order of the key, so that two processes cannot deadlock.
      select n.id, n.phone_number_id, n.waba_id, n.instance_name from whatsapp_number n
      where n.tenant_id = ${tenantId} and n.id in (select id from read)
      order by n.id for no key update
    ), current as materialized (
      select read.id, read.block, read.state, read.good, read.accounts, locked.waba_id
      from read join locked on locked.id = read.id
      -- An obstacle may be that there is no address.
      where read.address is null and read.attempted or read.address is not distinct from case read.block
        when 'connection' then locked.instance_name when 'waba' then locked.waba_id else locked.phone_number_id end
    ), changed as (
      select id, max(state) as state from current where good group by id
    ), updated as (
      update whatsapp_number n set
        updated_at = greatest(n.updated_at, ${observedAt}::timestamptz(3)),
        state = case when changed.state is not null and n.state_observed_at <= ${observedAt}::timestamptz(3)
          then changed.state else n.state end,
        state_observed_at = case when changed.state is not null
          then greatest(n.state_observed_at, ${observedAt}::timestamptz(3)) else n.state_observed_at end
      from changed
      where n.tenant_id = ${tenantId} and n.id = changed.id
    ), ${followEndsByReads(tenantId, observedAt)}
    select id, block from current`.execute(transaction);
  return new Set(rows.map(toSubjectKey));
}

function isOfWaba({ block, data }: Reading): boolean {
  return block === 'waba' && data !== null;
}
