// Cross-origin requests of browsers. Keys are sent in a header that the page sets itself, so credentials are not allowed.
// https://fetch.spec.whatwg.org/#http-cors-protocol

import type { HeaderReader, HttpRequest, HttpResponse } from './message.ts';
import { clientHeaderNames } from './request-context.ts';

export function isPreflight({ method, headers }: HttpRequest): boolean {
  return method === 'OPTIONS' && headers.get('access-control-request-method') !== null;
}

export function toPreflightResponse(
  { headers }: HttpRequest,
  origins: readonly string[],
): HttpResponse {
  const isAllowed = findOrigin(headers, origins) !== null;
  return { status: 204, headers: isAllowed ? preflightHeaders : {}, body: null };
}

const preflightHeaders = {
  'access-control-allow-methods': 'GET, HEAD, POST',
  'access-control-allow-headers': [
    ...clientHeaderNames,
    'authorization',
    'content-type',
    'if-none-match',
    'last-event-id',
    'traceparent',
    'tracestate',
    'x-api-key',
    'x-include-cost',
    'x-request-id',
  ].join(', '),
  'access-control-max-age': '600',
};

const exposedHeaders = [
  'etag',
  'link',
  'ratelimit',
  'ratelimit-policy',
  'retry-after',
  'x-ignored-parameters',
  'x-refresh',
  'x-request-id',
].join(', ');

/** Changes `headers`, those of the response. */
export function addCorsHeaders(
  headers: Record<string, string>,
  requestHeaders: HeaderReader,
  origins: readonly string[],
): void {
  const origin = findOrigin(requestHeaders, origins);
  if (origin !== null) {
    headers['access-control-allow-origin'] = origin;
    headers['access-control-expose-headers'] = exposedHeaders;
  }
  const { vary } = headers;
  headers['vary'] = vary === undefined ? 'origin' : `${vary}, origin`;
}

function findOrigin(headers: HeaderReader, origins: readonly string[]): string | null {
  const origin = headers.get('origin');
  return origin !== null && origins.includes(origin) ? origin : null;
}
