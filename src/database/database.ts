// Owns the database: its tables, its drivers, its migrations, and the one door to what belongs to a tenant.
// The SQL itself stands in the stores.

import { readdir } from 'node:fs/promises';
import type { PGlite } from '@electric-sql/pglite';
import { Kysely, type LogEvent, type RawBuilder, sql, type Transaction } from 'kysely';
import { type MigrationProvider, Migrator } from 'kysely/migration';
import { ConfigurationError } from '../config.ts';
import {
  type ChangeFeed,
  type ChangeFeedOptions,
  createChangeFeed,
  type OwnedChangeFeed,
} from './change-feed.ts';
import { enter, toReading } from './tenant-transaction.ts';
import type { Driver } from './driver.ts';
import { findRlsBypasses } from './rls-audit.ts';
import { openEmbedded, openPglite } from './pglite.ts';
import { openPostgres, type PostgresOptions } from './postgres.ts';
import { createSingleFlight } from './single-flight.ts';
import type { Statement, TextRow } from './statement.ts';
import type { Tables } from './tables.ts';
import { GatewayError } from '../errors.ts';

export type TenantTransaction = Transaction<Tables>;

export interface Database extends AsyncDisposable {
  /**
   * The only door to what belongs to a tenant: a transaction in which row-level security shows this tenant's rows alone.
   * Commits what `work` did, or rolls back if it throws. Keep it short and never await the network in it.
   * A database that is down or too slow comes out as UNAVAILABLE. `changing`: what answers are made of and may change.
   */
  withTenant<T>(
    tenantId: string,
    work: (transaction: TenantTransaction) => Promise<T>,
    changing?: 'keys and numbers' | 'numbers' | 'nothing',
  ): Promise<T>;
  /**
   * The same for one statement that only reads: on PostgreSQL one round trip, and one reading for all who ask for the
   * same before it is sent.
   */
  readTenant(tenantId: string, statement: Statement): Promise<readonly TextRow[]>;
  /**
   * For the few functions of the database that look across tenants, and for the counts of the limiter library; the login
   * role can reach no other table.
   */
  acrossTenants<T>(work: (functions: Kysely<object>) => Promise<T>): Promise<T>;
  /** As `acrossTenants` for one call, in the way of `readTenant`; it may write. */
  callAcrossTenants(statement: Statement): Promise<readonly TextRow[]>;
  /** Tells what changes, whoever changes it; what `withTenant` does, before its promise is settled. */
  readonly changes: ChangeFeed & Pick<OwnedChangeFeed, 'tell'>;
  /** Applies what is missing, in order; answers the names of what it applied. */
  migrate(): Promise<readonly string[]>;
  /** Names of the migrations that are not applied yet. */
  pendingMigrations(): Promise<readonly string[]>;
  /**
   * Throws UNAVAILABLE when the database does not answer. It does if it has answered anything within the last second: a
   * process whose connections are all busy must not take itself for one without a database.
   */
  ping(): Promise<void>;
  /**
   * Opens all connections to PostgreSQL, so that a crowd need not wait for them. Never rejects: what fails is told to
   * whoever asks for something next.
   */
  warm(): Promise<void>;
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
    /** Row-level security is on, for the owner too, and lets a tenant to its own rows and to no others. */
    readonly isolated: boolean;
  }[];
  /** Ways around the policies, a sentence each, with what to do. */
  readonly openings: readonly string[];
  /** Tables whose changes nobody would be told of, so that answers from memory would grow old. */
  readonly silent: readonly string[];
}

export type DatabaseSource =
  | { readonly kind: 'postgres'; readonly url: string }
  /** PGlite in a folder, for one process at a time. */
  | { readonly kind: 'embedded'; readonly directory: string }
  /** A PGlite that somebody else opened; disposed with the database. */
  | { readonly kind: 'pglite'; readonly instance: PGlite };

export interface DatabaseOptions extends PostgresOptions {
  readonly changeFeed?: ChangeFeedOptions;
}

/** Connects lazily: a database that is down is noticed by the first statement. Embedded, it refuses a folder in use. */
export async function openDatabase(
  source: DatabaseSource,
  options: DatabaseOptions = {},
): Promise<Database> {
  const driver = await openDriver(source, options);
  const changes = createChangeFeed(driver.openChannel, options.changeFeed);
  let answeredAt = Number.NEGATIVE_INFINITY;
  const kysely = createKysely(driver, (statement) => {
    answeredAt = performance.now();
    options.onStatement?.(statement);
  });
  const readShared = createSingleFlight((...asked) => driver.read(kysely, ...asked));
  const read = async (statements: readonly Statement[]): Promise<readonly TextRow[]> => {
    try {
      const rows = await readShared(statements);
      answeredAt = performance.now();
      return rows;
    } catch (error) {
      throw toUnavailableError(error);
    }
  };
  return {
    withTenant: (tenantId, work, changing = 'keys and numbers') =>
      toUnavailable(() => enter(kysely, tenantId, work))
        // Also when it failed: the commit may have come through and its answer not.
        .finally(() => {
          if (changing !== 'nothing') changes.tell({ tenantId, keys: changing !== 'numbers' });
        }),
    readTenant: (tenantId, statement) => read(toReading(tenantId, statement)),
    callAcrossTenants: (statement) => read([statement]),
    // The tables are taken from the type, so only functions are left to call.
    acrossTenants: (work) => toUnavailable(() => work(kysely as unknown as Kysely<object>)),
    changes,
    migrate: () => toUnavailable(() => applyMigrations(driver, kysely)),
    pendingMigrations: () => toUnavailable(() => listPendingMigrations(kysely)),
    async ping() {
      if (performance.now() - answeredAt < 1_000) return;
      await toUnavailable(() => sql`select 1`.execute(kysely));
    },
    warm: () => driver.warm(),
    inspect: () => toUnavailable(() => inspect(kysely)),
    async [Symbol.asyncDispose]() {
      await changes[Symbol.asyncDispose]();
      await kysely.destroy();
      await driver.release();
    },
  };
}

function createKysely(
  { dialect }: Pick<Driver, 'dialect'>,
  onStatement: (statement: string) => void,
): Kysely<Tables> {
  const log = (event: LogEvent): void => {
    if (event.level === 'query') onStatement(event.query.sql);
  };
  return new Kysely<Tables>({ dialect, log });
}

async function applyMigrations(driver: Driver, kysely: Kysely<Tables>): Promise<readonly string[]> {
  return await driver.waitFor(() => kysely.connection().execute(applyOn));
}

async function listPendingMigrations(kysely: Kysely<Tables>): Promise<readonly string[]> {
  const all = await new Migrator({ db: kysely, provider: migrations }).getMigrations();
  return all.filter((migration) => !migration.executedAt).map((migration) => migration.name);
}

async function applyOn(connection: Kysely<Tables>): Promise<readonly string[]> {
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
        pg_get_expr(p.polqual, c.oid) is not distinct from ${toIsolation()} and
        pg_get_expr(p.polwithcheck, c.oid) is not distinct from ${toIsolation()}), true) as isolated
    from pg_class c
    left join pg_policy p on p.polrelid = c.oid and p.polpermissive
      and exists (select from unnest(p.polroles) as r(oid) where r.oid = 0
        or r.oid is distinct from to_regrole('gateway_directory')::oid
          and pg_has_role(to_regrole('gateway_login')::oid, r.oid, 'member'))
    where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
      and has_any_column_privilege(to_regrole('gateway_tenant'), c.oid, 'select, insert, update')
    group by c.oid order by c.relname`.execute(kysely);
  const { rows } = await sql<DatabaseInspection['role'] & { version: string }>`
    select current_setting('server_version') as version, rolname as name, rolsuper as superuser,
      rolbypassrls as "bypassesRowSecurity"
    from pg_roles where rolname = current_user`.execute(kysely);
  const openings = await findRlsBypasses(kysely);
  const { rows: silent } = await sql<{ name: string }>`
    select t.name from unnest(${announcing}::text[]) as t(name)
    where (select count(*) from pg_trigger
      where tgrelid = to_regclass(t.name) and tgname ^@ 'announce_' and tgenabled = 'A') < 4
    order by t.name`.execute(kysely);
  // There is one: we are somebody.
  const { version, ...role } = rows[0]!;
  return {
    version,
    role: { ...role, ownsTables: tables.some((table) => table.owned) },
    tables: tables.map(({ name, isolated }) => ({ name, isolated })),
    openings,
    silent: silent.map(({ name }) => name),
  };
}

/** What PostgreSQL makes of the condition in the migrations. A tenant is its own row. */
function toIsolation(): RawBuilder<string> {
  return sql`format('(%s = ( SELECT NULLIF(current_setting(%L::text, true), %L::text) AS "nullif"))',
    case c.relname when 'tenant' then 'id' else 'tenant_id' end, 'app.tenant_id', '')`;
}

/** Those that answers are made of; see the migration that makes them announce their changes. */
const announcing = ['api_key', 'number_snapshot', 'waba_snapshot', 'whatsapp_number'];

async function openDriver(source: DatabaseSource, options: DatabaseOptions): Promise<Driver> {
  switch (source.kind) {
    case 'postgres':
      return openPostgres(source.url, options);
    case 'embedded':
      return await openEmbedded(source.directory);
    case 'pglite':
      return openPglite(source.instance);
  }
}

const migrationsDirectory = new URL('../../migrations/', import.meta.url);

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
    throw toUnavailableError(error);
  }
}

/** The error itself when it says nothing about the database being there. */
function toUnavailableError(error: unknown): unknown {
  if (!isUnavailable(error)) return error;
  return new GatewayError('UNAVAILABLE', 'The database does not answer right now.', {
    retryAfterSeconds: 1,
    cause: error,
  });
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
