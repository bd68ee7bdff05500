// The route of the changes: its query parameters, and the pages and long polls that it answers in JSON.

import { prices } from '../access/prices.ts';
import { GatewayError } from '../errors.ts';
import { changeKinds, type ChangePage } from '../history/change.ts';
import { changeFields } from '../history/change-fields.ts';
import {
  type ChangesRequest,
  defaultPageSize,
  type History,
  maxFilterValues,
  maxPageSize,
} from '../history/history.ts';
import type { OpenStream } from '../http/event-stream.ts';
import { changeEvents, toChangePage } from './change.ts';
import { streamChanges } from './change-stream.ts';
import type { HandlerInput } from './numbers.ts';
import type { QueryParameter } from './openapi.ts';
import { createParameterError, type DataRoute, variesByMediaType } from './route.ts';

const maxWaitSeconds = 30;

export function createChangesRoute(history: History): DataRoute {
  return {
    method: 'GET',
    path: '/v1/changes',
    operationId: 'listChanges',
    tag: 'Changes',
    summary: 'What changed after a cursor, at once or as it happens',
    description,
    query: parameters,
    refusesOthers: true,
    reply: 'ChangePage',
    events: changeEvents,
    errors: ['INVALID_CURSOR', 'CURSOR_EXPIRED', 'CURSOR_UNKNOWN', 'TOO_MANY_STREAMS'],
    handler: async (input) => toChangePage(await readPage(history, input)),
    eventHandler: (input) => {
      const { after, filter } = readRequest(input);
      return streamChanges(history, input, { after, filter });
    },
    maxPrice: ({ limit }) => prices.changes + readLimit(limit) * prices.change,
    isFixedPrice: true,
    toHeaders: () => ({ vary: variesByMediaType }),
  };
}

const description = `The changes of the tenant's numbers and accounts, oldest first. Without \`after\` there are none, only the \`cursor\` from which the next ones follow: keep it, and send the \`cursor\` of the last page or change that you have handled. With \`wait\` the response comes when there is a change.

With \`Accept: text/event-stream\` the response is a stream of Server-Sent Events without end:

- \`change\`: a change, as in a page. Its id is its cursor.
- \`heartbeat\`: a sign of life, every 15 seconds while nothing else is sent, and at the beginning of a stream without a cursor. Its id is the newest cursor, also when a filter leaves out every change. Its data has \`cursor\` and \`time\`.

A client that connects again with \`Last-Event-ID\` misses nothing; an EventSource does so by itself. After a status other than 200 it does not connect again: read the error, and after 429 and 503 wait as \`Retry-After\` says.

A tenant's changes have one order, the one in which they were committed, without gaps. A change usually arrives within 250 ms of its commit, and normally at the latest after 5 seconds. It may arrive twice after a connection was lost: it then has the same cursor. A stream and a request that waits count as streams, of which there is a maximum per key and tenant.`;

/** Also checks what only the other form of the response depends on. */
function readRequest({ query }: HandlerInput): ChangesRequest & { readonly waitMs: number } {
  return {
    after: query['after'] ?? null,
    first: readLimit(query['limit']),
    filter: {
      numberIds: readList('number', query['number']),
      kinds: readList('kind', query['kind']),
      fields: readList('field', query['field']),
    },
    waitMs: readWait(query['wait']) * 1_000,
  };
}

async function readPage(history: History, input: HandlerInput): Promise<ChangePage> {
  const { access } = input;
  const request = readRequest(input);
  if (request.waitMs === 0) return await history.readChanges(access, request);
  const stream = input.openStream();
  const signal = AbortSignal.any([stream.signal, stream.draining]);
  try {
    return await history.waitForChanges(access, { ...request, signal });
  } catch (error) {
    throw stream.signal.aborted ? await toEndError(stream) : error;
  }
}

/** Why a long poll has ended before there was an answer. */
async function toEndError({ ended }: OpenStream): Promise<GatewayError> {
  const { reason } = await ended;
  if (reason === 'key invalid') {
    return new GatewayError('UNAUTHENTICATED', 'The API key was revoked, or has expired.');
  }
  const message = 'The gateway has ended the request; send it again.';
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
}

function readList(name: string, text: string | undefined): readonly string[] | undefined {
  const values = text?.split(',');
  if (values !== undefined && values.length > maxFilterValues) {
    throw createParameterError(name, `with at most ${maxFilterValues} values`);
  }
  return values;
}

function readLimit(text: string | undefined): number {
  return readInteger('limit', text, { default: defaultPageSize, minimum: 1, maximum: maxPageSize });
}

function readWait(text: string | undefined): number {
  return readInteger('wait', text, { default: 0, minimum: 0, maximum: maxWaitSeconds });
}

function readInteger(
  name: string,
  text: string | undefined,
  range: { readonly default: number; readonly minimum: number; readonly maximum: number },
): number {
  if (text === undefined) return range.default;
  const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
  if (value >= range.minimum && value <= range.maximum) return value;
  throw createParameterError(name, `once, as a number from ${range.minimum} to ${range.maximum}`);
}

const listOfText = { isList: true, schema: { type: 'string' } } as const;

const parameters: readonly QueryParameter[] = [
  {
    name: 'after',
    schema: { type: 'string' },
    description:
      'A cursor: of a page, of a change, of a heartbeat, or the `feedCursor` of a fleet in GraphQL.',
  },
  {
    name: 'limit',
    schema: { type: 'integer', minimum: 1, maximum: maxPageSize, default: defaultPageSize },
    description: 'How many changes the page has at most. A stream has no pages.',
  },
  {
    name: 'wait',
    schema: { type: 'integer', minimum: 0, maximum: maxWaitSeconds, default: 0 },
    description:
      'How many seconds to wait for a change, if there is none. Then the page is empty. A stream always waits.',
  },
  {
    name: 'number',
    ...listOfText,
    description: `Ids of numbers, at most ${maxFilterValues}: only their changes.`,
  },
  {
    name: 'kind',
    values: Object.keys(changeKinds),
    isList: true,
    description: 'Only changes of these kinds.',
  },
  {
    name: 'field',
    values: Object.keys(changeFields),
    isList: true,
    description: 'Only changes of these fields.',
  },
];
