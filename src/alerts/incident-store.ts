// The SQL of incidents after their evaluation: what messages report, and that somebody acknowledges one.

import { sql } from 'kysely';
import type { Database, TenantTransaction, TransactionCause } from '../database/database.ts';
import type { Retention } from '../database/retention.ts';

export interface Acknowledgement {
  readonly id: string;
  /** Null leaves the former one. */
  readonly note: string | null;
  readonly at: Date;
  /** The id of an API key; null for an operator's command. */
  readonly by: string | null;
  /** Not null: only an incident that is about this number alone. */
  readonly numberId: string | null;
}

/** Also deletes the messages about its beginning that no endpoint has accepted yet. */
export async function acknowledge(
  database: Database,
  tenantId: string,
  { id, note, at, by, numberId }: Acknowledgement,
  cause: TransactionCause,
): Promise<'ACKNOWLEDGED' | 'NOT_FOUND' | 'FORBIDDEN'> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const incident = await transaction
        .selectFrom('incident')
        .select(['scope', 'subject', 'acknowledged_at as acknowledgedAt', 'note'])
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .forNoKeyUpdate()
        .executeTakeFirst();
      if (incident === undefined) return 'NOT_FOUND';
      const isOfNumber = incident.scope === 'NUMBER' && incident.subject === numberId;
      if (numberId !== null && !isOfNumber) return 'FORBIDDEN';
      const isKnown = note === null || note === incident.note;
      if (incident.acknowledgedAt !== null && isKnown) return 'ACKNOWLEDGED';
      await transaction
        .updateTable('incident')
        .set({ acknowledged_at: at, acknowledged_by: by, note: note ?? incident.note })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .execute();
      await transaction
        .deleteFrom('alert_delivery')
        .where('tenant_id', '=', tenantId)
        .where('incident_id', '=', id)
        .where('type', '<>', 'incident.closed')
        .execute();
      return 'ACKNOWLEDGED';
    },
    'numbers',
    cause,
  );
}

export interface ReportingChange {
  readonly sequence: number;
  readonly epoch: string;
  readonly newValue: string | null;
  readonly occurredAt: Date;
}

/** The change that reports an incident; undefined when it is too old to be stored. */
export async function findReport(
  database: Database,
  tenantId: string,
  changeId: string,
): Promise<ReportingChange | undefined> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { rows } = await sql<Omit<ReportingChange, 'sequence'> & { sequence: string }>`
        select c.sequence, f.epoch, c.new_value as "newValue", c.occurred_at as "occurredAt"
        from number_change c join feed_position f on f.tenant_id = ${tenantId}
        where c.tenant_id = ${tenantId} and c.id = ${changeId}::bigint and c.sequence is not null`.execute(
        transaction,
      );
      const [row] = rows;
      return row && { ...row, sequence: Number(row.sequence) };
    },
    'nothing',
  );
}

export interface Report {
  readonly sequence: number;
  readonly changeId: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  /** The rule of the incident, and those that it covers; empty if it was deleted. */
  readonly rules: readonly string[];
  /** Whether endpoints were told of the incident. */
  readonly told: boolean;
  /** Whether somebody has acknowledged it by now. */
  readonly isAcknowledged: boolean;
}

/** The changes of incidents after a place in the feed, at most so many. */
export async function listReports(
  transaction: TenantTransaction,
  tenantId: string,
  after: number,
  limit: number,
): Promise<readonly Report[]> {
  const { rows } = await sql<Report>`
    select c.sequence::float8 as sequence, c.id as "changeId", c.previous_value as "previousValue", c.new_value as "newValue",
      coalesce(i.rule || i.covers, '{}') as rules, coalesce(i.told, false) as told, i.acknowledged_at is not null as "isAcknowledged"
    from number_change c
    left join incident i on i.tenant_id = ${tenantId} and i.id = c.new_value::jsonb ->> 'id'
    where c.tenant_id = ${tenantId} and c.sequence > ${String(after)}::bigint and c.kind = 'INCIDENT'
    order by c.sequence limit ${limit}::integer`.execute(transaction);
  return rows;
}

export async function findTenantsAcrossTenants(database: Database): Promise<readonly string[]> {
  const list = sql<{ id: string }>`select id from list_tenants()`;
  const { rows } = await database.acrossTenants((functions) => list.execute(functions));
  return rows.map(({ id }) => id);
}

/** The oldest of those that were over before this time, at most so many. Returns how many. */
async function deleteClosed(
  database: Database,
  tenantId: string,
  closedBefore: Date,
  maxIncidents: number,
): Promise<number> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const { numAffectedRows } = await sql`
        delete from incident i where i.tenant_id = ${tenantId} and i.id in (
          select old.id from incident old
          where old.tenant_id = ${tenantId} and old.closed_at < ${closedBefore}::timestamptz
          order by old.opened_at, old.id limit ${maxIncidents}::integer
        )`.execute(transaction);
      return Number(numAffectedRows ?? 0);
    },
    // Triggers announce what was deleted.
    'nothing',
  );
}

/** By their end: open ones stay. */
export const incidentRetention: Retention = {
  jobName: 'delete old incidents',
  findTenants: findTenantsAcrossTenants,
  deleteOldest: deleteClosed,
};
