// What is queued for the endpoints of a tenant when incidents open and close, and when anything changes.

import { hash } from 'node:crypto';
import { encodeCursor } from '../history/cursor.ts';
import type { NewDelivery } from './delivery-store.ts';
import type { EndpointRow } from './endpoint-store.ts';
import { maxContentBytes, type Message, toContent } from './message.ts';

export type Target = Pick<EndpointRow, 'id' | 'format' | 'rules'>;

/** NOTED: an incident that was over at once. */
export type Transition = 'OPENED' | 'CLOSED' | 'NOTED';

export interface IncidentNews {
  /** Of the incident. */
  readonly id: string;
  /** Its rule, and those that it covers. */
  readonly rules: readonly string[];
  /** Endpoints that want one of these were told of it before. */
  readonly toldRules: readonly string[];
  readonly transition: Transition;
  /** The change that reports it. */
  readonly changeId: string | null;
}

/** The messages about incidents; their content is written when they are sent first. */
export function toIncidentDeliveries(
  targets: readonly Target[],
  news: readonly IncidentNews[],
): readonly NewDelivery[] {
  return targets
    .filter(({ format }) => format !== 'CHANGES')
    .flatMap(({ id: endpointId, rules }) =>
      news
        .filter((it) => wants(rules, it.rules) && !wants(rules, it.toldRules))
        .map(({ id: incidentId, transition, changeId }): NewDelivery => ({
          endpointId,
          id: toMessageId(endpointId, incidentId, transition),
          type: `incident.${transition.toLowerCase()}`,
          content: null,
          incidentId,
          changeId,
        })),
    );
}

/** `chosen`: the rules of an endpoint, empty for all. */
function wants(chosen: readonly string[], rules: readonly string[]): boolean {
  return rules.some((rule) => chosen.length === 0 || chosen.includes(rule));
}

/** A change as messages have it: as REST shows it, without the actor. */
export interface ChangeJson {
  readonly cursor: string;
  readonly numberId: string | null;
  readonly wabaId: string | null;
  readonly kind: string;
  readonly field: string | null;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
  readonly observation: string | null;
  readonly occurredAt: string;
  readonly recordedAt: string;
}

export interface QueuedChange {
  readonly sequence: number;
  readonly numberId: string | null;
  readonly wabaId: string | null;
  readonly kind: string;
  readonly field: string | null;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
  readonly observation: string | null;
  readonly occurredAt: Date;
  readonly recordedAt: Date;
}

/** The messages with all changes, in their order, for the endpoints that want them. */
export function toChangeDeliveries(
  targets: readonly Target[],
  changes: readonly QueuedChange[],
  epoch: string,
): readonly NewDelivery[] {
  const wanting = targets.filter(({ format }) => format === 'CHANGES');
  if (wanting.length === 0) return [];
  const chunks = toChunks(changes.map((change) => toChangeJson(change, epoch)));
  return wanting.flatMap(({ id: endpointId }) =>
    chunks.map(({ cursors: [first = '', last = ''], content }) => ({
      endpointId,
      id: toMessageId(endpointId, first, last),
      type: 'changes',
      content,
      incidentId: null,
      changeId: null,
    })),
  );
}

/** The same for the same message, so that a receiver knows a repetition. */
function toMessageId(endpointId: string, ...about: readonly string[]): string {
  return `msg_${hash('sha256', JSON.stringify([endpointId, ...about]), 'hex').slice(0, 32)}`;
}

/** As JSON, so that a change with two of them fits into a message. */
const maxValueBytes = 9_000;

function toChangeJson(change: QueuedChange, epoch: string): ChangeJson {
  const { sequence, numberId, wabaId, kind, field, previousValue, newValue } = change;
  const { source, observation, occurredAt, recordedAt } = change;
  return {
    cursor: encodeCursor({ epoch, sequence }),
    numberId,
    wabaId,
    kind,
    field,
    previousValue: shorten(previousValue),
    newValue: shorten(newValue),
    source,
    observation,
    occurredAt: occurredAt.toISOString(),
    recordedAt: recordedAt.toISOString(),
  };
}

/** What was added may have more fields than fit; then the feed has them. */
function shorten(value: string | null): string | null {
  return Buffer.byteLength(JSON.stringify(value)) <= maxValueBytes ? value : null;
}

interface Chunk {
  readonly cursors: readonly string[];
  readonly content: string;
}

/** Each of as many changes as fit. */
function toChunks(changes: readonly ChangeJson[]): readonly Chunk[] {
  const chunks: ChangeJson[][] = [];
  let size = Infinity;
  for (const change of changes) {
    const bytes = Buffer.byteLength(JSON.stringify(change)) + 1;
    if (size + bytes > maxContentBytes - overheadBytes) {
      chunks.push([]);
      size = 0;
    }
    size += bytes;
    chunks.at(-1)!.push(change);
  }
  return chunks.map((chunk) => {
    const { cursor, recordedAt } = chunk.at(-1)!;
    const message: Message = {
      type: 'changes',
      timestamp: recordedAt,
      data: { changes: chunk, cursor },
    };
    return { cursors: [chunk[0]!.cursor, cursor], content: toContent(message) };
  });
}

/** Of a message around its changes. */
const overheadBytes = 500;
