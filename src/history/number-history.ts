// The use cases of the history of single numbers: their changes, newest first, their timelines and their availability. Each
// reads several numbers by one statement.

import type { Access } from '../access/access.ts';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { NumberChange } from './change.ts';
import { createUnknownCursor, decodeCursor } from './cursor.ts';
import { assertPageSize, normalizeFilter } from './page.ts';
import { readChanges } from './store.ts';
import {
  type Availability,
  type Recorded,
  type TimelineField,
  type TimelineSpan,
  toAvailability,
  toTimeline,
  type Window,
} from './timeline.ts';
import { readRecorded } from './timeline-queries.ts';

export interface HistoryRequest {
  readonly numberId: string;
  readonly first: number;
  readonly after: string | null;
  readonly fields: readonly string[] | null;
  readonly since: Date | null;
}

export interface HistoryPage {
  /** Newest first. */
  readonly changes: readonly NumberChange[];
  readonly hasNextPage: boolean;
}

interface Numbers {
  readonly numberIds: readonly string[];
}

export interface TimelineRequest extends Numbers {
  readonly field: TimelineField;
  readonly from: Date;
  /** Null for now. */
  readonly to: Date | null;
}

type ById<T> = ReadonlyMap<string, T>;

export interface NumberHistory {
  /** Of a number, which may have been removed; no changes of one that never existed. */
  listHistory(access: Access, request: HistoryRequest): Promise<HistoryPage>;
  /** A page for each of the numbers. */
  listHistories(
    access: Access,
    request: Omit<HistoryRequest, 'numberId'> & Numbers,
  ): Promise<ById<HistoryPage>>;
  /**
   * Of each number that exists, its spans, or INVALID_REQUEST for too many. Rejects with INVALID_REQUEST for a time that is
   * too long or in the future.
   */
  readTimelines(
    access: Access,
    request: TimelineRequest,
  ): Promise<ById<readonly TimelineSpan[] | GatewayError>>;
  /** Of the last days; as `readTimelines`. */
  readAvailabilities(
    access: Access,
    request: Numbers & { readonly days: number },
  ): Promise<ById<Availability | GatewayError>>;
}

export const maxDays = 92;
export const maxSpans = 1_000;
/** Of the verdict of a number whose availability is computed, so that one answer cannot take all memory. */
const maxVerdicts = 10_000;
const dayMs = 86_400_000;

interface Options {
  readonly database: Database;
  readonly now: () => Date;
}

export function createNumberHistory(options: Options): NumberHistory {
  const listHistories: NumberHistory['listHistories'] = (...request) =>
    listAll(options.database, ...request);
  return {
    listHistories,
    async listHistory(access, { numberId, ...request }) {
      const pages = await listHistories(access, { ...request, numberIds: [numberId] });
      return pages.get(numberId)!;
    },
    readTimelines: (...request) => readTimelines(options, ...request),
    readAvailabilities: (...request) => readAvailabilities(options, ...request),
  };
}

async function listAll(
  database: Database,
  { tenantId }: Access,
  { numberIds, first, after, fields, since }: Omit<HistoryRequest, 'numberId'> & Numbers,
): Promise<ById<HistoryPage>> {
  assertPageSize(first);
  const cursor = after === null ? null : decodeCursor(after);
  const rows = await readChanges(database, tenantId, {
    filter: normalizeFilter({ numberIds, fields }),
    direction: 'before',
    sequence: cursor?.sequence ?? Number.MAX_SAFE_INTEGER,
    since,
    limit: first + 1,
  });
  if (cursor !== null && cursor.epoch !== rows.position.epoch) throw createUnknownCursor();
  const byNumber = Map.groupBy(rows.changes, ({ numberId }) => numberId);
  return new Map(
    numberIds.map((id) => {
      const changes = byNumber.get(id) ?? [];
      return [id, { changes: changes.slice(0, first), hasNextPage: changes.length > first }];
    }),
  );
}

async function readTimelines(
  { database, now }: Options,
  { tenantId }: Access,
  { numberIds, field, from, to }: TimelineRequest,
): Promise<ById<readonly TimelineSpan[] | GatewayError>> {
  const window = toWindow(from, to, now());
  const limit = maxSpans + 2;
  const recorded = await readRecorded(database, tenantId, { numberIds, field, limit, ...window });
  return mapValues(recorded, (of) => {
    const spans = isCut(of, limit, window) ? null : toTimeline(of, field, window);
    if (spans !== null && spans.length <= maxSpans) return spans;
    return createInvalid(
      `The timeline has more than ${maxSpans} spans; select a shorter time between from and to.`,
    );
  });
}

async function readAvailabilities(
  { database, now }: Options,
  { tenantId }: Access,
  { numberIds, days }: Numbers & { readonly days: number },
): Promise<ById<Availability | GatewayError>> {
  if (!Number.isInteger(days) || days < 1 || days > maxDays) {
    throw createInvalid(`The availability is that of the last 1 to ${maxDays} days.`);
  }
  const to = now();
  const window = { from: new Date(to.getTime() - days * dayMs), to };
  const [field, limit] = ['VERDICT', maxVerdicts] as const;
  const recorded = await readRecorded(database, tenantId, { numberIds, field, limit, ...window });
  return mapValues(recorded, (of) =>
    isCut(of, limit, window)
      ? createInvalid(`The verdict has changed too often in ${days} days; select fewer days.`)
      : toAvailability(toTimeline(of, field, window)),
  );
}

/** Throws INVALID_REQUEST. A time after now is cut, because nothing is known of it. */
function toWindow(from: Date, to: Date | null, now: Date): Window {
  const end = to === null || to > now ? now : to;
  if (from >= end) throw createInvalid('`from` must be before `to`, and in the past.');
  if (end.getTime() - from.getTime() > maxDays * dayMs) {
    throw createInvalid(
      `A timeline has at most ${maxDays} days; select a shorter time between from and to.`,
    );
  }
  return { from, to: end };
}

/** Whether there is more in the window than what was read. */
function isCut({ changes, gaps }: Recorded, limit: number, { to }: Window): boolean {
  const isWhole = changes.length < limit || new Date(changes.at(-1)!.occurredAt) >= to;
  return !isWhole || gaps.length >= limit;
}

function mapValues<A, B>(
  values: readonly (readonly [id: string, value: A])[],
  convert: (value: A) => B,
): ById<B> {
  return new Map(values.map(([id, value]) => [id, convert(value)]));
}

function createInvalid(message: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', message);
}
