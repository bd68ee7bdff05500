// Finds the numbers that the complete list of their account lacks: in one list that may be chance, in two it is evidence.

import { missingInAccount, type PhoneToRecord } from '../numbers/listed-phones.ts';
import type { AccountList } from './account-list.ts';
import type { Run, SyncNumber } from './store.ts';
import type { AccountToken } from './tokens.ts';

export interface MissingNumbers {
  /** By the id of the number, since when the lists lack it, in milliseconds. */
  readonly since: Readonly<Record<string, number>>;
  /** Those for which that is evidence now, and was not before. */
  readonly evident: readonly SyncNumber[];
  /** Those that can be read by their own ids although the list lacks them. */
  readonly readable: readonly SyncNumber[];
}

/**
 * `token` has read the list. The list says nothing of numbers with another token, which may see what this one does not.
 * Of a number that was read since its account lacks it, the list is no evidence.
 */
export function findMissing(
  { at, state, numbers }: Pick<Run, 'at' | 'state' | 'numbers'>,
  { phones }: Pick<AccountList, 'phones'>,
  token: AccountToken,
): MissingNumbers {
  const absent = numbers.filter(
    ({ phoneNumberId }) => phoneNumberId !== null && !phones.has(phoneNumberId),
  );
  const ofToken = new Set(token.numbers);
  const judged = absent.filter((number) => ofToken.has(number));
  const isRead = ({ id, observedAt }: SyncNumber) =>
    observedAt !== null && observedAt.getTime() > (state.missing[id] ?? Infinity);
  return {
    since: Object.fromEntries(judged.map(({ id }) => [id, state.missing[id] ?? at.getTime()])),
    evident: judged.filter(
      (number) =>
        number.id in state.missing &&
        !isRead(number) &&
        number.obstacle !== missingInAccount.message,
    ),
    readable: absent.filter(
      (number) =>
        number.credentials !== null &&
        number.failure === null &&
        (!ofToken.has(number) || isRead(number)),
    ),
  };
}

export function toMissingPhones(numbers: readonly SyncNumber[]): readonly PhoneToRecord[] {
  return numbers.flatMap(({ id, phoneNumberId, credentials }) =>
    phoneNumberId === null || credentials === null
      ? []
      : [{ id, phoneNumberId, result: { missing: true, credentials } }],
  );
}
