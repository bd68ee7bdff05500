// What stored credentials are bound to, and how they are decrypted.

import type { SealedLocation, Vault } from '../secrets.ts';
import type { Credentials } from './provider.ts';

/** The sealed credentials of a number: its own, or those that it shares with others. */
export interface StoredCredentials {
  readonly sealed: string;
  /** Null for its own. */
  readonly credentialId: string | null;
}

/** What the own credentials of a number are bound to. */
export function toCredentialPlace(tenantId: string, numberId: string): SealedLocation {
  return { table: 'number_credential', column: 'sealed', tenantId, rowId: numberId };
}

export function toSharedCredentialPlace(tenantId: string, credentialId: string): SealedLocation {
  return { table: 'credential', column: 'sealed', tenantId, rowId: credentialId };
}

/** Throws when the encryption key is missing or the text was changed. */
export function openCredentials(
  vault: Vault,
  { sealed, credentialId }: StoredCredentials,
  tenantId: string,
  numberId: string,
): Credentials {
  const place =
    credentialId === null
      ? toCredentialPlace(tenantId, numberId)
      : toSharedCredentialPlace(tenantId, credentialId);
  return openAt(vault, sealed, place);
}

export function openSharedCredentials(
  vault: Vault,
  sealed: string,
  tenantId: string,
  credentialId: string,
): Credentials {
  return openAt(vault, sealed, toSharedCredentialPlace(tenantId, credentialId));
}

function openAt(vault: Vault, sealed: string, place: SealedLocation): Credentials {
  const text = vault.open(sealed, place);
  // The parser's own message would quote the text.
  try {
    return JSON.parse(text) as Credentials;
  } catch {
    throw new Error('The decrypted credentials are not JSON.');
  }
}
