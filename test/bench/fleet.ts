// The ids and keys of the seeded data, derived from a tenant's place in the seed.

import { createHash } from 'node:crypto';
import { createKey } from '../../src/access/key.ts';

/** Numbers of each tenant except the large one. */
export const tenantSize = 25;
/** The place of the tenant that has 10,000 numbers. */
export const largeTenant = 999_999;
export const largeTenantSize = 10_000;

export function toTenantId(place: number): string {
  return `ten_${toDigits(place, 6)}`;
}

/** `index` counts from 1. */
export function toNumberId(place: number, index: number): string {
  return `wa_${toDigits(place, 6)}_${toDigits(index, 5)}`;
}

/** The tenant's key, the same in each run. */
export function toTenantKey(place: number): string {
  return createKey(createHash('sha256').update(`bench tenant ${place}`).digest());
}

function toDigits(value: number, length: number): string {
  return String(value).padStart(length, '0');
}
