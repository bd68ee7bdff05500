// Finds ids and digits that were stored by hand and do not belong to the number that Meta returns for them.

import type { MetaPhone } from './meta.ts';
import { isSamePhone } from './phone-digits.ts';
import { type Reason, toReason } from './reason.ts';

/** What an operator has stored of a number. Null where it was not read, because no reasons are asked for. */
export interface StoredIdentity {
  /** Digits only, with the country code. */
  readonly number: string | null;
  readonly wabaId: string | null;
}

/** The reasons inform: messages go out of the number that Meta returned, whatever is stored. */
export function listMismatches(
  identity: StoredIdentity,
  phone: MetaPhone | null,
): readonly Reason[] {
  if (phone === null) return [];
  return [...listAccountMismatches(identity, phone), ...listDigitMismatches(identity, phone)];
}

function listAccountMismatches(
  { wabaId }: StoredIdentity,
  { healthStatus }: MetaPhone,
): readonly Reason[] {
  const entities = healthStatus?.entities ?? [];
  const wabaIds = entities.flatMap(({ entityType, id }) =>
    entityType === 'WABA' && id !== null ? [id] : [],
  );
  const [metaWabaId] = wabaIds;
  if (wabaId === null || metaWabaId === undefined || wabaIds.includes(wabaId)) return [];
  const text = `Meta says that the number belongs to the WhatsApp Business account ${metaWabaId}, but ${wabaId} is stored as its account.`;
  const solution = `Store the account of the number with: number update --waba-id ${metaWabaId}.`;
  const more = { entityId: metaWabaId, solution };
  return [toReason('WABA', 'health_status.entities.id', metaWabaId, 'INFORMS', text, more)];
}

function listDigitMismatches(
  { number }: StoredIdentity,
  { displayPhoneNumber }: MetaPhone,
): readonly Reason[] {
  const digits = displayPhoneNumber?.replaceAll(/\D/g, '') ?? '';
  if (number === null || digits === '' || isSamePhone(digits, number)) return [];
  const text = `Meta shows ${displayPhoneNumber} as the number of the stored phone number id, but ${number} is stored as the number.`;
  const solution = `Correct the wrong one with: number update --number ${digits}, or number update --phone-number-id.`;
  const field = 'display_phone_number';
  return [toReason('PHONE_NUMBER', field, displayPhoneNumber, 'INFORMS', text, { solution })];
}
