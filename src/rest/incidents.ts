// The routes of incidents: a page of them, and that somebody acknowledges one.

import { prices } from '../access/prices.ts';
import {
  defaultPageSize,
  type Incident,
  type IncidentActor,
  type IncidentPage,
  type Incidents,
  type IncidentState,
  maxPageSize,
} from '../alerts/incidents.ts';
import { createInvalid } from '../fleet/filter.ts';
import type { HandlerInput } from './numbers.ts';
import type { QueryParameter } from './openapi.ts';
import { createParameterError, type DataRoute } from './route.ts';

const path = '/v1/incidents';

export function createIncidentRoutes(incidents: Incidents): readonly DataRoute[] {
  return [createListRoute(incidents), createGetRoute(incidents), createAcknowledgeRoute(incidents)];
}

function createListRoute(incidents: Incidents): DataRoute {
  return {
    method: 'GET',
    path,
    operationId: 'listIncidents',
    tag: 'Incidents',
    summary: 'What is wrong, or was, newest first',
    description:
      'A page of the incidents of the tenant, and how many there are on all pages. Request the next page with `cursor`, or follow the `Link` header. An incident whose state does not change during the walk is seen exactly once. Other query parameters are refused.',
    query: parameters,
    refusesOthers: true,
    reply: 'IncidentPage',
    errors: ['INVALID_CURSOR'],
    async handler({ access, query }) {
      const page = await incidents.list(access, {
        // The route has checked it.
        state: query['state'] as IncidentState | undefined,
        first: readLimit(query['limit']),
        after: query['cursor'],
        counted: true,
      });
      return toPageJson(page);
    },
    maxPrice: ({ limit }) => prices.incidents + readLimit(limit) * prices.incident,
    isFixedPrice: true,
    isStored: () => true,
    toHeaders: (value, query) => toLink(value as ReturnType<typeof toPageJson>, query),
  };
}

function createGetRoute(incidents: Incidents): DataRoute {
  return {
    method: 'GET',
    path: `${path}/{id}`,
    operationId: 'getIncident',
    tag: 'Incidents',
    summary: 'One incident',
    description: 'An incident of the tenant, also one that is over.',
    reply: 'Incident',
    errors: ['INCIDENT_NOT_FOUND'],
    handler: async ({ access, id }) => toIncidentJson(await incidents.get(access, id)),
    maxPrice: () => prices.incidents + prices.incident,
    isFixedPrice: true,
    isStored: () => true,
  };
}

function createAcknowledgeRoute(incidents: Incidents): DataRoute {
  return {
    method: 'POST',
    path: `${path}/{id}/acknowledge`,
    operationId: 'acknowledgeIncident',
    tag: 'Incidents',
    summary: 'Say that somebody looks after an incident',
    description:
      'Endpoints for alerts that have not accepted the message about its beginning are not sent it any more; they are still told of its end. The incident stays open until its cause is gone. It may be repeated: what is so already is not changed again. What it changes is in the changes, with the API key as the actor. Needs a key with the scope `operate`; a key of a number acknowledges incidents that are about this number alone.',
    scope: 'operate',
    body: 'Acknowledgement',
    reply: 'Incident',
    errors: ['INCIDENT_NOT_FOUND'],
    async handler({ access, id, body }) {
      return toIncidentJson(await incidents.acknowledge(access, { id, note: readNote(body) }));
    },
    maxPrice: () => prices.operation + prices.incident,
    isFixedPrice: true,
  };
}

/** Throws INVALID_REQUEST. */
function readNote({ note = null, ...others }: HandlerInput['body']): string | null {
  if (Object.keys(others).length > 0) {
    throw createInvalid('The body may have the member note and no others.');
  }
  if (note === null || typeof note === 'string') return note;
  throw createInvalid('note must be a text or null.');
}

function toPageJson({ edges, hasNextPage, totalCount }: IncidentPage) {
  return {
    data: edges.map(({ node }) => toIncidentJson(node)),
    total: totalCount,
    next: hasNextPage ? (edges.at(-1)?.cursor ?? null) : null,
  };
}

/** https://www.rfc-editor.org/rfc/rfc8288 */
function toLink({ next }: { readonly next: string | null }, query: HandlerInput['query']) {
  if (next === null) return {};
  const search = new URLSearchParams({ ...query, cursor: next });
  return { link: `<${path}?${search}>; rel="next"` } as const;
}

/** Member by member, so that nothing is published by accident. */
export function toIncidentJson(incident: Incident) {
  const { id, rule, severity, state, scope, subject, subjectName } = incident;
  return {
    id,
    rule,
    covers: incident.covers,
    severity,
    state,
    scope,
    subject,
    subjectName,
    numberCount: incident.numberCount,
    numbers: incident.numbers.map(({ id: numberId, name, number }) => ({
      id: numberId,
      name,
      number,
    })),
    text: incident.text,
    previousValue: incident.previousValue,
    newValue: incident.newValue,
    openedAt: incident.openedAt,
    closedAt: incident.closedAt,
    acknowledgedAt: incident.acknowledgedAt,
    acknowledgedBy: toActorJson(incident.acknowledgedBy),
    note: incident.note,
  };
}

function toActorJson(actor: IncidentActor | null) {
  if (actor === null) return null;
  const { type, actorKey: key } = actor;
  if (key === null) return { type, key };
  const { name, keyPrefix, keyLast4 } = key;
  return { type, key: { name, keyPrefix, keyLast4 } };
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return defaultPageSize;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= maxPageSize) return limit;
  throw createParameterError('limit', `once, as a number from 1 to ${maxPageSize}`);
}

const parameters: readonly QueryParameter[] = [
  { name: 'state', values: ['OPEN', 'CLOSED'], description: 'Only those; all if absent.' },
  {
    name: 'limit',
    schema: { type: 'integer', minimum: 1, maximum: maxPageSize, default: defaultPageSize },
    description: 'How many incidents the page has at most.',
  },
  {
    name: 'cursor',
    schema: { type: 'string' },
    description: 'The `next` of the page before. Send the state of that page too.',
  },
];
