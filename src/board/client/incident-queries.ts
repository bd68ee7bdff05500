// The GraphQL operations about incidents, and about how punctual reads in the background are.

import { ApiError, run } from './api.ts';

export type Severity = 'CRITICAL' | 'WARNING' | 'INFO';

/** The worst open incident of a number, as a row shows it. */
export interface IncidentMark {
  readonly id: string;
  readonly severity: Severity;
  readonly acknowledgedAt: string | null;
}

export interface Incident {
  readonly id: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly state: 'OPEN' | 'CLOSED';
  readonly scope: string;
  readonly subject: string;
  readonly subjectName: string;
  readonly numberCount: number;
  /** The first ten. A name is null once its number was removed. */
  readonly numbers: readonly { readonly id: string; readonly name: string | null }[];
  readonly text: string;
  readonly openedAt: string;
  readonly closedAt: string | null;
  readonly acknowledgedAt: string | null;
  readonly acknowledgedBy: {
    readonly type: 'KEY' | 'COMMAND_LINE' | 'SYSTEM';
    readonly key: { readonly name: string } | null;
  } | null;
  readonly note: string | null;
}

export const incidentFields = `id rule severity state scope subject subjectName numberCount numbers { id name }
  text openedAt closedAt acknowledgedAt acknowledgedBy { type key { name } } note`;

export interface IncidentPage {
  readonly page: {
    readonly totalCount: number;
    readonly nodes: readonly Incident[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  };
}

const incidentsQuery = `query BoardIncidents($state: IncidentState, $first: Int, $after: String) {
  page: incidents(state: $state, first: $first, after: $after) {
    totalCount
    nodes { ${incidentFields} }
    pageInfo { hasNextPage endCursor }
  }
}`;

/** How many incidents a page has. */
const incidentPageSize = 50;

export interface IncidentRequest {
  readonly state: 'OPEN' | 'CLOSED';
  readonly after: string | null;
}

export async function readIncidents(
  key: string,
  { state, after }: IncidentRequest,
  signal: AbortSignal,
): Promise<IncidentPage> {
  const variables = { state, first: incidentPageSize, after };
  return (await run<IncidentPage>(key, { query: incidentsQuery, variables, signal })).data;
}

const incidentQuery = `query BoardIncident($id: ID!) { incident(id: $id) { ${incidentFields} } }`;

/** Null for an incident that does not exist. */
export async function readIncident(
  key: string,
  id: string,
  signal: AbortSignal,
): Promise<Incident | null> {
  const operation = { query: incidentQuery, variables: { id }, signal };
  try {
    return (await run<{ readonly incident: Incident }>(key, operation)).data.incident;
  } catch (error) {
    if (error instanceof ApiError && error.code === 'INCIDENT_NOT_FOUND') return null;
    throw error;
  }
}

export interface LateAccount {
  readonly wabaId: string;
  readonly state: string;
  readonly pausedUntil: string | null;
}

const punctualityQuery = `query BoardSync {
  sync { accounts(states: [LATE, PAUSED_BUDGET, PAUSED_TOKEN], first: 1000) { wabaId state pausedUntil } }
}`;

/** The accounts that are not read as often as planned. */
export async function readLateAccounts(
  key: string,
  signal: AbortSignal,
): Promise<readonly LateAccount[]> {
  const { data } = await run<{ readonly sync: { readonly accounts: readonly LateAccount[] } }>(
    key,
    { query: punctualityQuery, signal },
  );
  return data.sync.accounts;
}
