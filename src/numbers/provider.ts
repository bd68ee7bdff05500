// The port to the upstreams: what the core asks of a provider, and what a provider returns.

import type { ErrorCode } from '../errors.ts';
import type { RequestLinks } from '../tracing.ts';
import type { MetaBlock, MetaBlocks } from './meta.ts';

export const connectionStates = ['OPEN', 'CONNECTING', 'CLOSE'] as const;
/** Whether the number is connected, in the words of the session engine. */
export type ConnectionState = (typeof connectionStates)[number];

export const providers = ['META', 'PILOT_STATUS'] as const;
/** META: official, through the Cloud API. PILOT_STATUS: unofficial, connected by QR code through the session engine. */
export type ProviderName = (typeof providers)[number];

/** A part of a number that has its own reads and its own age. `connection` is the state at the session engine. */
export type Block = MetaBlock | 'connection';

/** The data of each block. */
export interface Blocks extends MetaBlocks {
  readonly connection: {
    readonly state: ConnectionState;
    /** False when the engine answered that it has no instance of this name; the state is CLOSE then. */
    readonly instanceExists: boolean;
  };
}

/** The credentials of a number at Meta. They are never logged and never returned. */
export interface Credentials {
  readonly accessToken: string;
  readonly appSecret: string | null;
}

/** A number to read, and the blocks to read. */
export interface Target {
  readonly numberId: string;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
  readonly instanceName: string | null;
  /** Null when none are stored, or they cannot be decrypted. */
  readonly credentials: Credentials | null;
  /** Whether credentials are stored that cannot be decrypted; false if absent. */
  readonly areCredentialsUnreadable?: boolean;
  readonly blocks: readonly Block[];
}

/** Meta's code for an access token that has expired or was revoked. */
export const deadToken = 190;

/** Whether Meta says that it does not know an id. It answers alike when the token may not read what has the id. */
export function isUnknownId(metaCode: number | null, metaSubcode: number | null): boolean {
  return (metaCode === 100 && metaSubcode === 33) || metaCode === 803;
}

/** Whether Meta refuses to read a number, until something about it or its token changes. */
export function isRefusedByMeta(code: string | null | undefined): boolean {
  return code === 'META_ACCESS_DENIED' || code === 'META_NUMBER_MISSING';
}

/** Why a block could not be read. It is stored and returned to the tenant, so it contains no secret. */
export interface UpstreamFailure {
  readonly code: Extract<
    ErrorCode,
    | 'META_UNAVAILABLE'
    | 'META_ACCESS_DENIED'
    | 'META_NUMBER_MISSING'
    | 'META_TIMEOUT'
    | 'META_RATE_LIMITED'
    | 'ENGINE_ACCESS_DENIED'
    | 'ENGINE_INVALID_RESPONSE'
    | 'UNAVAILABLE'
  >;
  /** What happened. Meta's message is not repeated, because it may contain ids and tokens. */
  readonly message: string;
  /** What to do about it, one sentence or more. Null for a failure that an earlier release stored: its message says it. */
  readonly solution: string | null;
  /** Whether an unchanged retry may succeed. */
  readonly transient: boolean;
  /** ISO 8601: the time from which the upstream accepts a retry. */
  readonly retryAt: string | null;
  readonly metaCode: number | null;
  readonly metaSubcode: number | null;
  /** Meta's trace id, for its support. */
  readonly fbtraceId: string | null;
}

/** A failure without a response of Meta's, or with one that has no error code. */
export function toPlainFailure(
  code: UpstreamFailure['code'],
  transient: boolean,
  message: string,
  { solution = null, retryAt = null }: Partial<Pick<UpstreamFailure, 'solution' | 'retryAt'>> = {},
): UpstreamFailure {
  return {
    code,
    message,
    solution,
    transient,
    retryAt,
    metaCode: null,
    metaSubcode: null,
    fbtraceId: null,
  };
}

/** The failure in one text, for where message and solution are not apart. */
export function toFailureText({
  message,
  solution,
}: Pick<UpstreamFailure, 'message' | 'solution'>): string {
  return solution === null ? message : `${message} ${solution}`;
}

/**
 * A block as it was read, or why it was not. `attempted` is false when nothing was sent, because it could not have worked.
 * Such a failure is an obstacle and stored as one, unless it is transient: then it is only shown.
 */
export type BlockResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly attempted: boolean; readonly failure: UpstreamFailure };

/** The results for one target: one for each of its blocks. */
export interface Observation {
  readonly numberId: string;
  readonly reads: { readonly [B in Block]?: BlockResult<Blocks[B]> };
}

/** The tenant, the limits and the reporting of one call. */
export interface ReadOptions {
  readonly tenantId: string;
  /** Called for each request to the upstream, with the number of operations in it. */
  readonly onUpstreamCall: (operations: number) => void;
  /** Aborted once no caller waits for the result. */
  readonly signal: AbortSignal;
  /** On the clock of `performance.now()`. What has not been read by then has the result META_TIMEOUT. */
  readonly deadlineAt: number;
  /** By budget, under keys of the provider. It observes them, and adds those that it learns of. */
  readonly pauses: Map<string, Pause>;
  /** Whether nobody waits for the result: nothing is sent once three quarters of the rate limit are used. False if absent. */
  readonly isBackground?: boolean;
  /** Of the requests that wait. Absent or null without tracing. */
  readonly links?: RequestLinks | null;
}

/** An account's rate limit at the upstream is nearly used up. */
export interface Pause {
  /** At least so much of the limit is used up. */
  readonly spentPercent: 75 | 90 | 100;
  readonly until: Date;
}

/** What identifies a number upstream, and the digits that were typed for it. */
export interface Address extends Pick<Target, 'phoneNumberId' | 'wabaId'> {
  readonly number: string;
}

/** INVALID_REQUEST: the ids or the digits are wrong. Any other code: they could not be checked. */
export interface AddressProblem {
  readonly code: 'INVALID_REQUEST' | UpstreamFailure['code'];
  /** What is wrong, what the ids really are, and what to do. */
  readonly message: string;
}

export interface Provider {
  /** The blocks that this provider can read; none when its upstream is not configured. */
  readonly blocks: readonly Block[];
  /**
   * Reads all targets, in batches where the upstream has them; an account that targets share is read once. Resolves to one
   * observation for each target, in order. A failure upstream is a result. Rejects only with the reason of the signal, once
   * that is aborted.
   */
  read(targets: readonly Target[], options: ReadOptions): Promise<readonly Observation[]>;
  /**
   * Whether the ids are of the right kind, belong together, and have the digits that were typed; null when they are right.
   * Rejects only with the reason of the signal. Absent when nothing can be checked.
   */
  readonly checkAddress?: (
    address: Address,
    credentials: Credentials,
    options: ReadOptions,
  ) => Promise<AddressProblem | null>;
}
