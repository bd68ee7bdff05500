// Owns the database: its tables, its drivers, its migrations, and the one door to what belongs to a tenant.
// The SQL itself stands in the stores.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PGlite } from '@electric-sql/pglite';
import {
  type ColumnType,
  type Dialect,
  type Generated,
  type JSONColumnType,
  Kysely,
  PGliteDialect,
  PostgresDialect,
  sql,
  type Transaction,
} from 'kysely';
import { type MigrationProvider, Migrator } from 'kysely/migration';
import { Pool } from 'pg';
import { ConfigurationError } from './config.ts';
import { lockDirectory } from './data-directory.ts';
import { GatewayError } from './errors.ts';

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

export type TenantTransaction = Transaction<Tables>;

export interface Database extends AsyncDisposable {
  /**
   * The only door to what belongs to a tenant: a transaction in which row-level security shows this tenant's rows alone.
   * Commits what `work` did, or rolls back if it throws. Keep it short and never await the network in it.
   * A database that is down or too slow comes out as UNAVAILABLE.
   */
  withTenant<T>(tenantId: string, work: (transaction: TenantTransaction) => Promise<T>): Promise<T>;
  /**
   * For the few functions of the database that look across tenants, and for the counts of the limiter library; the login
   * role can reach no other table.
   */
  acrossTenants<T>(work: (functions: Kysely<object>) => Promise<T>): Promise<T>;
  /** Applies what is missing, in order; answers the names of what it applied. */
  migrate(): Promise<readonly string[]>;
  /** Names of the migrations that are not applied yet. */
  pendingMigrations(): Promise<readonly string[]>;
  /**
   * Throws UNAVAILABLE when the database does not answer. It does if it has answered anything within the last second: a
   * process whose connections are all busy must not take itself for one without a database.
   */
  ping(): Promise<void>;
  /** Who we are to the server, and whether it keeps tenants apart. */
  inspect(): Promise<DatabaseInspection>;
}

export interface DatabaseInspection {
  readonly version: string;
  readonly role: {
    readonly name: string;
    readonly superuser: boolean;
    readonly bypassesRowSecurity: boolean;
    readonly ownsTables: boolean;
  };
  /** What a tenant's transaction may touch. */
  readonly tables: readonly {
    readonly name: string;
    /** Row-level security is on, for the owner too, and every policy that lets a tenant in names the tenant. */
    readonly isolated: boolean;
  }[];
}

export type DatabaseSource =
  | { readonly kind: 'postgres'; readonly url: string }
  /** PGlite in a folder, for one process at a time. */
  | { readonly kind: 'embedded'; readonly directory: string }
  /** A PGlite that somebody else opened; disposed with the database. */
  | { readonly kind: 'pglite'; readonly instance: PGlite };

/** The connections to PostgreSQL, as far as they are to be watched. */
export type ConnectionPool = Pick<Pool, 'totalCount' | 'idleCount' | 'waitingCount'> & {
  /** Called whenever somebody gets one. */
  on(event: 'acquire', listener: () => void): unknown;
};

export interface DatabaseOptions {
  /** Called with each statement that is executed. */
  readonly onStatement?: (sql: string) => void;
  /** An idle connection was lost. The pool replaces it. */
  readonly onConnectionLost?: (error: Error) => void;
  readonly onPool?: (pool: ConnectionPool) => void;
  /** Most connections to PostgreSQL at once. */
  readonly connections?: number;
}

/** Milliseconds, in PostgreSQL's names. */
const limits = {
  statement_timeout: 2_000,
  lock_timeout: 1_000,
  idle_in_transaction_session_timeout: 5_000,
};

const limitsOfTransaction = sql.join(
  Object.entries(limits).map(([name, ms]) => sql`set_config(${name}, ${String(ms)}, true)`),
);

/** Connects lazily: a database that is down is noticed by the first statement. Embedded, it refuses a folder in use. */
export async function openDatabase(
  source: DatabaseSource,
  options: DatabaseOptions = {},
): Promise<Database> {
  const { dialect, release } = await openDialect(source, options);
  let answeredAt = Number.NEGATIVE_INFINITY;
  const kysely = new Kysely<Tables>({
    dialect,
    log: (event) => {
      if (event.level !== 'query') return;
      answeredAt = performance.now();
      options.onStatement?.(event.query.sql);
    },
  });
  const migrator = new Migrator({ db: kysely, provider: migrations });
  return {
    withTenant: (tenantId, work) =>
      toUnavailable(() =>
        kysely.transaction().execute(async (transaction) => {
          // A pooler between us and PostgreSQL hands on no settings of a connection, so the limits are told again.
          await sql`select set_config('app.tenant_id', ${tenantId}, true), set_config('role', 'gateway_tenant', true),
            ${limitsOfTransaction}`.execute(transaction);
          return await work(transaction);
        }),
      ),
    // The tables are taken from the type, so only functions are left to call.
    acrossTenants: (work) => toUnavailable(() => work(kysely as unknown as Kysely<object>)),
    migrate: () => toUnavailable(() => kysely.connection().execute(applyMigrations)),
    async pendingMigrations() {
      const all = await toUnavailable(() => migrator.getMigrations());
      return all.filter((migration) => !migration.executedAt).map((migration) => migration.name);
    },
    async ping() {
      if (performance.now() - answeredAt < 1_000) return;
      await toUnavailable(() => sql`select 1`.execute(kysely));
    },
    inspect: () => toUnavailable(() => inspect(kysely)),
    async [Symbol.asyncDispose]() {
      await kysely.destroy();
      await release();
    },
  };
}

async function applyMigrations(connection: Kysely<Tables>): Promise<readonly string[]> {
  // The limits are for requests; a change to a large table may take its time.
  await sql`select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)`.execute(
    connection,
  );
  try {
    const migrator = new Migrator({ db: connection, provider: migrations });
    const { error, results = [] } = await migrator.migrateToLatest();
    if ((error as { code?: unknown } | undefined)?.code === '42501') {
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

async function inspect(kysely: Kysely<Tables>): Promise<DatabaseInspection> {
  const { rows: tables } = await sql<DatabaseInspection['tables'][number] & { owned: boolean }>`
    select c.relname as name, pg_has_role(c.relowner, 'usage') as owned,
      c.relrowsecurity and c.relforcerowsecurity and count(p.oid) > 0 and coalesce(bool_and(
        coalesce(pg_get_expr(p.polqual, c.oid) ~ 'app\\.tenant_id', true) and
        coalesce(pg_get_expr(p.polwithcheck, c.oid) ~ 'app\\.tenant_id', true)), true) as isolated
    from pg_class c
    left join pg_policy p on p.polrelid = c.oid and p.polpermissive
      and p.polroles && array[0, to_regrole('gateway_tenant')::oid]
    where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
      and has_any_column_privilege(to_regrole('gateway_tenant'), c.oid, 'select, insert, update')
    group by c.oid order by c.relname`.execute(kysely);
  const { rows } = await sql<DatabaseInspection['role'] & { version: string }>`
    select current_setting('server_version') as version, rolname as name, rolsuper as superuser,
      rolbypassrls as "bypassesRowSecurity"
    from pg_roles where rolname = current_user`.execute(kysely);
  // There is one: we are somebody.
  const { version, ...role } = rows[0]!;
  return {
    version,
    role: { ...role, ownsTables: tables.some((table) => table.owned) },
    tables: tables.map(({ name, isolated }) => ({ name, isolated })),
  };
}

interface OpenedDialect {
  readonly dialect: Dialect;
  release(): Promise<void>;
}

async function openDialect(
  source: DatabaseSource,
  options: DatabaseOptions,
): Promise<OpenedDialect> {
  switch (source.kind) {
    case 'postgres':
      return openPostgres(source.url, options);
    case 'embedded':
      return openEmbedded(source.directory);
    case 'pglite':
      // Kysely closes an instance only after it has used it.
      return {
        dialect: new PGliteDialect({ pglite: source.instance }),
        release: async () => void (source.instance.closed || (await source.instance.close())),
      };
  }
}

function openPostgres(url: string, options: DatabaseOptions): OpenedDialect {
  const pool = new Pool({
    connectionString: url,
    application_name: 'numbers-gateway',
    max: options.connections ?? 10,
    keepAlive: true,
    // The pool's own default is to wait for ever.
    connectionTimeoutMillis: 500,
    ...limits,
  });
  options.onPool?.(pool);
  // Without a listener an idle connection that the server ends takes the process with it.
  pool.on('error', (error) => options.onConnectionLost?.(error));
  // The same for one that is in use: its next statement tells.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return {
    dialect: new PostgresDialect({ pool }),
    release: async () => void (pool.ended || (await pool.end())),
  };
}

async function openEmbedded(directory: string): Promise<OpenedDialect> {
  const unlock = await lockDirectory(directory);
  // Loaded here because it takes a while and production never needs it.
  const { PGlite } = await import('@electric-sql/pglite');
  const instance = new PGlite(join(directory, 'postgres'));
  await instance.waitReady;
  return {
    dialect: new PGliteDialect({ pglite: instance }),
    async release() {
      if (!instance.closed) await instance.close();
      await unlock();
    },
  };
}

const migrationsDirectory = new URL('../migrations/', import.meta.url);

const migrations: MigrationProvider = {
  async getMigrations() {
    const files = (await readdir(migrationsDirectory)).filter((file) => file.endsWith('.ts'));
    const entries = files.map(async (file) => [
      file.slice(0, -'.ts'.length),
      await import(new URL(file, migrationsDirectory).href),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  },
};

async function toUnavailable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    throw new GatewayError('UNAVAILABLE', 'The database does not answer right now.', {
      retryAfterSeconds: 1,
      cause: error,
    });
  }
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html: connection exceptions, insufficient resources, operator
// intervention (shutdown, statement timeout), lock not available, idle in transaction timeout, read-only after a failover.
const unavailableCode = /^(08|53|57)|^(55P03|25P03|25006)$/;
const unavailableSocket =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN)$/;
const unavailableMessage =
  /timeout exceeded when trying to connect|Connection terminated|connection error and is not queryable|Client was closed/;

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // Node reports a host with several addresses as one error with many inside.
  if (error instanceof AggregateError) return error.errors.some(isUnavailable);
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && (unavailableCode.test(code) || unavailableSocket.test(code))) {
    return true;
  }
  return unavailableMessage.test(error.message);
}
