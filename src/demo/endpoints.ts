// The webhook endpoints of the demo, one for each tenant. The simulated Meta posts to them.

import { hkdfSync } from 'node:crypto';
import { pathOfEndpoints } from '../numbers/webhook-route.ts';
import type { Webhooks } from '../webhooks/webhooks.ts';

/** The secret of the simulated app, which signs. Derived from the pepper, so that it need not be stored. */
export function deriveAppSecret(pepper: string): string {
  const bytes = hkdfSync('sha256', pepper, 'numbers-gateway demo', 'app secret', 16);
  return Buffer.from(bytes).toString('hex');
}

/** The path of the tenant's endpoint that accepts the secret of the simulated app. Adds it if there is none. */
export async function seedEndpoint(
  webhooks: Pick<Webhooks, 'list' | 'find' | 'add'>,
  tenantId: string,
  appSecret: string,
): Promise<string> {
  for (const { path } of await webhooks.list(tenantId)) {
    // oxlint-disable-next-line no-await-in-loop -- there is one, unless an operator has added others
    const endpoint = await webhooks.find(path.slice(pathOfEndpoints.length));
    if (endpoint?.appSecrets.includes(appSecret)) return path;
  }
  const { path } = await webhooks.add({ tenantId, proof: 'SIGNED', appSecrets: [appSecret] });
  return path;
}
