import { type Kysely, sql } from 'kysely';

// Whether Meta's webhooks about an account arrive, see src/numbers/webhook-route.ts: what the verdict follows from, and the
// verdict that the history has.

const evidence = [
  // The last event of an account.
  'create index meta_event_by_account on meta_event (tenant_id, waba_id, received_at)',
  // When it last received something with a valid proof, whatever it was about; written every ten minutes at most.
  'alter table webhook_endpoint add column last_received_at timestamptz(3)',
  `update webhook_endpoint w set last_received_at = (
     select max(e.received_at) from meta_event e where e.tenant_id = w.tenant_id
   )`,
  'grant update (last_received_at) on webhook_endpoint to gateway_tenant',
  // The changes that Meta announces; see src/webhooks/route-store.ts.
  `create index number_change_announced on number_change (tenant_id, occurred_at)
     where kind = 'FIELD' and field in ('NAME_STATUS', 'ACCOUNT_REVIEW_STATUS', 'THROUGHPUT_LEVEL')`,
  // Null while there is nothing to judge, because the tenant has no endpoint or the gateway does not know its URL.
  'alter table account_notice add column webhook_verdict text',
];

const source = `coalesce(nullif(current_setting('app.change_source', true), ''), 'EXTERNAL'),
  nullif(current_setting('app.change_actor', true), '')`;

// As those of 0023, which see for the rights of the function.
const addVerdictToHistory = `
  create function add_webhook_verdict_to_history() returns trigger
  language plpgsql security definer set search_path = pg_catalog as $$
  begin
    -- It runs before row-level security refuses a row of another tenant.
    if not exists (select from public.tenant t where t.id = new.tenant_id) then
      return null;
    end if;
    insert into public.number_change
      (tenant_id, number_id, waba_id, observation, kind, field, previous_value, new_value, source, actor, occurred_at)
    values (new.tenant_id, null, new.waba_id, md5(pg_current_xact_id()::text || '/' || new.waba_id)::uuid, 'FIELD',
      'ACCOUNT_WEBHOOK', case when tg_op = 'UPDATE' then old.webhook_verdict end, new.webhook_verdict, ${source},
      clock_timestamp());
    return null;
  end $$`;

const history = [
  addVerdictToHistory,
  'revoke execute on function add_webhook_verdict_to_history() from public',
  `create trigger add_webhook_verdict_to_history after insert on account_notice for each row
   when (new.webhook_verdict <> 'UNKNOWN') execute function add_webhook_verdict_to_history()`,
  `create trigger add_webhook_verdict_update_to_history after update on account_notice for each row
   when (old.webhook_verdict is distinct from new.webhook_verdict) execute function add_webhook_verdict_to_history()`,
];

// Ids of tenants and nothing else.
const findTenants = `
  create function find_tenants_with_webhook_routes() returns table (tenant_id text)
  language sql stable security definer set search_path = pg_catalog as $$
    select t.id from public.tenant t
    where exists (select from public.webhook_endpoint e where e.tenant_id = t.id)
      or exists (select from public.account_notice a where a.tenant_id = t.id and a.webhook_verdict is not null)
  $$`;

const finder = 'find_tenants_with_webhook_routes()';

const statements = [
  ...evidence,
  // For the length of this migration alone, as in 0005.
  'grant gateway_directory to current_user',
  'grant create on schema public to gateway_directory',
  ...history,
  findTenants,
  'alter function add_webhook_verdict_to_history() owner to gateway_directory',
  `alter function ${finder} owner to gateway_directory`,
  `revoke execute on function ${finder} from public`,
  `grant execute on function ${finder} to gateway_login`,
  'revoke create on schema public from gateway_directory',
  'revoke gateway_directory from current_user',
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
