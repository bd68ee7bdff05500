// What is stored of a number, as the database returns it.

import type { KeyHint } from '../access/key.ts';
import type { AccountNotices } from './account-notices.ts';
import type { NumberDetails, Timestamp } from './details.ts';
import type { StoredIdentity } from './mismatch.ts';
import type { Block, ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import type { Verdict } from './reason.ts';
import type { Restriction } from './restriction.ts';
import type { TokenEnds } from './token-expiry.ts';

export type NextReads = Readonly<
  Record<'phone' | 'request' | 'profile' | 'waba', Timestamp | null>
>;

/** A block as it is stored, with at least what the projection needs. */
export interface StoredBlock {
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly observedAt: Timestamp | null;
  readonly attemptedAt: Timestamp | null;
  /** Why the last attempt failed. */
  readonly failure: UpstreamFailure | null;
  /** Why a newer attempt than the last one could not be made. */
  readonly obstacle: UpstreamFailure | null;
  /** Of the phone: the last verdict that a read supported. */
  readonly verdict: Verdict | null;
  /** Whether `data` lack the evidence, because `verdict` takes it into account by the rules of this release. */
  readonly isSummary: boolean;
}

export interface StoredKeyHint extends KeyHint {
  /** In milliseconds on the clock of this process. */
  readonly expiresAt: number | null;
}

/** A number as it is stored, with its blocks and those of its account, with at least what the projection needs. */
export interface StoredNumber {
  readonly id: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** When the state was last read or changed, by the gateway or by other software; null since the number was added. */
  readonly stateObservedAt: Timestamp | null;
  readonly details: NumberDetails | null;
  readonly apiKeys: readonly StoredKeyHint[];
  readonly blocks: { readonly [B in Block]?: StoredBlock | undefined };
  /** Of the account, ended ones too. */
  readonly restrictions: readonly Restriction[];
  /** Of the account; nothing if absent. */
  readonly notices?: AccountNotices;
  readonly identity: StoredIdentity;
  /**
   * When each block is read next in the background: the connection with the phone, and `request` is for these two. Null or
   * absent where the projection does not select it.
   */
  readonly nextReads?: NextReads | null;
  /** Of the shared credential; null or absent for a number without one. */
  readonly token?: TokenEnds | null;
}
