// Owns what the seeded data is called: tenants, their keys and their numbers follow from their places in the seed.

import { createHash } from 'node:crypto';
import { createKey } from '../../src/access/key.ts';

/** How many numbers a tenant has, but for the large one. */
export const tenantSize = 25;
/** The place of the tenant that has 10,000 numbers. */
export const largeTenant = 999_999;
export const largeTenantSize = 10_000;

export function toTenantId(place: number): string {
  return `ten_${toText(place, 6)}`;
}

/** `index` counts from 1. */
export function toNumberId(place: number, index: number): string {
  return `wa_${toText(place, 6)}_${toText(index, 5)}`;
}

/** The tenant's own key, the same in each run. */
export function toTenantKey(place: number): string {
  return createKey(createHash('sha256').update(`bench tenant ${place}`).digest());
}

function toText(value: number, length: number): string {
  return String(value).padStart(length, '0');
}
