// Writes the messages that report incidents, when they are sent first: with what is stored at that time.

import type { Database } from '../database/database.ts';
import { encodeCursor } from '../history/cursor.ts';
import type { DeliveryRow } from './delivery-store.ts';
import * as store from './incident-store.ts';
import { readIncident, type StoredIncident } from './incident-queries.ts';
import type { ReportingChange } from './incident-store.ts';
import {
  endType,
  type IncidentData,
  maxContentBytes,
  toContent,
  toEndText,
  toRuleText,
  toTitle,
} from './message.ts';

export interface DescribedNumber {
  readonly name: string;
  /** Digits. */
  readonly number: string;
  /** Why it cannot send, the most severe first. */
  readonly reasons: IncidentData['reasons'];
}

/** Those of the numbers that exist, by id. */
export type DescribeNumbers = (
  tenantId: string,
  ids: readonly string[],
) => Promise<ReadonlyMap<string, DescribedNumber>>;

export interface ReportOptions {
  readonly database: Database;
  readonly describeNumbers: DescribeNumbers;
  /** See `Config.publicUrl`. */
  readonly publicUrl: string | null;
}

const maxReasons = 5;

/** Returns null for an incident that does not exist any more. */
export function createReportWriter({ database, describeNumbers, publicUrl }: ReportOptions) {
  return async (
    tenantId: string,
    delivery: Pick<DeliveryRow, 'type' | 'incidentId' | 'changeId' | 'createdAt'>,
  ): Promise<string | null> => {
    const { type, incidentId, changeId, createdAt } = delivery;
    const incident =
      incidentId === null ? undefined : await readIncident(database, tenantId, incidentId);
    if (incident === undefined) return null;
    const change =
      changeId === null ? undefined : await store.findReport(database, tenantId, changeId);
    const ids = incident.numbers.map(({ id }) => id);
    const described = await describeNumbers(tenantId, ids);
    const data = toData(type, incident, change, described, publicUrl);
    const timestamp = (change?.occurredAt ?? createdAt).toISOString();
    return toBoundedContent(type, timestamp, data);
  };
}

function toData(
  type: string,
  incident: StoredIncident,
  change: ReportingChange | undefined,
  described: ReadonlyMap<string, DescribedNumber>,
  publicUrl: string | null,
): IncidentData {
  const { id, rule, covers, severity, scope, subject, numbers, previousValue, newValue } = incident;
  const [first = { id: subject, name: null, number: null }] = numbers;
  const isOne = scope === 'NUMBER';
  const reasons = described.get(first.id)?.reasons ?? [];
  const state = toState(incident, change);
  const toText = type === endType ? toEndText : toRuleText;
  const number = isOne ? first : null;
  const title = toTitle(incident, number);
  const subjectName = incident.subjectName ?? subject;
  return {
    incident: { id, scope, subject, subjectName, title, ...state },
    rule,
    covers,
    severity,
    text: toText(incident),
    previousValue,
    newValue,
    sequence: change?.sequence ?? null,
    cursor: change === undefined ? null : encodeCursor(change),
    number,
    numbers: isOne ? [] : numbers,
    reasons: reasons.slice(0, maxReasons),
    link: publicUrl && `${publicUrl}/board/incidents/${id}`,
  };
}

/** As it was at the time of the change, with the numbers that it has now. */
function toState(
  { openedAt, closedAt, numberCount }: StoredIncident,
  change: ReportingChange | undefined,
): Pick<IncidentData['incident'], 'state' | 'openedAt' | 'closedAt' | 'numberCount'> {
  const reported = JSON.parse(change?.newValue ?? '{}') as Partial<IncidentData['incident']>;
  return {
    state: reported.state ?? (closedAt === null ? 'OPEN' : 'CLOSED'),
    openedAt,
    closedAt: reported.closedAt === undefined ? closedAt : reported.closedAt,
    numberCount,
  };
}

/** Texts of Meta's have no limit. */
function toBoundedContent(type: string, timestamp: string, data: IncidentData): string {
  const content = toContent({ type, timestamp, data });
  if (Buffer.byteLength(content) <= maxContentBytes) return content;
  return toContent({ type, timestamp, data: { ...data, reasons: [], numbers: [] } });
}
