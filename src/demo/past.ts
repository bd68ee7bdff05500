// Gives the numbers of a new demo a past: without one, their strips and timelines would be empty for weeks. By SQL, because what
// nobody observed cannot be recorded by reading.

import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** How long ago the numbers were added and read for the first time. */
const age = sql`interval '40 days'`;

/**
 * Moves what seeding has recorded of a tenant into the past, and adds what may have happened since: a number that cannot send
 * could until some hours or days ago, others were down for a while, and nothing was read on two occasions. The same numbers
 * always have the same past. A tenant that was added more than an hour ago keeps the one that it has. Needs the rights of the
 * owner of the tables, which the demo has.
 */
export async function seedPast(database: Database, tenantId: string): Promise<void> {
  await database.acrossTenants((functions) =>
    functions.transaction().execute(async (transaction) => {
      await sql`select set_config('app.tenant_id', ${tenantId}, true)`.execute(transaction);
      const { rows } = await sql`
        update feed_position set created_at = created_at - ${age}
        where tenant_id = ${tenantId} and created_at > now() - interval '1 hour'
        returning tenant_id`.execute(transaction);
      if (rows.length === 0) return;
      const statements = [
        ...listMoves(tenantId),
        addEvents(tenantId),
        beginWithEarlierValues(tenantId),
        ...listPlacements(tenantId),
      ];
      for (const statement of statements) {
        // oxlint-disable-next-line no-await-in-loop -- each builds on the ones before it
        await statement.execute(transaction);
      }
    }),
  );
}

/** What seeding has recorded, at other times. */
function listMoves(tenantId: string): readonly RawBuilder<unknown>[] {
  return [
    sql`update tenant set created_at = created_at - ${age} where id = ${tenantId}`,
    // A state that nobody has read is as old as its number.
    sql`update whatsapp_number n set created_at = created_at - ${age},
        state_observed_at = state_observed_at - case when exists (
          select from number_snapshot s
          where s.tenant_id = ${tenantId} and s.number_id = n.id and s.observed_at is not null
        ) then interval '0' else ${age} end
      where n.tenant_id = ${tenantId}`,
    sql`update number_change set occurred_at = occurred_at - ${age}
      where tenant_id = ${tenantId} and kind = 'ADDED'`,
    // Failures are seeded before values, so some numbers have had two verdicts within seconds.
    sql`delete from number_change c
      where c.tenant_id = ${tenantId} and c.kind = 'VERDICT' and exists (
        select from number_change later
        where later.tenant_id = ${tenantId} and later.number_id = c.number_id
          and later.field = c.field and later.kind = 'VERDICT' and later.id > c.id)`,
    sql`with ${past(tenantId)}
      update number_change c
      set previous_value = case when c.new_value = 'YES' then null else 'YES' end,
        occurred_at = case when c.new_value = 'YES' then c.occurred_at - ${age} else trouble_at end
      from past where c.tenant_id = ${tenantId} and c.number_id = past.id and c.kind = 'VERDICT'`,
  ];
}

/**
 * One row for each number. `trouble_at` is when what is wrong with it, or with its account, began. `values` are those of its
 * first read at Meta, null if there was none.
 */
const past = (tenantId: string) => sql`past as (
  select n.id, n.provider, n.state, seed, added.new_value::jsonb as values, verdict.new_value as verdict,
    coalesce(nullif(s.observed_at, '-infinity'), now()) - interval '1 minute' * (40 + case added.new_value::jsonb ->> 'HEALTH_WABA'
        when 'BLOCKED' then abs(hashtext(n.waba_id)) else seed end % 2500) as trouble_at,
    now() - interval '1 hour' * (500 + abs(hashtext(coalesce(s.portfolio_id, ''))) % 200) as limit_at
  from whatsapp_number n
  join number_status s on s.tenant_id = ${tenantId} and s.number_id = n.id
  cross join lateral (select abs(hashtext(n.number)) as seed) seeds
  left join number_change added on added.tenant_id = ${tenantId} and added.number_id = n.id
    and added.kind = 'ADDED' and added.field = 'PHONE'
  left join number_change verdict on verdict.tenant_id = ${tenantId} and verdict.number_id = n.id
    and verdict.kind = 'VERDICT' and verdict.field = 'VERDICT'
  where n.tenant_id = ${tenantId}
)`;

/** When some numbers were down: a third for minutes or hours, a tenth for a day or two. */
const outages = sql`outage as (
  select id, provider, 'RATE_LIMITED' as status, now() - interval '1 minute' * (4300 + seed % 5000) as down_at,
    now() - interval '1 minute' * (4260 + seed % 5000 - seed % 500) as up_at
  from past where seed % 3 = 0 and (verdict = 'YES' or verdict = 'NO' and trouble_at > now() - interval '3700 minutes')
  union all
  select id, provider, 'RESTRICTED', now() - interval '1 hour' * (260 + seed % 150),
    now() - interval '1 hour' * (240 + seed % 150 - seed % 30)
  from past where seed % 10 = 4 and verdict in ('YES', 'NO')
)`;

/** Statuses that no number has from the beginning, and limits with the one before. */
const laterStatuses = sql`('BANNED', 'FLAGGED', 'RESTRICTED', 'RATE_LIMITED', 'DISCONNECTED', 'DELETED')`;
const limits = sql`(values ('TIER_2K', 'TIER_10K'), ('TIER_10K', 'TIER_100K')) limits(lower, higher)`;

const iso = (time: string) =>
  sql`to_char(${sql.ref(time)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const hours = (least: number, more: number) =>
  sql`now() - interval '1 hour' * (${sql.lit(least)} + seed % ${sql.lit(more)})`;

/** What happened to the values of each number, and the two times in which nothing was read. */
function addEvents(tenantId: string): RawBuilder<unknown> {
  return sql`
    with ${past(tenantId)}, ${outages}, event(id, kind, field, previous, value, occurred_at) as (
      select id, 'FIELD', 'META_STATUS', 'CONNECTED', values ->> 'META_STATUS', trouble_at
      from past where values ->> 'META_STATUS' in ${laterStatuses}
      union all select id, 'FIELD', 'STATE', 'OPEN', state, trouble_at
      from past where provider <> 'META' and state <> 'OPEN'
      union all select id, 'FIELD', 'QUALITY_RATING', 'GREEN', 'YELLOW', ${hours(150, 200)}
      from past where values ->> 'QUALITY_RATING' in ('YELLOW', 'RED')
      union all select id, 'FIELD', 'QUALITY_RATING', 'YELLOW', 'RED', ${hours(20, 100)}
      from past where values ->> 'QUALITY_RATING' = 'RED'
      union all select id, 'FIELD', 'MESSAGING_LIMIT_TIER', lower, higher, limit_at
      from past join ${limits} on higher = values ->> 'MESSAGING_LIMIT_TIER'
      union all select id, 'GAP', null, ${iso('gap_from')}, ${iso('gap_to')}, gap_to
      from past cross join (values
        (now() - interval '100 hours', now() - interval '93 hours'),
        (now() - interval '450 hours', now() - interval '424 hours')) gaps(gap_from, gap_to)
      where values is not null
      union all select id, kind, field, previous, value, occurred_at
      from outage cross join lateral (values
        (down_at, 'VERDICT', 'VERDICT', 'YES', 'NO'),
        (up_at, 'VERDICT', 'VERDICT', 'NO', 'YES'),
        (down_at, 'FIELD', case provider when 'META' then 'META_STATUS' else 'STATE' end,
          case provider when 'META' then 'CONNECTED' else 'OPEN' end, case provider when 'META' then status else 'CLOSE' end),
        (up_at, 'FIELD', case provider when 'META' then 'META_STATUS' else 'STATE' end,
          case provider when 'META' then status else 'CLOSE' end, case provider when 'META' then 'CONNECTED' else 'OPEN' end)
      ) changed(occurred_at, kind, field, previous, value)
    )
    insert into number_change
      (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at, observation, awaits_place)
    select ${tenantId}, id, kind, field, previous, value, 'SYNC', occurred_at, md5(id || occurred_at)::uuid, true
    from event order by occurred_at`;
}

/** What was read first is what the oldest change of each field names as the value before it. */
function beginWithEarlierValues(tenantId: string): RawBuilder<unknown> {
  return sql`
    with earliest as (
      select distinct on (number_id, field) number_id, field, previous_value
      from number_change where tenant_id = ${tenantId} and kind = 'FIELD' and source = 'SYNC'
      order by number_id, field, occurred_at
    ), earlier as (
      select number_id, jsonb_object_agg(field, previous_value) as values from earliest group by number_id
    )
    update number_change c set new_value = (c.new_value::jsonb || values)::text
    from earlier where c.tenant_id = ${tenantId} and c.number_id = earlier.number_id and c.kind = 'ADDED'
      and c.field is not distinct from case when values ? 'STATE' then null else 'PHONE' end`;
}

/** Their places in the feed are in the order of time, and numbers say since when they have their verdict. */
function listPlacements(tenantId: string): readonly RawBuilder<unknown>[] {
  return [
    // After those that are taken, which nobody has seen.
    sql`update number_change c
      set sequence = last + place, awaits_place = false, recorded_at = least(recorded_at, occurred_at)
      from feed_position p, (select id, row_number() over (order by occurred_at, id) as place
        from number_change where tenant_id = ${tenantId}) places
      where c.tenant_id = ${tenantId} and p.tenant_id = ${tenantId} and c.id = places.id`,
    sql`update feed_position set first = last + 1,
        last = (select max(sequence) from number_change where tenant_id = ${tenantId})
      where tenant_id = ${tenantId}`,
    sql`update number_status s set verdict_changed_at = changed_at
      from (select number_id, max(occurred_at) as changed_at from number_change
        where tenant_id = ${tenantId} and kind = 'VERDICT' and field = 'VERDICT' group by number_id) verdicts
      where s.tenant_id = ${tenantId} and s.number_id = verdicts.number_id`,
  ];
}
