// The use cases of incidents: what callers read of them, and that somebody acknowledges one.

import { type Access, assertScope } from '../access/access.ts';
import type { KeyHint } from '../access/key.ts';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import { normalizeNote } from '../fleet/note.ts';
import type { Timestamp } from '../numbers/number.ts';
import { toCause, toKeyId } from '../numbers/numbers.ts';
import * as queries from './incident-queries.ts';
import type { IncidentState, PlaceOfIncident, StoredIncident } from './incident-queries.ts';
import { acknowledge, type Acknowledgement } from './incident-store.ts';
import { type MessageNumber, toRuleText } from './message.ts';

export type { IncidentState } from './incident-queries.ts';

export interface Incident {
  readonly id: string;
  /** A name of `alertRules`, or of a later release. */
  readonly rule: string;
  readonly severity: string;
  /** Names of rules that the same cause sets off, and that open no incident of their own; see `coveredBy` in rules.ts. */
  readonly covers: readonly string[];
  readonly state: IncidentState;
  readonly scope: string;
  /** The id of the number, account, portfolio or shared token, or `engine`. */
  readonly subject: string;
  /** Its name, or its id if it has none. */
  readonly subjectName: string;
  /** Of one that is over, of all that were part of it. */
  readonly numberCount: number;
  /** The first of them. */
  readonly numbers: readonly MessageNumber[];
  readonly previousValue: string | null;
  readonly newValue: string | null;
  /** What has happened, in a sentence. */
  readonly text: string;
  readonly openedAt: Timestamp;
  readonly closedAt: Timestamp | null;
  readonly acknowledgedAt: Timestamp | null;
  /** Null when nobody has acknowledged it. */
  readonly acknowledgedBy: IncidentActor | null;
  readonly note: string | null;
}

export interface IncidentActor {
  readonly type: 'KEY' | 'COMMAND_LINE';
  /** Null also for a key that does not exist any more. */
  readonly actorKey: KeyHint | null;
}

export interface IncidentsRequest {
  /** Both if absent. */
  readonly state?: IncidentState | null | undefined;
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  /** Whether the total is counted. */
  readonly counted: boolean;
}

export interface IncidentEdge {
  readonly cursor: string;
  readonly node: Incident;
}

export interface IncidentPage {
  readonly edges: readonly IncidentEdge[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  /** Null unless it was counted. */
  readonly totalCount: number | null;
}

export interface Incidents {
  /** Newest first. Throws INVALID_REQUEST for a page that is too large, and INVALID_CURSOR. */
  list(access: Access, request: IncidentsRequest): Promise<IncidentPage>;
  /** Throws INCIDENT_NOT_FOUND. */
  get(access: Access, id: string): Promise<Incident>;
  /** Of each of the numbers that is part of any, the worst incident that is open. */
  findWorst(access: Access, numberIds: readonly string[]): Promise<ReadonlyMap<string, Incident>>;
  /**
   * What endpoints have not been told of it yet is not sent any more, but for its end. Changes nothing when it is repeated.
   * Throws FORBIDDEN without the scope `operate`, or for a key of a number unless the incident is about this number alone,
   * INVALID_REQUEST for the note, and INCIDENT_NOT_FOUND.
   */
  acknowledge(
    access: Access,
    request: { readonly id: string; readonly note: string | null },
  ): Promise<Incident>;
}

export const defaultPageSize = 50;
export const maxPageSize = 200;

interface Options {
  readonly database: Database;
  readonly now: () => Date;
}

export function createIncidents({ database, now }: Options): Incidents {
  return {
    list: (access, request) => listPage(database, access, request),
    get: (access, id) => readOne(database, access, id),
    async findWorst({ tenantId }, numberIds) {
      const found = await queries.readWorstIncidents(database, tenantId, numberIds);
      return new Map([...found].map(([id, incident]) => [id, toIncident(incident)]));
    },
    async acknowledge(access, { id, note }) {
      assertScope(access, 'operate');
      const { numberId } = access;
      const text = normalizeNote(note);
      const acknowledgement = { id, note: text, at: now(), by: toKeyId(access), numberId };
      const outcome = await acknowledgeStored(database, access, acknowledgement);
      if (outcome === 'FORBIDDEN') throw createForbidden(numberId);
      if (outcome === 'NOT_FOUND') throw createNotFound();
      return await readOne(database, access, id);
    },
  };
}

/** No stored id has a NUL, and PostgreSQL rejects one in a parameter. */
function isPossible(id: string): boolean {
  return !id.includes('\0');
}

async function readOne(database: Database, { tenantId }: Access, id: string): Promise<Incident> {
  const incident = isPossible(id) ? await queries.readIncident(database, tenantId, id) : undefined;
  if (incident === undefined) throw createNotFound();
  return toIncident(incident);
}

async function acknowledgeStored(
  database: Database,
  access: Access,
  acknowledgement: Acknowledgement,
) {
  if (!isPossible(acknowledgement.id)) return 'NOT_FOUND';
  return await acknowledge(database, access.tenantId, acknowledgement, toCause(access));
}

async function listPage(
  database: Database,
  { tenantId }: Access,
  { state = null, first, after, counted }: IncidentsRequest,
): Promise<IncidentPage> {
  const size = first ?? defaultPageSize;
  if (!Number.isInteger(size) || size < 1 || size > maxPageSize) {
    const message = `A page has from 1 to ${maxPageSize} incidents.`;
    throw new GatewayError('INVALID_REQUEST', message);
  }
  const place = after === null || after === undefined ? null : decodeCursor(after);
  const request = { state, after: place, limit: size + 1, counted };
  const { incidents, total } = await queries.readIncidents(database, tenantId, request);
  const edges = incidents
    .slice(0, size)
    .map((incident) => ({ cursor: encodeCursor(incident), node: toIncident(incident) }));
  return {
    edges,
    hasNextPage: incidents.length > size,
    hasPreviousPage: place !== null,
    totalCount: total,
  };
}

function toIncident(stored: StoredIncident): Incident {
  const { subjectName, acknowledgedBy, acknowledgedByKey, ...rest } = stored;
  const { isOfWhole: _, accountCount: __, ...incident } = rest;
  const { subject, closedAt, acknowledgedAt } = incident;
  return {
    ...incident,
    state: closedAt === null ? 'OPEN' : 'CLOSED',
    subjectName: subjectName ?? subject,
    text: toRuleText(stored),
    acknowledgedBy:
      acknowledgedAt === null
        ? null
        : {
            type: acknowledgedBy === null ? 'COMMAND_LINE' : 'KEY',
            actorKey: acknowledgedByKey,
          },
  };
}

function encodeCursor({ openedAt, id }: StoredIncident): string {
  return `i1.${Date.parse(openedAt)}.${id}`;
}

/** Throws INVALID_CURSOR. */
function decodeCursor(text: string): PlaceOfIncident {
  const [, ms, id] = /^i1\.(0|[1-9]\d{0,14})\.(inc_[0-9a-f]{32})$/.exec(text) ?? [];
  if (ms !== undefined && id !== undefined) return { openedAt: Number(ms), id };
  throw new GatewayError(
    'INVALID_CURSOR',
    'The cursor is malformed; send one unchanged from a page of incidents, or start without a cursor.',
  );
}

function createNotFound(): GatewayError {
  const message = 'The tenant has no incident with this id; it may have been deleted with age.';
  return new GatewayError('INCIDENT_NOT_FOUND', message);
}

function createForbidden(numberId: string | null): GatewayError {
  const message = `The API key is bound to the number ${numberId} and acknowledges incidents of this number alone. Send a key of the whole tenant.`;
  return new GatewayError('FORBIDDEN', message);
}
