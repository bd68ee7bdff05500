// Owns the way in, which is the same at both doors: first the key, then the allowance of its tenant.

import type { PlainRequest } from '../exchange.ts';
import { andThen, type Soon } from '../soon.ts';
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
export function enter(
  { access: control, allowance }: EntryOptions,
  { headers }: Pick<PlainRequest, 'headers'>,
  context: RequestContext,
): Soon<Entry> {
  const { askedAt, source } = context;
  return andThen(control.authenticate({ headers, askedAt, source }), (access) => {
    context.tenantId = access.tenantId;
    context.keyId = access.keyId;
    return andThen(allowance.enter(access.tenantId, context), (visit) => ({ access, visit }));
  });
}
