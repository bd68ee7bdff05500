// Owns the SQL that reads numbers: one statement for a list or for some ids, with the columns and relations that are
// shown and no others. What is written to them is store.ts's.

import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, type Statement, type TextRow, toTextArray } from '../database/statement.ts';
import type { MetaBlock } from './meta.ts';
import type {
  NumberAddress,
  Projection,
  StoredBlock,
  StoredKeyHint,
  StoredNumber,
} from './number.ts';
import type { ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import type { Verdict } from './sendable.ts';

export interface ListRequest {
  readonly tenantId: string;
  readonly projection: Projection;
  /** All numbers unless told; null is not told. */
  readonly ids?: readonly string[] | null;
  /** The moment before this call, from which on the remaining time of keys counts. */
  readonly now: Date;
}

/** In order of creation, then id. */
export async function listNumbers(
  database: Database,
  { tenantId, projection, ids = null, now }: ListRequest,
): Promise<readonly StoredNumber[]> {
  const { toStatement, toNumber } = toShape(projection, ids === null ? 'all' : 'some');
  const statement = toStatement({ tenantId, ids: toTextArray(ids ?? []) });
  const rows = await database.readTenant(tenantId, statement);
  const nowMs = now.getTime();
  return rows.map((row) => toNumber(row, nowMs));
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
    select n.id, n.provider, n.instance_name, n.phone_number_id, n.waba_id from whatsapp_number n
    where n.tenant_id = ${tenantId} and n.id = ${toAnyOf(ids)}`,
);

/** A statement, and how its rows are read. */
interface Shape {
  readonly toStatement: (values: Readonly<Record<'tenantId' | 'ids', string>>) => Statement;
  readonly toNumber: (row: TextRow, nowMs: number) => StoredNumber;
}

type Extent = 'all' | 'some';

const shapes = new Map<string, Shape>();

/** Made at the first use; what can be shown makes about a hundred of them for each extent. */
function toShape(projection: Projection, extent: Extent): Shape {
  const { details, apiKeys, health, meta } = projection;
  const blocks = meta && metaBlocks.filter((block) => meta.includes(block));
  const key = `${extent} ${details} ${apiKeys} ${health} ${blocks}`;
  const shape = shapes.get(key) ?? createShape(projection, extent);
  shapes.set(key, shape);
  return shape;
}

function createShape(projection: Projection, extent: Extent): Shape {
  const columns = toColumns(projection);
  const names = Object.keys(columns);
  const selected = Object.entries(columns).map(([name, it]) => sql`${it} as ${sql.id(name)}`);
  return {
    toNumber: createToNumber(projection, (name) => toCell(names.indexOf(name))),
    toStatement: prepare('numbers', ['tenantId', 'ids'], ({ tenantId, ids }) => {
      const isAskedFor = (id: RawBuilder<string>) =>
        extent === 'all' ? sql`true` : sql`${id} = ${toAnyOf(ids)}`;
      return sql`
        select ${sql.join(selected)} from whatsapp_number n
        ${joinBlocks(projection)} ${projection.apiKeys ? joinKeys(tenantId, isAskedFor) : sql``}
        where n.tenant_id = ${tenantId} and ${isAskedFor(sql`n.id`)}
        order by n.created_at, n.id`;
    }),
  };
}

function toAnyOf(ids: string): RawBuilder<string> {
  return sql`any(${ids}::text::text[])`;
}

// What health rests on is the phone of a Meta number and the connection of any other.
function joinBlocks({ health, meta }: Projection): RawBuilder<unknown> {
  const evidence = sql`
    left join number_snapshot phone on phone.tenant_id = n.tenant_id and phone.number_id = n.id
      and phone.block = case n.provider when 'META' then 'phone' else 'connection' end`;
  const others = sql`
    left join number_snapshot profile on profile.tenant_id = n.tenant_id and profile.number_id = n.id
      and profile.block = 'profile'
    left join waba_snapshot waba on waba.tenant_id = n.tenant_id and waba.waba_id = n.waba_id`;
  if (meta !== null) return sql`${evidence} ${others}`;
  return health === 'nothing' ? sql`` : evidence;
}

// One array of arrays for each number: name, prefix, last four, and how many milliseconds are left.
function joinKeys(
  tenantId: string,
  isAskedFor: (id: RawBuilder<string>) => RawBuilder<unknown>,
): RawBuilder<unknown> {
  return sql`
    left join (
      select k.number_id, json_agg(array[k.name, k.key_prefix, k.key_last4,
        (extract(epoch from k.expires_at - clock_timestamp()) * 1000)::text] order by k.created_at, k.id) as hints
      from api_key k
      where k.tenant_id = ${tenantId} and ${isAskedFor(sql`k.number_id`)}
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp())
      group by k.number_id
    ) keys on keys.number_id = n.id`;
}

type Columns = Readonly<Record<string, RawBuilder<unknown>>>;

function toColumns(projection: Projection): Columns {
  const { details, apiKeys, health, meta } = projection;
  const whole = listWholeBlocks(projection);
  return {
    id: sql`n.id`,
    provider: sql`n.provider`,
    state: sql`n.state`,
    ...(details && {
      instanceName: sql`n.instance_name`,
      number: sql`n.number`,
      name: sql`n.name`,
      createdAt: toTimestamp(sql`n.created_at`),
      updatedAt: toTimestamp(sql`n.updated_at`),
    }),
    ...(apiKeys && { apiKeys: sql`keys.hints::text` }),
    ...(health === 'everything' && { stateObservedAt: toTimestamp(sql`n.state_observed_at`) }),
    ...(health === 'summary' && !whole.includes('phone') && summaryColumns),
    // Whether there is any `meta` depends on all of its blocks.
    ...(meta !== null && toBlockColumns(metaBlocks, toTimeColumn)),
    ...toBlockColumns(whole, toWholeColumns),
  };
}

const metaBlocks: readonly MetaBlock[] = ['phone', 'profile', 'waba'];

function listWholeBlocks({ health, meta }: Projection): readonly MetaBlock[] {
  return metaBlocks.filter(
    (block) => meta?.includes(block) || (block === 'phone' && health === 'everything'),
  );
}

const summaryColumns: Columns = {
  qualityRating: sql`phone.data ->> 'qualityRating'`,
  messagingLimitTier: sql`phone.data ->> 'messagingLimitTier'`,
  status: sql`phone.data ->> 'status'`,
  'phone failure': sql`phone.failure::text`,
  'phone verdict': sql`phone.verdict`,
  // See isSendable: the evidence matters where it has supported no verdict.
  'phone data': sql`(case when phone.verdict is null then phone.data end)::text`,
};

function toBlockColumns(
  blocks: readonly MetaBlock[],
  toColumnsOf: (block: MetaBlock) => Columns,
): Columns {
  return Object.assign({}, ...blocks.map(toColumnsOf));
}

function toTimeColumn(block: MetaBlock): Columns {
  return { [`${block} observedAt`]: toTimestamp(sql`${sql.table(block)}.observed_at`) };
}

function toWholeColumns(block: MetaBlock): Columns {
  const of = sql.table(block);
  return {
    ...toTimeColumn(block),
    [`${block} attemptedAt`]: toTimestamp(sql`${of}.attempted_at`),
    [`${block} failure`]: sql`${of}.failure::text`,
    [`${block} data`]: sql`${of}.data::text`,
    ...(block === 'phone' && { 'phone verdict': sql`phone.verdict` }),
  };
}

/** As answers show it, see `Timestamp`. */
function toTimestamp(time: RawBuilder<unknown>): RawBuilder<string> {
  return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}

/** Takes the text of one column out of a row; null too where the column was not selected. */
type Cell = (row: TextRow) => string | null;

/** Finds a column once for all rows: a row is read for every number of every answer. */
type FindCell = (column: string) => Cell;

function toCell(place: number): Cell {
  return place === -1 ? () => null : (row) => row[place] ?? null;
}

function createToNumber(projection: Projection, find: FindCell): Shape['toNumber'] {
  const [toId, toProvider, toState] = [find('id'), find('provider'), find('state')];
  const [toStateObservedAt, toApiKeys] = [find('stateObservedAt'), find('apiKeys')];
  const toDetails = projection.details ? createToDetails(find) : () => null;
  const toBlocks =
    projection.health === 'nothing' && projection.meta === null
      ? () => noBlocks
      : createToBlocks(projection, find);
  return (row, nowMs) => {
    const provider = toProvider(row) as ProviderName;
    return {
      // None of these three is ever null, and the database checks the words.
      id: toId(row)!,
      provider,
      state: toState(row) as ConnectionState,
      stateObservedAt: toStateObservedAt(row),
      details: toDetails(row),
      apiKeys: projection.apiKeys ? toKeyHints(toApiKeys(row), nowMs) : [],
      blocks: toBlocks(row, provider),
    };
  };
}

const noBlocks: StoredNumber['blocks'] = {};

function createToDetails(find: FindCell): (row: TextRow) => StoredNumber['details'] {
  const [toInstanceName, toNumber, toName] = [find('instanceName'), find('number'), find('name')];
  const [toCreatedAt, toUpdatedAt] = [find('createdAt'), find('updatedAt')];
  return (row) => ({
    instanceName: toInstanceName(row),
    // None of these is ever null.
    number: toNumber(row)!,
    name: toName(row)!,
    createdAt: toCreatedAt(row)!,
    updatedAt: toUpdatedAt(row)!,
  });
}

function toKeyHints(text: string | null, nowMs: number): readonly StoredKeyHint[] {
  // What joinKeys makes.
  const hints = (toJson(text) ?? []) as readonly [string, string, string, string | null][];
  return hints.map(([name, keyPrefix, keyLast4, leftMs]) => ({
    name,
    keyPrefix,
    keyLast4,
    expiresAt: leftMs === null ? null : nowMs + Math.floor(Number(leftMs)),
  }));
}

function createToBlocks(
  projection: Projection,
  find: FindCell,
): (row: TextRow, provider: ProviderName) => StoredNumber['blocks'] {
  const whole = listWholeBlocks(projection);
  const toSummary = projection.health === 'summary' ? createToSummary(find) : () => null;
  const [toPhone, toProfile, toWaba] = metaBlocks.map((block) =>
    // What is not shown whole is as if somebody had tried to read it.
    whole.includes(block)
      ? createToWhole(block, find)
      : createToPart(block, find, block === 'phone' ? toSummary : () => null),
  ) as [ToBlock, ToBlock, ToBlock];
  // Of health alone nobody looks at the others.
  if (projection.meta === null) {
    return (row, provider) =>
      provider === 'META' ? { phone: toPhone(row) } : { connection: toPhone(row) };
  }
  return (row, provider) => {
    const [phone, profile, waba] = [toPhone(row), toProfile(row), toWaba(row)];
    return provider === 'META' ? { phone, profile, waba } : { connection: phone, profile, waba };
  };
}

type ToBlock = (row: TextRow) => StoredBlock | undefined;

function createToPart(
  block: MetaBlock,
  find: FindCell,
  toSummary: (row: TextRow) => StoredBlock['data'],
): ToBlock {
  const [toData, toFailure] = [find(`${block} data`), find(`${block} failure`)];
  const [toObservedAt, toVerdict] = [find(`${block} observedAt`), find(`${block} verdict`)];
  const toAttemptedAt = find(`${block} attemptedAt`);
  return (row) => ({
    data: toJson(toData(row)) ?? toSummary(row),
    observedAt: toObservedAt(row),
    attemptedAt: toAttemptedAt(row),
    failure: toJson(toFailure(row)) as UpstreamFailure | null,
    verdict: toVerdict(row) as Verdict | null,
  });
}

function createToWhole(block: MetaBlock, find: FindCell): ToBlock {
  const toAttemptedAt = find(`${block} attemptedAt`);
  const toPart = createToPart(block, find, () => null);
  return (row) => (toAttemptedAt(row) === null ? undefined : toPart(row));
}

function createToSummary(find: FindCell): (row: TextRow) => StoredBlock['data'] {
  const [toQuality, toTier] = [find('qualityRating'), find('messagingLimitTier')];
  const toStatus = find('status');
  return (row) => ({
    qualityRating: toQuality(row),
    messagingLimitTier: toTier(row),
    status: toStatus(row),
  });
}

function toJson(text: string | null): Readonly<Record<string, unknown>> | null {
  return text === null ? null : JSON.parse(text);
}
