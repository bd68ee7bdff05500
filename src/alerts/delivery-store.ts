// The SQL of what is still to be sent to the endpoints of alerts.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { type EndpointFormat, type OffReason, setState } from './endpoint-store.ts';

export interface DeliveryName {
  readonly tenantId: string;
  readonly endpointId: string;
  /** The same on each attempt: the `webhook-id`. */
  readonly id: string;
}

export interface NewDelivery {
  readonly endpointId: string;
  readonly id: string;
  readonly type: string;
  /** JSON. Null for one that is written when it is sent first, from the incident and the change. */
  readonly content: string | null;
  readonly incidentId: string | null;
  readonly changeId: string | null;
}

/** Those that are there already, because they are being sent, stay as they are. */
export async function insertDeliveries(
  transaction: TenantTransaction,
  tenantId: string,
  deliveries: readonly NewDelivery[],
  now: Date,
): Promise<void> {
  if (deliveries.length === 0) return;
  // One parameter: PostgreSQL takes 65,535 at most.
  await sql`
    insert into alert_delivery
      (tenant_id, endpoint_id, id, type, content, incident_id, change_id, created_at, due_at)
    select ${tenantId}, d."endpointId", d.id, d.type, d.content, d."incidentId", d."changeId", ${now}::timestamptz,
      ${now}::timestamptz
    from jsonb_to_recordset(${JSON.stringify(deliveries)}::jsonb) d("endpointId" text, id text, type text, content text,
      "incidentId" text, "changeId" bigint)
    on conflict do nothing`.execute(transaction);
}

export interface ClaimRequest {
  readonly now: Date;
  /** Another process takes over what is not done by then. */
  readonly until: Date;
  readonly maxDeliveries: number;
  readonly maxPerEndpoint: number;
}

/** Takes deliveries that are due, so that no other process sends them meanwhile. */
export async function claimDeliveriesAcrossTenants(
  database: Database,
  { now, until, maxDeliveries, maxPerEndpoint }: ClaimRequest,
): Promise<readonly DeliveryName[]> {
  const claim = sql<DeliveryName>`
    select tenant_id as "tenantId", endpoint_id as "endpointId", id
    from claim_alert_deliveries(${now}::timestamptz, ${until}::timestamptz, ${maxDeliveries}::integer,
      ${maxPerEndpoint}::integer)`;
  const { rows } = await database.acrossTenants((functions) => claim.execute(functions));
  return rows;
}

/** A claimed delivery with what its attempt needs of the endpoint. */
export interface DeliveryRow {
  readonly type: string;
  readonly content: string | null;
  readonly incidentId: string | null;
  readonly changeId: string | null;
  /** Attempts that have failed. */
  readonly attempts: number;
  readonly createdAt: Date;
  readonly format: EndpointFormat;
  readonly sealed: string;
}

/** Undefined when it was removed, or its endpoint was switched off. */
export async function readDelivery(
  database: Database,
  { tenantId, endpointId, id }: DeliveryName,
): Promise<DeliveryRow | undefined> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<DeliveryRow>`
        select d.type, d.content, d.incident_id as "incidentId", d.change_id as "changeId", d.attempts,
          d.created_at as "createdAt", e.format, e.sealed
        from alert_delivery d join alert_endpoint e on e.tenant_id = ${tenantId} and e.id = d.endpoint_id
        where d.tenant_id = ${tenantId} and d.endpoint_id = ${endpointId} and d.id = ${id} and e.state = 'ON'`.execute(
        transaction,
      );
      return rows[0];
    },
    'nothing',
  );
}

/** So that each attempt sends the same message. */
export async function storeContent(
  database: Database,
  { tenantId, endpointId, id }: DeliveryName,
  content: string,
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .updateTable('alert_delivery')
        .set({ content })
        .where('tenant_id', '=', tenantId)
        .where('endpoint_id', '=', endpointId)
        .where('id', '=', id)
        .execute(),
    'nothing',
  );
}

/** What has become of an attempt. */
export interface AttemptResult {
  readonly outcome: string;
  readonly at: Date;
}

/** Deletes the delivery. */
export async function recordDelivered(
  database: Database,
  name: DeliveryName,
  { outcome, at }: AttemptResult,
): Promise<void> {
  const { tenantId, endpointId } = name;
  await database.withTenant(
    tenantId,
    async (transaction) => {
      // The endpoint first, as everywhere, so that two transactions cannot deadlock.
      await transaction
        .updateTable('alert_endpoint')
        .set({ failing_since: null, last_outcome: outcome, last_attempt_at: at })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', endpointId)
        .execute();
      await deleteDelivery(transaction, tenantId, name);
    },
    'nothing',
  );
}

export async function dropDelivery(database: Database, name: DeliveryName): Promise<void> {
  const { tenantId } = name;
  await database.withTenant(
    tenantId,
    (transaction) => deleteDelivery(transaction, tenantId, name),
    'nothing',
  );
}

async function deleteDelivery(
  transaction: TenantTransaction,
  tenantId: string,
  { endpointId, id }: DeliveryName,
): Promise<void> {
  await transaction
    .deleteFrom('alert_delivery')
    .where('tenant_id', '=', tenantId)
    .where('endpoint_id', '=', endpointId)
    .where('id', '=', id)
    .execute();
}

export interface FailedAttempt extends AttemptResult {
  /** Null when there is no further one: the delivery is deleted. */
  readonly nextAt: Date | null;
  /** An endpoint that fails since then, or for longer, is switched off. */
  readonly failingSinceLimit: Date;
  /** One without an attempt since then does not go on failing: it begins to. */
  readonly lastAttemptLimit: Date;
  /** Whether the endpoint wants nothing more. */
  readonly isGone: boolean;
}

/** Returns why the endpoint was switched off by this attempt, if it was; then nothing is sent to it any more. */
export async function recordFailed(
  database: Database,
  name: DeliveryName,
  attempt: FailedAttempt,
): Promise<OffReason | null> {
  const { tenantId, endpointId } = name;
  const { outcome, at, nextAt, failingSinceLimit, lastAttemptLimit, isGone } = attempt;
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const endpoint = await transaction
        .updateTable('alert_endpoint')
        .set({
          failing_since: sql`case
            when last_attempt_at >= ${lastAttemptLimit}::timestamptz then coalesce(failing_since, ${at}::timestamptz)
            else ${at}::timestamptz end`,
          last_outcome: outcome,
          last_attempt_at: at,
        })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', endpointId)
        .returning(['state', 'failing_since as failingSince'])
        .executeTakeFirst();
      const { failingSince = null, state = 'OFF' } = endpoint ?? {};
      const isFailing = failingSince !== null && failingSince <= failingSinceLimit;
      if (state === 'ON' && (isGone || isFailing)) {
        const reason = isGone ? 'GONE' : 'FAILING';
        await setState(transaction, tenantId, endpointId, reason);
        return reason;
      }
      if (nextAt === null) await deleteDelivery(transaction, tenantId, name);
      else await postpone(transaction, tenantId, name, nextAt);
      return null;
    },
    'nothing',
    'ALERTS',
  );
}

async function postpone(
  transaction: TenantTransaction,
  tenantId: string,
  { endpointId, id }: DeliveryName,
  nextAt: Date,
): Promise<void> {
  await transaction
    .updateTable('alert_delivery')
    .set({ attempts: sql`attempts + 1`, due_at: nextAt, claimed_until: null })
    .where('tenant_id', '=', tenantId)
    .where('endpoint_id', '=', endpointId)
    .where('id', '=', id)
    .execute();
}

/** Lets other processes send at once what this one has claimed and not sent. */
export async function releaseClaims(
  database: Database,
  tenantId: string,
  names: readonly DeliveryName[],
): Promise<void> {
  const ids = names.map(({ id }) => id);
  await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .updateTable('alert_delivery')
        .set({ claimed_until: null })
        .where('tenant_id', '=', tenantId)
        .where('id', 'in', ids)
        .execute(),
    'nothing',
  );
}
