// Writes the messages that report incidents, when they are sent first: with what is stored at that time.

import type { Database } from '../database/database.ts';
import { encodeCursor } from '../history/cursor.ts';
import type { DeliveryRow } from './delivery-store.ts';
import * as store from './incident-store.ts';
import type { IncidentRow, ReportingChange } from './incident-store.ts';
import {
  type IncidentData,
  maxContentBytes,
  type MessageNumber,
  toContent,
  toRuleText,
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

/** Of a message with several numbers. */
const maxNumbers = 10;
const maxReasons = 5;

/** Returns null for an incident that does not exist any more. */
export function createReportWriter({ database, describeNumbers, publicUrl }: ReportOptions) {
  return async (
    tenantId: string,
    { type, incidentId, changeId, createdAt }: DeliveryRow,
  ): Promise<string | null> => {
    const incident =
      incidentId === null ? undefined : await store.findIncident(database, tenantId, incidentId);
    if (incident === undefined) return null;
    const change =
      changeId === null ? undefined : await store.findReport(database, tenantId, changeId);
    const members = await store.listMembers(database, tenantId, incident.id, maxNumbers);
    const described = await describeNumbers(tenantId, members);
    const data = toData(incident, change, members, described, publicUrl);
    const timestamp = (change?.occurredAt ?? createdAt).toISOString();
    return toBoundedContent(type, timestamp, data);
  };
}

function toData(
  incident: IncidentRow,
  change: ReportingChange | undefined,
  members: readonly string[],
  described: ReadonlyMap<string, DescribedNumber>,
  publicUrl: string | null,
): IncidentData {
  const { id, rule, severity, scope, subject, previousValue, newValue } = incident;
  const isOfNumbers = scope === 'NUMBER' || described.size > 0;
  const numbers = isOfNumbers ? members.map((member) => toNumber(member, described)) : [];
  const [first] = numbers;
  const isOne = scope === 'NUMBER' && first !== undefined;
  const reasons = described.get(first?.id ?? '')?.reasons ?? [];
  const state = toState(incident, change);
  return {
    incident: { id, scope, subject, ...state },
    rule,
    severity,
    text: toRuleText(rule, state.numberCount),
    previousValue,
    newValue,
    sequence: change?.sequence ?? null,
    cursor: change === undefined ? null : encodeCursor(change),
    number: isOne ? first : null,
    numbers: isOne ? [] : numbers,
    reasons: reasons.slice(0, maxReasons),
    link: publicUrl && toLink(publicUrl, isOne ? first.id : null),
  };
}

/** As it was at the time of the change. */
function toState(
  { openedAt, closedAt, memberCount }: IncidentRow,
  change: ReportingChange | undefined,
): Pick<IncidentData['incident'], 'state' | 'openedAt' | 'closedAt' | 'numberCount'> {
  const reported = JSON.parse(change?.newValue ?? '{}') as Partial<IncidentData['incident']>;
  return {
    state: reported.state ?? (closedAt === null ? 'OPEN' : 'CLOSED'),
    openedAt: openedAt.toISOString(),
    closedAt:
      reported.closedAt === undefined ? (closedAt?.toISOString() ?? null) : reported.closedAt,
    numberCount: reported.numberCount ?? memberCount,
  };
}

function toNumber(id: string, described: ReadonlyMap<string, DescribedNumber>): MessageNumber {
  const { name = null, number = null } = described.get(id) ?? {};
  return { id, name, number };
}

function toLink(publicUrl: string, numberId: string | null): string {
  return `${publicUrl}/board${numberId === null ? '' : `/numbers/${encodeURIComponent(numberId)}`}`;
}

/** Texts of Meta's have no limit. */
function toBoundedContent(type: string, timestamp: string, data: IncidentData): string {
  const content = toContent({ type, timestamp, data });
  if (Buffer.byteLength(content) <= maxContentBytes) return content;
  return toContent({ type, timestamp, data: { ...data, reasons: [], numbers: [] } });
}
