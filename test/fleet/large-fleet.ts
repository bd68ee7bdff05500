// A tenant with many numbers, inserted by a few statements, with their status.

import type { TestDatabase } from '../harness.ts';

export interface LargeFleet {
  readonly tenantId: string;
  readonly numbers: number;
}

/** Inserts the fleet, and makes what is known of the tables current. */
export async function addLargeFleet(
  { query }: Pick<TestDatabase, 'query'>,
  fleet: LargeFleet,
): Promise<void> {
  await insertFleet({ query }, fleet);
  await query('vacuum (analyze) whatsapp_number');
  await query('vacuum (analyze) number_status');
}

/** As after the upkeep: the rows are those that the gateway would derive of such numbers. */
export async function insertFleet(
  { query }: Pick<TestDatabase, 'query'>,
  { tenantId, numbers }: LargeFleet,
): Promise<void> {
  await query(`select set_config('session_replication_role', 'replica', false)`);
  await query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, created_at, updated_at,
       phone_number_id, waba_id)
     select $1, 'wa_' || $1 || '_' || lpad(i::text, 6, '0'), (5511000000000 + i)::text, 'Shop ' || i, 'META',
       case i % 20 when 0 then 'CLOSE' else 'OPEN' end, now() - i * interval '1 second', now(),
       (10000000000 + i)::text, (20000000000 + i % 97)::text
     from generate_series(1, $2::int) i`,
    [tenantId, numbers],
  );
  await query(
    `insert into number_status (tenant_id, number_id, provider, state, created_at, waba_id, portfolio_id,
       quality_rating, meta_status, messaging_limit_tier, verdict, reply_verdict, failing, observed_at,
       verdict_changed_at, name_key, search_key, rules_version)
     select n.tenant_id, n.id, n.provider, n.state, n.created_at, n.waba_id, (30000000000 + i % 97 % 13)::text,
       case i % 10 when 0 then 'RED' when 1 then 'YELLOW' else 'GREEN' end,
       case i % 25 when 0 then 'BANNED' when 1 then 'RESTRICTED' when 2 then 'FLAGGED' else 'CONNECTED' end,
       case i % 3 when 0 then 'TIER_250' when 1 then 'TIER_2K' else 'TIER_10K' end,
       case i % 25 when 0 then 'NO' when 1 then 'NO' else 'YES' end, case i % 25 when 0 then 'NO' else 'YES' end,
       i % 33 = 0, now() - (i % 4000) * interval '1 second', now() - i * interval '1 minute',
       lower(n.name), lower(n.name) || E'\\n\\n' || n.number, 30000
     from (select n.*, (n.number::bigint - 5511000000000)::int as i from whatsapp_number n where n.tenant_id = $1) n`,
    [tenantId],
  );
  await query(`select set_config('session_replication_role', 'origin', false)`);
}
