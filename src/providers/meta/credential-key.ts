// Keys for what is remembered about credentials, so that the credentials themselves are not kept.

import { createHash } from 'node:crypto';
import type { Credentials } from '../../numbers/provider.ts';

/** Differs for new credentials, about which nothing is remembered. */
export function toCredentialKey({ accessToken, appSecret }: Credentials): string {
  return toHash(JSON.stringify([accessToken, appSecret]));
}

/**
 * Stands for the Meta app of the credentials. Tokens do not tell their app. Those that are stored with the same secret are of
 * one app; each token without a secret counts as an app of its own.
 */
export function toAppKey({ accessToken, appSecret }: Credentials): string {
  return toHash(appSecret === null ? `token ${accessToken}` : `secret ${appSecret}`);
}

function toHash(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
