// The seeded data: tenants whose numbers are in many conditions, inserted by a few statements over generate_series.

import type { Client } from 'pg';
import { toKeyHash, toKeyHint } from '../../src/access/key.ts';
import { rulesVersion } from '../../src/numbers/phone-reasons.ts';
import { type BenchDatabase, pepper, withOwner } from './databases.ts';
import { largeTenant, largeTenantSize, tenantSize, toTenantId, toTenantKey } from './fleet.ts';

export interface Seed {
  /** Tenants of 25 numbers, at the places from 1. */
  readonly tenants: number;
  /** Places of the tenants that get a key. */
  readonly keyed: readonly number[];
  /** Whether to add the tenant of 10,000 numbers. */
  readonly large: boolean;
}

export async function seed(database: BenchDatabase, what: Seed): Promise<void> {
  await withOwner(database, async (owner) => {
    // Skips the foreign-key checks of rows that certainly exist.
    await owner.query(`set session_replication_role = replica`);
    await seedTenants(owner, 1, what.tenants, tenantSize);
    if (what.large) await seedTenants(owner, largeTenant, largeTenant, largeTenantSize);
    await seedTenantKeys(owner, what.large ? [...what.keyed, largeTenant] : what.keyed);
    await owner.query('vacuum (analyze)');
  });
}

async function seedTenants(owner: Client, from: number, to: number, size: number): Promise<void> {
  const inserts = [tenants, numbers, numberKeys, phones, profiles, accounts, statuses];
  const series = `from generate_series(${from}, ${to}) t, generate_series(1, ${size}) i`;
  for (const insert of inserts) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await owner.query(insert(series));
  }
}

export async function seedTenantKeys(owner: Client, places: readonly number[]): Promise<void> {
  const keys = places.map((place) => {
    const key = toTenantKey(place);
    const { keyPrefix, keyLast4 } = toKeyHint(key);
    const hash = toKeyHash(key, pepper).toString('hex');
    return { tenant: toTenantId(place), hash, prefix: keyPrefix, last4: keyLast4 };
  });
  await owner.query(
    `insert into api_key (tenant_id, name, key_prefix, key_last4, hash)
     select tenant, 'Tenant', prefix, last4, decode(hash, 'hex')
     from jsonb_to_recordset($1::jsonb) as k(tenant text, hash text, prefix text, last4 text)`,
    [JSON.stringify(keys)],
  );
}

const tenantId = `'ten_' || lpad(t::text, 6, '0')`;
const numberId = `'wa_' || lpad(t::text, 6, '0') || '_' || lpad(i::text, 5, '0')`;
const wabaId = `(20000000000 + t * 100 + i % 2)::text`;
// Every fifth number belongs to another provider.
const isMeta = `i % 5 <> 0`;
// One in 25 was never read.
const wasRead = `${isMeta} and i % 25 <> 24`;

const tenants = (series: string): string => `
  insert into tenant (id, name) select distinct ${tenantId}, 'Tenant ' || t ${series}`;

const numbers = (series: string): string => `
  insert into whatsapp_number (tenant_id, id, instance_name, number, name, provider, state,
    phone_number_id, waba_id, created_at, updated_at)
  select ${tenantId}, ${numberId}, case when not ${isMeta} then 'instance-' || t || '-' || i end,
    '55' || (10000000000 + t * 10000::bigint + i), 'Number ' || i,
    case when ${isMeta} then 'META' else 'PILOT_STATUS' end,
    case i % 7 when 3 then 'CLOSE' when 5 then 'CONNECTING' else 'OPEN' end,
    case when ${isMeta} then (10000000000 + t * 10000::bigint + i)::text end,
    case when ${isMeta} then ${wabaId} end,
    timestamptz '2026-01-01 00:00:00Z' + i * interval '1 minute 7 milliseconds',
    timestamptz '2026-06-01 00:00:00Z' + i * interval '1 minute 7 milliseconds' ${series}`;

// Most numbers have a key bound to them, some none and some two. No request uses these keys.
const numberKeys = (series: string): string => `
  insert into api_key (tenant_id, id, name, key_prefix, key_last4, hash, number_id, created_at)
  select ${tenantId}, 'key_' || t || '_' || i || '_' || k, 'Key ' || k, 'ps_' || lpad(k::text, 4, 'a'),
    lpad((i % 10000)::text, 4, 'z'), sha256(('key ' || t || ' ' || i || ' ' || k)::bytea), ${numberId},
    timestamptz '2026-01-02 00:00:00Z' + k * interval '1 second'
  ${series}, generate_series(1, case i % 6 when 0 then 0 when 1 then 2 else 1 end) k`;

const entity = (type: string, id: string, status: string): string => `
  jsonb_build_object('entityType', '${type}', 'id', ${id}, 'canSendMessage', ${status},
    'additionalInfo', '[]'::jsonb, 'errors', case when ${status} = 'BLOCKED' then '[{"code": 141006,
    "description": "There is a problem with the payment method.", "possibleSolution": "Add one."}]'::jsonb
    else '[]'::jsonb end)`;

// An account that is blocked for its payment method cannot start conversations, and can reply.
const verdict = `case i % 11 when 5 then 'NO' else 'YES' end`;

const phones = (series: string): string => `
  insert into number_snapshot (tenant_id, number_id, block, verdict, data_verdict, data_reply_verdict, rules_version,
    judged_at, data, observed_at, attempted_at)
  select ${tenantId}, ${numberId}, 'phone', ${verdict}, ${verdict}, 'YES', ${rulesVersion}, at, jsonb_build_object(
    'displayPhoneNumber', '+55 11 9' || i, 'verifiedName', 'Business ' || t,
    'qualityRating', (array['GREEN', 'YELLOW', 'RED', 'UNKNOWN'])[1 + i % 4],
    'messagingLimitTier', (array['TIER_250', 'TIER_2K', 'TIER_UNLIMITED'])[1 + i % 3],
    'isPinEnabled', i % 2 = 0, 'status', case i % 6 when 4 then 'FLAGGED' else 'CONNECTED' end,
    'nameStatus', 'APPROVED', 'codeVerificationStatus', 'VERIFIED', 'platformType', 'CLOUD_API',
    'throughputLevel', 'STANDARD', 'accountMode', 'LIVE', 'lastOnboardedAt', '2026-07-01T08:30:00.000Z',
    'isOfficialBusinessAccount', false, 'isOnBusinessApp', false, 'healthStatus', jsonb_build_object(
      'canSendMessage', 'AVAILABLE', 'entities', jsonb_build_array(
        ${entity('PHONE_NUMBER', 'i::text', `'AVAILABLE'`)}, ${entity('WABA', wabaId, `'AVAILABLE'`)},
        ${entity('BUSINESS', `'506914307656634'`, `case i % 11 when 5 then 'BLOCKED' else 'AVAILABLE' end`)},
        ${entity('APP', `'634974688087057'`, `'AVAILABLE'`)}))),
    at, at ${series}, lateral (select clock_timestamp() - i * interval '3 milliseconds' as at) a where ${wasRead}`;

const profiles = (series: string): string => `
  insert into number_snapshot (tenant_id, number_id, block, data, observed_at, attempted_at)
  select ${tenantId}, ${numberId}, 'profile', jsonb_build_object(
    'about', '8h-18h', 'email', 'contact@example.com', 'websites', '["https://example.com"]'::jsonb,
    'vertical', 'RETAIL', 'address', null, 'description', 'Business ' || t, 'profilePictureUrl', null),
    at, at ${series}, lateral (select clock_timestamp() - i * interval '5 milliseconds' as at) a where ${wasRead}`;

const accounts = (series: string): string => `
  insert into waba_snapshot (tenant_id, waba_id, data, observed_at, attempted_at)
  select distinct on (t, i % 2) ${tenantId}, ${wabaId}, jsonb_build_object(
    'id', ${wabaId}, 'name', 'Account ' || t, 'currency', 'BRL', 'businessVerificationStatus', 'verified',
    'country', 'BR', 'accountReviewStatus', 'APPROVED', 'messagingLimitTier', 'TIER_2K',
    'ownershipType', 'SELF_OWNED', 'ownerBusinessName', 'Business ' || t, 'timezoneId', '25'),
    at, at ${series}, lateral (select clock_timestamp() - interval '1 second' as at) a where ${isMeta} and i < 25`;

// As src/numbers/status-store.ts writes them, with a version that no release finds outdated.
const statuses = (series: string): string => `
  insert into number_status (tenant_id, number_id, provider, state, created_at, waba_id, quality_rating, meta_status,
    messaging_limit_tier, verdict, reply_verdict, observed_at, verdict_changed_at, name_key, search_key, rules_version)
  select n.tenant_id, n.id, n.provider, n.state, n.created_at, n.waba_id, p.data ->> 'qualityRating',
    p.data ->> 'status', p.data ->> 'messagingLimitTier', p.verdict, nullif(p.data_reply_verdict, 'UNKNOWN'),
    coalesce(p.observed_at, '-infinity'), n.created_at, lower(n.name), lower(n.name) || E'\\n\\n' || n.number, 32767
  from whatsapp_number n left join number_snapshot p on p.tenant_id = n.tenant_id and p.number_id = n.id
    and p.block = 'phone'
  where n.tenant_id in (select ${tenantId} ${series})`;
