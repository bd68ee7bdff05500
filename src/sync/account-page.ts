// The pages of a tenant's accounts in the APIs.

import { GatewayError } from '../errors.ts';
import type { PlannedAccount, SyncState } from './report.ts';

export interface AccountPageRequest {
  readonly first: number;
  /** Only accounts whose id comes after this one. */
  readonly after?: string | null | undefined;
  /** All states if null or absent. */
  readonly states?: readonly SyncState[] | null | undefined;
}

export const defaultAccountCount = 100;
export const maxAccountCount = 1_000;

/** In the order of their ids, which does not change during a walk. Throws INVALID_REQUEST. */
export function pageAccounts(
  accounts: readonly PlannedAccount[],
  { first, after = null, states }: AccountPageRequest,
): readonly PlannedAccount[] {
  if (!Number.isInteger(first) || first < 0 || first > maxAccountCount) {
    throw new GatewayError(
      'INVALID_REQUEST',
      `Ask for 0 to ${maxAccountCount} accounts at a time.`,
    );
  }
  return selectAccounts(accounts, states)
    .filter(({ wabaId }) => after === null || wabaId > after)
    .toSorted((one, other) => (one.wabaId < other.wabaId ? -1 : 1))
    .slice(0, first);
}

export function selectAccounts(
  accounts: readonly PlannedAccount[],
  states: AccountPageRequest['states'],
): readonly PlannedAccount[] {
  return states ? accounts.filter(({ state }) => states.includes(state)) : accounts;
}
