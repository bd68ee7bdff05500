// The requests that are measured.

import { toNumberId, toTenantKey } from './fleet.ts';

/** An HTTP request to any contestant. */
export interface BenchRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** '' for none. */
  readonly body: string;
}

export const graphqlShapes = ['list', 'thin', 'detail'] as const;
export const restShapes = ['REST list', 'REST detail'] as const;
export const shapes = [...graphqlShapes, ...restShapes] as const;
export type GraphQLShape = (typeof graphqlShapes)[number];
export type Shape = (typeof shapes)[number];

/** The documents on one line each, as the build tool of a frontend sends them. */
export const documents: Readonly<Record<GraphQLShape, string>> = {
  list: toLine(`query List { numbers {
    id instanceName number name provider state isFullyConnected createdAt updatedAt
    apiKeys { name keyPrefix keyLast4 }
    health { qualityRating messagingLimitTier metaStatus sendable }
  } }`),
  thin: 'query Thin { numbers { id state } }',
  detail: toLine(`query Detail($id: ID!) { number(id: $id) {
    id number name provider state isFullyConnected createdAt updatedAt
    health { qualityRating messagingLimitTier metaStatus sendable }
    meta {
      fetchedAt
      phone { displayPhoneNumber verifiedName qualityRating messagingLimitTier isPinEnabled }
      profile { about email websites vertical }
      waba { id name currency businessVerificationStatus country }
    }
  } }`),
};

/** The request of the tenant at this place; `index`, from 1, is the number that `detail` shapes ask for. */
export function toRequest(shape: Shape, place: number, index = 1): BenchRequest {
  const key = { 'x-api-key': toTenantKey(place) };
  const id = toNumberId(place, index);
  switch (shape) {
    case 'REST list':
      return { method: 'GET', path: '/v1/numbers', headers: key, body: '' };
    case 'REST detail':
      return { method: 'GET', path: `/v1/numbers/${id}`, headers: key, body: '' };
    case 'list':
    case 'thin':
    case 'detail': {
      const variables = shape === 'detail' ? { variables: { id } } : {};
      return toGraphQLRequest(documents[shape], key, variables);
    }
  }
}

export function toGraphQLRequest(
  query: string,
  key: Readonly<Record<string, string>>,
  more: Readonly<Record<string, unknown>> = {},
): BenchRequest {
  return {
    method: 'POST',
    path: '/graphql',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...key },
    body: JSON.stringify({ query, ...more }),
  };
}

export interface BenchResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Rejects after ten seconds. */
export async function send(url: string, request: BenchRequest): Promise<BenchResponse> {
  const { method, path, headers, body } = request;
  const response = await fetch(new URL(path, url), {
    method,
    // fetch asks for compression otherwise.
    headers: { 'accept-encoding': 'identity', ...headers },
    signal: AbortSignal.timeout(10_000),
    ...(method === 'POST' && { body }),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

function toLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}
