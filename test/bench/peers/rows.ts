// The prepared statements of the peers that use pg: only the needed columns, times as formatted text, one statement for a
// whole list.

import type { Pool } from 'pg';

export interface NumberRow {
  readonly id: string;
  readonly instanceName: string | null;
  readonly number: string;
  readonly name: string;
  readonly provider: string;
  readonly state: string;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface HealthRow {
  readonly id: string;
  readonly qualityRating: string | null;
  readonly messagingLimitTier: string | null;
  readonly metaStatus: string | null;
  /** Whether Meta's evidence allows sending; the connection state is checked separately. */
  readonly maySend: boolean;
}

export interface KeyRow {
  readonly id: string;
  readonly name: string;
  readonly keyPrefix: string;
  readonly keyLast4: string;
}

export interface MetaRow {
  readonly id: string;
  readonly fetchedAt: string | null;
  readonly phone: object | null;
  readonly profile: object | null;
  readonly waba: object | null;
}

const iso = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const numberColumns = `id, instance_name as "instanceName", number, name, provider, state,
  ${iso('created_at')} as "createdAt", ${iso('updated_at')} as "updatedAt"`;

export async function listNumbers(pool: Pool, tenantId: string): Promise<NumberRow[]> {
  const text = `select ${numberColumns} from whatsapp_number where tenant_id = $1 order by created_at, id`;
  return (await pool.query<NumberRow>({ name: 'numbers', text, values: [tenantId] })).rows;
}

export async function findNumber(
  pool: Pool,
  tenantId: string,
  id: string,
): Promise<NumberRow | null> {
  const text = `select ${numberColumns} from whatsapp_number where tenant_id = $1 and id = $2`;
  const { rows } = await pool.query<NumberRow>({ name: 'number', text, values: [tenantId, id] });
  return rows[0] ?? null;
}

export async function listHealth(
  pool: Pool,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, HealthRow>> {
  const text = `select number_id as id, data->>'qualityRating' as "qualityRating",
      data->>'messagingLimitTier' as "messagingLimitTier", data->>'status' as "metaStatus",
      data->>'status' in ('CONNECTED', 'FLAGGED') and data->>'platformType' = 'CLOUD_API' and not jsonb_path_exists(data,
        '$.healthStatus.entities[*] ? (@.canSendMessage == "BLOCKED")') as "maySend"
    from number_snapshot where tenant_id = $1 and number_id = any($2::text[]) and block = 'phone'`;
  const { rows } = await pool.query<HealthRow>({ name: 'health', text, values: [tenantId, ids] });
  return new Map(rows.map((row) => [row.id, row]));
}

export async function listKeys(
  pool: Pool,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, readonly KeyRow[]>> {
  const text = `select number_id as id, name, key_prefix as "keyPrefix", key_last4 as "keyLast4"
    from api_key where tenant_id = $1 and number_id = any($2::text[]) and revoked_at is null
      and (expires_at is null or expires_at > clock_timestamp()) order by created_at, api_key.id`;
  const { rows } = await pool.query<KeyRow>({ name: 'keys', text, values: [tenantId, ids] });
  return Map.groupBy(rows, (row) => row.id);
}

export async function listMeta(
  pool: Pool,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, MetaRow>> {
  const text = `select n.id, ${iso('least(p.observed_at, f.observed_at, w.observed_at)')} as "fetchedAt",
      case when p.data is not null then json_build_object(
        'displayPhoneNumber', p.data->'displayPhoneNumber', 'verifiedName', p.data->'verifiedName',
        'qualityRating', p.data->'qualityRating', 'messagingLimitTier', p.data->'messagingLimitTier',
        'isPinEnabled', p.data->'isPinEnabled') end as phone,
      case when f.data is not null then json_build_object('about', f.data->'about', 'email', f.data->'email',
        'websites', f.data->'websites', 'vertical', f.data->'vertical') end as profile,
      case when w.data is not null then json_build_object('id', w.data->'id', 'name', w.data->'name',
        'currency', w.data->'currency',
        'businessVerificationStatus', upper(w.data->>'businessVerificationStatus'),
        'country', w.data->'country') end as waba
    from whatsapp_number n
    left join number_snapshot p on p.tenant_id = n.tenant_id and p.number_id = n.id and p.block = 'phone'
    left join number_snapshot f on f.tenant_id = n.tenant_id and f.number_id = n.id and f.block = 'profile'
    left join waba_snapshot w on w.tenant_id = n.tenant_id and w.waba_id = n.waba_id
    where n.tenant_id = $1 and n.id = any($2::text[])`;
  const { rows } = await pool.query<MetaRow>({ name: 'meta', text, values: [tenantId, ids] });
  return new Map(rows.map((row) => [row.id, row]));
}

export function toHealth({ provider, state }: NumberRow, row: HealthRow | undefined) {
  return {
    qualityRating: row?.qualityRating ?? null,
    messagingLimitTier: row?.messagingLimitTier ?? null,
    metaStatus: row?.metaStatus ?? null,
    sendable: state === 'OPEN' && (provider !== 'META' || row?.maySend === true),
  };
}

/** Null when nothing was ever read. */
export function toMeta(row: MetaRow | undefined): MetaRow | null {
  return row === undefined || row.fetchedAt === null ? null : row;
}
