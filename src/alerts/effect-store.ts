// The SQL of what an evaluation does: incidents that open and close, their members, and which of them endpoints are told of.

import { type RawBuilder, sql } from 'kysely';
import type { TenantTransaction } from '../database/database.ts';
import type { Effect } from './evaluation-state.ts';

/** An incident that was told, and its end if it was closed. */
export interface ToldIncident {
  readonly id: string;
  /** Its rule, and those that it covers. */
  readonly rules: readonly string[];
  /** Endpoints that want one of these were told of it before. */
  readonly toldRules: readonly string[];
  /** Of the change that reports it, which a trigger writes. */
  readonly changeId: string | null;
}

/**
 * `isMuted`: whether the numbers that the effect adds are all muted. Returns the incident if endpoints are told of what has
 * happened: that it was opened, once it has a number that is not muted, that it covers a rule, and that it was closed, if that
 * was told.
 */
export async function writeEffect(
  transaction: TenantTransaction,
  tenantId: string,
  effect: Effect,
  isMuted: boolean,
): Promise<ToldIncident | null> {
  if ('incident' in effect) return await insertIncident(transaction, tenantId, effect, !isMuted);
  const { id, kind, at } = effect;
  if (kind === 'COVERED') return await storeCovered(transaction, tenantId, effect, isMuted);
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
    returning id, rule || covers as rules, '{}'::text[] as "toldRules", last_change as "changeId"`.execute(
    transaction,
  );
  return rows;
}

async function insertIncident(
  transaction: TenantTransaction,
  tenantId: string,
  { kind, incident }: Extract<Effect, { readonly incident: unknown }>,
  told: boolean,
): Promise<ToldIncident | null> {
  const { id, rule, severity, scope, subject, members, previousValue, newValue, at } = incident;
  const isOver = kind === 'NOTED';
  const { changeId } = await transaction
    .insertInto('incident')
    .values({
      tenant_id: tenantId,
      id,
      rule,
      severity,
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
  return told ? { id, rules: [rule], toldRules: [], changeId } : null;
}

/** What a muted number has is not told while others keep the incident told. */
async function storeCovered(
  transaction: TenantTransaction,
  tenantId: string,
  { id, rule }: Extract<Effect, { readonly kind: 'COVERED' }>,
  isMuted: boolean,
): Promise<ToldIncident | null> {
  const { rows } = await sql<ToldIncident & { readonly isTold: boolean }>`
    update incident set covers = covers || ${rule}::text
    where tenant_id = ${tenantId} and id = ${id} and ${rule}::text <> all(covers) and not (told and ${isMuted})
    returning id, array[${rule}::text] as rules, rule || array_remove(covers, ${rule}::text) as "toldRules",
      last_change as "changeId", told and acknowledged_at is null as "isTold"`.execute(transaction);
  const [{ isTold, ...incident } = { isTold: false }] = rows;
  return isTold ? (incident as ToldIncident) : null;
}

async function closeIncident(
  transaction: TenantTransaction,
  tenantId: string,
  { id, at }: Extract<Effect, { readonly kind: 'CLOSED' }>,
): Promise<ToldIncident | null> {
  const { told, rule, covers, changeId } = await transaction
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
    .returning(['told', 'rule', 'covers', 'last_change as changeId'])
    .executeTakeFirstOrThrow();
  return told ? { id, rules: [rule, ...covers], toldRules: [], changeId } : null;
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
