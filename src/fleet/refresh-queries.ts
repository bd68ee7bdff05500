// The SQL of requests to read numbers in the background.

import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, toTextArray } from '../database/statement.ts';
import type { ProviderName } from '../numbers/provider.ts';
import type { NormalFilter } from './filter.ts';
import { readFleet } from './fleet-queries.ts';

export interface MatchingRequest {
  readonly filter: NormalFilter;
  readonly limit: number;
  readonly now: Date;
  readonly connectionsAreRead: boolean;
}

/** The ids of the numbers that match, those first that need attention most. */
export async function listMatching(
  database: Database,
  tenantId: string,
  { filter, limit, now, connectionsAreRead }: MatchingRequest,
): Promise<readonly string[]> {
  const { rows } = await readFleet(database, tenantId, {
    filter,
    order: { field: 'ATTENTION', direction: 'DESC' },
    asOf: now,
    page: { limit, isBackward: false, keys: null, projection: null },
    counted: { facets: false, wabas: null, portfolios: null },
    connectionsAreRead,
    now,
  });
  // The id is the last key of every order.
  return rows.map(({ keys }) => keys.at(-1)!);
}

/** Where a number is read. */
export interface Address {
  readonly id: string;
  readonly provider: ProviderName;
  /** Digits. */
  readonly number: string;
  /** Null for a number that is not Meta's. */
  readonly wabaId: string | null;
  readonly phoneNumberId: string | null;
}

/** Those of the numbers that the tenant has. */
export async function listAddresses(
  database: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<readonly Address[]> {
  const rows = await database.readTenant(
    tenantId,
    selectAddresses({ tenantId, ids: toTextArray(ids) }),
  );
  return rows.map(([id, provider, number, wabaId = null, phoneNumberId = null]) => ({
    // None of the three is ever null, and the database checks the provider.
    id: id!,
    provider: provider as ProviderName,
    number: number!,
    wabaId,
    phoneNumberId,
  }));
}

const selectAddresses = prepare(
  'read_addresses',
  ['tenantId', 'ids'],
  ({ tenantId, ids }) => sql`
    select n.id, n.provider, n.number, n.waba_id, n.phone_number_id from whatsapp_number n
    where n.tenant_id = ${tenantId} and n.id = any(${ids}::text::text[])`,
);

export interface ListedAccount {
  /** How many numbers of it the tenant has. */
  readonly numbers: number;
  /** Of its list, when it was last read. The account may have numbers that the tenant does not have. */
  readonly pages: number;
}

/** Only accounts whose list has the health of their numbers. */
export async function readListedAccounts(
  database: Database,
  tenantId: string,
  wabaIds: readonly string[],
): Promise<ReadonlyMap<string, ListedAccount>> {
  const statement = selectListed({ tenantId, wabaIds: toTextArray(wabaIds) });
  const rows = await database.readTenant(tenantId, statement);
  return new Map(
    rows.map(([wabaId, numbers, pages]) => [
      wabaId ?? '',
      { numbers: Number(numbers), pages: Number(pages) },
    ]),
  );
}

const selectListed = prepare(
  'listed_accounts',
  ['tenantId', 'wabaIds'],
  ({ tenantId, wabaIds }) => sql`
    select n.waba_id, count(*)::text, max(s.pages)::text from whatsapp_number n
    join sync_subject s on s.tenant_id = ${tenantId} and s.subject_id = n.waba_id and s.reads_health
    where n.tenant_id = ${tenantId} and n.waba_id = any(${wabaIds}::text::text[])
    group by n.waba_id`,
);
