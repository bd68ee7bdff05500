// The types of the tables of alerts; see migrations/0031_send_alerts.ts, migrations/0032_open_incidents.ts,
// migrations/0035_acknowledge_incidents.ts, migrations/0037_tell_incidents_once.ts and migrations/0041_cover_consequences.ts.

import type { ColumnType, Generated } from 'kysely';

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;

/** Where alerts are sent to. */
export interface AlertEndpointTable {
  tenant_id: string;
  id: string;
  /** Of the URL, which is a secret. */
  host: string;
  format: 'STANDARD' | 'SLACK' | 'CHANGES';
  /** Empty for all. */
  rules: string[];
  /** See secrets.ts. */
  sealed: string;
  state: Generated<'ON' | 'OFF'>;
  off_reason: ColumnType<
    'GONE' | 'FAILING' | null,
    'GONE' | 'FAILING' | null | undefined,
    'GONE' | 'FAILING' | null
  >;
  failing_since: ColumnType<Date | null, Date | null | undefined, Date | null>;
  last_outcome: ColumnType<string | null, string | null | undefined, string | null>;
  last_attempt_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

/** A message that an endpoint has not accepted yet. */
export interface AlertDeliveryTable {
  tenant_id: string;
  endpoint_id: string;
  id: string;
  type: string;
  incident_id: string | null;
  /** The id of a row of number_change. */
  change_id: string | null;
  content: string | null;
  attempts: Generated<number>;
  created_at: Timestamp;
  due_at: Timestamp;
  claimed_until: ColumnType<Date | null, Date | null | undefined, Date | null>;
}

/** Up to where the rules of alerts were evaluated. */
export interface AlertPositionTable {
  tenant_id: string;
  sequence: Generated<string>;
  clock: Timestamp;
}

/** What has not lasted long enough to be an incident; see alerts/evaluation.ts. */
export interface AlertConditionTable {
  tenant_id: string;
  rule: string;
  scope: 'NUMBER' | 'ACCOUNT' | 'PORTFOLIO' | 'TOKEN';
  subject: string;
  member: string;
  since: Timestamp;
  due_at: Timestamp;
  previous_value: string | null;
  new_value: string | null;
  /** The id of the incident that covers it, or did. */
  covered_by: ColumnType<string | null, string | null | undefined, string | null>;
}

export interface IncidentTable {
  tenant_id: string;
  id: string;
  rule: string;
  severity: string;
  scope: string;
  subject: string;
  member_count: number;
  previous_value: string | null;
  new_value: string | null;
  opened_at: Timestamp;
  closed_at: ColumnType<Date | null, Date | null, Date | null>;
  acknowledged_at: ColumnType<Date | null, undefined, Date | null>;
  /** The id of an API key; null for an operator's command. */
  acknowledged_by: ColumnType<string | null, undefined, string | null>;
  note: ColumnType<string | null, undefined, string | null>;
  /** Whether endpoints were told of it. */
  told: boolean;
  /** Names of rules, see `coveredBy` in alerts/rules.ts. */
  covers: Generated<string[]>;
  /** The id of a row of number_change. */
  last_change: ColumnType<string | null, never, never>;
}

/** What is, or was, part of an incident: the id of a number, or a restriction of an account. */
export interface IncidentMemberTable {
  tenant_id: string;
  incident_id: string;
  member: string;
  left_at: ColumnType<Date | null, Date | null, Date | null>;
}
