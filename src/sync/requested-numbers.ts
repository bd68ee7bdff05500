// Which numbers of an account a request names.

import { isSamePhone } from '../numbers/phone-digits.ts';

/** What is asked for of an account. */
export interface ReadRequest {
  readonly wabaId: string;
  /** Digits of phone numbers and ids of phone numbers at Meta; null for all numbers of the account. */
  readonly phones: readonly string[] | null;
  /** Numbers whose business profile is read, named in the same way; none if absent. */
  readonly profiles?: readonly string[];
  /** Whether the account itself is read; if absent, with all its numbers. */
  readonly readsAccount?: boolean;
}

/** What a request may call a number by. */
interface NamedNumber {
  readonly number: string;
  readonly phoneNumberId: string | null;
}

/** One request for each account, with everything that is asked for there. */
export function mergeRequests(requests: readonly ReadRequest[]): readonly Required<ReadRequest>[] {
  return Map.groupBy(requests, ({ wabaId }) => wabaId)
    .entries()
    .map(([wabaId, ofAccount]) => {
      const isWhole = ofAccount.some(({ phones }) => phones === null);
      const phones = new Set(ofAccount.flatMap((request) => request.phones ?? []));
      const profiles = new Set(ofAccount.flatMap((request) => request.profiles ?? []));
      return {
        wabaId,
        phones: isWhole ? null : [...phones],
        profiles: [...profiles],
        readsAccount: ofAccount.some((it) => it.readsAccount ?? it.phones === null),
      };
    })
    .toArray();
}

/** Null for all of the account, also when the request names one that is not known by this name. */
export function selectRequested<T extends NamedNumber>(
  numbers: readonly T[],
  phones: readonly string[] | null,
): readonly T[] | null {
  if (phones === null) return null;
  const named = phones.map((phone) => findNamed(numbers, phone));
  return named.some((found) => found.length === 0) ? null : [...new Set(named.flat())];
}

/** Those that have one of the names. */
export function listNamed<T extends NamedNumber>(
  numbers: readonly T[],
  names: readonly string[],
): readonly T[] {
  return [...new Set(names.flatMap((name) => findNamed(numbers, name)))];
}

function findNamed<T extends NamedNumber>(numbers: readonly T[], name: string): readonly T[] {
  return numbers.filter(
    ({ number, phoneNumberId }) => phoneNumberId === name || isSamePhone(number, name),
  );
}

/** By which a later request names the number. */
export function toName({ number, phoneNumberId }: NamedNumber): string {
  return phoneNumberId ?? number;
}
