// The port to Meta for discovery: what a token can see, from the token itself down to the numbers of an account.

import type { MetaPhone } from '../numbers/meta.ts';
import type { Credentials, ReadOptions, UpstreamFailure } from '../numbers/provider.ts';

/** What Meta says about an access token. */
export interface TokenFacts {
  readonly appId: string | null;
  readonly isValid: boolean;
  /** Null for never, and when Meta does not say. */
  readonly expiresAt: Date | null;
  /** When the user's consent to read their data ends; null as above. */
  readonly dataAccessExpiresAt: Date | null;
  /** The accounts that the grant is limited to; empty when it is general. A hint: not each of them need be readable. */
  readonly wabaIds: readonly string[];
  readonly businessIds: readonly string[];
}

export interface Portfolio {
  readonly id: string;
  readonly name: string | null;
}

/** A WhatsApp Business account. */
export interface FoundAccount {
  readonly id: string;
  readonly name: string | null;
  /** The portfolio that owns it; null when Meta does not say. */
  readonly portfolio: Portfolio | null;
}

/** A number as an account lists it. */
export interface FoundNumber {
  readonly phoneNumberId: string;
  /** Digits only; null when Meta shows none. */
  readonly number: string | null;
  readonly verifiedName: string | null;
  /** In Meta's words. */
  readonly status: string | null;
  readonly platformType: string | null;
  readonly accountMode: string | null;
}

/** A number as an account lists it, with what its node holds. */
export interface ListedPhone extends Pick<FoundNumber, 'phoneNumberId' | 'number'> {
  readonly phone: MetaPhone;
}

export interface ListedPage {
  readonly phones: readonly ListedPhone[];
  /** The fields that Meta refuses in a list. They are null in all phones, which says nothing. */
  readonly omitted: readonly (keyof MetaPhone)[];
}

export type Found<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: UpstreamFailure };

/** Lists accounts in one of the ways that Graph has. */
export type AccountSource =
  | { readonly kind: 'owned' | 'client'; readonly businessId: string }
  /** Those that are assigned to the system user whose token it is. */
  | { readonly kind: 'assigned' };

/**
 * A failure is a value, also between two pages: what was listed before it stays valid. Everything rejects only with the
 * reason of the signal.
 */
export interface AccountReader {
  inspectToken(credentials: Credentials, options: ReadOptions): Promise<Found<TokenFacts>>;
  listBusinesses(
    credentials: Credentials,
    options: ReadOptions,
  ): AsyncIterable<Found<readonly Portfolio[]>>;
  listAccounts(
    source: AccountSource,
    credentials: Credentials,
    options: ReadOptions,
  ): AsyncIterable<Found<readonly FoundAccount[]>>;
  readAccount(
    wabaId: string,
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<Found<FoundAccount>>;
  /**
   * Page by page, for the background: not once three quarters of the rate limit are used. `PLAIN` leaves out the fields that
   * are known to be denied to some, such as the health.
   */
  listPhones(
    wabaId: string,
    extent: 'PLAIN' | 'ALL',
    credentials: Credentials,
    options: ReadOptions,
  ): AsyncIterable<Found<ListedPage>>;
  /** Page by page. */
  listNumbers(
    wabaId: string,
    credentials: Credentials,
    options: ReadOptions,
  ): AsyncIterable<Found<readonly FoundNumber[]>>;
}
