// The SQL of webhooks: endpoints, and the events that they received.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Retention } from '../database/retention.ts';
import { prepare } from '../database/statement.ts';
import { type AccountNotices, mergeNotices } from '../numbers/account-notices.ts';
import { closeEnded, storeNotices } from '../numbers/notice-store.ts';
import type { MetaEvent } from './event.ts';
import { setReceiving } from './route-store.ts';
import { noticeFields, readNotices, type StoredEvent } from './notices.ts';

/** How the sender of a webhook proves who it is: by Meta's signature, or by an API key of the tenant. */
export type Proof = 'SIGNED' | 'KEY';

export interface EndpointRow {
  readonly id: string;
  readonly proof: Proof;
  readonly sealed: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When it last received something with a valid proof, ten minutes more or less. */
  readonly lastReceivedAt: Date | null;
}

export type FoundEndpoint = Pick<EndpointRow, 'id' | 'proof' | 'sealed'> & {
  readonly tenantId: string;
};

/** The endpoint whose path has this hash. */
export async function findEndpointAcrossTenants(
  database: Database,
  hash: Buffer,
): Promise<FoundEndpoint | undefined> {
  const [row] = await database.callAcrossTenants(findEndpoint({ hash: hash.toString('hex') }));
  if (row === undefined) return undefined;
  const [tenantId, id, proof, sealed] = row as readonly string[];
  return { tenantId: tenantId!, id: id!, proof: proof as Proof, sealed: sealed! };
}

const findEndpoint = prepare(
  'find_webhook_endpoint',
  ['hash'],
  ({ hash }) =>
    sql`select tenant_id, id, proof, sealed from find_webhook_endpoint(decode(${hash}, 'hex'))`,
);

const columns = [
  'id',
  'proof',
  'sealed',
  'created_at as createdAt',
  'updated_at as updatedAt',
  'last_received_at as lastReceivedAt',
] as const;

export async function insertEndpoint(
  database: Database,
  tenantId: string,
  endpoint: Pick<EndpointRow, 'id' | 'proof' | 'sealed'> & { readonly path_hash: Buffer },
): Promise<EndpointRow> {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .insertInto('webhook_endpoint')
        .values({ tenant_id: tenantId, ...endpoint })
        .returning(columns)
        .executeTakeFirstOrThrow(),
    'nothing',
  );
}

/** Oldest first. */
export async function listEndpoints(
  database: Database,
  tenantId: string,
): Promise<readonly EndpointRow[]> {
  return await database.withTenant(
    tenantId,
    (transaction) => readEndpoints(transaction, tenantId),
    'nothing',
  );
}

/** Oldest first. */
export async function readEndpoints(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<readonly EndpointRow[]> {
  return await transaction
    .selectFrom('webhook_endpoint')
    .select(columns)
    .where('tenant_id', '=', tenantId)
    .orderBy('created_at')
    .orderBy('id')
    .execute();
}

export async function setReceived(
  database: Database,
  tenantId: string,
  id: string,
  now: Date,
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .updateTable('webhook_endpoint')
        .set({ last_received_at: now })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .execute(),
    'nothing',
  );
}

/** Replaces what is sealed by what `change` makes of it. Undefined when the tenant has no such endpoint. */
export async function updateEndpoint(
  database: Database,
  tenantId: string,
  id: string,
  change: (endpoint: Pick<EndpointRow, 'proof' | 'sealed'>) => string,
): Promise<EndpointRow | undefined> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const old = await transaction
        .selectFrom('webhook_endpoint')
        .select(['proof', 'sealed'])
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .forUpdate()
        .executeTakeFirst();
      if (old === undefined) return undefined;
      return await transaction
        .updateTable('webhook_endpoint')
        .set({ sealed: change(old), updated_at: sql<Date>`clock_timestamp()` })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .returning(columns)
        .executeTakeFirstOrThrow();
    },
    'nothing',
  );
}

/** Whether there was one. */
export async function deleteEndpoint(
  database: Database,
  tenantId: string,
  id: string,
): Promise<boolean> {
  const deleted = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .deleteFrom('webhook_endpoint')
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .returning('id')
        .execute(),
    'nothing',
  );
  return deleted.length > 0;
}

/** What became of an event: stored, known from before, or about an account that the tenant does not have. */
export type EventOutcome = 'stored' | 'repeated' | 'foreign';

/**
 * Stores the events in one transaction, each once, what the new ones announce, and what else follows from them. Returns what
 * became of each.
 */
export async function insertEvents(
  database: Database,
  tenantId: string,
  events: readonly MetaEvent[],
  now: Date,
  follow: (transaction: TenantTransaction, stored: readonly MetaEvent[]) => Promise<void>,
): Promise<readonly EventOutcome[]> {
  const placed = events.map((event, place) => ({ ...event, place }));
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<{ outcome: EventOutcome; happenedAt: Date | null }>`
        with given as materialized (
          select * from jsonb_to_recordset(${JSON.stringify(placed)}::jsonb) as g(place integer, digest text, "wabaId" text,
            field text, event text, phone text, payload text, "happenedAt" timestamptz, outcome text)
        ), own as materialized (
          select distinct n.waba_id from whatsapp_number n
          where n.tenant_id = ${tenantId} and n.waba_id in (select "wabaId" from given)
        ), inserted as (
          insert into meta_event (tenant_id, digest, waba_id, field, event, phone, payload, happened_at, outcome, applied)
          select ${tenantId}, decode(g.digest, 'hex'), g."wabaId", g.field, g.event, g.phone, g.payload::json,
            coalesce(g."happenedAt", ${now}::timestamptz), g.outcome, true
          from given g join own on own.waba_id = g."wabaId"
          -- In the order of the key, so that two processes cannot deadlock.
          order by g.digest, g.place
          on conflict (tenant_id, digest) do nothing
          returning digest, happened_at
        )
        select case when own.waba_id is null then 'foreign'
          when i.digest is null or g.place > min(g.place) over (partition by g.digest) then 'repeated'
          else 'stored' end as outcome, i.happened_at as "happenedAt"
        from given g left join own on own.waba_id = g."wabaId"
          left join inserted i on i.digest = decode(g.digest, 'hex')
        order by g.place`.execute(transaction);
      const stored = events.flatMap((event, at) => {
        const { outcome, happenedAt } = rows[at]!;
        return outcome === 'stored' ? [{ ...event, happenedAt: happenedAt ?? now }] : [];
      });
      await applyEvents(transaction, tenantId, stored, now);
      await setReceiving(transaction, tenantId, stored);
      await follow(transaction, stored);
      return rows.map(({ outcome }) => outcome);
    },
    'numbers',
    'WEBHOOK',
  );
}

/** Stores what the events announce of their accounts. */
async function applyEvents(
  transaction: TenantTransaction,
  tenantId: string,
  events: readonly (StoredEvent & Pick<MetaEvent, 'wabaId'>)[],
  now: Date,
): Promise<void> {
  const accounts = new Map<string, AccountNotices>();
  for (const event of events) {
    const notices = readNotices(event);
    if (notices === null) continue;
    accounts.set(event.wabaId, mergeNotices(accounts.get(event.wabaId) ?? {}, notices));
  }
  await storeNotices(transaction, { tenantId, accounts, now });
}

/** Tenants with restrictions that have ended, or with events that another release has stored and not applied. */
export async function findDueNoticesAcrossTenants(
  database: Database,
  now: Date,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id from find_tenants_with_due_notices(${now}::timestamptz)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Applies at most so many events that are not applied yet. Returns how many there were. */
export async function applyMissed(
  database: Database,
  tenantId: string,
  now: Date,
  maxEvents: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<StoredEvent & Pick<MetaEvent, 'wabaId'>>`
        with missed as materialized (
          select digest from meta_event
          where tenant_id = ${tenantId} and not applied and field = any(${[...noticeFields]}::text[])
          order by received_at limit ${maxEvents}::integer for no key update skip locked
        )
        update meta_event e set applied = true from missed
        where e.tenant_id = ${tenantId} and e.digest = missed.digest
        returning encode(e.digest, 'hex') as digest, e.waba_id as "wabaId", e.field, e.event, e.payload::text as payload,
          e.happened_at as "happenedAt"`.execute(transaction);
      await applyEvents(transaction, tenantId, rows, now);
      return rows.length;
    },
    'numbers',
    'WEBHOOK',
  );
}

/** Closes restrictions that have ended, of at most so many accounts, with what follows. Returns how many there were. */
export async function closeRestrictions(
  database: Database,
  tenantId: string,
  now: Date,
  maxAccounts: number,
  follow: (transaction: TenantTransaction, wabaIds: readonly string[]) => Promise<void>,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const wabaIds = await closeEnded(transaction, tenantId, now, maxAccounts);
      await follow(transaction, wabaIds);
      return wabaIds.length;
    },
    'numbers',
    'CLOCK',
  );
}

/** Tenants with events that were received before. */
export async function findOldAcrossTenants(
  database: Database,
  receivedBefore: Date,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id from find_tenants_with_events_before(${receivedBefore}::timestamptz)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Deletes the oldest events that were received before, at most so many. Returns how many there were. */
async function deleteOldest(
  database: Database,
  tenantId: string,
  receivedBefore: Date,
  maxEvents: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { numAffectedRows } = await sql`
        delete from meta_event e where e.tenant_id = ${tenantId} and e.digest in (
          select old.digest from meta_event old
          where old.tenant_id = ${tenantId} and old.received_at < ${receivedBefore}::timestamptz
          order by old.received_at limit ${maxEvents}::integer
        )`.execute(transaction);
      return Number(numAffectedRows ?? 0);
    },
    'nothing',
  );
}

export const eventRetention: Retention = {
  jobName: 'delete old events of webhooks',
  findTenants: findOldAcrossTenants,
  deleteOldest,
};
