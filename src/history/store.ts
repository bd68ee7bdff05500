// The SQL of history: reading pages of changes, marking numbers whose evidence has expired, and deleting old changes.

import { LRUCache } from 'lru-cache';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Retention } from '../database/retention.ts';
import {
  prepare,
  selectTime,
  type Statement,
  type TextRow,
  toTextArray,
  toTimeText,
} from '../database/statement.ts';
import type { ChangeFilter, NumberChange } from './change.ts';
import { encodeCursor, type FeedPosition } from './cursor.ts';

export interface ChangeRows {
  readonly position: FeedPosition;
  readonly changes: readonly NumberChange[];
}

export interface ChangesToRead {
  readonly filter: ChangeFilter;
  /**
   * Changes with a higher sequence, oldest first; or those of `numberIds` with a lower one, newest first, so many of each
   * number.
   */
  readonly direction: 'after' | 'before';
  readonly sequence: number;
  /** The highest sequence that the page may have. */
  readonly through?: number;
  /** Those that occurred since. */
  readonly since?: Date | null;
  /** 0 for the position alone. */
  readonly limit: number;
}

/** The position and the changes are of one snapshot. Rejects for a tenant that is being removed, with its keys. */
export async function readChanges(
  database: Database,
  tenantId: string,
  read: ChangesToRead,
): Promise<ChangeRows> {
  const rows = await database.readTenant(tenantId, toStatement(tenantId, read));
  const [row] = rows;
  if (row === undefined) throw new Error(`There is no tenant ${tenantId}.`);
  const [epoch, first, last] = row as readonly string[] as [string, string, string];
  const position = { epoch, first: Number(first), last: Number(last) };
  return {
    position,
    changes: rows.filter((it) => it[3] !== null).map((it) => parseChange(it, epoch)),
  };
}

function parseChange(row: TextRow, epoch: string): NumberChange {
  const [
    ,
    ,
    ,
    digits,
    numberId = null,
    wabaId = null,
    kind,
    field = null,
    previousValue = null,
    newValue = null,
    source,
    actorKeyId = null,
    observation = null,
    occurredAt,
    recordedAt,
    keyName,
    keyPrefix,
    keyLast4,
  ] = row;
  const sequence = Number(digits);
  return {
    sequence,
    cursor: encodeCursor({ epoch, sequence }),
    numberId,
    wabaId,
    kind: kind!,
    field,
    previousValue,
    newValue,
    source: source!,
    actorKeyId,
    actorKey: keyName && keyPrefix && keyLast4 ? { name: keyName, keyPrefix, keyLast4 } : null,
    observation,
    occurredAt: occurredAt!,
    recordedAt: recordedAt!,
  };
}

const filterColumns = {
  numberIds: 'number_id',
  wabaIds: 'waba_id',
  kinds: 'kind',
  fields: 'field',
} as const satisfies Record<keyof ChangeFilter, string>;

type Member = keyof typeof filterColumns;

type Parameters = Readonly<Record<string, string>>;

const statements = new LRUCache<string, (values: Parameters) => Statement>({ max: 100 });

function toStatement(tenantId: string, read: ChangesToRead): Statement {
  const members = (Object.keys(filterColumns) as Member[]).filter(
    (member) => (read.filter[member] ?? null) !== null,
  );
  const { direction, sequence, limit, since = null, through } = read;
  const values = {
    tenantId,
    sequence: String(sequence),
    limit: String(limit),
    ...(since !== null && { since: toTimeText(since.getTime()) }),
    ...(through !== undefined && { through: String(through) }),
    ...Object.fromEntries(members.map((member) => [member, toTextArray(read.filter[member]!)])),
  };
  const key = [direction, ...Object.keys(values)].join(' ');
  let create = statements.get(key);
  if (create === undefined) {
    create = prepare('changes', Object.keys(values), (parameters) =>
      selectChanges(direction, members, parameters),
    );
    statements.set(key, create);
  }
  return create(values);
}

const iso = (column: string) => selectTime(sql.ref(column));

function selectChanges(
  direction: ChangesToRead['direction'],
  members: readonly Member[],
  parameters: Parameters,
): RawBuilder<unknown> {
  const { tenantId } = parameters;
  const isAfter = direction === 'after';
  const valuesOf = (member: Member) => sql`(select ${parameters[member]}::text[])::text[]`;
  const conditions = members
    .filter((member) => isAfter || member !== 'numberIds')
    .map((member) => sql`and ${sql.ref(`c.${filterColumns[member]}`)} = any(${valuesOf(member)})`);
  if (parameters['since'] !== undefined) {
    conditions.push(sql`and c.occurred_at >= ${parameters['since']}::text::timestamptz`);
  }
  if (parameters['through'] !== undefined) {
    conditions.push(sql`and c.sequence <= ${parameters['through']}::text::bigint`);
  }
  const order = isAfter ? sql`asc` : sql`desc`;
  const selected = sql`
    select * from number_change c
    where c.tenant_id = ${tenantId}
      and c.sequence ${isAfter ? sql`>` : sql`<`} ${parameters['sequence']}::text::bigint
      ${isAfter ? sql`` : sql`and c.number_id = n.id`} ${sql.join(conditions, sql` `)}
    order by c.sequence ${order} limit ${parameters['limit']}::text::bigint`;
  const changes = isAfter
    ? selected
    : sql`select c.* from unnest(${valuesOf('numberIds')}) n(id) cross join lateral (${selected}) c`;
  return sql`
    select p.epoch, p.first::text, p.last::text, c.sequence::text, c.number_id, c.waba_id,
      c.kind, c.field, c.previous_value, c.new_value, c.source, c.actor, c.observation::text,
      ${iso('c.occurred_at')}, ${iso('c.recorded_at')}, k.name, k.key_prefix, k.key_last4
    from feed_position p left join lateral (${changes}) c on true
    left join api_key k on k.tenant_id = ${tenantId} and k.id = c.actor
    where p.tenant_id = ${tenantId}
    order by c.sequence ${order}`;
}

/** Where in the order of a tenant's changes a time is. */
export interface Place {
  readonly epoch: string;
  /** Of the last change that was recorded before the time; null if there is none. */
  readonly sequence: number | null;
  /** The lowest sequence that is stored. */
  readonly first: number;
  /** When that change was recorded, or, if none was deleted, when changes began to be recorded. */
  readonly recordedSince: string;
}

export async function findPlace(database: Database, tenantId: string, time: Date): Promise<Place> {
  const statement = selectPlace({ tenantId, time: toTimeText(time.getTime()) });
  const [row] = await database.readTenant(tenantId, statement);
  if (row === undefined) throw new Error(`There is no tenant ${tenantId}.`);
  const [epoch, first, sequence, recordedSince] = row;
  return {
    epoch: epoch!,
    first: Number(first),
    sequence: sequence === null ? null : Number(sequence),
    recordedSince: recordedSince!,
  };
}

// Backwards from the newest change: those since the time are read afterwards in any case.
const selectPlace = prepare('place', ['tenantId', 'time'], ({ tenantId, time }) => {
  const ofTenant = sql`c.tenant_id = ${tenantId} and c.sequence is not null`;
  return sql`
    select p.epoch, p.first::text,
      (select c.sequence::text from number_change c
       where ${ofTenant} and c.recorded_at < ${time}::text::timestamptz
       order by c.sequence desc limit 1),
      ${iso('first_change.recorded_at')}
    from feed_position p cross join lateral (
      select case when p.first = 1 then p.created_at else coalesce(
        (select c.recorded_at from number_change c where ${ofTenant} and c.sequence = p.first), p.created_at
      ) end as recorded_at
    ) first_change
    where p.tenant_id = ${tenantId}`;
});

export interface ExpiryRequest {
  /** Evidence that was read at this time or earlier has expired. */
  readonly observedBefore: Date;
  /** How long evidence is valid. */
  readonly lifetimeMs: number;
  /** Whether a session engine is configured. Without one, the states of its numbers never expire. */
  readonly connectionsAreRead: boolean;
}

/** Tenants with numbers whose evidence has expired and that are not marked yet. */
export async function findExpiredAcrossTenants(
  database: Database,
  { observedBefore, connectionsAreRead }: ExpiryRequest,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id
    from find_tenants_with_expired_status(${observedBefore}::timestamptz, ${connectionsAreRead}::boolean)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Marks at most so many numbers; a trigger records what that changes. Returns how many there were. */
export async function markExpired(
  database: Database,
  tenantId: string,
  { observedBefore, lifetimeMs, connectionsAreRead }: ExpiryRequest,
  maxNumbers: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { numAffectedRows } = await sql`
        with expired as materialized (
          -- A number that is being read is not expired any more when its transaction has committed.
          select number_id from number_status
          where tenant_id = ${tenantId} and stale_since is null
            and observed_at > '-infinity' and observed_at <= ${observedBefore}::timestamptz
            and (${connectionsAreRead} or provider = 'META')
          order by observed_at limit ${maxNumbers}::integer for no key update skip locked
        )
        update number_status s
        set stale_since = s.observed_at + ${lifetimeMs}::float8 * interval '1 millisecond'
        from expired where s.tenant_id = ${tenantId} and s.number_id = expired.number_id`.execute(
        transaction,
      );
      return Number(numAffectedRows ?? 0);
    },
    'numbers',
    'CLOCK',
  );
}

/** Gives changes their places that transactions have left without, because another transaction was in the way. */
export async function numberChangesLeftAcrossTenants(database: Database): Promise<void> {
  await database.acrossTenants((functions) => sql`select number_changes_left()`.execute(functions));
}

/** Tenants whose oldest change was recorded before. */
export async function findOldAcrossTenants(
  database: Database,
  recordedBefore: Date,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id from find_tenants_with_changes_before(${recordedBefore}::timestamptz)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Deletes the oldest changes that were recorded before, at most so many. Returns how many there were. */
async function deleteOldest(
  database: Database,
  tenantId: string,
  recordedBefore: Date,
  maxChanges: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<{ first: string }>`
        with oldest as materialized (
          select c.sequence, c.recorded_at < ${recordedBefore}::timestamptz as is_old
          from number_change c, feed_position p
          where c.tenant_id = ${tenantId} and p.tenant_id = ${tenantId} and c.sequence >= p.first
          order by c.sequence limit ${maxChanges}::integer
        )
        -- Up to the first one that stays, so that no gap arises: the times are not quite in the order of the places.
        update feed_position p set first = kept.first
        from (
          select coalesce(min(sequence) filter (where not is_old), max(sequence) + 1) as first from oldest
        ) kept
        where p.tenant_id = ${tenantId} and p.first < kept.first
        returning p.first::text`.execute(transaction);
      const [position] = rows;
      if (position === undefined) return 0;
      const { numAffectedRows } = await sql`
        delete from number_change
        where tenant_id = ${tenantId} and sequence < ${position.first}::bigint`.execute(
        transaction,
      );
      return Number(numAffectedRows ?? 0);
    },
    'nothing',
  );
}

export const changeRetention: Retention = {
  jobName: 'delete old changes',
  findTenants: findOldAcrossTenants,
  deleteOldest,
};

/** Makes all cursors of the tenant unknown. */
export async function renewEpoch(database: Database, tenantId: string): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) =>
      // Streams of all processes look again, and end.
      sql`
        with renewed as (
          update feed_position set epoch = replace(gen_random_uuid()::text, '-', '')
          where tenant_id = ${tenantId} returning tenant_id
        )
        select pg_notify('gateway_changes', json_build_object('tenant', tenant_id, 'keys', false)::text)
        from renewed`.execute(transaction),
    'numbers',
  );
}
