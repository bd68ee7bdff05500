// Owns the OpenAPI document: made from the route table and the error catalogue, so that it cannot say anything else than
// they do. The schemas of good answers stand in schemas.ts.

import { type ErrorCode, errorCatalogue } from '../errors.ts';
import {
  examples,
  type Json,
  type ReplyName,
  toNumberSchemas,
  toObject,
  toText,
} from './schemas.ts';

/** A query parameter that takes one of a few words; any other value is INVALID_REQUEST. */
export interface QueryParameter {
  readonly name: string;
  readonly values: readonly string[];
  readonly description: string;
}

/** What is told of a route. */
export interface RouteDescription {
  readonly method: 'GET';
  /** With `{id}` for the id of a number. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  /** Others are ignored. */
  readonly query?: readonly QueryParameter[];
  /** The schema of a 200. */
  readonly reply: ReplyName;
  /** Beside those that every route has. */
  readonly errors: readonly ErrorCode[];
}

/** Plain JSON, OpenAPI 3.1. Objects are open in it, as members may be added to answers. */
export function toOpenApi(routes: readonly RouteDescription[]): Json {
  const byPath = Map.groupBy(routes, (route) => route.path);
  return {
    openapi: '3.1.1',
    info: {
      title: 'Numbers gateway',
      version: '1.0.0',
      description:
        'The WhatsApp numbers of a tenant: connection, health, and what the Graph API of Meta knows about them. Every GET is answered to HEAD too. A member that is not known is null, never missing. The same is asked, several numbers at once, at POST /graphql.',
    },
    servers: [{ url: '/' }],
    security: [{ apiKey: [] }],
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
            'A key of the tenant or of one of its numbers, `ps_…`; both see all numbers.',
        },
      },
      parameters: { Id: idParameter, IfNoneMatch: ifNoneMatchParameter },
      headers,
      schemas: { ...toNumberSchemas(), Error: toErrorSchema(routes) },
    },
  };
}

const idParameter = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'The `id` of a number, as the list shows it.',
  schema: { type: 'string' },
  example: 'wa_abc',
};

const ifNoneMatchParameter = {
  name: 'If-None-Match',
  in: 'header',
  description: 'The `ETag` of an earlier answer: if nothing has changed, the reply is a 304.',
  schema: { type: 'string' },
};

const retrySeconds = { type: 'string', pattern: '^[1-9][0-9]*$' };

const headers = {
  ETag: {
    description: 'Names this very content.',
    required: true,
    schema: { type: 'string', pattern: '^"[^"]+"$' },
  },
  CacheControl: {
    description: 'To be asked for again before each use, and for the caller alone.',
    required: true,
    schema: { const: 'private, no-cache' },
  },
  Vary: {
    description: 'The answer depends on the key.',
    required: true,
    schema: { type: 'string' },
  },
  RequestId: {
    description: 'Finds the request in the log; the one that the caller sent, if it is harmless.',
    required: true,
    schema: { type: 'string' },
  },
  RateLimit: {
    description: "What is left of the tenant's points, and in how many seconds all are back.",
    schema: { type: 'string', pattern: '^"points";r=[0-9]+;t=[0-9]+$' },
  },
  RateLimitPolicy: {
    description: 'How many points the tenant may spend in how many seconds.',
    schema: { type: 'string', pattern: '^"points";q=[0-9]+;w=[0-9]+$' },
  },
  RetryAfter: {
    description: 'Seconds after which the same request may succeed.',
    required: true,
    schema: retrySeconds,
  },
  RetryAfterIfAny: {
    description: 'The same, where waiting may help.',
    schema: retrySeconds,
  },
};

const everyReply = {
  'Cache-Control': { $ref: '#/components/headers/CacheControl' },
  Vary: { $ref: '#/components/headers/Vary' },
  RateLimit: { $ref: '#/components/headers/RateLimit' },
  'RateLimit-Policy': { $ref: '#/components/headers/RateLimitPolicy' },
  'X-Request-Id': { $ref: '#/components/headers/RequestId' },
};

function toOperation(route: RouteDescription): Json {
  const { operationId, summary, description, query = [] } = route;
  const goodReply = { ...everyReply, ETag: { $ref: '#/components/headers/ETag' } };
  const failures = Map.groupBy(toErrorCodes(route), (code) => errorCatalogue[code].status);
  return {
    operationId,
    summary,
    description,
    parameters: [
      ...(route.path.includes('{id}') ? [{ $ref: '#/components/parameters/Id' }] : []),
      ...query.map(toQueryParameter),
      { $ref: '#/components/parameters/IfNoneMatch' },
    ],
    responses: {
      200: {
        description: summary,
        headers: goodReply,
        content: {
          'application/json': {
            schema: { $ref: `#/components/schemas/${route.reply}` },
            ...(route.reply in examples && { examples: examples[route.reply] }),
          },
        },
      },
      304: { description: 'Nothing has changed since the ETag was given.', headers: goodReply },
      ...Object.fromEntries(
        [...failures].map(([status, codes]) => [status, toFailure(status, codes)]),
      ),
    },
  };
}

function toQueryParameter({ name, values, description }: QueryParameter): Json {
  return { name, in: 'query', description, schema: { type: 'string', enum: values } };
}

function toErrorCodes({ query, errors }: RouteDescription): readonly ErrorCode[] {
  const malformed: readonly ErrorCode[] = query === undefined ? [] : ['INVALID_REQUEST'];
  return [...malformed, 'UNAUTHENTICATED', 'RATE_LIMITED', ...errors, 'UNAVAILABLE', 'INTERNAL'];
}

function toFailure(status: number, codes: readonly ErrorCode[]): Json {
  const mayPass = codes.some((code) => errorCatalogue[code].retryable);
  const retryAfter = status === 429 || status === 503 ? 'RetryAfter' : 'RetryAfterIfAny';
  return {
    description: codes.map((code) => `${code}: ${errorCatalogue[code].meaning}`).join('\n\n'),
    headers: {
      ...everyReply,
      ...(mayPass && { 'Retry-After': { $ref: `#/components/headers/${retryAfter}` } }),
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

function toErrorSchema(routes: readonly RouteDescription[]): Json {
  const codes = new Set<ErrorCode>([...routes.flatMap(toErrorCodes), ...ofNoRoute]);
  return {
    ...toObject('Why there is no answer.', {
      error: toText('A sentence for people.'),
      code: { type: 'string', description: 'A word for programs.', enum: [...codes] },
      requestId: toText('The same as in the header x-request-id.'),
      details: toObject('What Meta, or the session engine, said about the failure.', {
        metaCode: { type: ['integer', 'null'], description: "Meta's error code." },
        metaSubcode: { type: ['integer', 'null'], description: "Meta's error subcode." },
        fbtraceId: { type: ['string', 'null'], description: "Meta's trace id, for its support." },
        transient: { type: 'boolean', description: 'Whether the same may succeed later.' },
        retryAt: {
          type: ['string', 'null'],
          format: 'date-time',
          description: 'When the upstream said to come back.',
        },
      }),
    }),
    required: ['error', 'code', 'requestId'],
  };
}

/** For a path or a method that no route has. */
const ofNoRoute: readonly ErrorCode[] = ['NOT_FOUND', 'METHOD_NOT_ALLOWED'];
