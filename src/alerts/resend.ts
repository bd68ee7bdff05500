// Queues for one endpoint what it has missed, for example while it was off.

import type { Database, TenantTransaction } from '../database/database.ts';
import { assertReachable, encodeCursor, type FeedCursor } from '../history/cursor.ts';
import { insertDeliveries, type NewDelivery } from './delivery-store.ts';
import { lockPosition, readChangesAfter } from './evaluation-store.ts';
import { listReports, type Report } from './incident-store.ts';
import {
  type IncidentNews,
  type Target,
  toChangeDeliveries,
  toIncidentDeliveries,
  type Transition,
} from './outbox.ts';

export interface ResendRequest {
  readonly endpoint: Target;
  /** After this place. */
  readonly cursor: FeedCursor;
  readonly now: Date;
}

export interface Queued {
  /** How many messages. */
  readonly queued: number;
  /** After this cursor there is more, which was too much for one transaction; null if there is no more. */
  readonly next: string | null;
}

/** In one transaction. */
const maxReports = 1_000;
const maxChanges = 2_000;

/** Up to the last change that was evaluated: what follows is queued by the evaluation. So many at most. */
export async function queueAgain(
  database: Database,
  tenantId: string,
  { endpoint, cursor, now }: ResendRequest,
): Promise<Queued> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const position = await lockPosition(transaction, tenantId);
      assertReachable(cursor, position);
      const { deliveries, last } = await listDeliveries(transaction, tenantId, endpoint, {
        epoch: position.epoch,
        after: cursor.sequence,
        through: position.sequence,
      });
      await insertDeliveries(transaction, tenantId, deliveries, now);
      const next = last === null ? null : encodeCursor({ epoch: position.epoch, sequence: last });
      return { queued: deliveries.length, next };
    },
    'nothing',
  );
}

interface Range {
  readonly epoch: string;
  readonly after: number;
  readonly through: number;
}

async function listDeliveries(
  transaction: TenantTransaction,
  tenantId: string,
  endpoint: Target,
  { epoch, after, through }: Range,
): Promise<{ readonly deliveries: readonly NewDelivery[]; readonly last: number | null }> {
  if (endpoint.format === 'CHANGES') {
    const changes = await readChangesAfter(transaction, tenantId, after, maxChanges);
    const evaluated = changes.filter(({ sequence }) => sequence <= through);
    const deliveries = toChangeDeliveries([endpoint], evaluated, epoch);
    return { deliveries, last: toLast(changes, maxChanges) };
  }
  const reports = await listReports(transaction, tenantId, after, maxReports);
  const deliveries = toIncidentDeliveries([endpoint], reports.flatMap(toNews));
  return { deliveries, last: toLast(reports, maxReports) };
}

/** The place of the last one if there may be more. */
function toLast(rows: readonly { readonly sequence: number }[], limit: number): number | null {
  return rows.length < limit ? null : (rows.at(-1)?.sequence ?? null);
}

interface ReportedIncident {
  readonly id: string;
  readonly state: 'OPEN' | 'CLOSED';
}

/**
 * That somebody acknowledges an incident is no news for endpoints, and of what was acknowledged, only its end is. Nothing is of
 * which they were not told because all its numbers were muted.
 */
function toNews(report: Report): readonly IncidentNews[] {
  const { changeId, previousValue, newValue, rules, told, isAcknowledged } = report;
  const before = JSON.parse(previousValue ?? 'null') as ReportedIncident | null;
  const { id, state } = JSON.parse(newValue ?? '{}') as ReportedIncident;
  if (before?.state === state) return [];
  const transition = toTransition(before, state);
  const isSent = told && (transition === 'CLOSED' || !isAcknowledged);
  return isSent ? [{ id, rules, toldRules: [], transition, changeId }] : [];
}

function toTransition(
  before: ReportedIncident | null,
  state: ReportedIncident['state'],
): Transition {
  if (before !== null) return 'CLOSED';
  return state === 'OPEN' ? 'OPENED' : 'NOTED';
}
