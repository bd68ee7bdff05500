// The one statement that reads a fleet: a page of numbers, and what is counted over all of them.

import { LRUCache } from 'lru-cache';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, selectTime, type Statement } from '../database/statement.ts';
import type { StoredNumber } from '../numbers/stored-number.ts';
import { toStatusColumns } from '../numbers/status-queries.ts';
import type { Summary } from './facets.ts';
import {
  allOf,
  type Parameters,
  tenantOf,
  toConditions,
  toValue,
  toFilterParameters,
  toObservedAt,
} from './filter-queries.ts';
import { type KeyColumn, keyColumns } from './order.ts';
import { type FleetRead, selectionOf, type Shape, toShape } from './read-shape.ts';
import { selectCounted } from './summary-queries.ts';

export interface FleetRow {
  readonly keys: readonly string[];
  /** Null without a projection. */
  readonly stored: StoredNumber | null;
}

export interface FleetRows {
  /** In the direction of the page. */
  readonly rows: readonly FleetRow[];
  readonly summary: Summary;
}

export async function readFleet(
  database: Database,
  tenantId: string,
  read: Omit<FleetRead, 'tenantId'>,
): Promise<FleetRows> {
  const rows = await database.readTenant(tenantId, toFleetStatement({ ...read, tenantId }));
  const selection = selectionOf(read.page);
  const keys = keyColumns[read.order.field];
  const nowMs = read.now.getTime();
  const ofNumbers = read.page === null ? [] : rows.filter((row) => row.at(-2) !== null);
  return {
    // The keys and the summary are the last columns.
    summary: JSON.parse(rows[0]?.at(-1) ?? '{}') as Summary,
    rows: ofNumbers.map((row) => ({
      keys: row.slice(-1 - keys.length, -1) as readonly string[],
      stored: selection === null ? null : selection.parseRow(row, nowMs),
    })),
  };
}

export function toFleetStatement(read: FleetRead): Statement {
  return findStatement(toShape(read), toValues(read));
}

type ToStatement = (values: Parameters) => Statement;

interface KnownShape {
  readonly toStatement: ToStatement;
  uses: number;
}

/**
 * Callers choose the shape of a statement by the filters that they set, so the number of those that are kept is limited. A
 * shape is prepared on the connections from its fourth use on, so that rare ones do not displace common ones there.
 */
const shapes = new LRUCache<string, KnownShape>({ max: 200 });
const unpreparedUses = 3;

function findStatement(shape: Shape, values: Parameters): Statement {
  const key = JSON.stringify({ ...shape, selection: shape.selection?.key });
  const known = shapes.get(key) ?? { toStatement: createStatement(shape, values), uses: 0 };
  shapes.set(key, known);
  known.uses += 1;
  const statement = known.toStatement(values);
  return known.uses > unpreparedUses ? statement : { ...statement, isPrepared: false };
}

function toValues(read: FleetRead): Parameters {
  const { tenantId, filter, asOf, page, counted } = read;
  return {
    tenantId,
    staleBefore: toObservedAt(asOf.toISOString()),
    ...toFilterParameters(filter),
    ...(page !== null && { limit: String(page.limit) }),
    ...Object.fromEntries((page?.keys ?? []).map((key, at) => [`key ${at}`, key])),
    ...(counted.wabas !== null && { wabas: String(counted.wabas) }),
    ...(counted.portfolios !== null && { portfolios: String(counted.portfolios) }),
    ...((counted.labels ?? null) !== null && { labels: String(counted.labels) }),
  };
}

/** `values` have the names of the parameters. */
function createStatement(shape: Shape, values: Parameters): ToStatement {
  return prepare('fleet', Object.keys(values), (parameters) => buildStatement(shape, parameters));
}

function buildStatement(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const { page, selection } = shape;
  const { expressions, summary } = selectCounted(shape, parameters);
  if (page === null) {
    return sql`${withExpressions(expressions)} select null, ${summary}::text`;
  }
  const keys = keyColumns[shape.order.field];
  const tenantId = tenantOf(parameters);
  const shown = keys.map((column) => toKeyText('page', column));
  const numbers =
    selection === null
      ? sql``
      : sql`left join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = page.number_id
        ${selection.joins(tenantId, (id) => sql`${id} in (select number_id from page)`)}`;
  // The counts are in the first row, which exists although the page may be empty.
  return sql`${withExpressions([sql`page as materialized (${selectPage(shape, parameters)})`, ...expressions])}
    select ${selection === null ? sql`` : sql`${selection.columns},`} ${sql.join(shown)},
      (case when page.position is null or page.position = 1 then ${summary} end)::text
    from (select) one left join page on true ${numbers} order by page.position`;
}

function withExpressions(expressions: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  return expressions.length === 0 ? sql`` : sql`with ${sql.join(expressions)}`;
}

/** The keys of the page's numbers. */
function selectPage({ order, is, not, page, connectionsAreRead }: Shape, parameters: Parameters) {
  const columns = keyColumns[order.field];
  const tenantId = tenantOf(parameters);
  const isUp = page?.isAscending === true;
  const status = toStatusColumns(
    's',
    toValue(parameters['staleBefore'], 'timestamptz'),
    connectionsAreRead,
  );
  const sorted = (row: string) =>
    sql.join(
      columns.map(({ name }) => sql`${sql.ref(`${row}.${name}`)} ${isUp ? sql`asc` : sql`desc`}`),
    );
  const compared = columns.map(({ name }) => sql.ref(`s.${name}`));
  const values = columns.map(
    ({ type }, at) => sql`${parameters[`key ${at}`]}::text::${sql.raw(type)}`,
  );
  const conditions = [
    sql`s.tenant_id = ${tenantId}`,
    ...toConditions('is', is, status, parameters),
    ...(not.length === 0
      ? []
      : [sql`(${allOf(toConditions('not', not, status, parameters))}) is not true`]),
    ...(page?.hasKeys === true
      ? [sql`(${sql.join(compared)}) ${isUp ? sql`>` : sql`<`} (${sql.join(values)})`]
      : []),
  ];
  return sql`
    select found.*, row_number() over (order by ${sorted('found')}) as position from (
      select ${sql.join(compared)} from number_status s where ${allOf(conditions)}
      order by ${sorted('s')} limit ${parameters['limit']}::text::integer
    ) found`;
}

/** In the format that a cursor holds. */
function toKeyText(row: string, { name, type }: KeyColumn): RawBuilder<string> {
  const column = sql.ref(`${row}.${name}`);
  if (type !== 'timestamptz') return sql`${column}::text`;
  return sql`case when isfinite(${column})
    then ${selectTime(column)} else ${column}::text end`;
}
