// The views that PostGraphile serves: one tenant's rows in the shape of the responses, related by smart tags.

import type { Pool } from 'pg';

const tenant = `(select current_setting('app.tenant_id', true))`;

const iso = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const statements = [
  'create schema bench',
  `create view bench.whatsapp_number as
    select id, instance_name, number, name, provider, state, state = 'OPEN' as is_fully_connected,
      ${iso('created_at')} as created_at, ${iso('updated_at')} as updated_at
    from whatsapp_number where tenant_id = ${tenant}`,
  `comment on view bench.whatsapp_number is E'@primaryKey id'`,
  `create view bench.api_key_hint as
    select number_id, id, name, key_prefix, key_last4 from api_key
    where tenant_id = ${tenant} and revoked_at is null
      and (expires_at is null or expires_at > clock_timestamp())`,
  `comment on view bench.api_key_hint is
    E'@primaryKey id\\n@foreignKey (number_id) references whatsapp_number (id)|@foreignSimpleFieldName apiKeys'`,
  `create view bench.number_health as
    select n.id, p.data->>'qualityRating' as quality_rating,
      p.data->>'messagingLimitTier' as messaging_limit_tier, p.data->>'status' as meta_status,
      n.state = 'OPEN' and (n.provider <> 'META' or coalesce(p.data->>'status' in ('CONNECTED', 'FLAGGED')
        and p.data->>'platformType' = 'CLOUD_API' and not jsonb_path_exists(p.data,
          '$.healthStatus.entities[*] ? (@.canSendMessage == "BLOCKED")'), false)) as sendable
    from whatsapp_number n
    left join number_snapshot p on p.tenant_id = n.tenant_id and p.number_id = n.id and p.block = 'phone'
    where n.tenant_id = ${tenant}`,
  `comment on view bench.number_health is
    E'@primaryKey id\\n@foreignKey (id) references whatsapp_number (id)|@foreignSingleFieldName health'`,
  `create view bench.meta_phone as
    select number_id as id, data->>'displayPhoneNumber' as display_phone_number,
      data->>'verifiedName' as verified_name, data->>'qualityRating' as quality_rating,
      data->>'messagingLimitTier' as messaging_limit_tier, (data->>'isPinEnabled')::boolean as is_pin_enabled
    from number_snapshot where tenant_id = ${tenant} and block = 'phone' and data is not null`,
  `comment on view bench.meta_phone is
    E'@primaryKey id\\n@foreignKey (id) references meta_details (id)|@foreignSingleFieldName phone'`,
  `create view bench.meta_profile as
    select number_id as id, data->>'about' as about, data->>'email' as email,
      array(select jsonb_array_elements_text(data->'websites')) as websites, data->>'vertical' as vertical
    from number_snapshot where tenant_id = ${tenant} and block = 'profile' and data is not null`,
  `comment on view bench.meta_profile is
    E'@primaryKey id\\n@foreignKey (id) references meta_details (id)|@foreignSingleFieldName profile'`,
  `create view bench.meta_waba as
    select waba_id as id, data->>'name' as name, data->>'currency' as currency,
      upper(data->>'businessVerificationStatus') as business_verification_status, data->>'country' as country
    from waba_snapshot where tenant_id = ${tenant} and data is not null`,
  `comment on view bench.meta_waba is E'@primaryKey id'`,
  `create view bench.meta_details as
    select n.id, n.waba_id, ${iso('least(p.observed_at, f.observed_at, w.observed_at)')} as fetched_at
    from whatsapp_number n
    left join number_snapshot p on p.tenant_id = n.tenant_id and p.number_id = n.id and p.block = 'phone'
    left join number_snapshot f on f.tenant_id = n.tenant_id and f.number_id = n.id and f.block = 'profile'
    left join waba_snapshot w on w.tenant_id = n.tenant_id and w.waba_id = n.waba_id
    where n.tenant_id = ${tenant} and coalesce(p.observed_at, f.observed_at, w.observed_at) is not null`,
  `comment on view bench.meta_details is
    E'@primaryKey id\\n@foreignKey (id) references whatsapp_number (id)|@foreignSingleFieldName meta\\n@foreignKey (waba_id) references meta_waba (id)|@fieldName waba'`,
];

/** Creates the views unless they exist. */
export async function createViews(pool: Pool): Promise<void> {
  const { rowCount } = await pool.query(`select from pg_namespace where nspname = 'bench'`);
  if (rowCount !== 0) return;
  await pool.query(`begin; ${statements.join('; ')}; commit`);
}
