// How the sender of a webhook proves who it is: Meta's signature over the bytes of the body, and the verify token.

import { createHmac, hash, timingSafeEqual } from 'node:crypto';

const signatureFormat = /^sha256=([0-9a-f]{64})$/i;

/** The signature of a request; null without one, or for one that is malformed. */
export function readSignature(headers: Pick<Headers, 'get'>): Buffer | null {
  const digits = signatureFormat.exec(headers.get('x-hub-signature-256') ?? '')?.[1];
  return digits === undefined ? null : Buffer.from(digits, 'hex');
}

/**
 * Whether the signature is that of these bytes by one of the app secrets. Takes the same time whichever secret it is.
 * https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
 */
export function isSigned(body: Buffer, signature: Buffer, appSecrets: readonly string[]): boolean {
  return appSecrets
    .map((secret) => timingSafeEqual(createHmac('sha256', secret).update(body).digest(), signature))
    .includes(true);
}

/** Whether the texts are equal, in a time that does not depend on where they differ. */
export function isSameSecret(given: string, expected: string): boolean {
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', expected, 'buffer'));
}
