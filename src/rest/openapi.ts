// The OpenAPI document, generated from the route table and the error catalogue so that it cannot differ from them.

import type { KeyScope } from '../access/key.ts';
import { type ErrorCode, errorCatalogue } from '../errors.ts';
import { toChangeSchemas } from './change.ts';
import { toFleetSchemas } from './fleet-schemas.ts';
import { commonHeaders, headers, parameters, publicHeaders } from './headers.ts';
import { toIncidentSchemas } from './incident-schemas.ts';
import { failureDetails } from './included.ts';
import { type Json, toObject, toText } from './json-schema.ts';
import { type BodyName, toOperationSchemas } from './operation-schemas.ts';
import { toSyncSchemas } from './sync-schemas.ts';
import { examples, type ReplyName, toNumberSchemas } from './schemas.ts';

/** A query parameter; another value than those that it may have is INVALID_REQUEST. */
export interface QueryParameter {
  readonly name: string;
  /** The fixed set of its values. If absent, the handler checks the value. */
  readonly values?: readonly string[];
  /** Of a value that is not of a fixed set. */
  readonly schema?: Json;
  /** Whether several values may be given, separated by commas; one if absent. */
  readonly isList?: boolean;
  readonly description: string;
}

export interface RouteDescription {
  readonly method: 'GET' | 'PATCH' | 'POST';
  /** `{id}` stands for the id of a number or an incident. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: Tag;
  readonly summary: string;
  readonly description: string;
  /** Other query parameters are ignored, and named in the response header `x-ignored-parameters`. */
  readonly query?: readonly QueryParameter[];
  /** Whether other query parameters are INVALID_REQUEST instead. */
  readonly refusesOthers?: true;
  /** The name of the schema of the body in JSON; the route has no body if absent. */
  readonly body?: BodyName;
  /** What the API key has to allow; `read` if absent. */
  readonly scope?: KeyScope;
  /** The status of a success; 200 if absent. */
  readonly status?: 200 | 202;
  /** The schema of a success. */
  readonly reply: ReplyName;
  /** An example of the stream of events that a client may ask for instead; it cannot if absent. */
  readonly events?: string;
  /** In addition to those of every route. */
  readonly errors: readonly ErrorCode[];
  /** Whether it needs no key. */
  readonly isPublic?: true;
}

const tags = {
  Numbers: 'The numbers of the tenant: stored values, and live reads.',
  Operations: 'What operators note about numbers. Needs a key with the scope `operate`.',
  Changes: 'What changed, and when: pages of changes, and a stream of them.',
  Incidents: 'What is wrong, or was, and who has acknowledged it.',
  Description: 'What this API is.',
} as const satisfies Record<string, string>;

type Tag = keyof typeof tags;

/**
 * OpenAPI 3.1. Its object schemas are open, because members may be added to responses. `publicUrl` is that of the
 * configuration; without it the server is the one that the document was read from.
 */
export function toOpenApi(routes: readonly RouteDescription[], publicUrl: string | null): Json {
  const byPath = Map.groupBy(routes, (route) => route.path);
  return {
    openapi: '3.1.1',
    info: {
      title: 'Numbers gateway',
      version: '1.0.0',
      description:
        "The WhatsApp numbers of a tenant: connection state, health, and the last snapshot from Meta's Graph API. Every GET route also responds to HEAD. A member whose value is unknown is null, never missing. POST /graphql answers the same questions, for several numbers at once.",
      contact: {
        name: 'The operator of this gateway',
        ...(publicUrl !== null && { url: publicUrl }),
      },
    },
    servers: [{ url: publicUrl ?? '/', description: 'This gateway' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    security: [{ apiKey: [] }, { bearer: [] }],
    paths: Object.fromEntries(
      [...byPath].map(([path, ofPath]) => [
        path,
        Object.fromEntries(ofPath.map((route) => [route.method.toLowerCase(), toOperation(route)])),
      ]),
    ),
    components: {
      securitySchemes: {
        apiKey: {
          type: 'apiKey',
          in: 'header',
          name: 'x-api-key',
          description:
            'An API key (`ps_…`) of the tenant or of one of its numbers, with the scope `read`, or `operate` for the routes that say so. Both see all numbers of the tenant; a key of a number changes this number alone, and the incidents that are about nothing else.',
        },
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'The same API key as `Authorization: Bearer ps_…`.',
        },
      },
      parameters,
      headers,
      schemas: toSchemas(routes),
    },
  };
}

function toSchemas(routes: readonly RouteDescription[]): Json {
  return {
    ...toNumberSchemas(),
    ...toFleetSchemas(),
    ...toChangeSchemas(),
    ...toOperationSchemas(),
    ...toSyncSchemas(),
    ...toIncidentSchemas(),
    Error: toErrorSchema(routes),
  };
}

function toKeyedHeaders({ query = [], refusesOthers }: RouteDescription): Json {
  return {
    ...commonHeaders,
    ...(query.some(({ name }) => name === 'refresh') && {
      'X-Refresh': { $ref: '#/components/headers/Refresh' },
    }),
    ...(refusesOthers !== true && {
      'X-Ignored-Parameters': { $ref: '#/components/headers/IgnoredParameters' },
    }),
  };
}

function toOkHeaders({ method, query = [], events }: RouteDescription, headersOfAll: Json): Json {
  const ofEvents = {
    'Cache-Control': { $ref: '#/components/headers/CacheControlOfEvents' },
    'X-Accel-Buffering': { $ref: '#/components/headers/AccelBuffering' },
  };
  return {
    ...headersOfAll,
    ...(events !== undefined && ofEvents),
    ...(query.some(({ name }) => name === 'cursor') && {
      Link: { $ref: '#/components/headers/Link' },
    }),
    ...(method === 'GET' && {
      ETag: { $ref: `#/components/headers/${events === undefined ? 'ETag' : 'ETagIfAny'}` },
    }),
    'Content-Encoding': { $ref: '#/components/headers/ContentEncoding' },
  };
}

function toOperation(route: RouteDescription): Json {
  const { operationId, tag, summary, description, query = [], isPublic = false } = route;
  const headersOfFailures = isPublic ? commonHeaders : toKeyedHeaders(route);
  const okHeaders = toOkHeaders(route, isPublic ? publicHeaders : headersOfFailures);
  const failures = Map.groupBy(toErrorCodes(route), (code) => errorCatalogue[code].status);
  return {
    operationId,
    tags: [tag],
    summary,
    description,
    ...(isPublic && { security: [] }),
    parameters: [
      ...(route.path.includes('{id}') ? [{ $ref: '#/components/parameters/Id' }] : []),
      ...query.map(toQueryParameter),
      ...(route.method === 'GET' ? [{ $ref: '#/components/parameters/IfNoneMatch' }] : []),
      ...(route.events === undefined ? [] : [{ $ref: '#/components/parameters/LastEventId' }]),
    ],
    ...(route.body !== undefined && { requestBody: toRequestBody(route.body) }),
    responses: {
      ...toSuccess(route, okHeaders),
      ...Object.fromEntries(
        [...failures].map(([status, codes]) => [
          status,
          toFailure(status, codes, headersOfFailures),
        ]),
      ),
    },
  };
}

/** Also when the client already has the content. */
function toSuccess(route: RouteDescription, okHeaders: Json): Json {
  const { method, status = 200, summary, reply, events } = route;
  return {
    [status]: {
      description: summary,
      headers: okHeaders,
      content: {
        'application/json': {
          schema: { $ref: `#/components/schemas/${reply}` },
          ...(reply in examples && { examples: examples[reply] }),
        },
        ...(events !== undefined && {
          'text/event-stream': {
            schema: {
              type: 'string',
              description: 'https://html.spec.whatwg.org/multipage/server-sent-events.html',
            },
            examples: { EVENTS: { value: events } },
          },
        }),
      },
    },
    ...(method === 'GET' && {
      304: {
        description: 'The content is that of the ETag in `If-None-Match`.',
        headers: okHeaders,
      },
    }),
  };
}

function toRequestBody(name: BodyName): Json {
  const schema = { $ref: `#/components/schemas/${name}` };
  return { required: true, content: { 'application/json': { schema } } };
}

function toQueryParameter(parameter: QueryParameter): Json {
  const { name, values, isList = false, description } = parameter;
  const schema = parameter.schema ?? { type: 'string', enum: values };
  const described = { name, in: 'query', description };
  if (!isList) return { ...described, schema };
  const list = { type: 'array', items: schema, minItems: 1, uniqueItems: true };
  // Separated by commas.
  return { ...described, style: 'form', explode: false, schema: list };
}

function toErrorCodes({ query, body, errors, isPublic }: RouteDescription): readonly ErrorCode[] {
  if (isPublic) return [...errors, 'UNAVAILABLE'];
  const isParsed = query !== undefined || body !== undefined;
  const malformed: readonly ErrorCode[] = isParsed ? ['INVALID_REQUEST'] : [];
  return [
    ...malformed,
    'URI_TOO_LONG',
    'UNAUTHENTICATED',
    'FORBIDDEN',
    'RATE_LIMITED',
    ...errors,
    'UNAVAILABLE',
    'INTERNAL',
  ];
}

function toFailure(status: number, codes: readonly ErrorCode[], headersOfAny: Json): Json {
  const isRetryable = codes.some((code) => errorCatalogue[code].retryable);
  const retryAfter = status === 429 || status === 503 ? 'RetryAfter' : 'RetryAfterIfAny';
  return {
    description: codes.map((code) => `${code}: ${errorCatalogue[code].meaning}`).join('\n\n'),
    headers: {
      ...headersOfAny,
      ...(status === 401 && {
        'WWW-Authenticate': { $ref: '#/components/headers/WwwAuthenticate' },
      }),
      ...(isRetryable && { 'Retry-After': { $ref: `#/components/headers/${retryAfter}` } }),
    },
    content: {
      'application/json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Error' },
            { type: 'object', properties: { code: { enum: codes } } },
          ],
        },
      },
    },
  };
}

const upstreamDetails = toObject(
  'What the upstream (Meta or the session engine) reported.',
  failureDetails,
);

const pointsDetails = toObject('Of RATE_LIMITED: the points of the tenant.', {
  requested: { type: 'integer', description: 'What the request may cost.' },
  remaining: { type: 'integer', description: 'What was left before the request.' },
  limit: { type: 'integer', description: 'What the tenant may spend per window.' },
});

function toErrorSchema(routes: readonly RouteDescription[]): Json {
  const codes = new Set<ErrorCode>([...routes.flatMap(toErrorCodes), ...unmatchedErrors]);
  return {
    ...toObject('Why the request failed.', {
      error: toText('What happened and what to do, in English.'),
      code: { type: 'string', description: 'The error code, for programs.', enum: [...codes] },
      requestId: toText('As in the header x-request-id.'),
      details: { anyOf: [upstreamDetails, pointsDetails] },
    }),
    required: ['error', 'code', 'requestId'],
  };
}

/** Of a path or a method that matches no route. */
const unmatchedErrors: readonly ErrorCode[] = ['NOT_FOUND', 'METHOD_NOT_ALLOWED'];
