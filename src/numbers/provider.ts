// Owns the port to the systems that hold the truth about numbers: what the core asks of them and how they answer.

import type { ErrorCode } from '../errors.ts';
import type { RequestLinks } from '../tracing.ts';
import type { MetaBlock, MetaBlocks } from './meta.ts';

export const connectionStates = ['OPEN', 'CONNECTING', 'CLOSE'] as const;
/** Whether the number is connected; the names are those of the session engine. */
export type ConnectionState = (typeof connectionStates)[number];

export const providers = ['META', 'PILOT_STATUS'] as const;
/** META: official, through the Cloud API. PILOT_STATUS: unofficial, connected by QR code. */
export type ProviderName = (typeof providers)[number];

/** A part that is read, stored and aged on its own; `connection` is the state of a number at the session engine. */
export type Block = MetaBlock | 'connection';

/** What a block holds. */
export interface Blocks extends MetaBlocks {
  readonly connection: { readonly state: ConnectionState };
}

/** What a number's access to Meta needs. Never logged, never in an answer. */
export interface Credentials {
  readonly accessToken: string;
  readonly appSecret: string | null;
}

/** A number to read, and which of its blocks. */
export interface Target {
  readonly numberId: string;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
  readonly instanceName: string | null;
  /** Null when none were stored, or they could not be opened. */
  readonly credentials: Credentials | null;
  readonly blocks: readonly Block[];
}

/** Why a block could not be read. Stored beside the last good value and shown to the tenant, so it holds no secret. */
export interface UpstreamFailure {
  readonly code: Extract<
    ErrorCode,
    'META_UNAVAILABLE' | 'META_ACCESS_DENIED' | 'META_TIMEOUT' | 'META_RATE_LIMITED' | 'UNAVAILABLE'
  >;
  /** A sentence of ours that says what to do; Meta's own message is not repeated, it may hold ids and tokens. */
  readonly message: string;
  /** Whether trying again, unchanged, may help. */
  readonly transient: boolean;
  /** ISO 8601; when the upstream said to come back. */
  readonly retryAt: string | null;
  readonly metaCode: number | null;
  readonly metaSubcode: number | null;
  /** Meta's trace id, for its support. */
  readonly fbtraceId: string | null;
}

/** A failure behind which no reply stands, or none that said more. */
export function toPlainFailure(
  code: UpstreamFailure['code'],
  transient: boolean,
  message: string,
  retryAt: string | null = null,
): UpstreamFailure {
  return {
    code,
    message,
    transient,
    retryAt,
    metaCode: null,
    metaSubcode: null,
    fbtraceId: null,
  };
}

/**
 * A block as it was read, or why it was not. `attempted` is false when nothing was sent, because it could not have worked:
 * such a failure is shown, and not stored.
 */
export type BlockResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly attempted: boolean; readonly failure: UpstreamFailure };

/** What came back for one target: one entry for each block that was asked for. */
export interface Observation {
  readonly numberId: string;
  readonly reads: { readonly [B in Block]?: BlockResult<Blocks[B]> };
}

/** On whose behalf targets are read, and until when. */
export interface ReadOptions {
  readonly tenantId: string;
  /** Called for each request to the upstream, with how many operations it carried. */
  readonly onUpstreamCall: (operations: number) => void;
  /** Of whoever waits; aborted once nobody does. */
  readonly signal: AbortSignal;
  /** On the clock of `performance.now()`. What could not be read by then is answered as META_TIMEOUT, beside what could. */
  readonly deadlineAt: number;
  /** By the account whose budget is running out. The provider keeps to them, and puts in what it learns. */
  readonly pauses: Map<string, Pause>;
  /** Of the requests that wait. Absent or null without tracing. */
  readonly links?: RequestLinks | null;
}

/** An upstream wants to be asked less, or not at all. */
export interface Pause {
  /** So much of a budget is spent, or more. */
  readonly spentPercent: 75 | 90 | 100;
  readonly until: Date;
}

export interface Provider {
  /** The blocks that this provider can read for a number; none when there is nothing to ask. */
  readonly blocks: readonly Block[];
  /**
   * Reads all targets, together where the upstream can do so; what targets share is read once. Answers one observation
   * for each target, in their order. Trouble upstream is an answer, not an exception; it rejects only with the reason
   * of the signal once that is aborted.
   */
  read(targets: readonly Target[], options: ReadOptions): Promise<readonly Observation[]>;
}
