// The SQL of evaluating the rules of alerts: what is to be evaluated, and the conditions that it leaves.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Cause, CauseLimits } from './causes.ts';
import {
  type Belonging,
  type Condition,
  type EvaluationState,
  type Noted,
  type OpenIncident,
  toConditionKey,
  toNotedKey,
} from './evaluation-state.ts';
import { isSingle } from './groups.ts';
import type { QueuedChange } from './outbox.ts';
import { alertRules, type RuleName } from './rules.ts';

/** Tenants with changes that were not evaluated, with conditions that are due, or with causes that came or went. */
export async function findTenantsToEvaluateAcrossTenants(
  database: Database,
  now: Date,
  { expiringMs, lateMs }: CauseLimits,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`
    select tenant_id as id
    from find_tenants_to_evaluate(${now}::timestamptz, ${expiringMs}::float8, ${lateMs}::float8)`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

export interface Position {
  readonly sequence: number;
  /** Milliseconds since 1970; -Infinity before the first evaluation. */
  readonly clock: number;
  /** As `FeedPosition`. */
  readonly first: number;
  readonly last: number;
  readonly epoch: string;
}

/** Waits for an evaluation of another process. */
export async function lockPosition(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<Position> {
  await sql`insert into alert_position (tenant_id) values (${tenantId}) on conflict do nothing`.execute(
    transaction,
  );
  const { rows } = await sql<
    Record<'sequence' | 'first' | 'last' | 'epoch', string> & { clock: number }
  >`
    select p.sequence, extract(epoch from p.clock)::float8 * 1000 as clock, f.first, f.last, f.epoch
    from alert_position p join feed_position f on f.tenant_id = ${tenantId}
    where p.tenant_id = ${tenantId} for no key update of p`.execute(transaction);
  const { sequence, clock, first, last, epoch } = rows[0]!;
  return {
    sequence: Number(sequence),
    clock: Math.round(clock),
    first: Number(first),
    last: Number(last),
    epoch,
  };
}

export async function movePosition(
  transaction: TenantTransaction,
  tenantId: string,
  { sequence, clock }: Pick<Position, 'sequence' | 'clock'>,
): Promise<void> {
  await transaction
    .updateTable('alert_position')
    .set({ sequence: String(sequence), clock: new Date(clock) })
    .where('tenant_id', '=', tenantId)
    .execute();
}

export interface StoredChange extends QueuedChange {
  /** As `ReadChange`. */
  readonly knownVerdict: string | null;
  readonly isFirstRead: boolean;
}

const isFirstRead = (tenantId: string) => sql<boolean>`(
  field = 'STATE' and exists (
    select from number_change c
    where c.tenant_id = ${tenantId} and c.number_id = number_change.number_id
      and c.observation = number_change.observation and c.kind = 'ADDED' and c.field = 'PHONE'))`;

const knownVerdict = (tenantId: string) => sql<string | null>`case
  when kind = 'VERDICT' and field = 'VERDICT' and previous_value = 'UNKNOWN' then (
    select coalesce(nullif(c.new_value, 'UNKNOWN'), c.previous_value) from number_change c
    where c.tenant_id = ${tenantId} and c.number_id = number_change.number_id
      and c.sequence < number_change.sequence and c.kind = 'VERDICT' and c.field = 'VERDICT'
      and (c.new_value <> 'UNKNOWN' or c.previous_value <> 'UNKNOWN')
    order by c.sequence desc limit 1) end`;

/** In their order, at most so many. */
export async function readChangesAfter(
  transaction: TenantTransaction,
  tenantId: string,
  sequence: number,
  limit: number,
): Promise<readonly StoredChange[]> {
  return await transaction
    .selectFrom('number_change')
    .select([
      sql<number>`sequence::float8`.as('sequence'),
      'number_id as numberId',
      'waba_id as wabaId',
      'kind',
      'field',
      'previous_value as previousValue',
      'new_value as newValue',
      'source',
      'observation',
      'occurred_at as occurredAt',
      'recorded_at as recordedAt',
      knownVerdict(tenantId).as('knownVerdict'),
      isFirstRead(tenantId).as('isFirstRead'),
    ])
    .where('tenant_id', '=', tenantId)
    .where('sequence', '>', String(sequence))
    .orderBy('number_change.sequence')
    .limit(limit)
    .execute();
}

export interface LoadedState {
  readonly state: EvaluationState;
  /** Of numbers. */
  readonly belongings: ReadonlyMap<string, Belonging & { readonly mutedUntil: Date | null }>;
  readonly accounts: ReadonlyMap<string, Belonging>;
}

/** `subjects`: the ids of the numbers and accounts that the changes are about. */
export async function loadState(
  transaction: TenantTransaction,
  tenantId: string,
  clock: number,
  subjects: readonly string[],
): Promise<LoadedState> {
  const conditions = await loadConditions(transaction, tenantId);
  const ids = [...new Set([...subjects, ...conditions.map(({ subject }) => subject)])];
  const incidents = await loadOpen(transaction, tenantId, ids);
  const singles = incidents.filter(isSingle).map(({ subject }) => subject);
  return {
    state: {
      clock,
      conditions: new Map(conditions.map((it) => [toConditionKey(it), it])),
      incidents: new Map(incidents.map((it) => [it.id, it])),
      noted: await loadNoted(transaction, tenantId),
    },
    belongings: await loadBelongings(transaction, tenantId, [...new Set([...ids, ...singles])]),
    accounts: await loadAccounts(transaction, tenantId, ids),
  };
}

/** A gateway has one session engine. */
async function loadBelongings(
  transaction: TenantTransaction,
  tenantId: string,
  numberIds: readonly string[],
): Promise<LoadedState['belongings']> {
  const { rows } = await sql<Belonging & { readonly id: string; readonly mutedUntil: Date | null }>`
    select n.id, n.waba_id as "wabaId", n.credential_id as "tokenId", (
        select s.portfolio_id from number_status s where s.tenant_id = ${tenantId} and s.number_id = n.id
      ) as "portfolioId",
      case when n.provider <> 'META' then 'engine' end as "engineId", n.muted_until as "mutedUntil"
    from whatsapp_number n where n.tenant_id = ${tenantId} and n.id = any(${numberIds}::text[])`.execute(
    transaction,
  );
  return new Map(rows.map(({ id, ...belonging }) => [id, belonging]));
}

/** The token of an account is that of all its numbers. */
async function loadAccounts(
  transaction: TenantTransaction,
  tenantId: string,
  wabaIds: readonly string[],
): Promise<LoadedState['accounts']> {
  const { rows } = await sql<Omit<Belonging, 'engineId'> & { readonly wabaId: string }>`
    select s.waba_id as "wabaId", max(s.portfolio_id) as "portfolioId",
      case when count(distinct n.credential_id) = 1 and count(n.credential_id) = count(*) then max(n.credential_id) end as "tokenId"
    from number_status s join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = s.number_id
    where s.tenant_id = ${tenantId} and s.waba_id = any(${wabaIds}::text[]) group by s.waba_id`.execute(
    transaction,
  );
  return new Map(rows.map((row) => [row.wabaId, { ...row, engineId: null }]));
}

/** Those that endpoints were told of within the time in which another read reports the same change, see evaluation.ts. */
async function loadNoted(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<EvaluationState['noted']> {
  const { rows } = await sql<{ scope: string; subject: string; value: string | null; at: Date }>`
    select i.scope, i.subject, i.new_value as value, i.opened_at as at from incident i
    where i.tenant_id = ${tenantId} and i.rule = 'LIMIT_CHANGED' and i.told
      and i.opened_at >= (select p.clock from alert_position p where p.tenant_id = ${tenantId}) - interval '1 day'
    order by i.opened_at, i.id`.execute(transaction);
  return new Map(
    rows.map(({ value, at, ...of }): [string, Noted] => [
      toNotedKey(of),
      { value, at: at.getTime() },
    ]),
  );
}

async function loadConditions(
  transaction: TenantTransaction,
  tenantId: string,
): Promise<readonly Condition[]> {
  const rows = await transaction
    .selectFrom('alert_condition')
    .select([
      'rule',
      'scope',
      'subject',
      'member',
      'since',
      'due_at as dueAt',
      'previous_value as previousValue',
      'new_value as newValue',
      'covered_by as coveredBy',
    ])
    .where('tenant_id', '=', tenantId)
    .execute();
  return rows.flatMap(({ rule, since, dueAt, ...row }) =>
    // A later release may have had more rules.
    isRule(rule) ? [{ ...row, rule, since: since.getTime(), dueAt: dueAt.getTime() }] : [],
  );
}

/** With the members that are among these, and all that are no numbers. */
async function loadOpen(
  transaction: TenantTransaction,
  tenantId: string,
  members: readonly string[],
): Promise<readonly OpenIncident[]> {
  const { rows } = await sql<
    Omit<OpenIncident, 'rule' | 'members' | 'openedAt'> & {
      readonly rule: string;
      readonly members: string[];
      readonly openedAt: Date;
    }
  >`
    select i.id, i.rule, i.severity, i.scope, i.subject, i.opened_at as "openedAt", i.member_count as "memberCount", array(
      select m.member from incident_member m
      where m.tenant_id = ${tenantId} and m.incident_id = i.id and m.left_at is null
        and (m.member = any(${members}::text[]) or i.rule in ('RESTRICTED', 'SYNC_LATE') or m.member = i.subject)
    ) as members
    from incident i where i.tenant_id = ${tenantId} and i.closed_at is null`.execute(transaction);
  return rows.flatMap(({ rule, openedAt, members: listed, ...row }) =>
    isRule(rule) ? [{ ...row, rule, openedAt: openedAt.getTime(), members: new Set(listed) }] : [],
  );
}

/** What is so at this time. */
export async function listCauses(
  transaction: TenantTransaction,
  tenantId: string,
  at: Date,
  { expiringMs, lateMs }: CauseLimits,
): Promise<readonly Cause[]> {
  const { rows } = await sql<Cause>`
    select c.rule, c.scope, c.subject, c.value
    from alert_causes(${at}::timestamptz, ${expiringMs}::float8, ${lateMs}::float8) c
    where c.tenant_id = ${tenantId} order by c.rule, c.subject`.execute(transaction);
  return rows;
}

function isRule(rule: string): rule is RuleName {
  return Object.hasOwn(alertRules, rule);
}

export interface ConditionChanges {
  readonly stored: readonly Condition[];
  readonly deleted: readonly Condition[];
}

export async function writeConditions(
  transaction: TenantTransaction,
  tenantId: string,
  { stored, deleted }: ConditionChanges,
): Promise<void> {
  if (deleted.length > 0) {
    await sql`
      delete from alert_condition c where c.tenant_id = ${tenantId} and (c.rule, c.subject, c.member) in (
        select rule, subject, member
        from jsonb_to_recordset(${JSON.stringify(deleted)}::jsonb) d(rule text, subject text, member text)
      )`.execute(transaction);
  }
  if (stored.length === 0) return;
  const conditions = stored.map(({ since, dueAt, ...condition }) => ({
    ...condition,
    since: new Date(since),
    dueAt: new Date(dueAt),
  }));
  await sql`
    insert into alert_condition
      (tenant_id, rule, scope, subject, member, since, due_at, previous_value, new_value, covered_by)
    select ${tenantId}, c.rule, c.scope, c.subject, c.member, c.since, c."dueAt", c."previousValue", c."newValue", c."coveredBy"
    from jsonb_to_recordset(${JSON.stringify(conditions)}::jsonb) c(rule text, scope text, subject text, member text,
      since timestamptz, "dueAt" timestamptz, "previousValue" text, "newValue" text, "coveredBy" text)`.execute(
    transaction,
  );
}
