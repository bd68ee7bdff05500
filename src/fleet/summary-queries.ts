// What is counted over a fleet, in SQL: the numbers by the combinations of their words, from which totals and facets
// follow; their accounts and portfolios; and when the next evidence expires.

import { type RawBuilder, sql } from 'kysely';
import { isFailing, isStale, type StatusColumns, verdictOf } from '../numbers/status-queries.ts';
import { type AccountMember, accountMembers, type Member, rowMembers } from './filter.ts';
import {
  allOf,
  isRestricted,
  type Parameters,
  type Part,
  tenantOf,
  toConditions,
} from './filter-queries.ts';
import type { Shape } from './read-shape.ts';

/** The common table expressions, and the JSON of a `Summary`. */
export function selectCounted(
  shape: Shape,
  parameters: Parameters,
): { readonly expressions: readonly RawBuilder<unknown>[]; readonly summary: RawBuilder<unknown> } {
  const { facets, wabas, portfolios } = shape.counted;
  const tenantId = tenantOf(parameters);
  const next = sql`(select to_char(min(s.observed_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    from number_status s
    where s.tenant_id = ${tenantId} and s.observed_at > ${parameters['staleBefore']}::text::timestamptz)`;
  const members = [
    sql`'nextObservedAt', ${next}`,
    ...(facets ? [sql`'buckets', ${selectBuckets(shape)}`] : []),
    ...(wabas ? [sql`'wabas', ${selectWabas(shape, parameters)}`] : []),
    ...(portfolios ? [sql`'portfolios', ${selectPortfolios(shape, parameters)}`] : []),
  ];
  const isCounted = facets || wabas || portfolios;
  return {
    expressions: isCounted
      ? [
          sql`combination as materialized (${selectCombinations(shape, parameters)})`,
          sql`word as materialized (${words})`,
          sql`piece as (${pieces})`,
        ]
      : [],
    summary: sql`json_build_object(${sql.join(members)})`,
  };
}

/** The groups in the order of an index, so that PostgreSQL need not sort or hash 50,000 numbers. */
function selectCombinations(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const { is, not, connectionsAreRead } = shape;
  const tenantId = tenantOf(parameters);
  const staleBefore = sql`${parameters['staleBefore']}::text::timestamptz`;
  const columns: StatusColumns = {
    row: 's',
    isObserved: sql`isfinite(s.observed_at)`,
    isExpired: sql`s.observed_at <= ${staleBefore}`,
    connectionsAreRead,
  };
  const conditions = [
    sql`s.tenant_id = ${tenantId}`,
    ...toConditions('is', is.filter(isOfRow), columns, parameters),
  ];
  const isMatched = (part: Part, members: readonly Member[]) =>
    sql`coalesce(${allOf(toConditions(part, members, columns, parameters))}, false)`;
  const flags = [
    ...accountMembers
      .filter((member) => is.includes(member))
      .map((member) => sql`${isMatched('is', [member])} as ${sql.id(member)}`),
    ...(not.some(isOfRowOrAccount)
      ? [sql`${isMatched('not', not.filter(isOfRowOrAccount))} as is_left_out`]
      : []),
  ];
  const accounts = countsAccounts(shape) ? [sql`s.waba_id`, sql`s.portfolio_id`] : [];
  const groups = [sql`s.words`, ...accounts, ...flags];
  return sql`
    select ${sql.join(groups)}, count(*) as numbers, count(*) filter (where ${columns.isExpired}) as expired,
      max(s.observed_at) as newest
    from number_status s where ${allOf(conditions)}
    group by ${sql.join(groups.map((_, at) => sql.lit(at + 1)))}`;
}

function countsAccounts({ counted }: Shape): boolean {
  return counted.wabas || counted.portfolios;
}

function isOfRow(member: Member): boolean {
  return (rowMembers as readonly Member[]).includes(member);
}

function isOfRowOrAccount(member: Member): boolean {
  return isOfRow(member) || (accountMembers as readonly Member[]).includes(member);
}

// The parts of the generated column `words`, in the order of migrations/0021_keep_status_of_numbers.ts.
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
];
const flagParts = new Set(['blocked', 'failing', 'account_failing', 'is_observed']);

const words = sql`
  select c.words, ${sql.join(
    parts.map((name, at) => {
      const part = sql`split_part(c.words, '|', ${sql.lit(at + 1)})`;
      return flagParts.has(name)
        ? sql`${part} <> '' as ${sql.id(name)}`
        : sql`nullif(${part}, '') as ${sql.id(name)}`;
    }),
  )} from (select distinct words from combination) c`;

/** Each combination twice: its numbers with and those without expired evidence. */
const pieces = sql`
    select c.*, w.is_expired, case when w.is_expired then c.expired else c.numbers - c.expired end as pieces
    from combination c cross join (values (true), (false)) w(is_expired)
    where case when w.is_expired then c.expired else c.numbers - c.expired end > 0`;

function columnsOfPiece({ connectionsAreRead }: Shape): StatusColumns {
  return {
    row: 'w',
    isObserved: sql`w.is_observed`,
    isExpired: sql`p.is_expired`,
    connectionsAreRead,
  };
}

function selectBuckets(shape: Shape): RawBuilder<unknown> {
  const columns = columnsOfPiece(shape);
  const flags = {
    wabaIds: toFlag('wabaIds', shape.is.includes('wabaIds')),
    portfolioIds: toFlag('portfolioIds', shape.is.includes('portfolioIds')),
    isLeftOut: toFlag('is_left_out', shape.not.some(isOfRowOrAccount)),
  };
  const known = Object.values(flags).filter((column) => column !== null);
  const grouped = sql.join([sql`words`, sql`is_expired`, ...known]);
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
    isLeftOut: flags.isLeftOut ?? sql`true`,
    count: sql`p.numbers`,
  };
  const built = Object.entries(members).map(([name, value]) => sql`${sql.lit(name)}, ${value}`);
  return sql`(select json_agg(json_build_object(${sql.join(built)})) from (
      select ${grouped}, sum(pieces) as numbers from piece group by ${grouped}
    ) p join word w using (words))`;
}

function toFlag(name: string, isKnown: boolean): RawBuilder<unknown> | null {
  return isKnown ? sql.id(name) : null;
}

/** The conditions on pieces of all members but one. */
function toPieceConditions(shape: Shape, parameters: Parameters, ignored: AccountMember) {
  const columns = columnsOfPiece(shape);
  const isCounted = (member: Member) => !isOfRowOrAccount(member);
  const others = accountMembers.filter((member) => member !== ignored && shape.is.includes(member));
  const leftOut = [
    ...toConditions('not', shape.not.filter(isCounted), columns, parameters),
    ...(shape.not.some(isOfRowOrAccount) ? [sql`p.is_left_out`] : []),
  ];
  return allOf([
    ...toConditions('is', shape.is.filter(isCounted), columns, parameters),
    ...others.map((member) => sql`p.${sql.id(member)}`),
    ...(leftOut.length === 0 ? [] : [sql`(${allOf(leftOut)}) is not true`]),
  ]);
}

function selectWabas(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  return sql`(select json_agg(json_build_object('id', a.waba_id, 'count', a.numbers, 'name', (
      select x.data ->> 'name' from waba_snapshot x
      where x.tenant_id = ${tenantId} and x.waba_id = a.waba_id
    )) order by a.numbers desc, a.waba_id) from (
      select p.waba_id, sum(p.pieces) as numbers from piece p join word w using (words)
      where p.waba_id is not null and ${toPieceConditions(shape, parameters, 'wabaIds')}
      group by p.waba_id order by numbers desc, p.waba_id limit ${parameters['wabas']}::text::integer
    ) a)`;
}

function selectPortfolios(shape: Shape, parameters: Parameters): RawBuilder<unknown> {
  const tenantId = tenantOf(parameters);
  return sql`(select json_agg(json_build_object('id', a.portfolio_id, 'count', a.numbers,
      'messagingLimitTier', a.tier, 'name', (
        select x.data ->> 'ownerBusinessName' from waba_snapshot x
        where x.tenant_id = ${tenantId} and x.waba_id = any(a.wabas)
          and x.data ->> 'ownerBusinessId' = a.portfolio_id
        order by x.observed_at desc, x.waba_id limit 1
      )) order by a.numbers desc, a.portfolio_id) from (
      select p.portfolio_id, sum(p.pieces) as numbers, array_agg(distinct p.waba_id) as wabas,
        (array_agg(w.messaging_limit_tier order by p.newest desc, w.messaging_limit_tier)
          filter (where w.messaging_limit_tier is not null))[1] as tier
      from piece p join word w using (words)
      where p.portfolio_id is not null and ${toPieceConditions(shape, parameters, 'portfolioIds')}
      group by p.portfolio_id order by numbers desc, p.portfolio_id limit ${parameters['portfolios']}::text::integer
    ) a)`;
}
