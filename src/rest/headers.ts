// The headers and parameters of the OpenAPI document that several routes share.

/** By name, for `components.parameters`. */
export const parameters = {
  Id: {
    name: 'id',
    in: 'path',
    required: true,
    description: 'The `id` of a number or an incident, from their lists.',
    schema: { type: 'string' },
    example: 'wa_abc',
  },
  IfNoneMatch: {
    name: 'If-None-Match',
    in: 'header',
    description:
      'The `ETag` of an earlier response. If the content is the same, the response is a 304.',
    schema: { type: 'string' },
  },
  LastEventId: {
    name: 'Last-Event-ID',
    in: 'header',
    description:
      'Of a stream: the id of the last event that the client has received. It takes precedence over `after`.',
    schema: { type: 'string' },
  },
};

const retrySeconds = { type: 'string', pattern: '^[1-9][0-9]*$' };

/** By name, for `components.headers`. */
export const headers = {
  ETag: {
    description: 'Identifies this version of the content.',
    required: true,
    schema: { type: 'string', pattern: '^(W/)?"[^"]+"$' },
  },
  ETagIfAny: {
    description: 'Identifies this version of the content; absent from a stream of events.',
    schema: { type: 'string', pattern: '^(W/)?"[^"]+"$' },
  },
  CacheControl: {
    description:
      'The response has to be revalidated before each reuse, and only the caller may store it.',
    required: true,
    schema: { const: 'private, no-cache' },
  },
  CacheControlOfEvents: {
    description: 'As of other responses; a stream of events may not be stored at all.',
    required: true,
    schema: { enum: ['private, no-cache', 'no-store, no-transform'] },
  },
  AccelBuffering: {
    description: 'Of a stream of events: tells proxies not to keep events back.',
    schema: { const: 'no' },
  },
  PublicCacheControl: {
    description: 'The response has to be revalidated before each reuse.',
    required: true,
    schema: { const: 'no-cache' },
  },
  PublicVary: {
    description: 'The response depends on nothing but the coding of its body.',
    required: true,
    schema: { const: 'accept-encoding' },
  },
  Vary: {
    description: 'The response depends on the API key.',
    required: true,
    schema: { type: 'string' },
  },
  RequestId: {
    description:
      'Identifies the request in the log. The value that the caller sent is kept if it is safe to log.',
    required: true,
    schema: { type: 'string' },
  },
  RateLimit: {
    description: "The tenant's remaining points, and the seconds until the window ends.",
    schema: { type: 'string', pattern: '^"points";r=[0-9]+;t=[0-9]+$' },
  },
  RateLimitPolicy: {
    description: 'The points that the tenant may spend per window, and its length in seconds.',
    schema: { type: 'string', pattern: '^"points";q=[0-9]+;w=[0-9]+$' },
  },
  Refresh: {
    description:
      'With `refresh`, how the read of each part ended: LIVE, or an error code. Of a number of a session engine the part is `state`.',
    schema: {
      type: 'string',
      pattern: '^(phone|profile|waba|state)=[A-Z_]+(, (phone|profile|waba)=[A-Z_]+)*$',
    },
  },
  Link: {
    description: 'The next page, by RFC 8288; absent on the last one.',
    schema: { type: 'string', pattern: '^<[^>]+>; rel="next"$' },
  },
  IgnoredParameters: {
    description: 'The query parameters that this route does not have.',
    schema: { type: 'string' },
  },
  ContentEncoding: {
    description:
      'The coding of the body, as negotiated by `Accept-Encoding`; absent if it is not compressed.',
    schema: { enum: ['br', 'gzip'] },
  },
  WwwAuthenticate: {
    description: 'The key may also be sent as a Bearer token.',
    required: true,
    schema: { const: 'Bearer' },
  },
  RetryAfter: {
    description: 'Seconds to wait before the same request may succeed.',
    required: true,
    schema: retrySeconds,
  },
  RetryAfterIfAny: {
    description:
      'Seconds to wait before the same request may succeed; absent if waiting does not help.',
    schema: retrySeconds,
  },
};

/** Of a successful response that needs no key. */
export const publicHeaders = {
  'Cache-Control': { $ref: '#/components/headers/PublicCacheControl' },
  Vary: { $ref: '#/components/headers/PublicVary' },
  'X-Request-Id': { $ref: '#/components/headers/RequestId' },
};

/** Of a response that needs a key, and of any failure. */
export const commonHeaders = {
  'Cache-Control': { $ref: '#/components/headers/CacheControl' },
  Vary: { $ref: '#/components/headers/Vary' },
  RateLimit: { $ref: '#/components/headers/RateLimit' },
  'RateLimit-Policy': { $ref: '#/components/headers/RateLimitPolicy' },
  'X-Request-Id': { $ref: '#/components/headers/RequestId' },
};
