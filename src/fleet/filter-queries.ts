// The filter of a fleet as conditions of SQL.

import { type RawBuilder, sql } from 'kysely';
import { toTextArray, toTimeText } from '../database/statement.ts';
import { staleAfterSeconds } from '../numbers/number.ts';
import {
  isFailing,
  isRestrictedFrom,
  isStale,
  type StatusColumns,
  verdictOf,
} from '../numbers/status-queries.ts';
import type { Member, NormalConditions, NormalFilter } from './filter.ts';

/** The parameters of a statement by their names; see `prepare`. */
export type Parameters = Readonly<Record<string, string>>;

export function tenantOf({ tenantId = '' }: Parameters): string {
  return tenantId;
}

export type ParameterType = 'text' | 'text[]' | 'boolean' | 'timestamptz';

/** A parameter as a value of this type. The sub-select converts it once, and not for each row. */
export function toValue(parameter: string | undefined, type: ParameterType): RawBuilder<unknown> {
  return sql`(select ${parameter}::text::${sql.raw(type)})::${sql.raw(type)}`;
}

export type Part = keyof NormalFilter;

/** The members that are set, which is what a statement depends on. */
export function listMembers(conditions: NormalConditions): readonly Member[] {
  // Members only, see `normalizeFilter`.
  return Object.keys(conditions).toSorted() as Member[];
}

/** The values of the parameters that `toConditions` refers to. */
export function toFilterParameters({ is, not }: NormalFilter): Parameters {
  return { ...toParameters('is', is), ...toParameters('not', not) };
}

function toParameters(part: Part, conditions: NormalConditions): Parameters {
  const { changedSince } = conditions;
  const entries = Object.entries(conditions).map(([member, value]) => [
    `${part} ${member}`,
    toParameter(value),
  ]);
  return {
    ...Object.fromEntries(entries),
    ...(changedSince !== undefined && { [`${part} expiredSince`]: toObservedAt(changedSince) }),
  };
}

function toParameter(value: boolean | string | readonly string[]): string {
  return Array.isArray(value) ? toTextArray(value) : String(value);
}

/** When evidence was observed that expired at this time. */
export function toObservedAt(expiresAt: string): string {
  return toTimeText(Date.parse(expiresAt) - (staleAfterSeconds + 1) * 1_000);
}

type ToCondition = (
  columns: StatusColumns,
  value: (type: ParameterType, name?: string) => RawBuilder<unknown>,
  tenantId: string,
) => RawBuilder<unknown>;

const toConditionOf: Readonly<Record<Member, ToCondition>> = {
  providers: isAnyOf('provider'),
  states: isAnyOf('state'),
  qualityRatings: isAnyOf('quality_rating'),
  metaStatuses: isAnyOf('meta_status'),
  messagingLimitTiers: isAnyOf('messaging_limit_tier'),
  wabaIds: isAnyOf('waba_id'),
  portfolioIds: isAnyOf('portfolio_id'),
  ids: isAnyOf('number_id'),
  // Not of rows of words, which have no numbers.
  // `is true` keeps PostgreSQL from making a join of it, which would look up each number of an index in another one.
  labels: ({ row }, value, tenantId) => sql`(${sql.ref(`${row}.number_id`)} in (
    select l.id from whatsapp_number l where l.tenant_id = ${tenantId} and l.labels <> '{}' and l.labels && ${value('text[]')}
  )) is true`,
  verdicts: (columns, value) => sql`${verdictOf('verdict', columns)} = any(${value('text[]')})`,
  replyVerdicts: (columns, value) =>
    sql`${verdictOf('reply_verdict', columns)} = any(${value('text[]')})`,
  stale: (columns, value) => sql`${isStale(columns)} = ${value('boolean')}`,
  failing: (columns, value) => sql`${isFailing(columns)} = ${value('boolean')}`,
  restricted: (columns, value) => sql`${isRestricted(columns)} = ${value('boolean')}`,
  // There is no second text unless the first may be a phone number; strpos of null is null.
  search: ({ row }, value) => {
    const key = sql.ref(`${row}.search_key`);
    const found = ['1', '2'].map(
      (at) => sql`strpos(${key}, (${value('text[]')})[${sql.raw(at)}]) > 0`,
    );
    return sql`(${sql.join(found, sql` or `)})`;
  },
  // A verdict also changes when its evidence expires, which writes nothing.
  changedSince: (columns, value) => {
    const of = (name: string) => sql.ref(`${columns.row}.${name}`);
    const expires = (column: 'verdict' | 'reply_verdict') =>
      sql`${of(column)} is not null and not ${isRestrictedFrom(column, columns.row)}`;
    return sql`(${of('verdict_changed_at')} >= ${value('timestamptz')}
      or ${isStale(columns)} and ${of('observed_at')} >= ${value('timestamptz', 'expiredSince')}
        and ${of('state')} = 'OPEN' and not ${of('blocked')}
        and (${expires('verdict')} or ${expires('reply_verdict')}))`;
  },
};

function isAnyOf(column: string): ToCondition {
  return ({ row }, value) => sql`${sql.ref(`${row}.${column}`)} = any(${value('text[]')})`;
}

/** Whether Meta says so of the number, or has announced it of the account. */
export function isRestricted({ row }: Pick<StatusColumns, 'row'>): RawBuilder<boolean> {
  return sql`(coalesce(${sql.ref(`${row}.meta_status`)}, '') = 'RESTRICTED'
    or ${sql.ref(`${row}.restriction`)} is not null)`;
}

/** One condition for each of the members, of rows with these columns. */
export function toConditions(
  part: Part,
  members: readonly Member[],
  columns: StatusColumns,
  parameters: Parameters,
): readonly RawBuilder<unknown>[] {
  return members.map((member) =>
    // The names of the parameters are those of `toFilterParameters`.
    toConditionOf[member](
      columns,
      (type, name = member) => toValue(parameters[`${part} ${name}`], type),
      tenantOf(parameters),
    ),
  );
}

/** True when there are none. */
export function allOf(conditions: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `);
}
