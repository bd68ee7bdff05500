// Which numbers of an account are to be read after an event.

import type { ReadRequest } from '../sync/sync.ts';
import type { MetaEvent } from './event.ts';

/** The fields that name one number. */
const phoneFields: ReadonlySet<string> = new Set([
  'phone_number_quality_update',
  'phone_number_name_update',
  'security',
]);

/** The fields after which the account and all its numbers may have changed. */
const accountFields: ReadonlySet<string> = new Set([
  'account_alerts',
  'account_review_update',
  'account_settings_update',
  'account_update',
  'business_capability_update',
  'business_status_update',
]);

/** What an event makes due; null for one that is not about the health of numbers. */
export function toReadRequest({ field, payload, wabaId }: MetaEvent): ReadRequest | null {
  const value = payload === null ? {} : (JSON.parse(payload) as Readonly<Record<string, unknown>>);
  const phone = phoneFields.has(field)
    ? value['display_phone_number']
    : field === 'account_alerts' && value['entity_type'] === 'PHONE_NUMBER'
      ? value['entity_id']
      : undefined;
  if (typeof phone === 'string' || typeof phone === 'number')
    return { wabaId, phones: [String(phone)] };
  return phoneFields.has(field) || accountFields.has(field) ? { wabaId, phones: null } : null;
}
