// The tables: their types, and the migrations in `migrations/` that create them.

import { readdir } from 'node:fs/promises';
import { type ColumnType, type Generated, type JSONColumnType, type Kysely, sql } from 'kysely';
import { type MigrationProvider, Migrator } from 'kysely/migration';
import { ConfigurationError } from '../config.ts';
import type {
  AlertConditionTable,
  AlertDeliveryTable,
  AlertEndpointTable,
  AlertPositionTable,
  IncidentMemberTable,
  IncidentTable,
} from './alert-tables.ts';

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
  /** HMAC-SHA256 with the pepper as its key. The tenant role may insert it and not read it. */
  hash: ColumnType<never, Buffer, never>;
  /** Null for a tenant-scoped key. */
  number_id: string | null;
  scopes: ColumnType<('read' | 'operate' | 'webhooks')[], string[] | undefined, never>;
  created_at: Timestamp;
  expires_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  revoked_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  /** When another key replaced it. It stays valid until `expires_at`. */
  rotated_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  /** Written by the function `use_scoped_key`, at most once a minute. */
  last_used_at: ColumnType<Date | null, never, never>;
}

/** Written by triggers when a key, a credential or a number changes, and when the tenant is removed. */
export interface AuditTable {
  tenant_id: string;
  id: Generated<string>;
  /** Orders the entries, also those of one millisecond. */
  position: ColumnType<string, never, never>;
  at: ColumnType<Date, never, never>;
  actor: ColumnType<string, never, never>;
  action: string;
  subject: string;
  details: ColumnType<Record<string, unknown>, never, never>;
}

/** Other software may write `state` and `updated_at`; a trigger then sets `state_observed_at`. */
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
  /** Of the shared credential; null for a number with its own, or with none. */
  credential_id: string | null;
  /** `key=value`, sorted. */
  labels: Generated<string[]>;
  /** Until when alerts are silent; null, or a time in the past, when they are not. */
  muted_until: ColumnType<Date | null, Date | null | undefined, Date | null>;
  mute_note: ColumnType<string | null, string | null | undefined, string | null>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

export interface NumberCredentialTable {
  tenant_id: string;
  number_id: string;
  /** See secrets.ts. */
  sealed: string;
}

/** A credential that several numbers share. */
export interface CredentialTable {
  tenant_id: string;
  id: Generated<string>;
  name: string;
  /** See secrets.ts. */
  sealed: string;
  /** The columns from here to `checked_at` are what Meta said about the token at that time. */
  app_id: string | null;
  expires_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  data_access_expires_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  checked_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

/** What happens with numbers that appear in an account later. */
export interface AccountWatchTable {
  tenant_id: string;
  waba_id: string;
  mode: 'REPORT' | 'IMPORT' | 'OFF';
  updated_at: Timestamp;
}

/** `data` and `observed_at` are of the last success, `attempted_at` and `failure` of the last attempt. */
interface SnapshotColumns {
  tenant_id: string;
  data: Json;
  observed_at: ColumnType<Date | null, Date | string | null, Date | string | null>;
  attempted_at: Timestamp;
  /** When the result was stored; `attempted_at` is when the upstream was called. */
  recorded_at: Timestamp;
  failure: Json;
}

export interface NumberSnapshotTable extends SnapshotColumns {
  number_id: string;
  block: string;
  /** Why the newest attempt could not be made; null once one was made. */
  obstacle: Json;
  obstacle_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  /** The last verdict that a read of this block supported; see `numbers/sendable.ts`. */
  verdict: 'YES' | 'NO' | null;
  /** What `data` support by themselves. */
  data_verdict: 'YES' | 'NO' | 'UNKNOWN' | null;
  data_reply_verdict: 'YES' | 'NO' | 'UNKNOWN' | null;
  /** The version of the rules that made these two. */
  rules_version: number | null;
  /** `observed_at` of the data that were judged; another release may have replaced them since. */
  judged_at: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
}

export interface WabaSnapshotTable extends SnapshotColumns {
  waba_id: string;
}

/** What Meta announces of an account to webhooks alone; see `numbers/account-notices.ts`. */
export interface AccountNoticeTable {
  tenant_id: string;
  waba_id: string;
  notices: Json;
  /** The restrictions that are in force, of which the history knows. */
  open: Json;
  /** What these do together. */
  effect: 'INFORMS' | 'START' | 'REPLIES' | 'BOTH' | null;
  /** When the first of them ends. */
  next_end: Timestamp;
  /** Whether reads may end one of them. */
  ends_by_reads: boolean;
  available_from: Timestamp;
  available_to: Timestamp;
  /** Whether webhooks about the account arrive; null while there is nothing to judge. See numbers/webhook-route.ts. */
  webhook_verdict: string | null;
}

/** What a fleet is filtered, ordered and counted by; see `numbers/status.ts`. */
export interface NumberStatusTable {
  tenant_id: string;
  number_id: string;
  provider: string;
  state: string;
  created_at: Timestamp;
  waba_id: string | null;
  portfolio_id: string | null;
  quality_rating: string | null;
  meta_status: string | null;
  messaging_limit_tier: string | null;
  /** What the restrictions of the account do together; null when none is in force. */
  restriction: 'INFORMS' | 'START' | 'REPLIES' | 'BOTH' | null;
  blocked: boolean;
  verdict: 'YES' | 'NO' | null;
  reply_verdict: 'YES' | 'NO' | null;
  failing: boolean;
  account_failing: boolean;
  /** '-infinity' without evidence. */
  observed_at: Timestamp;
  verdict_changed_at: Timestamp;
  name_key: string;
  search_key: string;
  /** See `statusVersion`; 0 for a row that is to be derived again. */
  rules_version: number;
  /** Steps of the order by attention, 0 for the worst. */
  rank: ColumnType<number, never, never>;
  words: ColumnType<string, never, never>;
  /** Set once the evidence has expired, to the time at which it did; null before. */
  stale_since: ColumnType<Date | null, never, Date | null>;
}

/** Written by triggers; see migrations/0023_record_changes.ts and history/change.ts. */
export interface NumberChangeTable {
  tenant_id: string;
  id: ColumnType<string, never, never>;
  /** Null until the transaction commits. */
  sequence: ColumnType<string | null, never, never>;
  number_id: ColumnType<string | null, never, never>;
  waba_id: ColumnType<string | null, never, never>;
  observation: ColumnType<string | null, never, never>;
  kind: ColumnType<string, never, never>;
  field: ColumnType<string | null, never, never>;
  previous_value: ColumnType<string | null, never, never>;
  new_value: ColumnType<string | null, never, never>;
  source: ColumnType<string, never, never>;
  /** The id of an API key. */
  actor: ColumnType<string | null, never, never>;
  occurred_at: ColumnType<Date, never, never>;
  recorded_at: ColumnType<Date, never, never>;
}

/** Where the history of a tenant begins and ends. */
export interface FeedPositionTable {
  tenant_id: string;
  /** Cursors of another epoch are refused. */
  epoch: string;
  /** The lowest sequence that is stored; that of the next change while there is none. */
  first: string;
  /** The highest sequence that was given. */
  last: ColumnType<string, never, never>;
  /** Changes have been recorded since. */
  created_at: ColumnType<Date, never, never>;
}

/** Where Meta or a relay sends webhooks. */
export interface WebhookEndpointTable {
  tenant_id: string;
  id: string;
  /** HMAC-SHA256 of the last segment of the path, as of an API key. */
  path_hash: ColumnType<Buffer, Buffer, never>;
  proof: ColumnType<'SIGNED' | 'KEY', 'SIGNED' | 'KEY', never>;
  /** See secrets.ts. */
  sealed: string;
  created_at: Timestamp;
  updated_at: Timestamp;
  /** When it last received something with a valid proof, whatever it was about. */
  last_received_at: ColumnType<Date | null, never, Date>;
}

/** An event of a webhook; see webhooks/event.ts. */
export interface MetaEventTable {
  tenant_id: string;
  digest: Buffer;
  waba_id: string;
  field: string;
  event: string | null;
  phone: string | null;
  payload: Json;
  happened_at: Timestamp;
  received_at: Timestamp;
  outcome: string;
  /** Whether what it announces is in account_notice. */
  applied: boolean;
}

/** The process that reads a block from the upstream at the moment, so that no other one does. */
export interface RefreshLeaseTable {
  tenant_id: string;
  subject: string;
  holder: string;
  expires_at: Timestamp;
}

/** What sync knows of an account, or of the numbers of a session engine; see sync/store.ts. */
export interface SyncSubjectTable {
  tenant_id: string;
  subject_id: string;
}

export interface Tables {
  tenant: TenantTable;
  api_key: ApiKeyTable;
  whatsapp_number: WhatsAppNumberTable;
  number_credential: NumberCredentialTable;
  credential: CredentialTable;
  account_watch: AccountWatchTable;
  number_snapshot: NumberSnapshotTable;
  waba_snapshot: WabaSnapshotTable;
  account_notice: AccountNoticeTable;
  number_status: NumberStatusTable;
  number_change: NumberChangeTable;
  feed_position: FeedPositionTable;
  refresh_lease: RefreshLeaseTable;
  webhook_endpoint: WebhookEndpointTable;
  meta_event: MetaEventTable;
  alert_endpoint: AlertEndpointTable;
  alert_delivery: AlertDeliveryTable;
  sync_subject: SyncSubjectTable;
  alert_position: AlertPositionTable;
  alert_condition: AlertConditionTable;
  incident: IncidentTable;
  incident_member: IncidentMemberTable;
  audit: AuditTable;
}

/**
 * Applies the pending migrations in order and returns their names. Processes that do so at once wait for each other.
 */
export async function applyMigrations(kysely: Kysely<Tables>): Promise<readonly string[]> {
  return await kysely.connection().execute(applyOn);
}

/** Returns the names of the migrations that are not applied yet. */
export async function listPendingMigrations(kysely: Kysely<Tables>): Promise<readonly string[]> {
  const all = await new Migrator({ db: kysely, provider }).getMigrations();
  return all.filter((migration) => !migration.executedAt).map((migration) => migration.name);
}

async function applyOn(connection: Kysely<Tables>): Promise<readonly string[]> {
  // The time limits are for requests; a change of a large table may take longer.
  await sql`select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)`.execute(
    connection,
  );
  try {
    const migrator = new Migrator({ db: connection, provider });
    const { error, results = [] } = await migrator.migrateToLatest();
    if ((error as { code?: unknown } | undefined)?.code === insufficientPrivilege) {
      throw new ConfigurationError([
        'DATABASE_URL names a role that may not change the tables; run migrate as the role that owns them',
      ]);
    }
    if (error !== undefined) throw error;
    return results.map((result) => result.migrationName);
  } finally {
    await sql`reset all`.execute(connection);
  }
}

const insufficientPrivilege = '42501';

const directory = new URL('../../migrations/', import.meta.url);

const provider: MigrationProvider = {
  async getMigrations() {
    const files = (await readdir(directory)).filter((file) => file.endsWith('.ts'));
    const entries = files.map(async (file) => [
      file.slice(0, -'.ts'.length),
      await import(new URL(file, directory).href),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  },
};
