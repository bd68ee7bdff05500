// Owns the way in, which is the same at both doors: first the key, then the allowance of its tenant.

import type { HttpRequest } from '../http/message.ts';
import { chain, type MaybePromise } from '../maybe-promise.ts';
import type { RequestContext } from '../http/request-context.ts';
import type { Access, AccessControl } from './access.ts';
import type { RateLimiter, Admission } from './rate-limit.ts';

export interface Admitted {
  readonly access: Access;
  readonly admission: Admission;
}

export interface AdmissionOptions {
  readonly access: Pick<AccessControl, 'authenticate'>;
  readonly rateLimiter: RateLimiter;
}

/** Throws UNAUTHENTICATED or RATE_LIMITED. Sets `tenantId`, `keyId` and `visit` of the context as soon as they are known. */
export function admit(
  { access: control, rateLimiter }: AdmissionOptions,
  { headers }: Pick<HttpRequest, 'headers'>,
  context: RequestContext,
): MaybePromise<Admitted> {
  const { receivedAt, clientAddress, meter } = context;
  return chain(control.authenticate({ headers, receivedAt, clientAddress, meter }), (access) => {
    context.tenantId = access.tenantId;
    context.keyId = access.keyId;
    return chain(rateLimiter.admit(access.tenantId, context), (admission) => ({
      access,
      admission,
    }));
  });
}
