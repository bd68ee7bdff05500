// Stores incidents as the evaluation of the rules would, for tests of what callers see.

import { randomUUID } from 'node:crypto';
import type { TestDatabase } from '../harness.ts';

export interface InsertedIncident {
  /** DISCONNECTED by default. */
  readonly rule?: string;
  /** CRITICAL by default. */
  readonly severity?: string;
  /** NUMBER by default. */
  readonly scope?: string;
  /** By default what is the subject of no other one. */
  readonly subject?: string;
  /** The subject by default. */
  readonly members?: readonly string[];
  /** Milliseconds since 1970; the present time by default. */
  readonly at?: number;
  /** Null by default: it is open. */
  readonly closedAt?: number | null;
}

/** Returns its id. */
export async function insertIncident(
  database: Pick<TestDatabase, 'query'>,
  tenantId: string,
  given: InsertedIncident = {},
): Promise<string> {
  const id = `inc_${randomUUID().replaceAll('-', '')}`;
  const { rule = 'DISCONNECTED', severity = 'CRITICAL', scope = 'NUMBER', subject = id } = given;
  const { members = [subject], at = Date.now(), closedAt = null } = given;
  await database.query(
    `insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at)
     values ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8 / 1000.0), to_timestamp($9 / 1000.0))`,
    [tenantId, id, rule, severity, scope, subject, members.length, at, closedAt],
  );
  await database.query(
    `insert into incident_member (tenant_id, incident_id, member) select $1, $2, unnest($3::text[])`,
    [tenantId, id, members],
  );
  return id;
}
