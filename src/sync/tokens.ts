// The access tokens of an account's numbers, each with the numbers that use it.

import { openCredentials } from '../numbers/credentials.ts';
import type { Credentials } from '../numbers/provider.ts';
import type { Vault } from '../secrets.ts';
import type { SyncNumber } from './store.ts';

export interface AccountToken {
  readonly credentials: Credentials;
  /** The shared credential; null when the numbers have the token as their own. */
  readonly credentialId: string | null;
  readonly numbers: readonly SyncNumber[];
}

/** Those that most numbers use first. Numbers whose credentials cannot be decrypted are left out. */
export function listTokens(
  vault: Vault,
  tenantId: string,
  numbers: readonly SyncNumber[],
): readonly AccountToken[] {
  const opened = new Map<string, Credentials | null>();
  const open = ({ id, credentials }: SyncNumber): Credentials | null => {
    if (credentials === null) return null;
    const known = opened.get(credentials.sealed);
    if (known !== undefined) return known;
    const secret = tryToOpen(() => openCredentials(vault, credentials, tenantId, id));
    opened.set(credentials.sealed, secret);
    return secret;
  };
  const byToken = new Map<string, AccountToken & { readonly numbers: SyncNumber[] }>();
  for (const number of numbers) {
    const credentials = open(number);
    if (credentials === null) continue;
    const key = JSON.stringify([credentials.accessToken, credentials.appSecret]);
    const token = byToken.get(key) ?? {
      credentials,
      credentialId: number.credentials?.credentialId ?? null,
      numbers: [],
    };
    byToken.set(key, token);
    token.numbers.push(number);
  }
  return [...byToken.values()].toSorted((one, other) => other.numbers.length - one.numbers.length);
}

/** A refresh of the number reports it. */
function tryToOpen(open: () => Credentials): Credentials | null {
  try {
    return open();
  } catch {
    return null;
  }
}
