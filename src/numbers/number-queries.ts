// The SQL that reads numbers: one statement for a list or for some ids.

import { CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { prepare, type Statement, type TextRow, toTextArray } from '../database/statement.ts';
import { mapInChunks } from './chunked-map.ts';
import type { NumberAddress } from './number.ts';
import type { StoredBlock, StoredNumber } from './stored-number.ts';
import type { Projection } from './projection.ts';
import type { ProviderName } from './provider.ts';
import {
  type IsRequested,
  type NumberSelection,
  selectNumbers,
  statusSelection,
} from './selection-queries.ts';

export interface ListRequest {
  readonly tenantId: string;
  readonly projection: Projection;
  /** All numbers unless given. */
  readonly ids?: readonly string[] | null;
  /** A time before this call. The remaining lifetime of keys counts from it. */
  readonly now: Date;
}

/**
 * In order of creation, then id. Lists of all numbers that share one database read share one frozen result too: a tenant
 * with 10,000 numbers has 13 MB of blocks, which must not be parsed again for each of its concurrent requests.
 */
export async function listNumbers(
  database: Database,
  { tenantId, projection, ids = null, now }: ListRequest,
): Promise<readonly StoredNumber[]> {
  const { toStatement, parseRow } = findQuery(projection, ids === null ? 'all' : 'some');
  const statement = toStatement({ tenantId, ids: toTextArray(ids ?? []) });
  const rows = await database.readTenant(tenantId, statement);
  const nowMs = now.getTime();
  if (ids !== null) return rows.map((row) => parseRow(row, nowMs));
  const shared =
    parsedLists.get(rows) ?? mapInChunks(rows, (row) => freezeNumber(parseRow(row, nowMs)));
  parsedLists.set(rows, shared);
  return await shared;
}

/** By the rows of their read, which is the same array for all who share the read. */
const parsedLists = new WeakMap<readonly TextRow[], Promise<readonly StoredNumber[]>>();

function freezeNumber(number: StoredNumber): StoredNumber {
  for (const block of Object.values(number.blocks)) Object.freeze(block && freezeData(block));
  for (const key of number.apiKeys) Object.freeze(key);
  for (const part of [number.blocks, number.details, number.apiKeys]) Object.freeze(part);
  return Object.freeze(number);
}

function freezeData(block: StoredBlock): StoredBlock {
  Object.freeze(block.data);
  Object.freeze(block.failure);
  Object.freeze(block.obstacle);
  return block;
}

/** Where the numbers with these ids are found upstream. */
export async function listAddresses(
  database: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<readonly NumberAddress[]> {
  const statement = selectAddresses({ tenantId, ids: toTextArray(ids) });
  const rows = await database.readTenant(tenantId, statement);
  return rows.map(([id, provider, instanceName = null, phoneNumberId = null, wabaId = null]) => ({
    // Neither of the two is ever null, and the database checks the provider.
    id: id!,
    provider: provider as ProviderName,
    instanceName,
    phoneNumberId,
    wabaId,
  }));
}

const selectAddresses = prepare(
  'addresses',
  ['tenantId', 'ids'],
  ({ tenantId, ids }) => sql`
    select n.id, n.provider, n.instance_name, n.phone_number_id, n.waba_id
    from whatsapp_number n where n.tenant_id = ${tenantId} and n.id = ${anyOf(ids)}`,
);

/** A statement, and how its rows are parsed. */
interface NumberQuery {
  readonly toStatement: (values: Readonly<Record<'tenantId' | 'ids', string>>) => Statement;
  readonly parseRow: NumberSelection['parseRow'];
}

const numberQueries = new Map<string, NumberQuery>();

function findQuery(projection: Projection, numbers: 'all' | 'some'): NumberQuery {
  const selection = selectNumbers(projection);
  const key = `${numbers} ${selection.key}`;
  const query = numberQueries.get(key) ?? createQuery(selection, numbers);
  numberQueries.set(key, query);
  return query;
}

function createQuery(
  { columns, joins, parseRow }: NumberSelection,
  numbers: 'all' | 'some',
): NumberQuery {
  return {
    parseRow,
    toStatement: prepare('numbers', ['tenantId', 'ids'], ({ tenantId, ids }) => {
      const isRequested: IsRequested = (id) =>
        numbers === 'all' ? sql`true` : sql`${id} = ${anyOf(ids)}`;
      return sql`
        select ${columns} from whatsapp_number n ${joins(tenantId, isRequested)}
        where n.tenant_id = ${tenantId} and ${isRequested(sql`n.id`)}
        order by n.created_at, n.id`;
    }),
  };
}

/** What the status of these numbers is derived from, as this transaction sees it. */
export async function findNumbersForStatus(
  transaction: TenantTransaction,
  tenantId: string,
  ids: readonly string[],
): Promise<readonly StoredNumber[]> {
  const { toStatement, parseRow } = statusQuery;
  const { sql: text, parameters } = toStatement({ tenantId, ids: toTextArray(ids) });
  const statement = CompiledQuery.raw(text, [...parameters]);
  // The columns are text.
  const { rows } = await transaction.executeQuery<Record<string, string | null>>(statement);
  return rows.map((row) => parseRow(Object.values(row), 0));
}

const statusQuery = createQuery(statusSelection, 'some');

function anyOf(ids: string): RawBuilder<string> {
  return sql`any(${ids}::text::text[])`;
}
