// The SQL of incidents after their evaluation.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';

/** An incident as it is stored. */
export interface IncidentRow {
  readonly id: string;
  readonly rule: string;
  readonly severity: string;
  readonly scope: string;
  readonly subject: string;
  /** Of those that are part of it, and of one that is over, of those that were last. */
  readonly memberCount: number;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly openedAt: Date;
  readonly closedAt: Date | null;
  readonly acknowledgedAt: Date | null;
  readonly note: string | null;
}

const columns = [
  'id',
  'rule',
  'severity',
  'scope',
  'subject',
  'member_count as memberCount',
  'previous_value as previousValue',
  'new_value as newValue',
  'opened_at as openedAt',
  'closed_at as closedAt',
  'acknowledged_at as acknowledgedAt',
  'note',
] as const;

/** The members that an incident has, or had last, at most so many. */
export async function listMembers(
  database: Database,
  tenantId: string,
  incidentId: string,
  limit: number,
): Promise<readonly string[]> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const rows = await transaction
        .selectFrom('incident_member')
        .select('member')
        .where('tenant_id', '=', tenantId)
        .where('incident_id', '=', incidentId)
        .orderBy(sql`left_at desc nulls first`)
        .orderBy('member')
        .limit(limit)
        .execute();
      return rows.map(({ member }) => member);
    },
    'nothing',
  );
}

/** Undefined when the tenant has no such incident, or not any more. */
export async function findIncident(
  database: Database,
  tenantId: string,
  id: string,
): Promise<IncidentRow | undefined> {
  return await database.withTenant(
    tenantId,
    (transaction) =>
      transaction
        .selectFrom('incident')
        .select(columns)
        .where('tenant_id', '=', tenantId)
        .where('id', '=', id)
        .executeTakeFirst(),
    'nothing',
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
  readonly changeId: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
}

/** The changes of incidents after a place in the feed, at most so many. */
export async function listReports(
  transaction: TenantTransaction,
  tenantId: string,
  after: number,
  limit: number,
): Promise<readonly Report[]> {
  return await transaction
    .selectFrom('number_change')
    .select(['id as changeId', 'previous_value as previousValue', 'new_value as newValue'])
    .where('tenant_id', '=', tenantId)
    .where('sequence', '>', String(after))
    .where('kind', '=', 'INCIDENT')
    .orderBy('sequence')
    .limit(limit)
    .execute();
}
