// The SQL of the endpoints of alerts.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';

/** STANDARD: JSON as Standard Webhooks has it. SLACK: text. CHANGES: JSON with every change, and no incidents. */
export type EndpointFormat = 'STANDARD' | 'SLACK' | 'CHANGES';

/** GONE: it answered with 410. FAILING: nothing was delivered for five days. */
export type OffReason = 'GONE' | 'FAILING';

export interface EndpointRow {
  readonly id: string;
  readonly host: string;
  readonly format: EndpointFormat;
  /** Empty for all. */
  readonly rules: readonly string[];
  readonly sealed: string;
  readonly state: 'ON' | 'OFF';
  readonly offReason: OffReason | null;
  /** The first failure since the last success. */
  readonly failingSince: Date | null;
  /** A status, or a word of `SendFailure`. */
  readonly lastOutcome: string | null;
  readonly lastAttemptAt: Date | null;
  readonly createdAt: Date;
}

const columns = [
  'id',
  'host',
  'format',
  'rules',
  'sealed',
  'state',
  'off_reason as offReason',
  'failing_since as failingSince',
  'last_outcome as lastOutcome',
  'last_attempt_at as lastAttemptAt',
  'created_at as createdAt',
] as const;

export type NewEndpoint = Pick<EndpointRow, 'id' | 'host' | 'format' | 'rules' | 'sealed'>;

/** Null when the tenant has so many endpoints already. */
export async function insertEndpoint(
  database: Database,
  tenantId: string,
  { rules, ...endpoint }: NewEndpoint,
  maxEndpoints: number,
): Promise<EndpointRow | null> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const existing = await transaction
        .selectFrom('alert_endpoint')
        .select('id')
        .where('tenant_id', '=', tenantId)
        .execute();
      if (existing.length >= maxEndpoints) return null;
      return await transaction
        .insertInto('alert_endpoint')
        .values({ tenant_id: tenantId, rules: [...rules], ...endpoint })
        .returning(columns)
        .executeTakeFirstOrThrow();
    },
    'numbers',
  );
}

/** Oldest first. */
export async function listEndpoints(
  database: Database,
  tenantId: string,
): Promise<readonly EndpointRow[]> {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('alert_endpoint')
        .select(columns)
        .where('tenant_id', '=', tenantId)
        .orderBy('created_at')
        .orderBy('id')
        .execute(),
    'nothing',
  );
}

/** Those that are on. */
export async function listTargets(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<readonly Pick<EndpointRow, 'id' | 'format' | 'rules'>[]> {
  return await transaction
    .selectFrom('alert_endpoint')
    .select(['id', 'format', 'rules'])
    .where('tenant_id', '=', tenantId)
    .where('state', '=', 'ON')
    .orderBy('id')
    .execute();
}

/** Undefined when the tenant has no such endpoint. */
export async function findEndpoint(
  database: Database,
  tenantId: string,
  id: string,
): Promise<EndpointRow | undefined> {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('alert_endpoint')
        .select(columns)
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .executeTakeFirst(),
    'nothing',
  );
}

/** Replaces what is sealed by what `change` makes of it. Undefined when the tenant has no such endpoint. */
export async function updateSealed(
  database: Database,
  tenantId: string,
  id: string,
  change: (endpoint: EndpointRow) => string,
): Promise<EndpointRow | undefined> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const old = await transaction
        .selectFrom('alert_endpoint')
        .select(columns)
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .forUpdate()
        .executeTakeFirst();
      if (old === undefined) return undefined;
      return await transaction
        .updateTable('alert_endpoint')
        .set({ sealed: change(old), updated_at: sql<Date>`clock_timestamp()` })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .returning(columns)
        .executeTakeFirstOrThrow();
    },
    'nothing',
  );
}

/** With what was still to be sent to it. Whether there was one. */
export async function deleteEndpoint(
  database: Database,
  tenantId: string,
  id: string,
): Promise<boolean> {
  const deleted = await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .deleteFrom('alert_endpoint')
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .returning('id')
        .execute(),
    'numbers',
  );
  return deleted.length > 0;
}

/** Nothing more is sent to an endpoint that is switched off. */
export async function setState(
  transaction: TenantTransaction,
  tenantId: string,
  endpointId: string,
  offReason: OffReason | null,
): Promise<void> {
  await transaction
    .updateTable('alert_endpoint')
    .set({
      state: offReason === null ? 'ON' : 'OFF',
      off_reason: offReason,
      ...(offReason === null && { failing_since: null }),
      updated_at: sql<Date>`clock_timestamp()`,
    })
    .where('tenant_id', '=', tenantId)
    .where('id', '=', endpointId)
    .execute();
  if (offReason === null) return;
  await transaction
    .deleteFrom('alert_delivery')
    .where('tenant_id', '=', tenantId)
    .where('endpoint_id', '=', endpointId)
    .execute();
}

/** After a test that the endpoint accepted. */
export async function switchOn(
  database: Database,
  tenantId: string,
  endpointId: string,
): Promise<void> {
  await database.withTenant(
    tenantId,
    (transaction) => setState(transaction, tenantId, endpointId, null),
    'numbers',
  );
}
