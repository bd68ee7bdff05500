// Sends GraphQL operations with the key of the user, and says in one form why one failed.

import { followClock } from './clock.ts';

export interface Reply<Data> {
  readonly data: Data;
  /** What the operation cost; null unless it was asked for. */
  readonly cost: Cost | null;
}

export interface Cost {
  /** In points. */
  readonly actual: number;
  readonly upstreamCalls: number;
}

/** Why an operation failed. `code` is one of the API's, or NETWORK when there was no usable response. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: string;
  readonly retryAfterSeconds: number | null;

  constructor(code: string, message: string, retryAfterSeconds: number | null = null) {
    super(message);
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether another key has to be entered. */
  get isAboutKey(): boolean {
    return this.code === 'UNAUTHENTICATED' || this.code === 'FORBIDDEN';
  }
}

/** As an ApiError, which says nothing of a fault of the page itself but its text. */
export function toApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError('INTERNAL', String(error));
}

export interface Operation {
  readonly query: string;
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
  readonly isCostWanted?: boolean;
}

interface Body<Data> {
  readonly data?: Data | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly extensions?: { readonly code?: string; readonly retryAfterSeconds?: number };
  }[];
  readonly extensions?: { readonly cost?: Cost };
}

/** Runs a query or a mutation. Throws ApiError, also when only a part of the response is missing. */
export async function run<Data>(key: string, operation: Operation): Promise<Reply<Data>> {
  const response = await send(key, operation, 'application/json');
  const body = (await response.json().catch(() => null)) as Body<Data> | null;
  const failure = toError(response, body);
  if (failure !== null) throw failure;
  return { data: body!.data!, cost: body?.extensions?.cost ?? null };
}

/** Starts a subscription and returns its events as text. Throws ApiError if it does not start. */
export async function subscribe(
  key: string,
  operation: Operation,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const response = await send(key, operation, 'text/event-stream');
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (isStream && response.body !== null) return response.body;
  const body = (await response.json().catch(() => null)) as Body<unknown> | null;
  throw toError(response, body) ?? createNetworkError();
}

async function send(
  key: string,
  { query, variables = {}, signal, isCostWanted = false }: Operation,
  accept: string,
): Promise<Response> {
  const init: RequestInit = {
    method: 'POST',
    headers: {
      accept,
      'content-type': 'application/json',
      'x-api-key': key,
      'graphql-client-name': 'board',
      ...(isCostWanted && { 'x-include-cost': '1' }),
    },
    body: JSON.stringify({ query, variables }),
    cache: 'no-store',
    credentials: 'omit',
    ...(signal && { signal }),
  };
  const response = await fetch('/graphql', init).catch((error: unknown) => {
    throw signal?.aborted === true ? error : createNetworkError();
  });
  followClock(response.headers.get('date'));
  return response;
}

function toError<Data>(response: Response, body: Body<Data> | null): ApiError | null {
  const [error] = body?.errors ?? [];
  if (error !== undefined) {
    const { code = 'INTERNAL', retryAfterSeconds = null } = error.extensions ?? {};
    return new ApiError(code, error.message, retryAfterSeconds);
  }
  if (response.ok && body?.data) return null;
  const retryAfter = Number(response.headers.get('retry-after'));
  const message = `The gateway, or a proxy before it, answered with status ${response.status}.`;
  return new ApiError('NETWORK', message, retryAfter > 0 ? retryAfter : null);
}

function createNetworkError(): ApiError {
  return new ApiError('NETWORK', 'The gateway does not answer.');
}
