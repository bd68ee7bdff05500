// The SQL of evaluating the rules of alerts: what it reads, and the incidents that it opens and closes.

import { type RawBuilder, sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import type { Cause, CauseLimits } from './causes.ts';
import {
  type Belonging,
  type Condition,
  type Effect,
  type EvaluationState,
  type OpenIncident,
  toConditionKey,
} from './evaluation.ts';
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
  readonly isFromMetaStatus: boolean;
}

/** The state of Meta's numbers follows from the status that is read, except where other software sets it. */
const isFromMetaStatus = (tenantId: string) => sql<boolean>`(
  field = 'STATE' and source <> 'EXTERNAL' and exists (
    select from whatsapp_number n
    where n.tenant_id = ${tenantId} and n.id = number_change.number_id and n.provider = 'META'))`;

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
      isFromMetaStatus(tenantId).as('isFromMetaStatus'),
    ])
    .where('tenant_id', '=', tenantId)
    .where('sequence', '>', String(sequence))
    .orderBy('number_change.sequence')
    .limit(limit)
    .execute();
}

export interface LoadedState {
  readonly state: EvaluationState;
  readonly belongings: ReadonlyMap<string, Belonging & { readonly mutedUntil: Date | null }>;
}

/** `subjects`: the ids of the numbers and accounts that the changes are about. */
export async function loadState(
  transaction: TenantTransaction,
  tenantId: string,
  clock: number,
  subjects: readonly string[],
): Promise<LoadedState> {
  const conditions = await loadConditions(transaction, tenantId);
  const numbers = [...new Set([...subjects, ...conditions.map(({ subject }) => subject)])];
  const incidents = await loadOpen(transaction, tenantId, numbers);
  const { rows } = await sql<Belonging & { readonly id: string; readonly mutedUntil: Date | null }>`
    select n.id, n.waba_id as "wabaId", n.credential_id as "tokenId", (
        select s.portfolio_id from number_status s where s.tenant_id = ${tenantId} and s.number_id = n.id
      ) as "portfolioId",
      n.muted_until as "mutedUntil"
    from whatsapp_number n where n.tenant_id = ${tenantId} and n.id = any(${numbers}::text[])`.execute(
    transaction,
  );
  return {
    state: {
      clock,
      conditions: new Map(conditions.map((it) => [toConditionKey(it), it])),
      incidents: new Map(incidents.map((it) => [it.id, it])),
    },
    belongings: new Map(rows.map(({ id, ...belonging }) => [id, belonging])),
  };
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
    Omit<OpenIncident, 'rule' | 'members'> & { readonly rule: string; readonly members: string[] }
  >`
    select i.id, i.rule, i.scope, i.subject, i.member_count as "memberCount", array(
      select m.member from incident_member m
      where m.tenant_id = ${tenantId} and m.incident_id = i.id and m.left_at is null
        and (m.member = any(${members}::text[]) or i.rule = 'RESTRICTED' or m.member = i.subject)
    ) as members
    from incident i where i.tenant_id = ${tenantId} and i.closed_at is null`.execute(transaction);
  return rows.flatMap(({ rule, members: listed, ...row }) =>
    isRule(rule) ? [{ ...row, rule, members: new Set(listed) }] : [],
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
      (tenant_id, rule, scope, subject, member, since, due_at, previous_value, new_value)
    select ${tenantId}, c.rule, c.scope, c.subject, c.member, c.since, c."dueAt", c."previousValue", c."newValue"
    from jsonb_to_recordset(${JSON.stringify(conditions)}::jsonb) c(rule text, scope text, subject text, member text,
      since timestamptz, "dueAt" timestamptz, "previousValue" text, "newValue" text)`.execute(
    transaction,
  );
}

/** An incident that was told, and its end if it was closed. */
export interface ToldIncident {
  readonly id: string;
  readonly rule: string;
  /** Of the change that reports it, which a trigger writes. */
  readonly changeId: string | null;
}

/**
 * `isMuted`: whether the numbers that the effect adds are all muted. Returns the incident if endpoints are told of what has
 * happened: that it was opened, as soon as it has a number that is not muted, and that it was closed, if that was told.
 */
export async function writeEffect(
  transaction: TenantTransaction,
  tenantId: string,
  effect: Effect,
  isMuted: boolean,
): Promise<ToldIncident | null> {
  if ('incident' in effect) return await insertIncident(transaction, tenantId, effect, !isMuted);
  const { id, kind, at } = effect;
  if (kind === 'CLOSED') return await closeIncident(transaction, tenantId, effect);
  const { member } = effect;
  if (kind === 'JOINED') {
    await insertMembers(transaction, tenantId, { id, members: [member], leftAt: null });
    await count(transaction, tenantId, id, 1);
    if (isMuted) return null;
    const [told = null] = await tell(transaction, tenantId, sql`id = ${id}`);
    return told;
  }
  await sql`
    update incident_member set left_at = ${new Date(at)}::timestamptz
    where tenant_id = ${tenantId} and incident_id = ${id} and member = ${member}`.execute(
    transaction,
  );
  await count(transaction, tenantId, id, -1);
  return null;
}

/** Of the incidents of which nobody was told because their numbers were muted, those that have a number that is not muted. */
export async function tellUnmuted(
  transaction: TenantTransaction,
  tenantId: string,
  at: Date,
): Promise<readonly ToldIncident[]> {
  return await tell(
    transaction,
    tenantId,
    sql`exists (
      select from incident_member m
      left join whatsapp_number n on n.tenant_id = ${tenantId} and n.id = m.member
      where m.tenant_id = ${tenantId} and m.incident_id = incident.id and m.left_at is null
        and (n.muted_until is null or n.muted_until <= ${at}::timestamptz))`,
  );
}

/** Not of what is over, or what somebody looks after. */
async function tell(
  transaction: TenantTransaction,
  tenantId: string,
  condition: RawBuilder<unknown>,
): Promise<readonly ToldIncident[]> {
  const { rows } = await sql<ToldIncident>`
    update incident set told = true
    where tenant_id = ${tenantId} and not told and closed_at is null and acknowledged_at is null and ${condition}
    returning id, rule, last_change as "changeId"`.execute(transaction);
  return rows;
}

async function insertIncident(
  transaction: TenantTransaction,
  tenantId: string,
  { kind, incident }: Extract<Effect, { readonly incident: unknown }>,
  told: boolean,
): Promise<ToldIncident | null> {
  const { id, rule, scope, subject, members, previousValue, newValue, at } = incident;
  const isOver = kind === 'NOTED';
  const { changeId } = await transaction
    .insertInto('incident')
    .values({
      tenant_id: tenantId,
      id,
      rule,
      severity: alertRules[rule].severity,
      scope,
      subject,
      member_count: members.length,
      previous_value: previousValue,
      new_value: newValue,
      opened_at: new Date(at),
      closed_at: isOver ? new Date(at) : null,
      told,
    })
    .returning('last_change as changeId')
    .executeTakeFirstOrThrow();
  await insertMembers(transaction, tenantId, { id, members, leftAt: isOver ? at : null });
  return told ? { id, rule, changeId } : null;
}

async function closeIncident(
  transaction: TenantTransaction,
  tenantId: string,
  { id, rule, at }: Extract<Effect, { readonly kind: 'CLOSED' }>,
): Promise<ToldIncident | null> {
  const { told, changeId } = await transaction
    .updateTable('incident')
    .set({
      closed_at: new Date(at),
      // The members have left one by one.
      member_count: sql`(
        select count(*) from incident_member m
        where m.tenant_id = ${tenantId} and m.incident_id = ${id})`,
    })
    .where('tenant_id', '=', tenantId)
    .where('id', '=', id)
    .returning(['told', 'last_change as changeId'])
    .executeTakeFirstOrThrow();
  return told ? { id, rule, changeId } : null;
}

/** One that comes back is a member again. */
async function insertMembers(
  transaction: TenantTransaction,
  tenantId: string,
  { id, members, leftAt }: { id: string; members: readonly string[]; leftAt: number | null },
): Promise<void> {
  const left = leftAt === null ? null : new Date(leftAt);
  await sql`
    insert into incident_member (tenant_id, incident_id, member, left_at)
    select ${tenantId}, ${id}, m.member, ${left}::timestamptz
    from jsonb_array_elements_text(${JSON.stringify(members)}::jsonb) m(member)
    on conflict (tenant_id, incident_id, member) do update set left_at = excluded.left_at`.execute(
    transaction,
  );
}

async function count(
  transaction: TenantTransaction,
  tenantId: string,
  id: string,
  difference: number,
): Promise<void> {
  await sql`
    update incident set member_count = member_count + ${difference}
    where tenant_id = ${tenantId} and id = ${id}`.execute(transaction);
}
