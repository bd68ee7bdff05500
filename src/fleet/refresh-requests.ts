// Requests to read numbers in the background: which numbers are meant, and how many calls to the upstreams it takes.

import type { Access } from '../access/access.ts';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Provider, ProviderName } from '../numbers/provider.ts';
import { createInvalid, type FleetFilter, normalizeFilter } from './filter.ts';
import {
  type Address,
  countNumbersOfAccounts,
  listAddresses,
  listMatching,
} from './refresh-queries.ts';

export interface RefreshRequest {
  /** Either these or `filter`. */
  readonly ids?: readonly string[] | null | undefined;
  readonly filter?: FleetFilter | null | undefined;
}

/** Why a number is not read. */
export const skipReasons = {
  NUMBER_NOT_FOUND: 'The tenant has no number with this id.',
  FORBIDDEN: 'The API key is bound to another number.',
  NOT_READABLE:
    'Nothing reads the number: its state comes from a session engine, and none is configured.',
} as const satisfies Record<string, string>;

export type SkipReason = keyof typeof skipReasons;

export interface SkippedNumber {
  readonly id: string;
  readonly reason: SkipReason;
}

/** What is to be read of an account, or of the session engine; see `src/sync/`. */
export interface ReadRequest {
  /** Meta's id of the account, or `engine`. */
  readonly wabaId: string;
  /** Meta's ids of phone numbers, or digits; null for all numbers of the account, and the account itself. */
  readonly phones: readonly string[] | null;
}

/** The plan of `src/sync/`. */
export interface ReadPlan {
  /** Makes reads due in the transaction. */
  request(
    transaction: TenantTransaction,
    tenantId: string,
    requests: readonly ReadRequest[],
  ): Promise<void>;
  /** Begins what is due. Never throws. */
  wake(): void;
}

export interface RefreshPlan {
  readonly acceptedCount: number;
  readonly skipped: readonly SkippedNumber[];
  readonly requests: readonly ReadRequest[];
  readonly plannedCalls: number;
}

export const maxRefreshed = 1_000;

export interface RefreshPlanOptions {
  readonly database: Database;
  readonly providers: Readonly<Record<ProviderName, Pick<Provider, 'blocks'>>>;
  readonly now: () => Date;
}

/** Throws INVALID_REQUEST for more than 1,000 numbers, and unless there are either ids or a filter. */
export async function planRefresh(
  options: RefreshPlanOptions,
  access: Access,
  request: RefreshRequest,
): Promise<RefreshPlan> {
  const { database, providers } = options;
  const { tenantId, numberId } = access;
  const ids = await listIds(options, tenantId, request);
  const isAllowed = (id: string) => numberId === null || numberId === id;
  const possible = ids.filter((id) => isAllowed(id) && !id.includes('\0'));
  const addresses = await listAddresses(database, tenantId, possible);
  const isReadable = ({ provider }: Address) => providers[provider].blocks.length > 0;
  const readable = addresses.filter(isReadable);
  const found = new Map(addresses.map((address) => [address.id, address]));
  const skipped = ids.flatMap((id): readonly SkippedNumber[] => {
    if (!isAllowed(id)) return [{ id, reason: 'FORBIDDEN' }];
    const address = found.get(id);
    if (address === undefined) return [{ id, reason: 'NUMBER_NOT_FOUND' }];
    return isReadable(address) ? [] : [{ id, reason: 'NOT_READABLE' }];
  });
  const accounts = Map.groupBy(readable, ({ provider, wabaId }) =>
    provider === 'META' ? (wabaId ?? '') : engine,
  );
  const sizes = await countNumbersOfAccounts(database, tenantId, [...accounts.keys()]);
  const planned = [...accounts].map(([account, numbers]) =>
    planAccount(account, numbers, sizes.get(account) ?? numbers.length),
  );
  return {
    acceptedCount: readable.length,
    skipped,
    requests: planned.map(({ request: it }) => it),
    plannedCalls: planned.reduce((calls, it) => calls + it.calls, 0),
  };
}

const engine = 'engine';
/** Of the list of an account's numbers. */
const pageSize = 100;

/** The list of an account has all its numbers, and is read if it takes fewer calls than to read the numbers one by one. */
function planAccount(
  wabaId: string,
  numbers: readonly Address[],
  accountSize: number,
): { readonly request: ReadRequest; readonly calls: number } {
  // And the account itself.
  const wholeCalls = Math.ceil(accountSize / pageSize) + 1;
  if (wabaId !== engine && wholeCalls < numbers.length) {
    return { request: { wabaId, phones: null }, calls: wholeCalls };
  }
  const phones = numbers.map(({ number, phoneNumberId }) => phoneNumberId ?? number);
  return { request: { wabaId, phones }, calls: phones.length };
}

async function listIds(
  { database, providers, now }: RefreshPlanOptions,
  tenantId: string,
  { ids, filter }: RefreshRequest,
): Promise<readonly string[]> {
  const given = [ids, filter].filter((it) => it !== null && it !== undefined);
  if (given.length !== 1) throw createInvalid('Send either ids or filter.');
  const distinct = ids ? [...new Set(ids)] : null;
  const matching =
    distinct ??
    (await listMatching(database, tenantId, {
      filter: normalizeFilter(filter ?? {}),
      limit: maxRefreshed + 1,
      now: now(),
      connectionsAreRead: providers.PILOT_STATUS.blocks.length > 0,
    }));
  if (matching.length <= maxRefreshed) return matching;
  throw createInvalid(
    `At most ${maxRefreshed} numbers are refreshed at once, and more were given or match the filter.`,
  );
}
