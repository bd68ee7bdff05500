// Finds the numbers that the complete list of their account lacks. It is evidence that they are missing at Meta when two lists
// lack a number and Meta does not know its id, which alone may also mean that the token must not read it.

import type { PhoneToRecord } from '../numbers/listed-phones.ts';
import { isRefusedByMeta, isUnknownId } from '../numbers/provider.ts';
import type { AccountList } from './account-list.ts';
import type { Run, SyncNumber } from './store.ts';

export interface MissingNumbers {
  /** By the id of the phone number at Meta, since when the lists lack it, in milliseconds. */
  readonly since: Readonly<Record<string, number>>;
  /** Those for which that is evidence now, and was not before. */
  readonly evident: readonly SyncNumber[];
  /** Those for which it is if Meta does not know their ids, which was not tried since the lists lack them. */
  readonly untried: readonly SyncNumber[];
  /** Those that can be read by their own ids although the list lacks them, as far as is known. */
  readonly readable: readonly SyncNumber[];
}

/**
 * `ofToken` are the numbers of the token that has read the list. The list says nothing of numbers with another token, which
 * may see what this one does not. Of a number that can still be read by its own id, it is no evidence.
 */
export function findMissing(
  { at, state, numbers }: Pick<Run, 'at' | 'state' | 'numbers'>,
  { phones }: Pick<AccountList, 'phones'>,
  ofToken: readonly SyncNumber[],
  sweepSeconds: number,
): MissingNumbers {
  const absent = numbers.filter(
    ({ phoneNumberId, credentials }) =>
      phoneNumberId !== null && credentials !== null && !phones.has(phoneNumberId),
  );
  const judged = absent.filter((number) => ofToken.includes(number));
  const sinceOf = ({ phoneNumberId }: SyncNumber) => state.missing[phoneNumberId ?? ''] ?? Infinity;
  const wasTried = (number: SyncNumber) =>
    number.attemptedAt !== null &&
    number.attemptedAt.getTime() >= sinceOf(number) &&
    (number.failure === null || isRefusedByMeta(number.failure));
  // Two lists that were asked for within seconds are no more than one.
  const isOld = (number: SyncNumber) =>
    at.getTime() - sinceOf(number) >= (sweepSeconds * 1_000) / 2;
  return {
    since: Object.fromEntries(
      judged.map((number) => [number.phoneNumberId, Math.min(sinceOf(number), at.getTime())]),
    ),
    evident: judged.filter(
      (number) =>
        isOld(number) &&
        wasTried(number) &&
        !isMissing(number) &&
        isUnknownId(number.metaCode, number.metaSubcode),
    ),
    // A first list may be wrong; until the second one nothing is tried, so that no alert tells of a refusal.
    untried: judged.filter((number) => isOld(number) && !wasTried(number) && !isMissing(number)),
    readable: absent.filter((number) => !judged.includes(number) || wasTried(number)),
  };
}

function isMissing({ failure }: SyncNumber): boolean {
  return failure === 'META_NUMBER_MISSING';
}

export function toMissingPhones(numbers: readonly SyncNumber[]): readonly PhoneToRecord[] {
  return numbers.flatMap(({ id, phoneNumberId, credentials }) =>
    phoneNumberId === null || credentials === null
      ? []
      : [{ id, phoneNumberId, result: { missing: true, credentials } }],
  );
}
