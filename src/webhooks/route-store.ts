// The SQL of the routes of Meta's webhooks: what is stored about them, and the verdicts that the history has.

import { sql } from 'kysely';
import type { Database, TenantTransaction } from '../database/database.ts';
import { maxLateMs, type WebhookVerdict } from '../numbers/webhook-route.ts';

/** What is stored about the route to an account. */
export interface RouteRow {
  readonly wabaId: string;
  /** All that are in it. */
  readonly numberIds: readonly string[];
  readonly configuredUrl: string | null;
  /** Null when that was not read lately. */
  readonly subscribedApps: number | null;
  readonly lastEventAt: Date | null;
  readonly lastEventField: string | null;
  readonly announcedAt: Date | null;
}

export interface RouteQuery {
  readonly now: Date;
  /** Announced changes before this time do not count. */
  readonly since: Date;
  /** Those whose accounts are needed; null for all accounts. */
  readonly numberIds: readonly string[] | null;
}

/** An account is normally read every six hours. */
const maxAgeOfSubscriptionsMs = 2 * 86_400_000;

/** The changes that Meta announces to the account whose number or review it is. */
const announced = sql`c.kind = 'FIELD' and c.previous_value is not null and (
  c.field = 'NAME_STATUS' and c.new_value in ('APPROVED', 'DECLINED')
  or c.field = 'ACCOUNT_REVIEW_STATUS' and c.new_value in ('APPROVED', 'REJECTED')
  or c.field = 'THROUGHPUT_LEVEL' and c.new_value = 'HIGH')`;

/** In the order of the accounts. */
export async function listRoutes(
  transaction: TenantTransaction,
  tenantId: string,
  { now, since, numberIds }: RouteQuery,
): Promise<readonly RouteRow[]> {
  const isRequested =
    numberIds === null ? sql`true` : sql`bool_or(n.id = any(${[...numberIds]}::text[]))`;
  const before = (ms: number) => new Date(now.getTime() - ms);
  const { rows } = await sql<RouteRow>`
    with account as materialized (
      select n.waba_id, array_agg(n.id) as ids from whatsapp_number n
      where n.tenant_id = ${tenantId} and n.provider = 'META' and n.waba_id is not null
      group by n.waba_id having ${isRequested}
    ), configured as (
      select distinct on (a.waba_id) a.waba_id, s.data ->> 'webhookUrl' as url
      from account a join number_snapshot s on s.number_id = any(a.ids) and s.block = 'phone'
      where s.tenant_id = ${tenantId} and s.data ->> 'webhookUrl' is not null
      order by a.waba_id, s.observed_at desc
    ), announced as (
      select a.waba_id, max(c.occurred_at) as at
      from number_change c join account a on a.waba_id = c.waba_id or c.number_id = any(a.ids)
      where c.tenant_id = ${tenantId} and ${announced}
        and c.occurred_at > ${since}::timestamptz and c.occurred_at <= ${before(maxLateMs)}::timestamptz
      group by a.waba_id
    )
    select a.waba_id as "wabaId", a.ids as "numberIds", configured.url as "configuredUrl",
      case when w.observed_at > ${before(maxAgeOfSubscriptionsMs)}::timestamptz
        and jsonb_typeof(w.data -> 'subscribedApps') = 'array'
        then jsonb_array_length(w.data -> 'subscribedApps') end as "subscribedApps",
      e.received_at as "lastEventAt", e.field as "lastEventField", announced.at as "announcedAt"
    from account a
      left join configured on configured.waba_id = a.waba_id
      left join announced on announced.waba_id = a.waba_id
      left join waba_snapshot w on w.tenant_id = ${tenantId} and w.waba_id = a.waba_id
      left join lateral (
        select e.received_at, e.field from meta_event e
        where e.tenant_id = ${tenantId} and e.waba_id = a.waba_id order by e.received_at desc limit 1
      ) e on true
    order by a.waba_id`.execute(transaction);
  return rows;
}

/** Tenants with an endpoint, or with accounts that have a verdict. */
export async function findTenantsWithRoutesAcrossTenants(
  database: Database,
): Promise<readonly string[]> {
  const find = sql<{ id: string }>`select tenant_id as id from find_tenants_with_webhook_routes()`;
  const { rows } = await database.acrossTenants((functions) => find.execute(functions));
  return rows.map(({ id }) => id);
}

/** Writes the verdicts that differ from those stored, from which a trigger makes changes. Null: there is none. */
export async function storeVerdicts(
  transaction: TenantTransaction,
  tenantId: string,
  verdicts: ReadonlyMap<string, WebhookVerdict | null>,
): Promise<void> {
  const rows = [...verdicts].map(([wabaId, verdict]) => ({ wabaId, verdict }));
  // In the order of the key, so that two processes cannot deadlock.
  await sql`
    insert into account_notice (tenant_id, waba_id, webhook_verdict)
    select ${tenantId}, g."wabaId", g.verdict
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as g("wabaId" text, verdict text)
      left join account_notice known on known.tenant_id = ${tenantId} and known.waba_id = g."wabaId"
    where known.webhook_verdict is distinct from g.verdict
    order by g."wabaId"
    on conflict (tenant_id, waba_id) do update set webhook_verdict = excluded.webhook_verdict`.execute(
    transaction,
  );
}

/** An event has come, so what the history has of the webhooks of its account is out of date. */
export async function setReceiving(
  transaction: TenantTransaction,
  tenantId: string,
  events: readonly { readonly wabaId: string }[],
): Promise<void> {
  if (events.length === 0) return;
  const wabaIds = [...new Set(events.map(({ wabaId }) => wabaId))];
  await sql`
    with lost as materialized (
      select waba_id from account_notice
      where tenant_id = ${tenantId} and waba_id = any(${wabaIds}::text[]) and webhook_verdict in ('SILENT', 'MISROUTED')
      -- In the order of the key, so that two processes cannot deadlock.
      order by waba_id for no key update
    )
    update account_notice a set webhook_verdict = 'RECEIVING' from lost
    where a.tenant_id = ${tenantId} and a.waba_id = lost.waba_id`.execute(transaction);
}
