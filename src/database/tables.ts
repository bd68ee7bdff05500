// Owns the types of the tables, as the migrations have made them.

import type { ColumnType, Generated, JSONColumnType } from 'kysely';

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;
type Json = JSONColumnType<Record<string, unknown> | null, string | null, string | null>;

export interface TenantTable {
  id: string;
  name: string;
  created_at: Timestamp;
}

export interface ApiKeyTable {
  tenant_id: string;
  id: Generated<string>;
  name: string;
  key_prefix: string;
  key_last4: string;
  /** HMAC-SHA256 under the pepper; insert only, the tenant role may not read it. */
  hash: ColumnType<never, Buffer, never>;
  /** Null for a tenant-scoped key. */
  number_id: string | null;
  created_at: Timestamp;
  expires_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  revoked_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  /** When another key took its place; it then goes on until `expires_at`. */
  rotated_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  /** Written by a function of the database, at most once a minute. */
  last_used_at: ColumnType<Date | null, never, never>;
}

/** Written by triggers with each change of a key or a credential. */
export interface AuditTable {
  tenant_id: string;
  id: Generated<string>;
  /** In order of what was done, also within one millisecond. */
  position: ColumnType<string, never, never>;
  at: ColumnType<Date, never, never>;
  actor: ColumnType<string, never, never>;
  action: string;
  subject: string;
  details: ColumnType<Record<string, unknown>, never, never>;
}

/** `state` and `updated_at` may be written by other software; a trigger keeps `state_observed_at` true for it. */
export interface WhatsAppNumberTable {
  tenant_id: string;
  id: Generated<string>;
  instance_name: string | null;
  number: string;
  name: string;
  provider: 'META' | 'PILOT_STATUS';
  state: 'OPEN' | 'CONNECTING' | 'CLOSE';
  state_observed_at: Timestamp;
  phone_number_id: string | null;
  waba_id: string | null;
  created_at: Timestamp;
  updated_at: Timestamp;
}

export interface NumberCredentialTable {
  tenant_id: string;
  number_id: string;
  /** See secrets.ts. */
  sealed: string;
}

/** `data` and `observed_at` are those of the last success, `attempted_at` and `failure` those of the last attempt. */
interface SnapshotColumns {
  tenant_id: string;
  data: Json;
  observed_at: ColumnType<Date | null, Date | string | null, Date | string | null>;
  attempted_at: Timestamp;
  /** When the answer was stored; later than `attempted_at` by the time that the upstream took. */
  recorded_at: Timestamp;
  failure: Json;
}

export interface NumberSnapshotTable extends SnapshotColumns {
  number_id: string;
  block: string;
  /** The last one that a reading of the block supported; see sendable.ts. */
  verdict: 'YES' | 'NO' | null;
}

export interface WabaSnapshotTable extends SnapshotColumns {
  waba_id: string;
}

/** Who is reading a block right now, so that no other process reads it too. */
export interface RefreshLeaseTable {
  tenant_id: string;
  subject: string;
  holder: string;
  expires_at: Timestamp;
}

export interface Tables {
  tenant: TenantTable;
  api_key: ApiKeyTable;
  whatsapp_number: WhatsAppNumberTable;
  number_credential: NumberCredentialTable;
  number_snapshot: NumberSnapshotTable;
  waba_snapshot: WabaSnapshotTable;
  refresh_lease: RefreshLeaseTable;
  audit: AuditTable;
}
