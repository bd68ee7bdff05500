// The SQL that reads what timelines and availability are made of.

import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { prepare, selectTime, toTextArray, toTimeText } from '../database/statement.ts';
import type { Recorded, RecordedChange, TimelineField, Window } from './timeline.ts';

export interface RecordedRequest extends Window {
  readonly numberIds: readonly string[];
  readonly field: TimelineField;
  /** Changes, and gaps, of each number. */
  readonly limit: number;
}

/** Of the numbers that exist, with their ids. */
export async function readRecorded(
  database: Database,
  tenantId: string,
  { numberIds, field, from, to, limit }: RecordedRequest,
): Promise<readonly (readonly [id: string, recorded: Recorded])[]> {
  const statement = statements[field]({
    tenantId,
    numberIds: toTextArray(numberIds.filter((id) => !id.includes('\0'))),
    from: toTimeText(from.getTime()),
    to: toTimeText(to.getTime()),
    limit: String(limit),
  });
  const rows = await database.readTenant(tenantId, statement);
  return rows.map(
    ([id, recordedSince, createdAt, provider, observedAt, staleSince, current, changes, gaps]) => [
      id!,
      {
        recordedSince: recordedSince!,
        createdAt: createdAt!,
        isMeta: provider === 'META',
        observedAt: observedAt ?? null,
        staleSince: staleSince ?? null,
        current: current ?? null,
        changes: JSON.parse(changes!) as readonly RecordedChange[],
        gaps: JSON.parse(gaps!) as Recorded['gaps'],
      },
    ],
  );
}

const iso = (column: string) => selectTime(sql.ref(column));

/** As migrations/0023_record_changes.ts, of the stored row. */
const verdict = (column: 'verdict' | 'reply_verdict') => sql`case
  when s.provider <> 'META' and not isfinite(s.observed_at) then case when s.blocked then 'NO' else 'UNKNOWN' end
  when s.blocked or s.state <> 'OPEN' then 'NO'
  when s.stale_since is not null then 'UNKNOWN'
  else coalesce(${sql.ref(`s.${column}`)}, 'UNKNOWN') end`;

const ofPhone = (member: string) => sql`b.data ->> ${sql.lit(member)}`;

const currentValues: Readonly<Record<TimelineField, RawBuilder<unknown>>> = {
  STATE: sql`n.state`,
  VERDICT: verdict('verdict'),
  REPLY_VERDICT: verdict('reply_verdict'),
  QUALITY_RATING: ofPhone('qualityRating'),
  META_STATUS: ofPhone('status'),
  MESSAGING_LIMIT_TIER: ofPhone('messagingLimitTier'),
};

const toStatement = (field: TimelineField) =>
  prepare(
    'timeline',
    ['tenantId', 'numberIds', 'from', 'to', 'limit'],
    ({ tenantId, numberIds, from, to, limit }) => sql`
      select n.id,
        ${iso('p.since')}, ${iso('n.created_at')}, n.provider,
        case when isfinite(s.observed_at) then ${iso('s.observed_at')} end, ${iso('s.stale_since')},
        ${currentValues[field]},
        (
          select coalesce(json_agg(json_build_object('kind', c.kind, 'field', c.field, 'previousValue', c.previous_value,
            'newValue', c.new_value, 'occurredAt', ${iso('c.occurred_at')}) order by c.sequence), '[]')::text
          from (
            select * from number_change c
            where c.tenant_id = ${tenantId} and c.number_id = n.id
              and (c.kind in ('FIELD', 'VERDICT') and c.field = ${sql.lit(field)}
                or c.kind = 'FIELD' and c.field = 'META_STATUS' and c.new_value is null
                or c.kind = 'ADDED' and (c.field is null or c.field = 'PHONE'))
              and c.sequence >= (
                select min(f.sequence) from number_change f
                where f.tenant_id = ${tenantId} and f.number_id = n.id and f.occurred_at > ${from}::text::timestamptz
              )
            order by c.sequence limit ${limit}::text::integer
          ) c
        ),
        (
          select coalesce(json_agg(json_build_object('from', g.previous_value, 'to', g.new_value)), '[]')::text
          from (
            select * from number_change g
            where g.tenant_id = ${tenantId} and g.number_id = n.id and g.kind = 'GAP'
              -- Both in ISO 8601, in one format.
              and g.previous_value collate "C" < ${to}::text and g.new_value collate "C" > ${from}::text
            order by g.sequence limit ${limit}::text::integer
          ) g
        )
      from whatsapp_number n
      cross join lateral (
        select coalesce((
          -- Once changes were deleted, only what follows is known.
          select c.recorded_at from number_change c where c.tenant_id = ${tenantId} and c.sequence = f.first and f.first > 1
        ), f.created_at) as since
        from feed_position f where f.tenant_id = ${tenantId}
      ) p
      left join number_status s on s.tenant_id = ${tenantId} and s.number_id = n.id
      left join number_snapshot b on b.tenant_id = ${tenantId} and b.number_id = n.id and b.block = 'phone'
      where n.tenant_id = ${tenantId} and n.id = any((select ${numberIds}::text[])::text[])`,
  );

const statements: Readonly<Record<TimelineField, ReturnType<typeof toStatement>>> = {
  STATE: toStatement('STATE'),
  VERDICT: toStatement('VERDICT'),
  REPLY_VERDICT: toStatement('REPLY_VERDICT'),
  QUALITY_RATING: toStatement('QUALITY_RATING'),
  META_STATUS: toStatement('META_STATUS'),
  MESSAGING_LIMIT_TIER: toStatement('MESSAGING_LIMIT_TIER'),
};
