// The limits of pages of changes, and of their filters.

import { GatewayError } from '../errors.ts';
import type { ChangeFilter } from './change.ts';

export const defaultPageSize = 100;
export const maxPageSize = 200;
/** Of one member of a filter. */
export const maxFilterValues = 200;

/** Throws INVALID_REQUEST. */
export function assertPageSize(first: number): void {
  if (!Number.isInteger(first) || first < 1 || first > maxPageSize) {
    throw new GatewayError('INVALID_REQUEST', `A page has from 1 to ${maxPageSize} changes.`);
  }
}

/** Throws INVALID_REQUEST for too many values. */
export function normalizeFilter(filter: ChangeFilter): ChangeFilter {
  const entries = Object.entries(filter).filter(
    ([, values]) => values !== null && values !== undefined,
  );
  return Object.fromEntries(
    entries.map(([member, values]: [string, readonly string[]]) => {
      if (values.length > maxFilterValues) {
        const message = `The filter has more than ${maxFilterValues} values of ${member}; leave the member out and filter what you receive.`;
        throw new GatewayError('INVALID_REQUEST', message);
      }
      // No stored value has a NUL, and PostgreSQL rejects one in a parameter.
      return [member, [...new Set(values)].filter((value) => !value.includes('\0')).toSorted()];
    }),
  );
}
