// Announces restrictions of accounts to a gateway, as Meta's webhooks do.

import { createHmac } from 'node:crypto';
import { expect } from 'vitest';

export interface AnnouncedRestriction {
  /** Where the gateway listens. */
  readonly origin: string;
  /** Of the webhook endpoint. */
  readonly path: string;
  readonly appSecret: string;
  readonly wabaId: string;
  readonly endsAt: Date;
  readonly remediation: string;
}

const toSeconds = (ms: number) => Math.floor(ms / 1_000);

/** Starting conversations is forbidden until the end. */
export async function announceRestriction(restriction: AnnouncedRestriction): Promise<void> {
  const { origin, path, appSecret, wabaId, endsAt, remediation } = restriction;
  const info = {
    restriction_type: 'RESTRICTED_BIZ_INITIATED_MESSAGING',
    expiration: toSeconds(endsAt.getTime()),
    remediation,
  };
  const value = { event: 'ACCOUNT_RESTRICTION', restriction_info: [info] };
  const changes = [{ field: 'account_update', value }];
  const entry = [{ id: wabaId, time: toSeconds(Date.now()), changes }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
  const signature = createHmac('sha256', appSecret).update(body).digest('hex');
  const response = await fetch(new URL(path, origin), {
    method: 'POST',
    body,
    headers: { 'x-hub-signature-256': `sha256=${signature}`, 'content-type': 'application/json' },
  });
  expect(response.status).toBe(200);
}
