// The error codes that callers see, and the one error class that carries them. Each API formats errors in its own way.

/**
 * One row for each code: the HTTP status, what it means to a caller, and whether the same request may succeed later.
 * README.md has the same table.
 */
export const errorCatalogue = {
  UNAUTHENTICATED: {
    status: 401,
    meaning:
      'No API key in the x-api-key header or as a Bearer token, or it is malformed, unknown, expired or revoked.',
    retryable: false,
  },
  FORBIDDEN: {
    status: 403,
    meaning:
      'The API key lacks the scope that the request needs, or is bound to another number; send another key.',
    retryable: false,
  },
  NUMBER_NOT_FOUND: {
    status: 404,
    meaning: 'The tenant of the API key has no number with this id.',
    retryable: false,
  },
  INCIDENT_NOT_FOUND: {
    status: 404,
    meaning: 'The tenant of the API key has no incident with this id.',
    retryable: false,
  },
  NOT_FOUND: { status: 404, meaning: 'No route has this path.', retryable: false },
  METHOD_NOT_ALLOWED: {
    status: 405,
    meaning: 'The route does not support this method; the Allow header lists those it supports.',
    retryable: false,
  },
  INVALID_REQUEST: {
    status: 400,
    meaning: 'The request is malformed; the message says which part and what is expected.',
    retryable: false,
  },
  INVALID_CURSOR: {
    status: 400,
    meaning:
      'The cursor is malformed, or belongs to another filter or order; start again without a cursor.',
    retryable: false,
  },
  CURSOR_EXPIRED: {
    status: 410,
    meaning:
      'The cursor is too old: the first page of the walk is more than an hour old, or the changes after the cursor were deleted. Start the walk again without a cursor; for changes, read the fleet again and continue from its feedCursor.',
    retryable: false,
  },
  CURSOR_UNKNOWN: {
    status: 410,
    meaning:
      'The cursor is not one of this database, for example because a backup was restored; read the fleet again and continue from its feedCursor.',
    retryable: false,
  },
  URI_TOO_LONG: {
    status: 414,
    meaning: 'The URL has more than 8,000 characters; send a GraphQL operation with POST instead.',
    retryable: false,
  },
  QUERY_TOO_COMPLEX: {
    status: 400,
    meaning: 'The GraphQL operation exceeds a limit; the message says which one.',
    retryable: false,
  },
  PERSISTED_QUERY_NOT_FOUND: {
    status: 200,
    meaning: 'No document with this hash is stored; send the request again with the document.',
    retryable: false,
  },
  PERSISTED_QUERY_NOT_SUPPORTED: {
    status: 200,
    meaning: 'Persisted queries are switched off; send the document without its hash.',
    retryable: false,
  },
  PERSISTED_QUERY_MISMATCH: {
    status: 400,
    meaning: 'The hash that was sent with a document is not its SHA-256.',
    retryable: false,
  },
  RATE_LIMITED: {
    status: 429,
    meaning: 'Too many requests; retry after the time in the Retry-After header.',
    retryable: true,
  },
  TOO_MANY_STREAMS: {
    status: 429,
    meaning:
      'The API key, the tenant or the process has too many open streams; close one, or retry after the time in the Retry-After header.',
    retryable: true,
  },
  META_UNAVAILABLE: {
    status: 502,
    meaning: "Meta's Graph API could not be reached or sent an unusable response.",
    retryable: true,
  },
  META_ACCESS_DENIED: {
    status: 502,
    meaning:
      'Meta refused the read, for example because of the access token, a permission, the app or a wrong id; the message says why, and what to do.',
    retryable: false,
  },
  META_NUMBER_MISSING: {
    status: 502,
    meaning:
      'The number is no longer at Meta or in its account there: it was deleted, moved, or hidden from the access token. Store its ids again, or remove it.',
    retryable: false,
  },
  META_TIMEOUT: {
    status: 504,
    meaning: "Meta's Graph API did not respond before the deadline.",
    retryable: true,
  },
  META_RATE_LIMITED: {
    status: 503,
    meaning: 'Meta is rate limiting this account; retry after the time in the Retry-After header.',
    retryable: true,
  },
  ENGINE_ACCESS_DENIED: {
    status: 502,
    meaning:
      "The session engine refused the gateway's key. Ask the gateway's operator to correct it.",
    retryable: false,
  },
  ENGINE_INVALID_RESPONSE: {
    status: 502,
    meaning: 'The session engine answered without a connection state, or with one that is unknown.',
    retryable: true,
  },
  UNAVAILABLE: {
    status: 503,
    meaning:
      'The database or the session engine is unavailable, or the process is overloaded or stopping; retry after the time in the Retry-After header.',
    retryable: true,
  },
  TENANT_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: no tenant has this id.',
    retryable: false,
  },
  KEY_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: no active key has this id.',
    retryable: false,
  },
  CREDENTIAL_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: the tenant has no shared credential with this id.',
    retryable: false,
  },
  WEBHOOK_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: the tenant has no webhook endpoint with this id.',
    retryable: false,
  },
  ENDPOINT_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: the tenant has no endpoint for alerts with this id.',
    retryable: false,
  },
  CONFLICT: {
    status: 409,
    meaning:
      'Command line only: the tenant already has a number with this phone number id or instance name.',
    retryable: false,
  },
  INTERNAL: {
    status: 500,
    meaning: 'A defect in the gateway; search the log for the request id.',
    retryable: false,
  },
} as const satisfies Record<string, { status: number; meaning: string; retryable: boolean }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** JSON sent to the caller beside the code. It must never contain a secret or another tenant's data. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export interface GatewayErrorOptions {
  readonly details?: ErrorDetails;
  /** Seconds, for the Retry-After header. */
  readonly retryAfterSeconds?: number;
  /** Methods, for the Allow header of METHOD_NOT_ALLOWED. */
  readonly allow?: readonly string[];
  /** The underlying error. It is logged and never sent to the caller. */
  readonly cause?: unknown;
}

/** The only error whose message is sent to a caller. Anything else that is thrown becomes INTERNAL. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly allow: readonly string[] | undefined;

  constructor(code: ErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.allow = options.allow;
  }

  /** Whether the same request may succeed later. An upstream's own word counts more than the code. */
  get retryable(): boolean {
    const { transient } = this.details ?? {};
    return typeof transient === 'boolean' ? transient : errorCatalogue[this.code].retryable;
  }

  get status(): number {
    return errorCatalogue[this.code].status;
  }
}

/** A GatewayError as it is; anything else as INTERNAL, with the thrown value as its `cause`. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError('INTERNAL', 'Internal error; report it with the request id.', {
    cause: thrown,
  });
}
