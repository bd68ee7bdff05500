// The verbs that tests are written in: databases to work on, and gateways to ask. What is opened here is disposed of by
// the one who opened it, or with `await using` at the end of the test.

import { randomBytes, randomInt } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { PGlite } from '@electric-sql/pglite';
import { Client } from 'pg';
import { inject } from 'vitest';
import { readEnvironment, toConfig } from '../src/config.ts';
import { type Database, type DatabaseOptions, openDatabase } from '../src/database/database.ts';
import type { Gateway, GatewayOverrides } from '../src/gateway.ts';
import type { NewNumber } from '../src/numbers/numbers.ts';
import {
  createSimulator,
  type SimulatedPhone,
  type SimulatedWaba,
  type Simulator,
  type SimulatorOptions,
} from '../src/simulator/simulator.ts';
import { createTelemetry } from '../src/telemetry.ts';
import { findLeaks, findLeaksInLog } from './leaks.ts';

/** Both kinds of database that the gateway runs on, for `describe.each(databases)('on %s', …)`. */
export const databases = ['PGlite', 'PostgreSQL'] as const;
export type DatabaseKind = (typeof databases)[number];

export interface TestDatabase extends Database {
  readonly kind: DatabaseKind;
  /** The SQL that was executed, oldest first, but for begin, commit and the like. */
  readonly statements: readonly string[];
  clearStatements(): void;
  /**
   * One statement past the gateway, with all rights and in no tenant: what other software, an operator or a thief of
   * the disk would do. A gateway that listens to changes has heard of it afterwards.
   */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly Row[]>;
}

export interface TestDatabaseOptions extends Omit<DatabaseOptions, 'onStatement'> {
  /** The PostgreSQL database to connect to once more, as another process would; one of its own unless told. */
  readonly of?: TestPostgresUrl;
  /** True unless told: with all tables. */
  readonly migrated?: boolean;
}

/** A database of its own, gone with its disposal. On PostgreSQL the gateway is neither superuser nor owner. */
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
    query: async (text, values = []) => (await instance.query(text, [...values])).rows as never,
  };
}

async function openTestPostgres(options: TestDatabaseOptions): Promise<TestDatabase> {
  const made = new AsyncDisposableStack();
  const { url, ownerUrl } = options.of ?? made.use(await openTestPostgresUrl(options));
  const owner = made.adopt(new Client({ connectionString: ownerUrl }), (it) => it.end());
  await owner.connect();
  const { statements, ...log } = createStatementLog();
  // Somebody has to make the tables.
  const source = { kind: 'postgres', url: options.migrated === false ? ownerUrl : url } as const;
  const database = made.use(await openDatabase(source, { ...options, ...log }));
  return {
    ...database,
    kind: 'PostgreSQL',
    statements,
    clearStatements: () => void statements.splice(0),
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
      // PGlite has a call for transactions, PostgreSQL has statements; the count is to be the same.
      if (!/^(begin|commit|rollback)\b/.test(statement)) statements.push(statement);
    },
  };
}

export interface TestPostgresUrl extends AsyncDisposable {
  /** As the role that the gateway should log in with. */
  readonly url: string;
  /** As the role that made the tables and may do everything. */
  readonly ownerUrl: string;
}

/** A PostgreSQL database of its own, for tests that start processes or open their own connections. */
export async function openTestPostgresUrl(
  options: Pick<TestDatabaseOptions, 'migrated'> = {},
): Promise<TestPostgresUrl> {
  const name = `gateway_test_${randomBytes(8).toString('hex')}`;
  const template = options.migrated === false ? 'template1' : inject('postgresTemplate');
  await runAsAdmin(`create database ${name} template ${template}`);
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
  'now' | 'deadlineMs' | 'graphiqlKey'
> {
  /** A kind for a database of its own, or one that is shared and stays. PGlite unless told. */
  readonly database?: DatabaseKind | TestDatabase;
  readonly simulator?: SimulatorOptions;
  /** Variables that differ from those of a production gateway with both upstreams simulated. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Only for a test that writes a secret into the log itself: what was logged is then not searched at the end. */
  readonly plantsLeaks?: boolean;
}

export interface TestGateway extends Pick<Gateway, 'access' | 'numbers' | 'ready'> {
  readonly gateway: Gateway;
  readonly simulator: Simulator;
  readonly database: TestDatabase;
  /** Those of the database: what was executed, oldest first, but for begin, commit and the like. */
  readonly statements: readonly string[];
  clearStatements(): void;
  /** Every line that the gateway has logged, at all levels. */
  readonly logLines: readonly string[];
  clearLogLines(): void;
  /** Everything that must never be seen in an answer, a log line or a dump: keys, tokens, pepper, encryption key. */
  readonly secrets: readonly string[];
  /** A path with a query, or a whole request. */
  fetch(target: string | Request, init?: RequestInit): Promise<Response>;
  /** GET unless told. */
  rest<Body = Json>(path: string, options?: AskOptions): Promise<Reply<Body>>;
  graphql<Data = Json>(
    query: string,
    options?: AskOptions & { readonly variables?: Json; readonly operationName?: string },
  ): Promise<Reply<GraphQLBody<Data>>>;
  /** A fresh tenant with a fresh tenant-scoped key. Tests need no other cleaning. */
  addTenant(name?: string): Promise<TestTenant>;
  /**
   * The gateway; the simulator; the database too if it was not given. Throws if a secret was ever logged or is in the
   * metrics, so that each test is one for leaks too.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

type Json = Readonly<Record<string, unknown>>;

export interface AskOptions {
  /** For the `x-api-key` header; none unless told. */
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
  /** The JSON of `text`; undefined when it is none. */
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
  /** Its tenant-scoped key, that `rest` and `graphql` send unless told. */
  readonly key: string;
  readonly keyId: string;
  readonly rest: TestGateway['rest'];
  readonly graphql: TestGateway['graphql'];
  addKey(options?: {
    readonly name?: string;
    readonly numberId?: string;
    readonly expiresAt?: Date;
  }): Promise<{ readonly id: string; readonly key: string }>;
  /** A healthy Meta number that the simulator knows, unless told. Answers its id and what it was made of. */
  addNumber(options?: TestNumberOptions): Promise<TestNumber>;
}

export type TestNumberOptions = StoredOptions & GraphOptions;

type StoredOptions = Partial<Omit<NewNumber, 'tenantId' | 'id'>>;

/** What differs from what is healthy at Meta, in Graph's names. */
interface GraphOptions {
  readonly phone?: Json | undefined;
  readonly profile?: SimulatedPhone['profile'] | undefined;
  readonly waba?: Json | undefined;
}

export interface TestNumber {
  readonly id: string;
  readonly number: string;
  /** '' for a number that is not Meta's. */
  readonly phoneNumberId: string;
  /** '' for a number that is not Meta's. */
  readonly wabaId: string;
  /** '' for a Meta number, unless told. */
  readonly instanceName: string;
}

/** A whole gateway on a real database, with Meta and the session engine simulated. */
export async function openTestGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  // Loaded here because tests of the database alone need nothing of it.
  const { createGateway } = await import('../src/gateway.ts');
  const made = new AsyncDisposableStack();
  const { database: given = 'PGlite' } = options;
  const database = typeof given === 'string' ? await openTestDatabase(given) : given;
  const sessionEngineKey = createSecret('session');
  const simulator = made.use(createSimulator({ sessionEngineKey, ...options.simulator }));
  const environment = {
    // Names the mode; the database is the one above.
    DATABASE_URL: 'postgres://localhost/unused',
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: createSecret('pepper'),
    SESSION_ENGINE_URL: 'http://127.0.0.1:1',
    SESSION_ENGINE_KEY: sessionEngineKey,
    // Whoever runs the tests may turn the memory of answers off.
    ANSWER_CACHE_MB: process.env['ANSWER_CACHE_MB'],
    ...options.environment,
  };
  const config = toConfig(readEnvironment(environment));
  const logLines: string[] = [];
  // A test that clears what it looks at clears no leak.
  const everLogged: string[] = [];
  const write = (line: string) => void [logLines, everLogged].forEach((lines) => lines.push(line));
  const gateway = made.use(
    await createGateway(config, {
      ...options,
      database: typeof given === 'string' ? database : toShared(database),
      fetch: simulator.fetch,
      telemetry: createTelemetry({ level: 'trace', write }),
    }),
  );
  const secrets = listSecrets(environment);
  const doors = createDoors(gateway);
  return {
    ...doors,
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
    addTenant: (name) => addTenant({ gateway, simulator, doors, secrets }, name),
    async [Symbol.asyncDispose]() {
      // The log is searched after the end, which may have something to say; the metrics are gone by then.
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
    ...findLeaks([{ place: 'metrics', text: metrics }], canaries),
  ];
  if (leaks.length > 0) throw new Error(`a secret leaked: ${leaks.join('; ')}`);
}

type Doors = Pick<TestGateway, 'fetch' | 'rest' | 'graphql'>;

interface Workshop {
  readonly gateway: Gateway;
  readonly simulator: Simulator;
  readonly doors: Doors;
  readonly secrets: string[];
}

// A gateway disposes of its database; this one belongs to somebody else.
function toShared(database: TestDatabase): TestDatabase {
  return { ...database, [Symbol.asyncDispose]: async () => undefined };
}

function createDoors(gateway: Gateway): Doors {
  const fetch: TestGateway['fetch'] = (target, init) =>
    gateway.fetch(
      typeof target === 'string' ? new Request(`http://gateway.test${target}`, init) : target,
    );
  const rest: TestGateway['rest'] = async (path, { key, headers, ...init } = {}) =>
    await toReply(
      await fetch(path, { ...init, headers: { ...(key && { 'x-api-key': key }), ...headers } }),
    );
  return {
    fetch,
    rest,
    graphql: (query, { variables, operationName, headers, ...ask } = {}) =>
      rest('/graphql', {
        method: 'POST',
        body: JSON.stringify({ query, variables, operationName }),
        ...ask,
        headers: { 'content-type': 'application/json', ...headers },
      }),
  };
}

async function toReply<Body>(response: Response): Promise<Reply<Body>> {
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

async function addTenant(workshop: Workshop, name = 'Test tenant'): Promise<TestTenant> {
  const { gateway, doors, secrets } = workshop;
  const { id } = await gateway.access.createTenant(name);
  const addKey: TestTenant['addKey'] = async (options = {}) => {
    const { numberId = null, expiresAt = null } = options;
    const request = { tenantId: id, name: options.name ?? 'Test key', numberId, expiresAt };
    const made = await gateway.access.createKey(request);
    secrets.push(made.key);
    return made;
  };
  const { id: keyId, key } = await addKey();
  return {
    id,
    key,
    keyId,
    rest: (path, ask) => doors.rest(path, { key, ...ask }),
    graphql: (query, ask) => doors.graphql(query, { key, ...ask }),
    addKey,
    addNumber: (options) => addNumber(workshop, id, options),
  };
}

async function addNumber(
  { gateway, simulator, secrets }: Workshop,
  tenantId: string,
  { phone, profile, waba, ...told }: TestNumberOptions = {},
): Promise<TestNumber> {
  const number = toNewNumber(tenantId, told);
  secrets.push(...Object.values(number.credentials ?? {}).filter((secret) => secret !== null));
  introduce(simulator, number, told, { phone, profile, waba });
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

function toNewNumber(tenantId: string, told: StoredOptions): NewNumber {
  const isMeta = (told.provider ?? 'META') === 'META';
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
    ...told,
  };
}

// Ids that were told may be sentinels or known to the simulator already; they stay as they are.
function introduce(
  simulator: Simulator,
  { phoneNumberId, wabaId, instanceName, state }: NewNumber,
  told: StoredOptions,
  { phone, profile, waba }: GraphOptions,
): void {
  if (wabaId !== null && (waba !== undefined || told.wabaId === undefined)) {
    simulator.setWaba(toHealthyWaba(wabaId, waba));
  }
  const isNewPhone = phone !== undefined || profile !== undefined || !told.phoneNumberId;
  if (phoneNumberId !== null && wabaId !== null && isNewPhone) {
    simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, phone, profile));
  }
  if (instanceName !== null && told.instanceName === undefined) {
    simulator.setInstance({ instanceName, state: state.toLowerCase() });
  }
}

/** A phone as Meta shows one that can send; `fields` differ from that. */
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

/** Eleven of them: a Brazilian number without its country, or an id at Meta. */
export function createDigits(): string {
  return String(randomInt(10_000_000_000, 99_999_999_999));
}

function createSecret(prefix: string): string {
  return `${prefix}${randomBytes(24).toString('hex')}`;
}
