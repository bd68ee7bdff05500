// The SQL that reads incidents for callers: a page of them, single ones, and the worst one of each of several numbers.

import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import {
  prepare,
  selectTime,
  type Statement,
  type TextRow,
  toTextArray,
  toTimeText,
} from '../database/statement.ts';
import { findRule, isOfWhole, ruleNames, severities, type WholeScope } from './rules.ts';

/** As `Incident`, but for its text. */
export interface StoredIncident {
  readonly id: string;
  readonly rule: string;
  readonly severity: string;
  readonly scope: string;
  readonly subject: string;
  readonly subjectName: string | null;
  /** Whether it is about its subject as a whole, and not about several numbers or accounts of it. */
  readonly isOfWhole: boolean;
  /** Of several accounts, how many there are. */
  readonly accountCount: number | null;
  /** Names of rules. */
  readonly covers: readonly string[];
  readonly numberCount: number;
  readonly numbers: readonly {
    readonly id: string;
    readonly name: string | null;
    readonly number: string | null;
  }[];
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly openedAt: string;
  readonly closedAt: string | null;
  readonly acknowledgedAt: string | null;
  /** The id of an API key. */
  readonly acknowledgedBy: string | null;
  readonly acknowledgedByKey: {
    readonly name: string;
    readonly keyPrefix: string;
    readonly keyLast4: string;
  } | null;
  readonly note: string | null;
}

export type IncidentState = 'OPEN' | 'CLOSED';

export interface PlaceOfIncident {
  /** Milliseconds since 1970. */
  readonly openedAt: number;
  readonly id: string;
}

export interface IncidentsToRead {
  /** Null for both. */
  readonly state: IncidentState | null;
  readonly after: PlaceOfIncident | null;
  readonly limit: number;
  /** Whether all that have the state are counted. */
  readonly counted: boolean;
}

/** Newest first. */
export async function readIncidents(
  database: Database,
  tenantId: string,
  { state, after, limit, counted }: IncidentsToRead,
): Promise<{ readonly incidents: readonly StoredIncident[]; readonly total: number | null }> {
  const create = pages[`${state ?? 'ALL'}${counted ? '_COUNTED' : ''}`];
  const statement = create({
    tenantId,
    // Later than every incident.
    openedAt: after === null ? 'infinity' : toTimeText(after.openedAt),
    id: after?.id ?? '',
    limit: String(limit),
  });
  const [[total = null, json = null] = []] = await database.readTenant(tenantId, statement);
  return { incidents: parse(json), total: total === null ? null : Number(total) };
}

/** Undefined when the tenant has no such incident. */
export async function readIncident(
  database: Database,
  tenantId: string,
  id: string,
): Promise<StoredIncident | undefined> {
  const [[json = null] = []] = await database.readTenant(tenantId, selectOne({ tenantId, id }));
  return parse(json)[0];
}

/** Of each of the numbers that has one, the worst incident that is open. */
export async function readWorstIncidents(
  database: Database,
  tenantId: string,
  numberIds: readonly string[],
): Promise<ReadonlyMap<string, StoredIncident>> {
  const statement = selectWorst({ tenantId, numberIds: toTextArray(numberIds) });
  const rows = await database.readTenant(tenantId, statement);
  // Each incident once, and then which number has which.
  const incidents = new Map(
    rows.flatMap(([, , json = null]) => parse(json).map((it) => [it.id, it] as const)),
  );
  return new Map(rows.flatMap((row) => toPair(row, incidents)));
}

function toPair(
  [numberId = null, incidentId = null]: TextRow,
  incidents: ReadonlyMap<string, StoredIncident>,
): readonly (readonly [numberId: string, incident: StoredIncident])[] {
  const incident = incidents.get(incidentId ?? '');
  return numberId === null || incident === undefined ? [] : [[numberId, incident]];
}

function parse(json: string | null): readonly StoredIncident[] {
  return JSON.parse(json ?? '[]') as readonly StoredIncident[];
}

/** Of the numbers of an incident, those that a caller sees. */
const maxNumbers = 10;

type Value = string;

/** Whether the incident `i` is about an account, a portfolio or a token as a whole. */
function isAbout(whole: WholeScope): RawBuilder<unknown> {
  const rules = ruleNames.filter((rule) => isOfWhole(rule, whole)).map((rule) => sql.lit(rule));
  return sql`(i.scope = ${sql.lit(whole)} and i.rule in (${sql.join(rules)})
    and (i.rule <> 'ACCOUNT_BANNED' or exists (
      select from incident_member m where m.tenant_id = i.tenant_id and m.incident_id = i.id and m.member = i.subject
        and (m.left_at is null or i.closed_at is not null))))`;
}

const ofAccount = isAbout('ACCOUNT');
const ofPortfolio = isAbout('PORTFOLIO');
const ofToken = isAbout('TOKEN');
const ofWhole = sql`(${ofAccount} or ${ofPortfolio} or ${ofToken})`;

const accountRules = ruleNames
  .filter((rule) => findRule(rule).ofAccounts !== undefined)
  .map((rule) => sql.lit(rule));
/** Whether the members of the incident `i` are several accounts. */
const ofAccounts = sql`(i.scope <> 'ACCOUNT' and i.rule in (${sql.join(accountRules)}))`;

/** Those whose numbers are part of the incident `i`; null if it is about numbers alone, or about a token. */
function selectAccounts(tenantId: Value): RawBuilder<unknown> {
  return sql`case when ${ofAccount} then array[i.subject]
    when ${ofPortfolio} then array(
      select x.waba_id from waba_snapshot x
      where x.tenant_id = ${tenantId} and x.data ->> 'ownerBusinessId' = i.subject)
    when ${ofAccounts} then array(
      select m.member from incident_member m
      where m.tenant_id = ${tenantId} and m.incident_id = i.id and (i.closed_at is not null or m.left_at is null))
  end`;
}

/** Those that are part of it, or of one that is over, all that were. */
function selectNumbers(tenantId: Value): RawBuilder<unknown> {
  return sql`(
    select coalesce(json_agg(json_build_object('id', p.id, 'name', n.name, 'number', n.number)
      order by p.left_at desc nulls first, p.id), '[]')
    from (
      select m.member as id, m.left_at from incident_member m
      where not (${ofWhole} or ${ofAccounts}) and m.tenant_id = ${tenantId} and m.incident_id = i.id
        and (i.closed_at is not null or m.left_at is null)
        and (i.scope = 'NUMBER' or m.member <> i.subject)
      union all
      select s.number_id, null from number_status s
      where s.tenant_id = ${tenantId} and s.waba_id = any(${selectAccounts(tenantId)})
      union all
      select w.id, null from whatsapp_number w
      where ${ofToken} and w.tenant_id = ${tenantId} and w.credential_id = i.subject
      order by 2 desc nulls first, 1 limit ${sql.lit(maxNumbers)}
    ) p left join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = p.id)`;
}

/** Accounts, portfolios and tokens have all their numbers. */
function selectNumberCount(tenantId: Value): RawBuilder<unknown> {
  return sql`case when ${ofAccount} or ${ofPortfolio} or ${ofAccounts} then (
      select count(*) from number_status s
      where s.tenant_id = ${tenantId} and s.waba_id = any(${selectAccounts(tenantId)})
    ) when ${ofToken} then (
      select count(*) from whatsapp_number n where n.tenant_id = ${tenantId} and n.credential_id = i.subject
    ) else i.member_count end`;
}

function selectSubjectName(tenantId: Value): RawBuilder<unknown> {
  return sql`case i.scope
    when 'NUMBER' then (
      select n.name from whatsapp_number n where n.tenant_id = ${tenantId} and n.id = i.subject)
    when 'ACCOUNT' then (
      select x.data ->> 'name' from waba_snapshot x
      where x.tenant_id = ${tenantId} and x.waba_id = i.subject)
    when 'PORTFOLIO' then (
      select x.data ->> 'ownerBusinessName' from waba_snapshot x
      where x.tenant_id = ${tenantId} and x.data ->> 'ownerBusinessId' = i.subject limit 1)
    when 'TOKEN' then (
      select c.name from credential c where c.tenant_id = ${tenantId} and c.id = i.subject)
    when 'ENGINE' then 'Session engine'
  end`;
}

/** Of the incident `i`. */
function selectIncident(tenantId: Value): RawBuilder<unknown> {
  return sql`json_build_object(
    'id', i.id, 'rule', i.rule, 'severity', i.severity, 'scope', i.scope, 'subject', i.subject,
    'subjectName', ${selectSubjectName(tenantId)}, 'isOfWhole', ${ofWhole},
    'accountCount', case when ${ofAccounts} then i.member_count end, 'covers', i.covers,
    'numberCount', ${selectNumberCount(tenantId)}, 'numbers', ${selectNumbers(tenantId)},
    'previousValue', i.previous_value, 'newValue', i.new_value,
    'openedAt', ${selectTime(sql`i.opened_at`)}, 'closedAt', ${selectTime(sql`i.closed_at`)},
    'acknowledgedAt', ${selectTime(sql`i.acknowledged_at`)}, 'acknowledgedBy', i.acknowledged_by,
    'acknowledgedByKey', (
      select json_build_object('name', k.name, 'keyPrefix', k.key_prefix, 'keyLast4', k.key_last4)
      from api_key k where k.tenant_id = ${tenantId} and k.id = i.acknowledged_by),
    'note', i.note)`;
}

const conditions = {
  ALL: sql`true`,
  OPEN: sql`i.closed_at is null`,
  CLOSED: sql`i.closed_at is not null`,
} as const;

function preparePage(state: keyof typeof conditions, counted: boolean) {
  const condition = conditions[state];
  const parameters = ['tenantId', 'openedAt', 'id', 'limit'] as const;
  return prepare('incidents', parameters, ({ tenantId, openedAt, id, limit }) => {
    const total = sql`(
      select count(*)::text from incident i where i.tenant_id = ${tenantId} and ${condition})`;
    return sql`
      select ${counted ? total : sql`null::text`}, (
        select json_agg(page.incident order by page.opened_at desc, page.id desc)::text from (
          select i.opened_at, i.id, ${selectIncident(tenantId)} as incident from incident i
          where i.tenant_id = ${tenantId} and ${condition}
            and (i.opened_at, i.id) < (${openedAt}::text::timestamptz, ${id}::text)
          order by i.opened_at desc, i.id desc limit ${limit}::text::integer
        ) page)`;
  });
}

type PageName = `${keyof typeof conditions}${'' | '_COUNTED'}`;

const pages: Readonly<Record<PageName, ReturnType<typeof preparePage>>> = {
  ALL: preparePage('ALL', false),
  ALL_COUNTED: preparePage('ALL', true),
  OPEN: preparePage('OPEN', false),
  OPEN_COUNTED: preparePage('OPEN', true),
  CLOSED: preparePage('CLOSED', false),
  CLOSED_COUNTED: preparePage('CLOSED', true),
};

const selectOne: (values: Record<'tenantId' | 'id', string>) => Statement = prepare(
  'incident',
  ['tenantId', 'id'],
  ({ tenantId, id }) => sql`
    select json_build_array(${selectIncident(tenantId)})::text from incident i
    where i.tenant_id = ${tenantId} and i.id = ${id}`,
);

/** What nobody has acknowledged comes first, and then what began first, because it may be the cause of the others. */
const selectWorst: (values: Record<'tenantId' | 'numberIds', string>) => Statement = prepare(
  'incidents_of_numbers',
  ['tenantId', 'numberIds'],
  ({ tenantId, numberIds }) => sql`
    with asked as materialized (
      select n.id as number_id, w.scope, w.subject from whatsapp_number n
      cross join lateral (values ('ACCOUNT', n.waba_id), ('TOKEN', n.credential_id)) w(scope, subject)
      where n.tenant_id = ${tenantId} and n.id = any((select ${numberIds}::text::text[])::text[])
    ), part as (
      select m.member as number_id, i.id, i.severity, i.acknowledged_at, i.opened_at
      from incident_member m join incident i on i.tenant_id = ${tenantId} and i.id = m.incident_id
      where m.tenant_id = ${tenantId} and m.left_at is null and i.closed_at is null
        and m.member = any((select ${numberIds}::text::text[])::text[])
      union all
      select a.number_id, i.id, i.severity, i.acknowledged_at, i.opened_at
      from incident i join asked a on a.scope = i.scope and a.subject = i.subject
      where i.tenant_id = ${tenantId} and i.closed_at is null and ${ofWhole}
      union all
      select a.number_id, i.id, i.severity, i.acknowledged_at, i.opened_at
      from asked a
      join incident_member m on m.tenant_id = ${tenantId} and m.member = a.subject and m.left_at is null
      join incident i on i.tenant_id = ${tenantId} and i.id = m.incident_id
      where a.scope = 'ACCOUNT' and i.closed_at is null and ${ofAccounts}
    ), worst as materialized (
      select distinct on (p.number_id) p.number_id, p.id as incident_id from part p
      order by p.number_id, array_position(array[${sql.join(severities.map((it) => sql.lit(it)))}], p.severity),
        p.acknowledged_at is not null, p.opened_at, p.id
    )
    select null::text, null::text, json_build_array(${selectIncident(tenantId)})::text from incident i
    where i.tenant_id = ${tenantId} and i.id in (select w.incident_id from worst w)
    union all
    select w.number_id, w.incident_id, null from worst w`,
);
