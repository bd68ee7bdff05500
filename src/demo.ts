// Owns the demo: its secrets, its place in the configuration, and how its data comes into the database. What the data is stands in
// demo/fleet.ts, what the simulated upstreams make of it in demo/upstreams.ts.

import { hkdfSync, randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createKey, toKeyHint } from './access/key.ts';
import {
  type Config,
  ConfigurationError,
  environmentVariables,
  readEnvironment,
  toConfig,
} from './config.ts';
import {
  type DemoMetaNumber,
  type DemoNumber,
  type DemoTenant,
  type DemoWaba,
  demoKeys,
  demoNumbers,
  demoTenants,
  demoWabas,
} from './demo/fleet.ts';
import {
  createDemoSimulator,
  getWaba,
  isMetaNumber,
  toDisplayNumber,
  toFault,
  toPhoneId,
  toSimulatedPhone,
  toSimulatedWaba,
  toToken,
  toWabaId,
} from './demo/upstreams.ts';
import { createGateway, type Gateway, type GatewayOverrides } from './gateway.ts';
import { toMetaBlock } from './numbers/meta.ts';
import { fullProjection, type StoredNumber, toConnectionState } from './numbers/number.ts';
import { type NewNumber, toOperatorAccess } from './numbers/numbers.ts';
import { type Block, type ProviderName, toPlainFailure } from './numbers/provider.ts';
import { toSupportedVerdict } from './numbers/sendable.ts';
import { listAddresses, listNumbers } from './numbers/number-queries.ts';
import { type Reading, recordReadings } from './numbers/store.ts';
import { createTelemetry } from './telemetry.ts';

/** What a person needs for a first query. */
export interface DemoAnnouncement {
  readonly tenantName: string;
  readonly tenantId: string;
  readonly tenantKey: string;
  readonly numberKey: string;
  /** A healthy number at Meta. */
  readonly numberId: string;
}

export interface Demo {
  /** Complete: with both secrets, and with the simulator in the place of each upstream that was not configured. */
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  /** Migrates, and makes what is missing of the demo's data; what is there is left as it is. */
  seed(gateway: Gateway): Promise<DemoAnnouncement>;
}

/** Reads the demo's secrets from DATA_DIR, or makes them there at the first start. Changes nothing else. */
export async function openDemo(config: Config): Promise<Demo> {
  const simulated = {
    META: config.metaGraphUrl.href === new URL(environmentVariables.META_GRAPH_URL.default).href,
    PILOT_STATUS: config.sessionEngine === null,
  };
  const complete: Config = {
    ...config,
    ...(await completeSecrets(config)),
    ...(simulated.META && { metaGraphUrl: simulatorUrl }),
    ...(simulated.PILOT_STATUS && { sessionEngine: { url: simulatorUrl, key: 'demo' } }),
  };
  const simulator = createDemoSimulator(config.metaGraphVersion);
  const overrides: GatewayOverrides = {
    fetch: (input, init) =>
      new URL(input instanceof Request ? input.url : input).host === simulatorUrl.host
        ? simulator.fetch(input, init)
        : globalThis.fetch(input, init),
    graphiqlKey: toDemoKey(complete.apiKeyPepper, 'acme', 'Demo tenant key'),
  };
  return {
    config: complete,
    overrides,
    seed: (gateway) => seed({ gateway, config: complete, overrides, simulated }),
  };
}

/** A name that no network has (RFC 2606): what is meant for the simulator goes nowhere else. */
const simulatorUrl = new URL('http://simulator.invalid');

type Secrets = Pick<Config, 'encryptionKeys' | 'apiKeyPepper'>;

async function completeSecrets({
  encryptionKeys,
  apiKeyPepper,
  dataDirectory,
}: Config): Promise<Secrets> {
  if (encryptionKeys.length > 0 && apiKeyPepper !== '') return { encryptionKeys, apiKeyPepper };
  const path = join(dataDirectory, 'demo-secrets.json');
  const secrets = parseSecrets(path, (await readIfThere(path)) ?? (await createSecrets(path)));
  return {
    encryptionKeys: encryptionKeys.length > 0 ? encryptionKeys : secrets.encryptionKeys,
    apiKeyPepper: apiKeyPepper === '' ? secrets.apiKeyPepper : apiKeyPepper,
  };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Answers what the file holds in the end: of two processes that start at once, one makes it for both. */
async function createSecrets(path: string): Promise<string> {
  const directory = join(path, '..');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const secrets = {
    ENCRYPTION_KEYS: `demo:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
  };
  const draft = `${path}.${randomUUID()}`;
  const text = `${JSON.stringify(secrets, null, 2)}\n`;
  try {
    await writeFile(draft, text, { mode: 0o600, flag: 'wx', flush: true });
    // Unlike a rename, a link does not replace a file that has come into being meanwhile.
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return await readFile(path, 'utf8');
}

function parseSecrets(path: string, text: string): Secrets {
  try {
    const { ENCRYPTION_KEYS, API_KEY_PEPPER } = JSON.parse(text) as Record<string, string>;
    const environment = readEnvironment({ ENCRYPTION_KEYS, API_KEY_PEPPER });
    const { encryptionKeys, apiKeyPepper } = toConfig(environment);
    if (encryptionKeys.length > 0 && apiKeyPepper !== '') return { encryptionKeys, apiKeyPepper };
  } catch {
    // Told below, without what the file holds.
  }
  throw new ConfigurationError([
    `DATA_DIR has a file ${path} that does not hold the demo's secrets; restore it, or delete the folder and start anew`,
  ]);
}

/** The same at each start, without being stored: derived from the pepper. */
function toDemoKey(pepper: string, tenant: DemoTenant, name: string): string {
  const bytes = hkdfSync('sha256', pepper, 'numbers-gateway demo', `${tenant} ${name}`, 32);
  return createKey(Buffer.from(bytes));
}

interface Seeding {
  readonly gateway: Gateway;
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  /** Which upstreams are not the real ones. */
  readonly simulated: Readonly<Record<ProviderName, boolean>>;
}

// Each step makes what it does not find, so that a start which was killed in the middle is completed by the next one.
async function seed(seeding: Seeding): Promise<DemoAnnouncement> {
  const { gateway, config } = seeding;
  await gateway.database.migrate();
  const known = new Set((await gateway.access.listTenants()).map((tenant) => tenant.id));
  for (const tenant of Object.keys(demoTenants) as DemoTenant[]) {
    const { id, name } = demoTenants[tenant];
    const numbers = Object.entries(demoNumbers).filter(([, it]) => toTenant(it) === tenant);
    // oxlint-disable no-await-in-loop -- in order, so that the lists have the order of the tables
    if (!known.has(id)) await gateway.access.createTenant(name, id);
    await seedNumbers(gateway, id, numbers);
    await seedAttempts(seeding, id, numbers);
    await seedSnapshots(gateway, tenant, numbers);
    await seedKeys(gateway, config.apiKeyPepper, tenant);
    // oxlint-enable no-await-in-loop
  }
  return {
    tenantName: demoTenants.acme.name,
    tenantId: demoTenants.acme.id,
    tenantKey: toDemoKey(config.apiKeyPepper, 'acme', 'Demo tenant key'),
    numberKey: toDemoKey(config.apiKeyPepper, 'acme', 'Sales CRM'),
    numberId: 'wa_acme_sales',
  };
}

type Entries = readonly (readonly [id: string, number: DemoNumber])[];

function toTenant(number: DemoNumber): DemoTenant {
  return isMetaNumber(number) ? getWaba(number).tenant : number.tenant;
}

async function seedNumbers(gateway: Gateway, tenantId: string, numbers: Entries): Promise<void> {
  const known = new Set((await listStored(gateway, tenantId)).map(({ id }) => id));
  for (const [id, number] of numbers) {
    // oxlint-disable-next-line no-await-in-loop -- a list is in order of creation
    if (!known.has(id)) await gateway.numbers.create(toNewNumber(tenantId, id, number));
  }
}

async function listStored(
  { database }: Gateway,
  tenantId: string,
): Promise<readonly StoredNumber[]> {
  return await listNumbers(database, { tenantId, projection: fullProjection, now: new Date() });
}

function toNewNumber(tenantId: string, id: string, number: DemoNumber): NewNumber {
  const base = { tenantId, id, name: number.name };
  if (!isMetaNumber(number)) {
    return {
      ...base,
      number: toDigits(toDisplayNumber(number)),
      provider: 'PILOT_STATUS',
      instanceName: number.instance,
      state: number.state,
      phoneNumberId: null,
      wabaId: null,
      credentials: null,
    };
  }
  const waba = getWaba(number);
  const { fields } = toSimulatedPhone(number);
  return {
    ...base,
    number: toDigits(toDisplayNumber(number)),
    provider: 'META',
    instanceName: null,
    state: toConnectionState(String(fields['status'])) ?? 'OPEN',
    phoneNumberId: toPhoneId(number),
    wabaId: toWabaId(waba),
    credentials:
      waba.token === 'none' ? null : { accessToken: toToken(number.waba), appSecret: null },
  };
}

function toDigits(text: string): string {
  return text.replaceAll(/\D/g, '');
}

/** Live readings of what was never tried, before any snapshot is there: an older value is merged into a failure. */
async function seedAttempts(
  { gateway, config, overrides, simulated }: Seeding,
  tenantId: string,
  numbers: Entries,
): Promise<void> {
  const { database } = gateway;
  const stored = new Map((await listStored(gateway, tenantId)).map((it) => [it.id, it]));
  const untried = numbers.filter(([id, number]) => isUntried(number, stored.get(id)));
  const hanging = untried.filter(([, number]) => isHanging(number));
  if (hanging.length > 0) {
    const readings = hanging.flatMap(([id, number]) => toTimeouts(id, number as DemoMetaNumber));
    const observedAt = minutesAgo(20);
    await recordReadings(database, { tenantId, holder: 'demo', observedAt, readings, leased: [] });
  }
  const requests = untried
    .filter(([, number]) => simulated[isMetaNumber(number) ? 'META' : 'PILOT_STATUS'])
    .filter(([, number]) => !isHanging(number))
    .map(([id, { refresh = [] }]) => ({ id, refresh }));
  if (requests.length === 0) return;
  // The failures are the story; in the log of a first start they would look like trouble. Nothing of its own to dispose.
  const telemetry = createTelemetry({ level: 'silent' });
  const quiet = await createGateway(config, { ...overrides, database, telemetry });
  await quiet.numbers.getMany(toOperatorAccess(tenantId), requests, AbortSignal.any([]));
}

function isUntried(number: DemoNumber, stored: StoredNumber | undefined): boolean {
  if (number.refresh === undefined) return false;
  const all: readonly Block[] = isMetaNumber(number) ? metaBlockNames : ['connection'];
  const wanted: readonly Block[] = number.refresh.length === 0 ? all : number.refresh;
  return !wanted.some((block) => stored?.blocks[block]);
}

const metaBlockNames = ['phone', 'profile', 'waba'] as const;

function isHanging(number: DemoNumber): boolean {
  return isMetaNumber(number) && toFault(number)?.kind === 'hang';
}

// Recorded, not lived through: the start need not wait for what takes three seconds.
function toTimeouts(id: string, number: DemoMetaNumber): readonly Reading[] {
  const message = "Meta's Graph API did not answer in time; try again later.";
  const failure = toPlainFailure('META_TIMEOUT', true, message);
  return metaBlockNames.map((block) => ({
    block,
    id: block === 'waba' ? toWabaId(getWaba(number)) : id,
    data: null,
    failure,
    state: null,
  }));
}

async function seedSnapshots(
  gateway: Gateway,
  tenant: DemoTenant,
  numbers: Entries,
): Promise<void> {
  const { database } = gateway;
  const tenantId = demoTenants[tenant].id;
  const stored = await listStored(gateway, tenantId);
  const ids = stored.map(({ id }) => id);
  const addresses = await listAddresses(database, tenantId, ids);
  const wabaIds = new Map(addresses.map(({ id, wabaId }) => [id, wabaId]));
  const known = new Set(
    stored.flatMap(({ id, blocks }) =>
      metaBlockNames
        .filter((block) => (blocks[block]?.data ?? null) !== null)
        .map((block) => `${block} ${block === 'waba' ? wabaIds.get(id) : id}`),
    ),
  );
  const missing = [...toWabaSnapshots(tenant), ...toNumberSnapshots(numbers)].filter(
    ({ block, id }) => !known.has(`${block} ${id}`),
  );
  for (const [ageMinutes, readings] of Map.groupBy(missing, (it) => it.ageMinutes)) {
    const observedAt = minutesAgo(ageMinutes);
    // oxlint-disable-next-line no-await-in-loop -- one statement for all that is equally old
    await recordReadings(database, { tenantId, holder: 'demo', observedAt, readings, leased: [] });
  }
}

type AgedReading = Reading & { readonly ageMinutes: number };

function toWabaSnapshots(tenant: DemoTenant): readonly AgedReading[] {
  const wabas: readonly DemoWaba[] = Object.values(demoWabas);
  return wabas.flatMap((waba) => {
    const { ageMinutes = 12 } = waba;
    if (waba.tenant !== tenant || ageMinutes === null) return [];
    const { id, fields } = toSimulatedWaba(waba);
    const data = toMetaBlock('waba', { ...fields, id });
    return [{ block: 'waba', id, data, failure: null, state: null, ageMinutes }];
  });
}

function toNumberSnapshots(numbers: Entries): readonly AgedReading[] {
  return numbers.flatMap(([id, number]): readonly AgedReading[] => {
    if (!isMetaNumber(number) || number.ageMinutes === null) return [];
    const { fields, profile } = toSimulatedPhone(number);
    const base = { id, failure: null, state: null, ageMinutes: number.ageMinutes ?? 5 };
    const phone = toMetaBlock('phone', { ...fields, ...number.was });
    return [
      { ...base, block: 'phone', data: phone, verdict: toSupportedVerdict(phone) },
      { ...base, block: 'profile', data: toMetaBlock('profile', profile ?? {}) },
    ];
  });
}

function minutesAgo(minutes: number): Date {
  return new Date(Date.now() - minutes * 60_000);
}

async function seedKeys({ access }: Gateway, pepper: string, tenant: DemoTenant): Promise<void> {
  const tenantId = demoTenants[tenant].id;
  const known = await access.listKeys(tenantId);
  for (const { name, number, expiresAt, revoked } of demoKeys.filter(
    (it) => it.tenant === tenant,
  )) {
    const key = toDemoKey(pepper, tenant, name);
    const { keyPrefix, keyLast4 } = toKeyHint(key);
    const same = known.find((it) => it.keyPrefix === keyPrefix && it.keyLast4 === keyLast4);
    // oxlint-disable no-await-in-loop -- a list is in order of creation
    const { id, revokedAt } =
      same ??
      (await access.createKey({
        tenantId,
        name,
        numberId: number,
        expiresAt: expiresAt === undefined ? null : new Date(expiresAt),
        key,
      }));
    if (revoked && revokedAt === null) await access.revokeKey(id);
    // oxlint-enable no-await-in-loop
  }
}
