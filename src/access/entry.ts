// Owns the way in, which is the same at both doors: first the key, then the allowance of its tenant.

import type { PlainRequest } from '../exchange.ts';
import type { RequestContext } from '../telemetry.ts';
import type { Access, AccessControl } from './access.ts';
import type { Allowance, Visit } from './allowance.ts';

export interface Entry {
  readonly access: Access;
  readonly visit: Visit;
}

export interface EntryOptions {
  readonly access: Pick<AccessControl, 'authenticate'>;
  readonly allowance: Allowance;
}

/** Throws UNAUTHENTICATED or RATE_LIMITED. Sets `tenantId`, `keyId` and `visit` of the context as soon as they are known. */
export async function enter(
  { access: control, allowance }: EntryOptions,
  { headers }: Pick<PlainRequest, 'headers'>,
  context: RequestContext,
): Promise<Entry> {
  const { askedAt, source } = context;
  const access = await control.authenticate({ headers, askedAt, source });
  context.tenantId = access.tenantId;
  context.keyId = access.keyId;
  const visit = await allowance.enter(access.tenantId, context);
  return { access, visit };
}
