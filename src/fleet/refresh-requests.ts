// Requests to read numbers in the background: which numbers are meant, and how many calls to the upstreams it takes.

import type { Access } from '../access/access.ts';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Provider, ProviderName } from '../numbers/provider.ts';
import { createInvalid, type FleetFilter, normalizeFilter } from './filter.ts';
import {
  type Address,
  listAddresses,
  type ListedAccount,
  listMatching,
  readListedAccounts,
} from './refresh-queries.ts';

export interface RefreshRequest {
  /** Either these or `filter`. */
  readonly ids?: readonly string[] | null | undefined;
  readonly filter?: FleetFilter | null | undefined;
  /** PHONE and CONNECTION if absent. */
  readonly blocks?: readonly RefreshBlock[] | null | undefined;
}

/** What can be read of a number, in the words of the fields of changes. */
export const refreshBlocks = {
  PHONE:
    'The number at Meta, with its status, its limits and its health: `health` and `meta { phone }`.',
  PROFILE: 'Its business profile: `meta { profile }`.',
  ACCOUNT: 'Its WhatsApp Business account, once for all its numbers: `meta { waba }`.',
  CONNECTION:
    'The connection state at the session engine, of a number that is not connected through Meta.',
} as const satisfies Record<string, string>;

export type RefreshBlock = keyof typeof refreshBlocks;

const defaultBlocks: readonly RefreshBlock[] = ['PHONE', 'CONNECTION'];
const blocksOf: Readonly<Record<ProviderName, readonly RefreshBlock[]>> = {
  META: ['PHONE', 'PROFILE', 'ACCOUNT'],
  PILOT_STATUS: ['CONNECTION'],
};

/** Why a number is not read. */
export const skipReasons = {
  NUMBER_NOT_FOUND: 'The tenant has no number with this id.',
  FORBIDDEN: 'The API key is bound to another number.',
  NO_SUCH_BLOCK:
    'The number has none of the blocks: CONNECTION is that of a number of a session engine, and the others are those of a number of Meta.',
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
  /** Meta's ids of phone numbers, or digits; null for all numbers of the account. */
  readonly phones: readonly string[] | null;
  /** Of those whose business profile is read. */
  readonly profiles: readonly string[];
  readonly readsAccount: boolean;
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
  readonly blocks: readonly RefreshBlock[];
  /** The ids of the numbers that will be read. */
  readonly accepted: readonly string[];
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

/**
 * Throws INVALID_REQUEST for more than 1,000 numbers, for an empty list of blocks, and unless there are either ids or a
 * filter.
 */
export async function planRefresh(
  options: RefreshPlanOptions,
  access: Access,
  request: RefreshRequest,
): Promise<RefreshPlan> {
  const { database, providers } = options;
  const { tenantId, numberId } = access;
  const blocks = normalizeBlocks(request.blocks);
  const ids = await listIds(options, tenantId, request);
  const isAllowed = (id: string) => numberId === null || numberId === id;
  const possible = ids.filter((id) => isAllowed(id) && !id.includes('\0'));
  const addresses = await listAddresses(database, tenantId, possible);
  const findObstacle = ({ provider }: Address): SkipReason | null => {
    if (!blocksOf[provider].some((block) => blocks.includes(block))) return 'NO_SUCH_BLOCK';
    return providers[provider].blocks.length > 0 ? null : 'NOT_READABLE';
  };
  const readable = addresses.filter((address) => findObstacle(address) === null);
  const found = new Map(addresses.map((address) => [address.id, address]));
  const skipped = ids.flatMap((id): readonly SkippedNumber[] => {
    if (!isAllowed(id)) return [{ id, reason: 'FORBIDDEN' }];
    const address = found.get(id);
    const reason = address === undefined ? 'NUMBER_NOT_FOUND' : findObstacle(address);
    return reason === null ? [] : [{ id, reason }];
  });
  const accounts = Map.groupBy(readable, ({ provider, wabaId }) =>
    provider === 'META' ? (wabaId ?? '') : engine,
  );
  const listed = await readListedAccounts(database, tenantId, [...accounts.keys()]);
  const planned = [...accounts].map(([account, numbers]) =>
    planAccount(account, numbers, blocks, listed.get(account) ?? null),
  );
  return {
    blocks,
    accepted: readable.map(({ id }) => id),
    skipped,
    requests: planned.map(({ request: it }) => it),
    plannedCalls: planned.reduce((calls, it) => calls + it.calls, 0),
  };
}

/** In the order of `refreshBlocks`. */
function normalizeBlocks(given: RefreshRequest['blocks']): readonly RefreshBlock[] {
  const blocks = given ?? defaultBlocks;
  if (blocks.length === 0) {
    throw createInvalid('Send at least one block, or leave `blocks` out.');
  }
  return (Object.keys(refreshBlocks) as RefreshBlock[]).filter((block) => blocks.includes(block));
}

const engine = 'engine';
/** Of the list of an account's numbers. */
const pageSize = 100;

/**
 * The list of an account has the status and the health of all its numbers, and is read if it takes fewer calls than to read
 * them one by one. `listed` is null if it cannot take their place.
 */
function planAccount(
  wabaId: string,
  numbers: readonly Address[],
  blocks: readonly RefreshBlock[],
  listed: ListedAccount | null,
): { readonly request: ReadRequest; readonly calls: number } {
  const names = numbers.map(({ number, phoneNumberId }) => phoneNumberId ?? number);
  if (wabaId === engine) {
    const request = { wabaId, phones: names, profiles: [], readsAccount: false };
    return { request, calls: names.length };
  }
  const pages =
    listed === null ? Infinity : Math.max(listed.pages, Math.ceil(listed.numbers / pageSize));
  const isListed = pages < names.length;
  const readsPhones = blocks.includes('PHONE');
  const profiles = blocks.includes('PROFILE') ? names : [];
  const readsAccount = blocks.includes('ACCOUNT');
  const phones = !readsPhones ? [] : isListed ? null : names;
  const phoneCalls = readsPhones ? Math.min(pages, names.length) : 0;
  return {
    request: { wabaId, phones, profiles, readsAccount },
    calls: phoneCalls + profiles.length + (readsAccount ? 1 : 0),
  };
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
