// Opens databases and gateways for tests. The caller disposes of what it opened, for example with `await using`.

import { execFile } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PGlite } from '@electric-sql/pglite';
import { Client } from 'pg';
import { inject } from 'vitest';
import type { KeyScope } from '../src/access/key.ts';
import { readEnvironment, parseConfig } from '../src/config.ts';
import { type Database, type DatabaseOptions, openDatabase } from '../src/database/database.ts';
import type { ListenToNotifications } from '../src/database/change-feed.ts';
import { createPgliteListener } from '../src/database/pglite.ts';
import { createPostgresListener } from '../src/database/postgres.ts';
import type { Gateway, GatewayOverrides } from '../src/gateway.ts';
import type { NewNumber } from '../src/numbers/numbers.ts';
import {
  createTestSimulator,
  type SimulatedPhone,
  type SimulatedWaba,
  type TestSimulator,
  type SimulatorOptions,
} from './simulator/simulator.ts';
import { createTelemetry } from '../src/telemetry.ts';
import { findLeaks, findLeaksInLog } from './leaks.ts';

/** The supported kinds of database, for `describe.each(databases)('on %s', …)`. */
export const databases = ['PGlite', 'PostgreSQL'] as const;
export type DatabaseKind = (typeof databases)[number];

export interface TestDatabase extends Database {
  readonly kind: DatabaseKind;
  /** The SQL statements that were executed, oldest first, without begin, commit and rollback. */
  readonly statements: readonly string[];
  clearStatements(): void;
  readonly listenToNotifications: ListenToNotifications;
  /**
   * Executes one statement as the owner of the tables, across tenants, as other software or an operator would. The
   * change feed has received its notifications when the promise is fulfilled.
   */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly Row[]>;
}

export interface TestDatabaseOptions extends Omit<DatabaseOptions, 'onStatement'> {
  /** An existing PostgreSQL database, to connect as another process would. By default a new one is created. */
  readonly of?: TestPostgresUrl;
  /** A PostgreSQL database without connections, to begin with a copy of it, as the owner of its tables. */
  readonly copyOf?: TestPostgresUrl;
  /** Whether the tables exist; true by default. */
  readonly migrated?: boolean;
}

/** A new database, dropped when it is disposed of. On PostgreSQL the gateway is neither superuser nor owner. */
export async function openTestDatabase(
  kind: DatabaseKind,
  options: TestDatabaseOptions = {},
): Promise<TestDatabase> {
  return kind === 'PGlite' ? openTestPglite(options) : openTestPostgres(options);
}

async function openTestPglite(options: TestDatabaseOptions): Promise<TestDatabase> {
  const instance =
    options.migrated === false
      ? await PGlite.create()
      : await PGlite.create({ loadDataDir: await openAsBlob(inject('pglitePath')) });
  const { statements, ...log } = createStatementLog();
  const database = await openDatabase({ kind: 'pglite', instance }, { ...options, ...log });
  return {
    ...database,
    kind: 'PGlite',
    statements,
    clearStatements: () => void statements.splice(0),
    listenToNotifications: createPgliteListener(instance),
    query: async (text, values = []) => (await instance.query(text, [...values])).rows as never,
  };
}

/** Puts a migrated database into a directory for `DATA_DIR`: creating one there takes three seconds. */
export async function prepareDataDirectory(directory: string): Promise<void> {
  const path = join(directory, 'postgres');
  await mkdir(path, { recursive: true });
  await promisify(execFile)('tar', ['-xf', inject('pglitePath'), '-C', path]);
}

async function openTestPostgres(options: TestDatabaseOptions): Promise<TestDatabase> {
  const made = new AsyncDisposableStack();
  const { url, ownerUrl } = options.of ?? made.use(await openTestPostgresUrl(options));
  const owner = made.adopt(new Client({ connectionString: ownerUrl }), (it) => it.end());
  await owner.connect();
  const { statements, ...log } = createStatementLog();
  // Only the owner can migrate.
  const isOwner = options.migrated === false || options.copyOf !== undefined;
  const source = { kind: 'postgres', url: isOwner ? ownerUrl : url } as const;
  const database = made.use(await openDatabase(source, { ...options, ...log }));
  return {
    ...database,
    kind: 'PostgreSQL',
    statements,
    clearStatements: () => void statements.splice(0),
    listenToNotifications: createPostgresListener(source.url),
    async query(text, values = []) {
      const { rows } = await owner.query(text, [...values]);
      await database.changes.catchUp();
      return rows as never;
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

function createStatementLog(): Required<Pick<DatabaseOptions, 'onStatement'>> & {
  readonly statements: string[];
} {
  const statements: string[] = [];
  return {
    statements,
    onStatement(statement) {
      // Transactions are statements on PostgreSQL only; the count must be the same on both.
      if (!/^(begin|commit|rollback)\b/.test(statement)) statements.push(statement);
    },
  };
}

export interface TestPostgresUrl extends AsyncDisposable {
  /** With the role that the gateway logs in with. */
  readonly url: string;
  /** With the role that owns the tables. */
  readonly ownerUrl: string;
}

/** A new PostgreSQL database, for tests that start processes or open connections themselves. */
export async function openTestPostgresUrl(
  options: Pick<TestDatabaseOptions, 'migrated' | 'copyOf'> = {},
): Promise<TestPostgresUrl> {
  const name = `gateway_test_${randomBytes(8).toString('hex')}`;
  const copied = options.copyOf && new URL(options.copyOf.ownerUrl).pathname.slice(1);
  const template =
    copied ?? (options.migrated === false ? 'template1' : inject('postgresTemplate'));
  // Copying the files takes half of the time that writing them to the log does.
  await runAsAdmin(`create database ${name} template ${template} strategy file_copy`);
  const ownerUrl = Object.assign(new URL(inject('postgresUrl')), { pathname: `/${name}` });
  const [username, password] = inject('postgresLogin').split(':');
  const url = Object.assign(new URL(ownerUrl), { username, password });
  return {
    url: url.href,
    ownerUrl: ownerUrl.href,
    [Symbol.asyncDispose]: () => runAsAdmin(`drop database ${name} with (force)`),
  };
}

async function runAsAdmin(statement: string): Promise<void> {
  const admin = new Client({ connectionString: inject('postgresUrl') });
  await admin.connect();
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}

export interface TestGatewayOptions extends Pick<
  GatewayOverrides,
  | 'now'
  | 'startTimer'
  | 'syncPollMs'
  | 'deadlineMs'
  | 'graphiqlKeys'
  | 'boardKeys'
  | 'fetch'
  | 'alerts'
> {
  /** A kind, for a new database, or an existing database, which is not disposed of. PostgreSQL by default. */
  readonly database?: DatabaseKind | TestDatabase;
  readonly simulator?: SimulatorOptions;
  /** Environment variables that differ from those of a production gateway with both upstreams simulated. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Skips the search for secrets at the end, for a test that writes a secret into the log itself. */
  readonly plantsLeaks?: boolean;
}

export interface TestGateway extends Pick<Gateway, 'access' | 'numbers' | 'ready'> {
  readonly gateway: Gateway;
  readonly simulator: TestSimulator;
  readonly database: TestDatabase;
  /** As `TestDatabase.statements`. */
  readonly statements: readonly string[];
  clearStatements(): void;
  /** Every line that the gateway logged, at all levels. */
  readonly logLines: readonly string[];
  clearLogLines(): void;
  /** Keys, tokens, pepper and encryption keys, which must never appear in a response, a log line or a dump. */
  readonly secrets: readonly string[];
  /** Other texts that must never appear there. */
  addSecrets(...secrets: readonly string[]): void;
  /** The environment variables, for another process of the same deployment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** `target`: a path with its query string, or a request. */
  fetch(target: string | Request, init?: RequestInit): Promise<Response>;
  /** Sends a GET request by default. */
  rest<Body = Json>(path: string, options?: SendOptions): Promise<Reply<Body>>;
  graphql<Data = Json>(
    query: string,
    options?: SendOptions & { readonly variables?: Json; readonly operationName?: string },
  ): Promise<Reply<GraphQLBody<Data>>>;
  /** Creates a tenant with a tenant-scoped key. A test that uses its own tenant needs no clean-up. */
  addTenant(name?: string): Promise<TestTenant>;
  /**
   * Disposes of the gateway, the simulator, and the database unless it was passed in. Throws if a secret was logged or
   * is in the metrics, so that every test looks for leaks.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

type Json = Readonly<Record<string, unknown>>;

export interface SendOptions {
  /** For the `x-api-key` header, which is left out by default. */
  readonly key?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

export interface Reply<Body> {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** `text` parsed as JSON; undefined when it is not JSON. */
  readonly body: Body;
}

export interface GraphQLBody<Data> {
  readonly data?: Data | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly path?: readonly (string | number)[];
    readonly extensions?: Json;
  }[];
  readonly extensions?: Json;
}

export interface TestTenant {
  readonly id: string;
  /** The tenant-scoped key, which `rest` and `graphql` send by default. */
  readonly key: string;
  readonly keyId: string;
  readonly rest: TestGateway['rest'];
  readonly graphql: TestGateway['graphql'];
  addKey(options?: {
    readonly name?: string;
    readonly numberId?: string;
    readonly scopes?: readonly KeyScope[];
    readonly expiresAt?: Date;
  }): Promise<{ readonly id: string; readonly key: string }>;
  /** Adds a number, by default a healthy one of Meta that the simulator knows. */
  addNumber(options?: TestNumberOptions): Promise<TestNumber>;
}

export type TestNumberOptions = StoredOptions & GraphOptions;

type StoredOptions = Partial<Omit<NewNumber, 'tenantId' | 'id'>>;

/** Values at Meta that differ from those of a healthy number, by the names of the Graph API. */
interface GraphOptions {
  readonly phone?: Json | undefined;
  readonly profile?: SimulatedPhone['profile'] | undefined;
  readonly waba?: Json | undefined;
}

export interface TestNumber {
  readonly id: string;
  readonly number: string;
  /** Empty unless the provider is META. */
  readonly phoneNumberId: string;
  /** Empty unless the provider is META. */
  readonly wabaId: string;
  /** By default empty when the provider is META. */
  readonly instanceName: string;
}

/** A gateway on a real database, with Meta and the session engine simulated. */
export async function openTestGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  // Imported here because tests of the database alone do not need it.
  const { createGateway } = await import('../src/gateway.ts');
  const made = new AsyncDisposableStack();
  const { database: given = 'PostgreSQL' } = options;
  const database = typeof given === 'string' ? await openTestDatabase(given) : given;
  const sessionEngineKey = createSecret('session');
  const simulator = made.use(createTestSimulator({ sessionEngineKey, ...options.simulator }));
  const environment = {
    // Selects production mode; the database is the one above.
    DATABASE_URL: 'postgres://localhost/unused',
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: createSecret('pepper'),
    SESSION_ENGINE_URL: 'http://127.0.0.1:1',
    SESSION_ENGINE_KEY: sessionEngineKey,
    // Set by `npm run test:uncached`.
    ANSWER_CACHE_MB: process.env['ANSWER_CACHE_MB'],
    // Reads in the background are for tests that ask for them.
    SYNC: 'off',
    ...options.environment,
  };
  const config = parseConfig(readEnvironment(environment));
  const logLines: string[] = [];
  // Not cleared by `clearLogLines`: every line is searched for secrets.
  const everLogged: string[] = [];
  const write = (line: string) => void [logLines, everLogged].forEach((lines) => lines.push(line));
  const gateway = made.use(
    await createGateway(config, {
      ...options,
      database: typeof given === 'string' ? database : withoutDisposal(database),
      // That of a test whose upstream is a server of its own.
      fetch: options.fetch ?? simulator.fetch,
      telemetry: createTelemetry({ level: 'trace', write }),
    }),
  );
  const secrets = listSecrets(environment);
  const senders = createSenders(gateway);
  return {
    ...senders,
    gateway,
    access: gateway.access,
    numbers: gateway.numbers,
    ready: gateway.ready,
    simulator,
    database,
    statements: database.statements,
    clearStatements: database.clearStatements,
    logLines,
    clearLogLines: () => void logLines.splice(0),
    secrets,
    addSecrets: (...more) => void secrets.push(...more),
    environment,
    addTenant: (name) => addTenant({ gateway, simulator, senders, secrets }, name),
    async [Symbol.asyncDispose]() {
      // Disposal may write to the log, so that is searched afterwards; the metrics must be read before.
      const metrics = made.disposed ? undefined : await gateway.metrics?.render();
      await made.disposeAsync();
      if (options.plantsLeaks !== true) assertNothingLeaked(secrets, everLogged, metrics?.text);
    },
  };
}

function listSecrets(environment: Readonly<Record<string, string | undefined>>): string[] {
  const { API_KEY_PEPPER = '', ENCRYPTION_KEYS = '', SESSION_ENGINE_KEY = '' } = environment;
  const encryptionKeys = ENCRYPTION_KEYS.split(',').map(
    (named) => named.trim().split(':')[1] ?? '',
  );
  return [API_KEY_PEPPER, ...encryptionKeys, SESSION_ENGINE_KEY].filter((secret) => secret !== '');
}

function assertNothingLeaked(
  secrets: readonly string[],
  logLines: readonly string[],
  metrics = '',
): void {
  const canaries = [...new Set(secrets)];
  const leaks = [
    ...findLeaksInLog(logLines, canaries),
    ...findLeaks([{ source: 'metrics', text: metrics }], canaries),
  ];
  if (leaks.length > 0) throw new Error(`a secret leaked: ${leaks.join('; ')}`);
}

type Senders = Pick<TestGateway, 'fetch' | 'rest' | 'graphql'>;

interface TestParts {
  readonly gateway: Gateway;
  readonly simulator: TestSimulator;
  readonly senders: Senders;
  readonly secrets: string[];
}

// A gateway disposes of its database, but this one belongs to the test.
function withoutDisposal(database: TestDatabase): TestDatabase {
  return { ...database, [Symbol.asyncDispose]: async () => undefined };
}

function createSenders(gateway: Gateway): Senders {
  const fetch: TestGateway['fetch'] = (target, init) =>
    gateway.fetch(
      typeof target === 'string' ? new Request(`http://gateway.test${target}`, init) : target,
    );
  const rest: TestGateway['rest'] = async (path, { key, headers, ...init } = {}) =>
    await readReply(
      await fetch(path, { ...init, headers: { ...(key && { 'x-api-key': key }), ...headers } }),
    );
  return {
    fetch,
    rest,
    graphql: (query, { variables, operationName, headers, ...options } = {}) =>
      rest('/graphql', {
        method: 'POST',
        body: JSON.stringify({ query, variables, operationName }),
        ...options,
        headers: { 'content-type': 'application/json', ...headers },
      }),
  };
}

async function readReply<Body>(response: Response): Promise<Reply<Body>> {
  const text = await response.text();
  const { status, headers } = response;
  return { status, headers, text, body: parseJson(text) as Body };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function addTenant(parts: TestParts, name = 'Test tenant'): Promise<TestTenant> {
  const { gateway, senders, secrets } = parts;
  const { id } = await gateway.access.createTenant(name);
  const addKey: TestTenant['addKey'] = async (options = {}) => {
    const defaults = { name: 'Test key', numberId: null, expiresAt: null };
    const made = await gateway.access.createKey({ tenantId: id, ...defaults, ...options });
    secrets.push(made.key);
    return made;
  };
  const { id: keyId, key } = await addKey();
  return {
    id,
    key,
    keyId,
    rest: (path, options) => senders.rest(path, { key, ...options }),
    graphql: (query, options) => senders.graphql(query, { key, ...options }),
    addKey,
    addNumber: (options) => addNumber(parts, id, options),
  };
}

async function addNumber(
  { gateway, simulator, secrets }: TestParts,
  tenantId: string,
  { phone, profile, waba, ...given }: TestNumberOptions = {},
): Promise<TestNumber> {
  const number = createNewNumber(tenantId, given);
  secrets.push(...Object.values(number.credentials ?? {}).filter((secret) => secret !== null));
  addToSimulator(simulator, number, given, { phone, profile, waba });
  const { id } = await gateway.numbers.create(number);
  const { phoneNumberId, wabaId, instanceName } = number;
  return {
    id,
    number: number.number,
    phoneNumberId: phoneNumberId ?? '',
    wabaId: wabaId ?? '',
    instanceName: instanceName ?? '',
  };
}

function createNewNumber(tenantId: string, given: StoredOptions): NewNumber {
  const isMeta = (given.provider ?? 'META') === 'META';
  return {
    tenantId,
    name: 'Test number',
    number: `55${createDigits()}`,
    provider: 'META',
    state: 'OPEN',
    instanceName: isMeta ? null : `instance-${createDigits()}`,
    phoneNumberId: isMeta ? createDigits() : null,
    wabaId: isMeta ? createDigits() : null,
    credentials: isMeta ? { accessToken: createSecret('EAA'), appSecret: null } : null,
    ...given,
  };
}

// An id that was given may be a sentinel or known to the simulator already, so it is not overwritten.
function addToSimulator(
  simulator: TestSimulator,
  { number, phoneNumberId, wabaId, instanceName, state }: NewNumber,
  given: StoredOptions,
  { phone, profile, waba }: GraphOptions,
): void {
  if (wabaId !== null && (waba !== undefined || given.wabaId === undefined)) {
    simulator.setWaba(toHealthyWaba(wabaId, waba));
  }
  const isNewPhone = phone !== undefined || profile !== undefined || !given.phoneNumberId;
  if (phoneNumberId !== null && wabaId !== null && isNewPhone) {
    const fields = { display_phone_number: `+${number}`, ...phone };
    simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields, profile));
  }
  if (instanceName !== null && given.instanceName === undefined) {
    simulator.setInstance({ instanceName, state: state.toLowerCase() });
  }
}

/** A phone that can send, as the Graph API returns it, with the given differences. */
export function toHealthyPhone(
  id: string,
  wabaId: string,
  fields: Json = {},
  profile: SimulatedPhone['profile'] = { about: 'Hello', vertical: 'RETAIL' },
): SimulatedPhone {
  const available = { can_send_message: 'AVAILABLE' };
  const health_status = {
    ...available,
    entities: [
      { entity_type: 'PHONE_NUMBER', id, ...available },
      { entity_type: 'WABA', id: wabaId, ...available },
      { entity_type: 'BUSINESS', id: '506914307656634', ...available },
      { entity_type: 'APP', id: '634974688087057', ...available },
    ],
  };
  const healthy = {
    display_phone_number: '+55 11 99999-9999',
    verified_name: 'Lucky Shrub',
    quality_rating: 'GREEN',
    whatsapp_business_manager_messaging_limit: 'TIER_2K',
    is_pin_enabled: true,
    status: 'CONNECTED',
    name_status: 'APPROVED',
    code_verification_status: 'VERIFIED',
    platform_type: 'CLOUD_API',
    throughput: { level: 'STANDARD' },
    account_mode: 'LIVE',
    last_onboarded_time: '2026-07-01T08:30:00+0000',
    health_status,
  };
  return { id, wabaId, fields: { ...healthy, ...fields }, profile };
}

function toHealthyWaba(id: string, fields: Json = {}): SimulatedWaba {
  const healthy = {
    name: 'Lucky Shrub',
    currency: 'USD',
    country: 'BR',
    business_verification_status: 'verified',
    account_review_status: 'APPROVED',
    timezone_id: '1',
    ownership_type: 'SELF_OWNED',
  };
  return { id, fields: { ...healthy, ...fields } };
}

/** Eleven digits: a Brazilian number without its country code, or an id at Meta. */
export function createDigits(): string {
  return String(randomInt(10_000_000_000, 99_999_999_999));
}

function createSecret(prefix: string): string {
  return `${prefix}${randomBytes(24).toString('hex')}`;
}
