// Opens the database and is the only way to it: one transaction per tenant, reads, functions across tenants,
// migrations, and the change feed. The SQL is in the stores.

import type { PGlite } from '@electric-sql/pglite';
import { Kysely, type LogEvent, sql, type Transaction } from 'kysely';
import { GatewayError } from '../errors.ts';
import { recordStatement, traceStatement } from '../tracing.ts';
import {
  type ChangeFeed,
  type ChangeFeedOptions,
  createChangeFeed,
  type OwnedChangeFeed,
} from './change-feed.ts';
import { type DatabaseInspection, inspect } from './inspection.ts';
import { openEmbedded, openPglite } from './pglite.ts';
import { type Driver, openPostgres, type PostgresOptions } from './postgres.ts';
import { createSingleFlight, type Read, type Statement, type TextRow } from './statement.ts';
import { applyMigrations, listPendingMigrations, type Tables } from './tables.ts';
import { prependTenant, runAsTenant, type TransactionCause } from './tenant-transaction.ts';

export type { DatabaseInspection } from './inspection.ts';
export type { TransactionCause } from './tenant-transaction.ts';

export type TenantTransaction = Transaction<Tables>;

export interface Database extends AsyncDisposable {
  /**
   * Runs `work` in a transaction in which row-level security allows the rows of this tenant alone. Commits, or rolls
   * back if `work` rejects. Keep it short and do not await the network in it. Rejects with UNAVAILABLE when the
   * database is down or too slow. `changing` says which cached values the transaction makes outdated, and `cause` what
   * the history names as the source of its changes, a command by default.
   */
  withTenant<T>(
    tenantId: string,
    work: (transaction: TenantTransaction) => Promise<T>,
    changing?: 'keys and numbers' | 'numbers' | 'nothing',
    cause?: TransactionCause,
  ): Promise<T>;
  /**
   * Executes one statement that only reads, as this tenant: one round trip on PostgreSQL. Callers that request the same
   * read before it is sent share its result.
   */
  readTenant(tenantId: string, statement: Statement): Promise<readonly TextRow[]>;
  /**
   * Runs `work` without a tenant, for the functions of the database that look across tenants and for the counts of the
   * rate limiter. The login role has no rights on any other table.
   */
  acrossTenants<T>(work: (functions: Kysely<object>) => Promise<T>): Promise<T>;
  /** Executes one statement like `acrossTenants`, sent and shared like a read. It may write. */
  callAcrossTenants(statement: Statement): Promise<readonly TextRow[]>;
  /** Announces every change, of other processes too. Those of `withTenant` are announced before its promise settles. */
  readonly changes: ChangeFeed & Pick<OwnedChangeFeed, 'tell'>;
  /** Applies the pending migrations in order and returns their names. */
  migrate(): Promise<readonly string[]>;
  /** Returns the names of the migrations that are not applied yet. */
  pendingMigrations(): Promise<readonly string[]>;
  /**
   * Rejects with UNAVAILABLE when the database does not answer. A result of any statement within the last second counts
   * as an answer: that all connections are busy does not mean that the database is down.
   */
  ping(): Promise<void>;
  /**
   * Opens all connections to PostgreSQL before they are needed. Never rejects: the next statement reports the error.
   */
  warm(): Promise<void>;
  /** Reports on the role in use and on the isolation of tenants. */
  inspect(): Promise<DatabaseInspection>;
}

export type DatabaseSource =
  | { readonly kind: 'postgres'; readonly url: string }
  /** PGlite with its data in a directory, for one process at a time. */
  | { readonly kind: 'embedded'; readonly directory: string }
  /** An open PGlite. It is closed with the database. */
  | { readonly kind: 'pglite'; readonly instance: PGlite };

export interface DatabaseOptions extends PostgresOptions {
  readonly changeFeed?: ChangeFeedOptions;
}

/**
 * Connects lazily: if PostgreSQL is down, the first statement rejects. Throws a ConfigurationError if another process
 * uses the directory of an embedded database.
 */
export async function openDatabase(
  source: DatabaseSource,
  options: DatabaseOptions = {},
): Promise<Database> {
  const driver = await openDriver(source, options);
  const changes = createChangeFeed(driver.listenToNotifications, options.changeFeed);
  let answeredAt = Number.NEGATIVE_INFINITY;
  const kysely = createKysely(driver, (statement) => {
    answeredAt = performance.now();
    options.onStatement?.(statement);
  });
  const readShared = createSingleFlight(traceReads(driver.read));
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
    withTenant: (tenantId, work, changing = 'keys and numbers', cause = 'COMMAND_LINE') =>
      convertErrors(() => runAsTenant(kysely, tenantId, work, cause))
        // After a failure too: the transaction may be committed although its result was lost.
        .finally(() => {
          if (changing !== 'nothing') changes.tell({ tenantId, keys: changing !== 'numbers' });
        }),
    readTenant: (tenantId, statement) => read(prependTenant(tenantId, statement)),
    callAcrossTenants: (statement) => read([statement]),
    // Without the tables in its type, it allows calls of functions and raw SQL alone.
    acrossTenants: (work) => convertErrors(() => work(kysely as unknown as Kysely<object>)),
    changes,
    migrate: () => convertErrors(() => driver.withoutTimeLimit(() => applyMigrations(kysely))),
    pendingMigrations: () => convertErrors(() => listPendingMigrations(kysely)),
    async ping() {
      if (performance.now() - answeredAt < 1_000) return;
      await convertErrors(() => sql`select 1`.execute(kysely));
    },
    warm: () => driver.warm(),
    inspect: () => convertErrors(() => inspect(kysely)),
    async [Symbol.asyncDispose]() {
      await changes[Symbol.asyncDispose]();
      await kysely.destroy();
      await driver.release();
    },
  };
}

/** One span for each read, of its last statement: the others only make it the tenant's. */
function traceReads(read: Read): Read {
  return (statements, onSend) =>
    traceStatement(statements.at(-1)?.sql ?? '', () => read(statements, onSend));
}

function createKysely(
  { dialect }: Pick<Driver, 'dialect'>,
  onStatement: (statement: string) => void,
): Kysely<Tables> {
  const log = (event: LogEvent): void => {
    const { sql: statement } = event.query;
    if (event.level === 'query') onStatement(statement);
    recordStatement(
      statement,
      event.queryDurationMillis,
      event.level === 'error' ? event.error : undefined,
    );
  };
  return new Kysely<Tables>({ dialect, log });
}

async function openDriver(source: DatabaseSource, options: DatabaseOptions): Promise<Driver> {
  switch (source.kind) {
    case 'postgres':
      return openPostgres(source.url, options);
    case 'embedded':
      return await openEmbedded(source.directory, options);
    case 'pglite':
      return openPglite(source.instance, options);
  }
}

async function convertErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toUnavailableError(error);
  }
}

/** Returns the error itself unless it means that the database is down or overloaded. */
function toUnavailableError(error: unknown): unknown {
  if (!isUnavailable(error)) return error;
  return new GatewayError('UNAVAILABLE', 'The database is not available; retry in a moment.', {
    retryAfterSeconds: 1,
    cause: error,
  });
}

// Connection exceptions, insufficient resources, operator intervention (shutdown, statement timeout), lock not
// available, idle in transaction timeout, read-only transaction (after a failover).
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const unavailableCode = /^(08|53|57)|^(55P03|25P03|25006)$/;
const unavailableSocket =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN)$/;
const unavailableMessage =
  /timeout exceeded when trying to connect|Connection terminated|connection error and is not queryable|Client was closed/;

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // A host with several addresses fails with one error for each.
  if (error instanceof AggregateError) return error.errors.some(isUnavailable);
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && (unavailableCode.test(code) || unavailableSocket.test(code))) {
    return true;
  }
  return unavailableMessage.test(error.message);
}
