// What is counted over a fleet, in SQL: the numbers by the combinations of their words, from which totals and facets
// follow; their accounts, portfolios and labels; and when the next evidence expires.

import { type RawBuilder, sql } from 'kysely';
import { selectTime } from '../database/statement.ts';
import { staleAfterSeconds } from '../numbers/number.ts';
import {
  isFailing,
  isStale,
  type StatusColumns,
  toStatusColumns,
  verdictOf,
} from '../numbers/status-queries.ts';
import { type GroupMember, groupMembers, type Member, rowMembers } from './filter.ts';
import {
  allOf,
  isRestricted,
  type Parameters,
  type Part,
  tenantOf,
  toConditions,
  toValue,
} from './filter-queries.ts';
import type { Shape } from './read-shape.ts';

/** The common table expressions, and the JSON of a `Summary`. */
export function selectCounted(
  shape: Shape,
  parameters: Parameters,
): { readonly expressions: readonly RawBuilder<unknown>[]; readonly summary: RawBuilder<unknown> } {
  const { facets, wabas, portfolios, labels, feedPosition } = shape.counted;
  const tenantId = tenantOf(parameters);
  const next = sql`(select ${selectTime(sql`min(s.observed_at)`)}
    from number_status s
    where s.tenant_id = ${tenantId} and s.observed_at > ${toValue(parameters['staleBefore'], 'timestamptz')})`;
  const members = [
    sql`'nextObservedAt', ${next}`,
    ...(facets ? [sql`'buckets', ${selectBuckets(shape)}`] : []),
    ...(wabas ? [sql`'wabas', ${selectWabas(parameters)}`] : []),
    ...(portfolios ? [sql`'portfolios', ${selectPortfolios(shape, parameters)}`] : []),
    ...(labels ? [sql`'labels', ${selectLabels(parameters)}`] : []),
    ...(feedPosition ? [sql`'feedPosition', ${selectFeedPosition(parameters)}`] : []),
  ];
  const combines = facets || wabas || portfolios || (labels && !countsAllLabels(shape));
  return {
    expressions: [
      ...(combines
        ? [
            sql`combination as materialized (${selectCombinations(shape, parameters, byAccounts(shape))})`,
            sql`word as materialized (${words})`,
          ]
        : []),
      ...(countsAccounts(shape)
        ? [sql`account as materialized (${selectAccounts(shape, parameters)})`]
        : []),
      ...(labels ? [sql`label as materialized (${countLabels(shape, parameters)})`] : []),
      ...(portfolios && leavesOutRows(shape)
        ? [sql`portfolio_limit as materialized (${selectLimits(parameters)})`]
        : []),
    ],
    summary: sql`json_build_object(${sql.join(members)})`,
  };
}

/** Verdicts that expire at about the same time are recorded in one transaction, two for each number. */
const maxExpired = 2_000;

/**
 * Not beyond what the page shows: when another process has the later time, the feed may already have verdicts that expire
 * after the moment at which the page was judged.
 */
function selectFeedPosition(parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  const lifetime = sql.lit(`${staleAfterSeconds + 1} seconds`);
  return sql`(select json_build_object('epoch', p.epoch, 'sequence', least(p.last, (
      select min(c.sequence) - 1 from number_change c
      where c.tenant_id = ${tenantId} and c.sequence > p.last - ${sql.lit(maxExpired)} and c.source = 'CLOCK'
        and c.occurred_at - ${lifetime}::interval > ${toValue(parameters['staleBefore'], 'timestamptz')}
    ))) from feed_position p where p.tenant_id = ${tenantId})`;
}

/** The groups in the order of an index, so that PostgreSQL need not sort or hash 50,000 numbers. */
function selectCombinations(
  shape: Shape,
  parameters: Parameters,
  { columns: others, join = sql``, ignored }: Grouping,
): RawBuilder<unknown> {
  const { is, not, connectionsAreRead } = shape;
  const tenantId = tenantOf(parameters);
  const staleBefore = toValue(parameters['staleBefore'], 'timestamptz');
  const columns = toStatusColumns('s', staleBefore, connectionsAreRead);
  const conditions = [
    sql`s.tenant_id = ${tenantId}`,
    ...toConditions('is', is.filter(isOfRow), columns, parameters),
  ];
  const isMatched = (part: Part, members: readonly Member[]) =>
    sql`coalesce(${allOf(toConditions(part, members, columns, parameters))}, false)`;
  const flags = [
    ...groupMembers
      .filter((member) => is.includes(member) && member !== ignored)
      .map((member) => sql`${isMatched('is', [member])} as ${sql.id(member)}`),
    ...(not.some(isOfRowOrGroup)
      ? [sql`${isMatched('not', not.filter(isOfRowOrGroup))} as is_left_out`]
      : []),
  ];
  const groups = [sql`s.words`, ...others, ...flags];
  return sql`
    select ${sql.join(groups)}, count(*) as numbers, count(*) filter (where ${columns.isExpired}) as expired,
      max(s.observed_at) as newest
    from number_status s ${join} where ${allOf(conditions)}
    group by ${sql.join(groups.map((_, at) => sql.lit(at + 1)))}`;
}

/** What the numbers are grouped by, besides their words. */
interface Grouping {
  readonly columns: readonly RawBuilder<unknown>[];
  /** Of another table that the columns come from. */
  readonly join?: RawBuilder<unknown>;
  /** A member of the filter that does not matter for what is counted. */
  readonly ignored?: GroupMember;
}

function byAccounts(shape: Shape): Grouping {
  return { columns: countsAccounts(shape) ? [sql`s.waba_id`, sql`s.portfolio_id`] : [] };
}

/** By all labels of a number together, because many numbers have the same ones. */
function byLabels(parameters: Parameters): Grouping {
  const tenantId = tenantOf(parameters);
  return {
    columns: [sql`n.labels`],
    join: sql`join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = s.number_id and n.labels <> '{}'`,
    ignored: 'labels',
  };
}

function countsAccounts({ counted }: Shape): boolean {
  return counted.wabas || counted.portfolios;
}

function isOfRow(member: Member): boolean {
  return (rowMembers as readonly Member[]).includes(member);
}

function isOfRowOrGroup(member: Member): boolean {
  return isOfRow(member) || (groupMembers as readonly Member[]).includes(member);
}

// The parts of the generated column `words`, in the order of migrations/0028_keep_notices_of_accounts.ts.
const parts = [
  'provider',
  'state',
  'quality_rating',
  'meta_status',
  'messaging_limit_tier',
  'verdict',
  'reply_verdict',
  'blocked',
  'failing',
  'account_failing',
  'is_observed',
  'restriction',
];
const flagParts = new Set(['blocked', 'failing', 'account_failing', 'is_observed']);

const words = sql`
  select c.words, row_number() over (order by c.words) as place, ${sql.join(
    parts.map((name, at) => {
      const part = sql`split_part(c.words, '|', ${sql.lit(at + 1)})`;
      return flagParts.has(name)
        ? sql`${part} <> '' as ${sql.id(name)}`
        : sql`nullif(${part}, '') as ${sql.id(name)}`;
    }),
  )} from (select distinct words from combination) c`;

/** The bits of a moment's place below its milliseconds: more words than a tenant can have. */
const places = 2 ** 20;

/**
 * How many numbers each account has that count for either facet, and the moment of its newest evidence of a messaging
 * limit, with the place of its words. One pass over the combinations serves both facets.
 */
function selectAccounts(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const countOf = (ignored: GroupMember) => toCount(shape, parameters, ignored);
  return sql`
    select p.waba_id, p.portfolio_id, sum(${countOf('wabaIds')}) as of_waba,
      sum(${countOf('portfolioIds')}) as of_portfolio,
      max((extract(epoch from p.newest) * 1000)::bigint * ${sql.lit(places)} + w.place)
        filter (where w.messaging_limit_tier is not null and isfinite(p.newest)) as newest
    from combination p join word w using (words) group by p.waba_id, p.portfolio_id`;
}

/** The numbers of a combination that match all members but one. */
function toCount(shape: Shape, parameters: Parameters, ignored: GroupMember) {
  const [ofFresh, ofExpired] = [sql`false`, sql`true`].map((isExpired) =>
    toCombinationConditions(shape, parameters, ignored, isExpired),
  );
  if (ofFresh === null || ofExpired === null) return sql`p.numbers`;
  return sql`case when ${ofFresh} then p.numbers - p.expired else 0 end
    + case when ${ofExpired} then p.expired else 0 end`;
}

/** Null when all match. */
function toCombinationConditions(
  shape: Shape,
  parameters: Parameters,
  ignored: GroupMember,
  isExpired: RawBuilder<unknown>,
): RawBuilder<unknown> | null {
  const columns = toWordColumns(shape, isExpired);
  const isCounted = (member: Member) => !isOfRowOrGroup(member);
  const others = groupMembers.filter((member) => member !== ignored && shape.is.includes(member));
  const leftOut = [
    ...toConditions('not', shape.not.filter(isCounted), columns, parameters),
    ...(shape.not.some(isOfRowOrGroup) ? [sql`p.is_left_out`] : []),
  ];
  const conditions = [
    ...toConditions('is', shape.is.filter(isCounted), columns, parameters),
    ...others.map((member) => sql`p.${sql.id(member)}`),
    ...(leftOut.length === 0 ? [] : [sql`(${allOf(leftOut)}) is not true`]),
  ];
  return conditions.length === 0 ? null : allOf(conditions);
}

/** The columns of a row of words, of numbers with or without expired evidence. */
function toWordColumns(
  { connectionsAreRead }: Shape,
  isExpired: RawBuilder<unknown>,
): StatusColumns {
  return { row: 'w', isObserved: sql`w.is_observed`, isExpired, connectionsAreRead };
}

function selectBuckets(shape: Shape): RawBuilder<unknown> {
  const columns = toWordColumns(shape, sql`p.is_expired`);
  const flags = {
    wabaIds: toFlag('wabaIds', shape.is.includes('wabaIds')),
    portfolioIds: toFlag('portfolioIds', shape.is.includes('portfolioIds')),
    labels: toFlag('labels', shape.is.includes('labels')),
    isLeftOut: toFlag('is_left_out', shape.not.some(isOfRowOrGroup)),
  };
  const known = Object.values(flags).filter((column) => column !== null);
  const grouped = sql.join([sql`words`, ...known]);
  const members: Readonly<Record<string, RawBuilder<unknown>>> = {
    provider: sql`w.provider`,
    state: sql`w.state`,
    verdict: verdictOf('verdict', columns),
    replyVerdict: verdictOf('reply_verdict', columns),
    qualityRating: sql`w.quality_rating`,
    metaStatus: sql`w.meta_status`,
    messagingLimitTier: sql`w.messaging_limit_tier`,
    stale: isStale(columns),
    failing: isFailing(columns),
    restricted: isRestricted(columns),
    wabaIds: flags.wabaIds ?? sql`true`,
    portfolioIds: flags.portfolioIds ?? sql`true`,
    labels: flags.labels ?? sql`true`,
    isLeftOut: flags.isLeftOut ?? sql`true`,
    count: sql`p.pieces`,
  };
  const built = Object.entries(members).map(([name, value]) => sql`${sql.lit(name)}, ${value}`);
  // Each group twice: its numbers with and those without expired evidence.
  return sql`(select json_agg(json_build_object(${sql.join(built)})) from (
      select g.*, x.is_expired, case when x.is_expired then g.expired else g.numbers - g.expired end as pieces
      from (select ${grouped}, sum(numbers) as numbers, sum(expired) as expired from combination group by ${grouped}) g
      cross join (values (true), (false)) x(is_expired)
    ) p join word w using (words) where p.pieces > 0)`;
}

function toFlag(name: string, isKnown: boolean): RawBuilder<unknown> | null {
  return isKnown ? sql.id(name) : null;
}

function selectWabas(parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  return sql`(select json_agg(json_build_object('id', a.waba_id, 'count', a.numbers, 'name', (
      select x.data ->> 'name' from waba_snapshot x
      where x.tenant_id = ${tenantId} and x.waba_id = a.waba_id
    )) order by a.numbers desc, a.waba_id) from (
      select waba_id, sum(of_waba) as numbers from account where waba_id is not null
      group by waba_id having sum(of_waba) > 0
      order by numbers desc, waba_id limit ${parameters['wabas']}::text::integer
    ) a)`;
}

/** How many numbers have each label. Many numbers have the same labels, so they are taken apart last. */
function countLabels(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const counted = countsAllLabels(shape)
    ? countAllLabels(parameters)
    : sql`
      select p.labels, sum(${toCount(shape, parameters, 'labels')}) as numbers
      from (${selectCombinations(shape, parameters, byLabels(parameters))}) p join word w using (words)
      group by p.labels`;
  return sql`
    select u.label, sum(c.numbers) as numbers
    from (${counted}) c cross join lateral unnest(c.labels) u(label) group by u.label`;
}

/** Whether no filter matters for the facet, which ignores that of labels. */
function countsAllLabels({ is, not }: Shape): boolean {
  return not.length === 0 && is.every((member) => member === 'labels');
}

/** Without their status, of which this needs nothing. A number that other software adds has none for some seconds. */
function countAllLabels(parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  return sql`
    select n.labels, count(*) as numbers from whatsapp_number n
    where n.tenant_id = ${tenantId} and n.labels <> '{}' group by n.labels`;
}

function selectLabels(parameters: Parameters): RawBuilder<unknown> {
  return sql`(select json_agg(json_build_object('value', a.label, 'count', a.numbers)
      order by a.numbers desc, a.label collate "C") from (
      select label, numbers from label where numbers > 0
      order by numbers desc, label collate "C" limit ${parameters['labels']}::text::integer
    ) a)`;
}

/** Whether the combinations have some of the numbers only, so that a limit may be missing in them. */
function leavesOutRows({ is }: Shape): boolean {
  return is.some(isOfRow);
}

/** The newest evidence of each limit of each portfolio, from all numbers. */
function selectLimits(parameters: Parameters): RawBuilder<unknown> {
  const limit = sql`split_part(s.words, '|', ${sql.lit(parts.indexOf('messaging_limit_tier') + 1)})`;
  return sql`
    select s.portfolio_id, ${limit} as messaging_limit_tier, max(s.observed_at) as newest, max(s.words) as words
    from number_status s
    where s.tenant_id = ${tenantOf(parameters)} and s.portfolio_id is not null and isfinite(s.observed_at)
      and ${limit} <> ''
    group by 1, 2`;
}

function selectPortfolios(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  const limit = leavesOutRows(shape)
    ? sql`select l.messaging_limit_tier from portfolio_limit l where l.portfolio_id = a.portfolio_id
        order by l.newest desc, l.words desc limit 1`
    : sql`select w.messaging_limit_tier from word w where w.place = a.newest % ${sql.lit(places)}`;
  return sql`(select json_agg(json_build_object('id', a.portfolio_id, 'count', a.numbers, 'messagingLimitTier', (
        ${limit}
      ), 'name', (
        select x.data ->> 'ownerBusinessName' from waba_snapshot x
        where x.tenant_id = ${tenantId} and x.waba_id = any(a.wabas)
          and x.data ->> 'ownerBusinessId' = a.portfolio_id
        order by x.observed_at desc, x.waba_id limit 1
      )) order by a.numbers desc, a.portfolio_id) from (
      select portfolio_id, sum(of_portfolio) as numbers, array_agg(waba_id) as wabas, max(newest) as newest
      from account where portfolio_id is not null
      group by portfolio_id having sum(of_portfolio) > 0
      order by numbers desc, portfolio_id limit ${parameters['portfolios']}::text::integer
    ) a)`;
}
