// What a projection selects of numbers: the columns and joins of SQL.

import { type RawBuilder, sql } from 'kysely';
import { selectTime } from '../database/statement.ts';
import type { MetaBlock } from './meta.ts';
import { rulesVersion } from './phone-reasons.ts';
import type { Projection } from './projection.ts';
import {
  type BlockExtent,
  createReader,
  createRowParser,
  type RowParser,
  type Shape,
} from './row-parser.ts';

/** What a statement selects of the numbers of a projection, from rows of whatsapp_number with the name `n`. */
export interface NumberSelection {
  /** Equal for projections that select the same. */
  readonly key: string;
  readonly columns: RawBuilder<unknown>;
  /** `isRequested` is a condition on the id of a number. */
  readonly joins: (tenantId: string, isRequested: IsRequested) => RawBuilder<unknown>;
  readonly parseRow: RowParser;
}

export type IsRequested = (id: RawBuilder<string>) => RawBuilder<unknown>;

/**
 * A projection may read more than it shows: callers choose projections, and each connection keeps every statement that it
 * has prepared. There are 36 selections of projections: 2 for the details, 2 for the keys, 6 for the blocks,
 * and 3 for the blocks with the times of the next reads.
 */
const numberSelections = new Map<string, NumberSelection>();

export function selectNumbers(projection: Projection): NumberSelection {
  const { details, apiKeys } = projection;
  const nextReads = projection.nextReads === true;
  const blocks = nextReads ? widenExtent(blockExtentOf(projection)) : blockExtentOf(projection);
  const key = `${details} ${apiKeys} ${blocks} ${nextReads}`;
  const shape = { details, apiKeys, blocks, nextReads };
  const selection = numberSelections.get(key) ?? createSelection(key, shape);
  numberSelections.set(key, selection);
  return selection;
}

function blockExtentOf({ health, meta, freshness, portfolio }: Projection): BlockExtent {
  if (portfolio === true) return 'all';
  if (meta?.some((block) => block !== 'phone') === true) return 'all';
  if (freshness === true) return 'freshness';
  if (meta !== null) return 'phone';
  if (health === 'nothing') return 'none';
  return health === 'summary' ? 'summary' : 'evidence';
}

/** With the times of the next reads there are fewer extents, so that there are fewer statements. */
function widenExtent(extent: BlockExtent): BlockExtent {
  if (extent === 'none' || extent === 'summary') return 'evidence';
  return extent === 'phone' ? 'all' : extent;
}

function createSelection(key: string, shape: Shape): NumberSelection {
  const columns = listColumns(shape);
  const names = Object.keys(columns);
  const selected = Object.entries(columns).map(([name, it]) => sql`${it} as ${sql.id(name)}`);
  return {
    key,
    columns: sql.join(selected),
    joins: (tenantId, isRequested) =>
      sql`${joinBlocks(shape)} ${shape.nextReads ? joinNextReads() : sql``} ${shape.apiKeys ? joinKeys(tenantId, isRequested) : sql``}`,
    parseRow: createRowParser(shape, (name) => createReader(names.indexOf(name))),
  };
}

function joinBlocks({ blocks }: Shape): RawBuilder<unknown> {
  if (blocks === 'none') return sql``;
  const evidence = sql`
    left join number_snapshot phone on phone.tenant_id = n.tenant_id and phone.number_id = n.id
      and phone.block = case n.provider when 'META' then 'phone' else 'connection' end`;
  const notice = sql`
    left join account_notice notice on notice.tenant_id = n.tenant_id and notice.waba_id = n.waba_id
      and n.provider = 'META'`;
  if (blocks === 'summary') return sql`${evidence} ${notice}`;
  const token =
    blocks === 'status'
      ? sql``
      : sql`${notice} left join credential token on token.tenant_id = n.tenant_id and token.id = n.credential_id`;
  if (blocks === 'evidence') return sql`${evidence} ${token}`;
  const others = sql`
    left join number_snapshot profile on profile.tenant_id = n.tenant_id and profile.number_id = n.id
      and profile.block = 'profile'
    left join waba_snapshot waba on waba.tenant_id = n.tenant_id and waba.waba_id = n.waba_id`;
  if (blocks === 'phone') return sql`${evidence} ${token} ${others}`;
  return sql`${evidence} ${token} ${others}
    left join number_snapshot waba_failure on waba_failure.tenant_id = n.tenant_id
      and waba_failure.number_id = n.id and waba_failure.block = 'waba'`;
}

// The subject of the numbers of the session engine is 'engine'; see migrations/0029_plan_sync.ts.
function joinNextReads(): RawBuilder<unknown> {
  return sql`
    left join sync_plan next_phone on next_phone.tenant_id = n.tenant_id
      and next_phone.subject_id = case n.provider when 'META' then n.waba_id else 'engine' end
      and next_phone.kind = case n.provider when 'META' then 'HEALTH' else 'ENGINE' end
    left join sync_plan next_request on next_request.tenant_id = n.tenant_id
      and next_request.subject_id = case n.provider when 'META' then n.waba_id else 'engine' end
      and next_request.kind = 'REQUEST'
      and (next_request.phones is null or next_request.phones && array[n.phone_number_id, n.number])
    left join sync_plan next_profile on next_profile.tenant_id = n.tenant_id
      and next_profile.subject_id = n.waba_id and next_profile.kind = 'PROFILE'
    left join sync_plan next_account on next_account.tenant_id = n.tenant_id
      and next_account.subject_id = n.waba_id and next_account.kind = 'ACCOUNT'`;
}

// One array of arrays for each number: name, prefix, last four, and the milliseconds that are left.
function joinKeys(tenantId: string, isRequested: IsRequested): RawBuilder<unknown> {
  return sql`
    left join (
      select k.number_id, json_agg(array[k.name, k.key_prefix, k.key_last4,
        (extract(epoch from k.expires_at - clock_timestamp()) * 1000)::text] order by k.created_at, k.id) as hints
      from api_key k
      where k.tenant_id = ${tenantId} and ${isRequested(sql`k.number_id`)}
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp())
      group by k.number_id
    ) keys on keys.number_id = n.id`;
}

type Columns = Readonly<Record<string, RawBuilder<unknown>>>;

function listColumns({ details, apiKeys, blocks, nextReads }: Shape): Columns {
  return {
    id: sql`n.id`,
    provider: sql`n.provider`,
    state: sql`n.state`,
    ...(details && {
      instanceName: sql`n.instance_name`,
      number: sql`n.number`,
      name: sql`n.name`,
      createdAt: selectTime(sql`n.created_at`),
      updatedAt: selectTime(sql`n.updated_at`),
      // Null for nearly all numbers, so that there is nothing to parse.
      labels: sql`(case when n.labels <> '{}' then to_json(n.labels) end)::text`,
      mutedUntil: selectTime(sql`n.muted_until`),
      muteNote: sql`n.mute_note`,
    }),
    ...(apiKeys && { apiKeys: sql`keys.hints::text` }),
    ...columnsOfBlocks[blocks],
    ...(nextReads && nextReadColumns),
  };
}

// A state that nobody has read or changed since the number was added is not an observation.
const stateObservedAt = selectTime(sql`
  (case when n.state_observed_at > n.created_at or phone.observed_at is not null then n.state_observed_at end)`);

// A request that is served is due at infinity.
const nextReadColumns: Columns = Object.fromEntries(
  ['phone', 'request', 'profile', 'account'].map((kind) => [
    `next ${kind}`,
    selectTime(sql`nullif(${sql.table(`next_${kind}`)}.due_at, 'infinity')`),
  ]),
);

const availableColumns: Columns = {
  availableFrom: selectTime(sql`notice.available_from`),
  availableTo: selectTime(sql`notice.available_to`),
};

/** Whether the stored verdicts are those of the stored data, by the rules of this release. */
const isJudged = sql`(phone.rules_version = ${sql.lit(rulesVersion)} and phone.judged_at = phone.observed_at)`;

const phoneColumns: Columns = {
  stateObservedAt,
  number: sql`n.number`,
  wabaId: sql`n.waba_id`,
  ...freshnessColumnsOf('phone'),
  'phone data': dataOf('phone'),
  'phone verdict': sql`phone.verdict`,
};

const evidenceColumns: Columns = {
  ...phoneColumns,
  notices: sql`nullif(notice.notices, '{}')::text`,
  ...availableColumns,
  tokenExpiresAt: selectTime(sql`token.expires_at`),
  dataAccessExpiresAt: selectTime(sql`token.data_access_expires_at`),
};

const otherFreshnessColumns: Columns = {
  ...freshnessColumnsOf('profile'),
  ...freshnessColumnsOf('waba'),
  // Data are stored for each account, and failures for each number, because each has its own credentials. A successful read
  // of the account with any credentials ends the failures.
  'waba attemptedAt': selectTime(sql`greatest(waba.observed_at, waba_failure.attempted_at)`),
  'waba failure': sql`(case when waba_failure.attempted_at > coalesce(waba.observed_at, '-infinity')
    then waba_failure.failure end)::text`,
  'waba obstacle': sql`(case
    when waba_failure.obstacle_at > coalesce(waba.observed_at, '-infinity') and ${isNewest('waba_failure')}
    then waba_failure.obstacle end)::text`,
};

const columnsOfBlocks: Readonly<Record<BlockExtent, Columns>> = {
  none: {},
  summary: {
    stateObservedAt,
    qualityRating: sql`phone.data ->> 'qualityRating'`,
    messagingLimitTier: sql`phone.data ->> 'messagingLimitTier'`,
    status: sql`phone.data ->> 'status'`,
    'phone failure': sql`phone.failure::text`,
    'phone obstacle': obstacleOf('phone'),
    'phone verdict': sql`phone.verdict`,
    // See isSendable: without stored verdicts the data are the evidence.
    'phone data': sql`(case when ${isJudged} then null else phone.data end)::text`,
    // Those that have ended do not begin again.
    notices: sql`(case when notice.effect is not null
      then json_build_object('restrictions', notice.notices -> 'restrictions') end)::text`,
    ...availableColumns,
  },
  evidence: evidenceColumns,
  phone: {
    ...evidenceColumns,
    'profile observedAt': selectTime(sql`profile.observed_at`),
    'waba observedAt': selectTime(sql`waba.observed_at`),
  },
  freshness: { ...evidenceColumns, ...otherFreshnessColumns },
  status: { ...phoneColumns, ...otherFreshnessColumns, 'waba data': dataOf('waba') },
  all: {
    ...evidenceColumns,
    ...otherFreshnessColumns,
    'profile data': dataOf('profile'),
    'waba data': dataOf('waba'),
  },
};

/** Not of a projection: it is read with each write, and so without what does not matter to the status. */
export const statusSelection = createSelection('status', {
  details: true,
  apiKeys: false,
  blocks: 'status',
  nextReads: false,
});

function freshnessColumnsOf(block: MetaBlock): Columns {
  const table = sql.table(block);
  return {
    [`${block} observedAt`]: selectTime(sql`${table}.observed_at`),
    [`${block} attemptedAt`]: selectTime(sql`${table}.attempted_at`),
    [`${block} failure`]: sql`${table}.failure::text`,
    [`${block} obstacle`]: obstacleOf(block),
  };
}

function obstacleOf(block: MetaBlock): RawBuilder<string> {
  return sql`(case when ${isNewest(block)} then ${sql.table(block)}.obstacle end)::text`;
}

/** Whether no attempt was made since the obstacle; see migrations/0025_store_obstacles.ts. */
function isNewest(snapshot: string): RawBuilder<boolean> {
  const table = sql.table(snapshot);
  return sql`${table}.obstacle_at >= ${table}.attempted_at`;
}

function dataOf(block: MetaBlock): RawBuilder<string> {
  return sql`${sql.table(block)}.data::text`;
}
