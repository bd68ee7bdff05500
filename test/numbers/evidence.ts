// Evidence for the tests of the rules of sending.

import type { HealthEntity } from '../../src/numbers/meta-values.ts';
import { type MetaPhone, toMetaBlock } from '../../src/numbers/meta.ts';
import type { UpstreamFailure } from '../../src/numbers/provider.ts';
import type { Restriction } from '../../src/numbers/restriction.ts';
import type { Evidence } from '../../src/numbers/sendable.ts';

export const now = new Date('2026-11-29T12:00:00.000Z');

export function toEntity(
  entityType: string,
  canSendMessage: string | null,
  more: Partial<HealthEntity> = {},
): HealthEntity {
  return { entityType, id: '1', canSendMessage, additionalInfo: [], errors: [], ...more };
}

/** An entity that is BLOCKED with these error codes. */
export function toBlocked(entityType: string, ...codes: readonly (number | null)[]): HealthEntity {
  return toEntity(entityType, 'BLOCKED', { errors: toErrors(...codes) });
}

export function toErrors(...codes: readonly (number | null)[]): HealthEntity['errors'] {
  return codes.map((code) => ({ code, description: null, possibleSolution: null }));
}

/** Health in which the four entities that send are AVAILABLE, but for those that are given. */
export function toHealth(...entities: readonly HealthEntity[]): MetaPhone['healthStatus'] {
  const others = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP']
    .filter((type) => entities.every(({ entityType }) => entityType !== type))
    .map((type) => toEntity(type, 'AVAILABLE'));
  return { canSendMessage: 'AVAILABLE', entities: [...others, ...entities] };
}

export const healthyPhone: MetaPhone = {
  ...toMetaBlock('phone', {}),
  status: 'CONNECTED',
  platformType: 'CLOUD_API',
  healthStatus: toHealth(),
};

/** Of a number of Meta's that can send. */
export const healthy: Evidence = {
  provider: 'META',
  state: 'OPEN',
  isStateObserved: true,
  instanceExists: true,
  phone: healthyPhone,
  stale: false,
  failure: null,
  restrictions: [],
  identity: { number: null, wabaId: null },
  lastVerdict: null,
  now,
};

/** Of a number whose session engine says that it is connected. */
export const connected: Evidence = { ...healthy, provider: 'PILOT_STATUS', phone: null };

export function withPhone(more: Partial<MetaPhone>): Evidence {
  return { ...healthy, phone: { ...healthyPhone, ...more } };
}

export function toFailure(
  code: UpstreamFailure['code'],
  metaCode: number | null = null,
  metaSubcode: number | null = null,
): UpstreamFailure {
  const text = { message: 'It did not work.', solution: 'Do something.' };
  const rest = { transient: true, retryAt: null, fbtraceId: null };
  return { code, metaCode, metaSubcode, ...text, ...rest };
}

/** In force without an end, unless `more` says otherwise. */
export function toRestriction(kind: string, more: Partial<Restriction> = {}): Restriction {
  return {
    kind,
    wabaId: '102290129340398',
    reportedAt: '2026-11-29T10:00:00.000Z',
    expiresAt: null,
    remediation: null,
    omittedAt: null,
    availableFrom: null,
    availableTo: null,
    ...more,
  };
}
