// Which numbers of an account a request names.

import { isSamePhone } from '../numbers/phone-digits.ts';

/** What is asked for of an account. */
export interface ReadRequest {
  readonly wabaId: string;
  /** Digits of phone numbers and ids of phone numbers at Meta; null for the account and all its numbers. */
  readonly phones: readonly string[] | null;
}

/** What a request may call a number by. */
interface NamedNumber {
  readonly number: string;
  readonly phoneNumberId: string | null;
}

/** One request for each account, with everything that is asked for there. */
export function mergeRequests(requests: readonly ReadRequest[]): readonly ReadRequest[] {
  return Map.groupBy(requests, ({ wabaId }) => wabaId)
    .entries()
    .map(([wabaId, ofAccount]) => {
      const isWhole = ofAccount.some(({ phones }) => phones === null);
      const phones = new Set(ofAccount.flatMap((request) => request.phones ?? []));
      return { wabaId, phones: isWhole ? null : [...phones] };
    })
    .toArray();
}

/** Null for all of the account, also when the request names one that is not known by this name. */
export function selectRequested<T extends NamedNumber>(
  numbers: readonly T[],
  phones: readonly string[] | null,
): readonly T[] | null {
  if (phones === null) return null;
  const named = phones.map((phone) =>
    numbers.filter(
      ({ number, phoneNumberId }) => phoneNumberId === phone || isSamePhone(number, phone),
    ),
  );
  return named.some((found) => found.length === 0) ? null : [...new Set(named.flat())];
}
