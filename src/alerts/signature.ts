// Signatures of messages, as Standard Webhooks 1.0 defines them: https://www.standardwebhooks.com

import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';

/** Shown once to whoever adds an endpoint, who verifies messages with it. */
export function createSigningSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

export interface SignedMessage {
  /** The same on each attempt to deliver the message. */
  readonly id: string;
  /** Of the attempt. */
  readonly time: Date;
  readonly body: string;
}

/** The headers of a message, with one signature for each secret; a receiver accepts any of them. */
export function toSignedHeaders(
  { id, time, body }: SignedMessage,
  secrets: readonly string[],
): Readonly<Record<string, string>> {
  const signatures = secrets.map((secret) => new Webhook(secret).sign(id, time, body));
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(time.getTime() / 1_000)),
    ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
  };
}
