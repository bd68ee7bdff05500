// The demo mode: completes the configuration with generated secrets and simulated upstreams, and seeds the database.

import { hkdfSync } from 'node:crypto';
import { createKey, toKeyHint } from '../access/key.ts';
import { type Clock, systemClock } from '../clock.ts';
import { type Config, environmentVariables } from '../config.ts';
import {
  type DemoMetaNumber,
  type DemoNumber,
  type DemoTenant,
  type DemoWaba,
  demoNumbers,
  demoTenants,
  demoWabas,
} from './fleet.ts';
import { deriveAppSecret, seedEndpoint } from './endpoints.ts';
import { demoKeys } from './keys.ts';
import { completeSecrets } from './secrets.ts';
import {
  createDemoSimulator,
  findFault,
  getWaba,
  isMetaNumber,
  toDisplayNumber,
  toPhoneId,
  toSimulatedPhone,
  toSimulatedWaba,
  toToken,
  toWabaId,
} from './upstreams.ts';
import { largeTenant, seedLargeFleet } from './large-fleet.ts';
import { seedPast } from './past.ts';
import { startPlay } from './play.ts';
import { createGateway, type Gateway, type GatewayOverrides } from '../gateway.ts';
import { toMetaBlock } from '../numbers/meta.ts';
import type { StoredNumber } from '../numbers/stored-number.ts';
import { judgePhone, toConnectionState } from '../numbers/phone-reasons.ts';
import { fullProjection } from '../numbers/projection.ts';
import { type NewNumber, toOperatorAccess } from '../numbers/numbers.ts';
import { type Block, type ProviderName, toPlainFailure } from '../numbers/provider.ts';
import { listAddresses, listNumbers } from '../numbers/number-queries.ts';
import { type Reading, recordReadings } from '../numbers/store.ts';
import { listSubscribedApps } from '../simulator/nodes.ts';
import { createTelemetry } from '../telemetry.ts';

/** What a user needs for a first query. */
export interface DemoAnnouncement {
  readonly tenantName: string;
  readonly tenantId: string;
  readonly tenantKey: string;
  readonly numberKey: string;
  /** A healthy Meta number. */
  readonly numberId: string;
  /** Of a tenant with 1,000 numbers. */
  readonly fleetName: string;
  readonly fleetKey: string;
}

export interface Demo {
  /** The given configuration with both secrets, and the simulator in place of each upstream that is not configured. */
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  /** Migrates the database and adds the demo data that is missing. Existing data is left unchanged. */
  seed(gateway: Gateway): Promise<DemoAnnouncement>;
  /** Lets something happen at the simulated Meta about once a minute, until it is disposed of. Null if Meta is not simulated. */
  play(gateway: Gateway, clock?: Clock): AsyncDisposable | null;
}

/** Reads the demo's secrets from DATA_DIR; the first start generates them. Changes nothing else. */
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
    graphiqlKeys: {
      tenant: deriveDemoKey(complete.apiKeyPepper, 'acme', 'Demo tenant key'),
      fleet: deriveFleetKey(complete.apiKeyPepper),
    },
    boardKeys: [
      {
        tenantName: demoTenants.acme.name,
        key: deriveDemoKey(complete.apiKeyPepper, 'acme', 'Demo tenant key'),
      },
      { tenantName: largeTenant.name, key: deriveFleetKey(complete.apiKeyPepper) },
    ],
  };
  return {
    config: complete,
    overrides,
    seed: (gateway) => seed({ gateway, config: complete, overrides, simulated }),
    play: (gateway, clock = systemClock) =>
      simulated.META
        ? startPlay({ ...clock, gateway, simulator, pepper: complete.apiKeyPepper })
        : null,
  };
}

/** A host name that never resolves (RFC 2606), so a request meant for the simulator can never reach the network. */
const simulatorUrl = new URL('http://simulator.invalid');

/** Derived from the pepper, so that each start prints the same keys without storing them. */
function deriveDemoKey(pepper: string, tenant: string, name: string): string {
  const bytes = hkdfSync('sha256', pepper, 'numbers-gateway demo', `${tenant} ${name}`, 32);
  return createKey(Buffer.from(bytes));
}

function deriveFleetKey(pepper: string): string {
  return deriveDemoKey(pepper, 'atlas', 'Demo fleet key');
}

interface Seeding {
  readonly gateway: Gateway;
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  /** Which upstreams are simulated. */
  readonly simulated: Readonly<Record<ProviderName, boolean>>;
}

// Each step adds only what is missing, so that the next start completes one that was interrupted.
async function seed(seeding: Seeding): Promise<DemoAnnouncement> {
  const { gateway, config } = seeding;
  await gateway.database.migrate();
  const known = new Set((await gateway.access.listTenants()).map((tenant) => tenant.id));
  for (const tenant of Object.keys(demoTenants) as DemoTenant[]) {
    const { id, name } = demoTenants[tenant];
    const numbers = Object.entries(demoNumbers).filter(([, it]) => getTenant(it) === tenant);
    // oxlint-disable no-await-in-loop -- lists are in order of creation
    if (!known.has(id)) await gateway.access.createTenant(name, id);
    await seedNumbers(gateway, id, numbers);
    await seedAttempts(seeding, id, numbers);
    await seedSnapshots(gateway, tenant, numbers);
    await seedKeys(gateway, config.apiKeyPepper, tenant);
    // oxlint-enable no-await-in-loop
  }
  const fleetKey = deriveFleetKey(config.apiKeyPepper);
  await seedLargeFleet(gateway, fleetKey);
  const appSecret = deriveAppSecret(config.apiKeyPepper);
  for (const { id } of [...Object.values(demoTenants), largeTenant]) {
    // oxlint-disable no-await-in-loop -- PGlite has one connection
    await seedPast(gateway.database, id);
    await seedEndpoint(gateway.webhooks, id, appSecret);
    // oxlint-enable no-await-in-loop
  }
  return {
    fleetKey,
    fleetName: largeTenant.name,
    tenantName: demoTenants.acme.name,
    tenantId: demoTenants.acme.id,
    tenantKey: deriveDemoKey(config.apiKeyPepper, 'acme', 'Demo tenant key'),
    numberKey: deriveDemoKey(config.apiKeyPepper, 'acme', 'Sales CRM'),
    numberId: 'wa_acme_sales',
  };
}

type Entries = readonly (readonly [id: string, number: DemoNumber])[];

function getTenant(number: DemoNumber): DemoTenant {
  return isMetaNumber(number) ? getWaba(number).tenant : number.tenant;
}

async function seedNumbers(gateway: Gateway, tenantId: string, numbers: Entries): Promise<void> {
  const known = new Set((await listStored(gateway, tenantId)).map(({ id }) => id));
  for (const [id, number] of numbers) {
    // oxlint-disable-next-line no-await-in-loop -- lists are in order of creation
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
    state: toConnectionState(toMetaBlock('phone', fields)) ?? 'OPEN',
    phoneNumberId: toPhoneId(number),
    wabaId: toWabaId(waba),
    credentials:
      waba.token === 'none' ? null : { accessToken: toToken(number.waba), appSecret: null },
    ...number.stored,
  };
}

function toDigits(text: string): string {
  return text.replaceAll(/\D/g, '');
}

/**
 * Refreshes the numbers whose demo row asks for it, unless anything is stored for them. So it runs before the snapshots
 * are seeded; their older values are then merged into the recorded failures.
 */
async function seedAttempts(
  { gateway, config, overrides, simulated }: Seeding,
  tenantId: string,
  numbers: Entries,
): Promise<void> {
  const { database } = gateway;
  const stored = new Map((await listStored(gateway, tenantId)).map((it) => [it.id, it]));
  const unattempted = numbers.filter(([id, number]) => isUnattempted(number, stored.get(id)));
  const hanging = unattempted.filter(([, number]) => isHanging(number));
  if (hanging.length > 0) {
    const readings = hanging.flatMap(([id, number]) => toTimeouts(id, number as DemoMetaNumber));
    const observedAt = minutesAgo(20);
    await recordReadings(database, { tenantId, holder: 'demo', observedAt, readings, leased: [] });
  }
  const requests = unattempted
    .filter(([, number]) => simulated[isMetaNumber(number) ? 'META' : 'PILOT_STATUS'])
    .filter(([, number]) => !isHanging(number))
    .map(([id, { refresh = [] }]) => ({ id, refresh }));
  if (requests.length === 0) return;
  // These reads fail by design. In the log of a first start their failures would look like real problems.
  await using silent = await createGateway(config, {
    ...overrides,
    database: { ...database, [Symbol.asyncDispose]: async () => undefined },
    telemetry: createTelemetry({ level: 'silent' }),
  });
  await silent.numbers.getMany(toOperatorAccess(tenantId), requests, AbortSignal.any([]));
}

function isUnattempted(number: DemoNumber, stored: StoredNumber | undefined): boolean {
  if (number.refresh === undefined) return false;
  const all: readonly Block[] = isMetaNumber(number) ? metaBlockNames : ['connection'];
  const blocks: readonly Block[] = number.refresh.length === 0 ? all : number.refresh;
  return !blocks.some((block) => stored?.blocks[block]);
}

const metaBlockNames = ['phone', 'profile', 'waba'] as const;
const allBlockNames = [...metaBlockNames, 'connection'] as const;

function isHanging(number: DemoNumber): boolean {
  return isMetaNumber(number) && findFault(number)?.kind === 'hang';
}

// A timeout takes three seconds; it is recorded directly so that the start does not wait for it.
function toTimeouts(id: string, number: DemoMetaNumber): readonly Reading[] {
  const message = 'Timed out waiting for a response from Meta.';
  const failure = toPlainFailure('META_TIMEOUT', true, message, { solution: 'Try again later.' });
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
      allBlockNames
        .filter((block) => (blocks[block]?.data ?? null) !== null)
        .map((block) => `${block} ${block === 'waba' ? wabaIds.get(id) : id}`),
    ),
  );
  const missing = [...toWabaSnapshots(tenant), ...toNumberSnapshots(numbers)].filter(
    ({ block, id }) => !known.has(`${block} ${id}`),
  );
  for (const [ageMinutes, readings] of Map.groupBy(missing, (it) => it.ageMinutes)) {
    const observedAt = minutesAgo(ageMinutes);
    // oxlint-disable-next-line no-await-in-loop -- one transaction for all snapshots of the same age
    await recordReadings(database, { tenantId, holder: 'demo', observedAt, readings, leased: [] });
  }
}

type AgedReading = Reading & { readonly ageMinutes: number };

function toWabaSnapshots(tenant: DemoTenant): readonly AgedReading[] {
  const wabas: readonly DemoWaba[] = Object.values(demoWabas);
  return wabas.flatMap((waba) => {
    const { ageMinutes = 12 } = waba;
    if (waba.tenant !== tenant || ageMinutes === null) return [];
    const simulated = toSimulatedWaba(waba);
    const { id, fields } = simulated;
    const subscribed_apps = { data: listSubscribedApps(simulated) };
    const data = toMetaBlock('waba', { subscribed_apps, ...fields, id });
    return [{ block: 'waba', id, data, failure: null, state: null, ageMinutes }];
  });
}

function toNumberSnapshots(numbers: Entries): readonly AgedReading[] {
  return numbers.flatMap(([id, number]): readonly AgedReading[] => {
    const { ageMinutes = isMetaNumber(number) ? 5 : null } = number;
    if (ageMinutes === null) return [];
    const base = { id, failure: null, state: null, ageMinutes };
    if (!isMetaNumber(number)) {
      return [
        { ...base, block: 'connection', data: { state: number.state, instanceExists: true } },
      ];
    }
    const { fields, profile } = toSimulatedPhone(number);
    const phone = toMetaBlock('phone', { ...fields, ...number.was });
    return [
      { ...base, block: 'phone', data: phone, verdicts: judgePhone(phone) },
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
    const key = deriveDemoKey(pepper, tenant, name);
    const { keyPrefix, keyLast4 } = toKeyHint(key);
    const same = known.find((it) => it.keyPrefix === keyPrefix && it.keyLast4 === keyLast4);
    // oxlint-disable no-await-in-loop -- lists are in order of creation
    const { id, revokedAt } =
      same ??
      (await access.createKey({
        tenantId,
        name,
        numberId: number,
        // To be tried out with mutations.
        ...(number === null && { scopes: ['operate'] }),
        expiresAt: expiresAt === undefined ? null : new Date(expiresAt),
        key,
      }));
    if (revoked && revokedAt === null) await access.revokeKey(id);
    // oxlint-enable no-await-in-loop
  }
}
