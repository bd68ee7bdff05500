// Owns the catalogue of everything that can go wrong, and the one error class that may leave the program.
// The doors decide how an error looks on their wire; nobody else invents a code or a status.

/** One row for each code: the HTTP status, what it means to a caller, and whether the same request may succeed later. */
export const errorCatalogue = {
  UNAUTHENTICATED: {
    status: 401,
    meaning: 'The x-api-key header is missing, malformed, unknown, expired or revoked.',
    retryable: false,
  },
  NUMBER_NOT_FOUND: {
    status: 404,
    meaning: 'No number with this id belongs to the tenant of the key.',
    retryable: false,
  },
  NOT_FOUND: { status: 404, meaning: 'There is no such route.', retryable: false },
  METHOD_NOT_ALLOWED: {
    status: 405,
    meaning: 'The route exists, the method does not; the Allow header lists what does.',
    retryable: false,
  },
  INVALID_REQUEST: {
    status: 400,
    meaning: 'The request is malformed; the message says which part and what is expected.',
    retryable: false,
  },
  QUERY_TOO_COMPLEX: {
    status: 400,
    meaning: 'The GraphQL operation is larger than the limits allow.',
    retryable: false,
  },
  RATE_LIMITED: {
    status: 429,
    meaning: 'Too many requests; Retry-After says when to come back.',
    retryable: true,
  },
  META_UNAVAILABLE: {
    status: 502,
    meaning: "Meta's Graph API could not be reached or answered with something unusable.",
    retryable: true,
  },
  META_ACCESS_DENIED: {
    status: 502,
    meaning:
      'Meta refused: the access token is dead, or it lacks a permission or access to this number. Store a new token.',
    retryable: false,
  },
  META_TIMEOUT: {
    status: 504,
    meaning: "Meta's Graph API did not answer before the deadline.",
    retryable: true,
  },
  META_RATE_LIMITED: {
    status: 503,
    meaning: 'Meta throttles this account; Retry-After says when it will read again.',
    retryable: true,
  },
  UNAVAILABLE: {
    status: 503,
    meaning:
      'The database or the session engine is down, or the program is overloaded or stopping; Retry-After says when to come back.',
    retryable: true,
  },
  TENANT_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: no tenant has this id.',
    retryable: false,
  },
  KEY_NOT_FOUND: {
    status: 404,
    meaning: 'Command line only: no usable key has this id.',
    retryable: false,
  },
  CONFLICT: {
    status: 409,
    meaning: 'Command line only: the tenant has such a number already.',
    retryable: false,
  },
  INTERNAL: {
    status: 500,
    meaning: 'A defect of the gateway; the request id finds it in the log.',
    retryable: false,
  },
} as const satisfies Record<string, { status: number; meaning: string; retryable: boolean }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** JSON that an answer may show beside the code; never secrets, never another tenant's data. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export interface GatewayErrorOptions {
  readonly details?: ErrorDetails;
  /** Seconds, for the Retry-After header. */
  readonly retryAfterSeconds?: number;
  /** Methods, for the Allow header of METHOD_NOT_ALLOWED. */
  readonly allow?: readonly string[];
  /** What really happened, for the log alone. */
  readonly cause?: unknown;
}

/** The only error whose message is shown to a caller. Everything else that is thrown becomes INTERNAL. */
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

  get status(): number {
    return errorCatalogue[this.code].status;
  }
}

/** What a caller may see of anything thrown: a GatewayError as it is, all else as INTERNAL with the truth in `cause`. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError('INTERNAL', 'Something went wrong on our side.', { cause: thrown });
}
