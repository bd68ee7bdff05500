// The parts of SQL that say what the status of a number means at a moment.

import { type RawBuilder, sql } from 'kysely';

export interface StatusColumns {
  /** The rows of number_status, or rows with the same columns. */
  readonly row: string;
  /** Whether there is any evidence. */
  readonly isObserved: RawBuilder<unknown>;
  /** Whether the evidence has expired; true without any. */
  readonly isExpired: RawBuilder<unknown>;
  /** Whether a session engine is configured. Without one, the stored state is all there is, and never expires. */
  readonly connectionsAreRead: boolean;
}

/** The columns of a row of number_status. Evidence that was read at `staleBefore` or earlier has expired. */
export function toStatusColumns(
  row: string,
  staleBefore: RawBuilder<unknown>,
  connectionsAreRead: boolean,
): StatusColumns {
  const observedAt = sql.ref(`${row}.observed_at`);
  return {
    row,
    isObserved: sql`isfinite(${observedAt})`,
    isExpired: sql`${observedAt} <= ${staleBefore}`,
    connectionsAreRead,
  };
}

/**
 * The verdict of the rules in sendable.ts. `blocked`, a restriction of the account and a state other than OPEN hold whatever
 * the age of the evidence; the state of a number that is not Meta's must have been observed.
 */
export function verdictOf(
  column: 'verdict' | 'reply_verdict',
  { row, isObserved, isExpired, connectionsAreRead }: StatusColumns,
): RawBuilder<string> {
  const of = (name: string) => sql.ref(`${row}.${name}`);
  const ofOthers = connectionsAreRead
    ? sql`when ${of('provider')} <> 'META' and not ${isObserved} then case when ${of('blocked')} then 'NO' else 'UNKNOWN' end`
    : sql`when ${of('provider')} <> 'META' then case when ${of('state')} = 'OPEN' then 'YES' else 'NO' end`;
  return sql<string>`(case ${ofOthers}
    when ${of('blocked')} or ${of('state')} <> 'OPEN' or ${isRestrictedFrom(column, row)} then 'NO'
    when ${isExpired} then 'UNKNOWN' else coalesce(${of(column)}, 'UNKNOWN') end)`;
}

/** Whether the account is restricted from what the verdict is about. */
export function isRestrictedFrom(
  column: 'verdict' | 'reply_verdict',
  row: string,
): RawBuilder<boolean> {
  const effect = sql.lit(column === 'verdict' ? 'START' : 'REPLIES');
  return sql`(coalesce(${sql.ref(`${row}.restriction`)}, '') in ('BOTH', ${effect}))`;
}

/** Whether the evidence is too old, or was never read. */
export function isStale({ row, isExpired, connectionsAreRead }: StatusColumns) {
  if (connectionsAreRead) return sql<boolean>`(${isExpired})`;
  return sql<boolean>`(${sql.ref(`${row}.provider`)} = 'META' and ${isExpired})`;
}

/** Whether the last attempt to read any block failed. */
export function isFailing({ row, connectionsAreRead }: StatusColumns) {
  const of = (name: string) => sql.ref(`${row}.${name}`);
  const isRead = connectionsAreRead ? sql`true` : sql`${of('provider')} = 'META'`;
  return sql<boolean>`(${of('account_failing')} or ${of('failing')} and ${isRead})`;
}
