// The third tenant of the demo: 1,000 numbers in 12 accounts of 3 portfolios, so that filters and facets have something to
// show. Their conditions follow from their places, so each start has the same.

import type { Gateway } from '../gateway.ts';
import { toMetaBlock } from '../numbers/meta.ts';
import { listNumbers } from '../numbers/number-queries.ts';
import type { NewSharedNumber } from '../numbers/numbers.ts';
import { judgePhone, toConnectionState } from '../numbers/phone-reasons.ts';
import { type Reading, recordReadings } from '../numbers/store.ts';
import { listSubscribedApps } from '../simulator/nodes.ts';
import type { SimulatedPhone, SimulatedToken, SimulatedWaba } from '../simulator/simulator.ts';

export const largeTenant = { id: 'ten_atlas', name: 'Atlas Franchises' } as const;

const portfolios = [
  { id: '310000000001', name: 'Atlas Food', limit: 'TIER_100K' },
  { id: '310000000002', name: 'Atlas Fitness', limit: 'TIER_10K' },
  { id: '310000000003', name: 'Atlas Beauty', limit: 'TIER_2K' },
] as const;

interface Account {
  readonly name: string;
  readonly portfolio: (typeof portfolios)[number];
  /** Age of what is stored; null: nothing is. */
  readonly ageMinutes: number | null;
  /** Whether its payment method is missing, so that no conversation can be started. */
  readonly isUnpaid?: true;
}

const [food, fitness, beauty] = portfolios;
const accounts: readonly Account[] = [
  { name: 'Atlas Burgers', portfolio: food, ageMinutes: 4 },
  { name: 'Atlas Pizza', portfolio: food, ageMinutes: 6 },
  { name: 'Atlas Sushi', portfolio: food, ageMinutes: 9 },
  { name: 'Atlas Coffee', portfolio: food, ageMinutes: 12 },
  { name: 'Atlas Bakery', portfolio: food, ageMinutes: 75 },
  { name: 'Atlas Gym', portfolio: fitness, ageMinutes: 7 },
  { name: 'Atlas Yoga', portfolio: fitness, ageMinutes: 11 },
  { name: 'Atlas Pool', portfolio: fitness, ageMinutes: 15, isUnpaid: true },
  { name: 'Atlas Climbing', portfolio: fitness, ageMinutes: null },
  { name: 'Atlas Hair', portfolio: beauty, ageMinutes: 5 },
  { name: 'Atlas Nails', portfolio: beauty, ageMinutes: 8 },
  { name: 'Atlas Spa', portfolio: beauty, ageMinutes: 20 },
];

const size = 1_000;
const cities = ['London', 'Leeds', 'Bristol', 'Cardiff', 'Glasgow', 'Belfast', 'York', 'Bath'];

export function toAccountId(name: string): string {
  const account = accounts.find((it) => it.name === name);
  if (account === undefined) throw new Error(`There is no account ${name}.`);
  return toWabaId(account);
}

/** The first four accounts have more numbers than the others. */
function findAccount(place: number): Account {
  // Of three numbers, one is in the first four accounts.
  const third = Math.floor(place / 3);
  return accounts[place % 3 === 0 ? third % 4 : third % accounts.length]!;
}

function toWabaId(account: Account): string {
  return `2100000000${String(accounts.indexOf(account) + 11)}`;
}

/** The place is from 0 to 999. */
export function toPlacePhoneId(place: number): string {
  return `11000000${String(place).padStart(4, '0')}`;
}

/** From the 1,000 numbers that Britain reserves for fiction. */
function toDigits(place: number): string {
  return `447700900${String(place).padStart(3, '0')}`;
}

function toStatus(place: number): string {
  if (place % 97 === 1) return 'BANNED';
  if (place % 61 === 2) return 'PENDING';
  if (place % 53 === 3) return 'RESTRICTED';
  return place % 41 === 4 ? 'FLAGGED' : 'CONNECTED';
}

function toQuality(place: number): string {
  if (place % 29 === 5) return 'RED';
  if (place % 11 === 6) return 'YELLOW';
  return place % 17 === 7 ? 'UNKNOWN' : 'GREEN';
}

function toPhone(place: number): SimulatedPhone & { readonly profile: Record<string, unknown> } {
  const account = findAccount(place);
  const [id, wabaId] = [toPlacePhoneId(place), toWabaId(account)];
  const unpaid = {
    error_code: 141_006,
    error_description: 'There is an error with the payment method.',
  };
  const health_status = {
    can_send_message: account.isUnpaid ? 'BLOCKED' : 'AVAILABLE',
    entities: [
      toEntity('PHONE_NUMBER', id),
      toEntity(
        'WABA',
        wabaId,
        account.isUnpaid && { can_send_message: 'BLOCKED', errors: [unpaid] },
      ),
      toEntity('BUSINESS', account.portfolio.id),
      toEntity('APP', '400000000001'),
    ],
  };
  return {
    id,
    wabaId,
    fields: {
      display_phone_number: `+44 7700 900${String(place).padStart(3, '0')}`,
      verified_name: account.name,
      quality_rating: toQuality(place),
      whatsapp_business_manager_messaging_limit: account.portfolio.limit,
      is_pin_enabled: true,
      status: toStatus(place),
      name_status: 'APPROVED',
      code_verification_status: 'VERIFIED',
      platform_type: 'CLOUD_API',
      throughput: { level: 'STANDARD' },
      account_mode: 'LIVE',
      last_onboarded_time: '2026-02-24T15:00:00+0000',
      health_status,
    },
    profile: { about: 'Mon-Sun 9:00-21:00', vertical: 'OTHER' },
  };
}

function toEntity(entity_type: string, id: string, more: object = {}): object {
  return { entity_type, id, can_send_message: 'AVAILABLE', ...more };
}

function toWaba(account: Account): SimulatedWaba {
  const { portfolio, name } = account;
  return {
    id: toWabaId(account),
    fields: {
      name,
      currency: 'GBP',
      country: 'GB',
      business_verification_status: 'verified',
      account_review_status: 'APPROVED',
      whatsapp_business_manager_messaging_limit: portfolio.limit,
      ownership_type: 'SELF_OWNED',
      owner_business_info: { id: portfolio.id, name: portfolio.name },
      timezone_id: '1',
    },
  };
}

const places = Array.from({ length: size }, (_, place) => place);
const token = 'demo-token-atlas';

/** Its accounts, phones and token at the simulated Meta. */
export function createLargeFleet(): {
  readonly wabas: readonly SimulatedWaba[];
  readonly phones: readonly SimulatedPhone[];
  readonly tokens: readonly SimulatedToken[];
} {
  return {
    wabas: accounts.map(toWaba),
    phones: places.map(toPhone),
    tokens: [{ token, wabaIds: accounts.map(toWabaId) }],
  };
}

/** Adds what is missing, one account after the other. */
export async function seedLargeFleet(gateway: Gateway, key: string): Promise<void> {
  const { access, onboarding } = gateway;
  const tenantId = largeTenant.id;
  const tenants = await access.listTenants();
  if (!tenants.some(({ id }) => id === tenantId))
    await access.createTenant(largeTenant.name, tenantId);
  const [shared] = await onboarding.credentials.list(tenantId);
  const secret = { accessToken: token, appSecret: null };
  const credentialId =
    shared?.id ?? (await onboarding.credentials.add(tenantId, 'Atlas', secret, null));
  if ((await access.listKeys(tenantId)).length === 0) {
    const name = 'Demo fleet key';
    await access.createKey({
      tenantId,
      name,
      numberId: null,
      scopes: ['operate'],
      expiresAt: null,
      key,
    });
  }
  const known = await gateway.numbers.listPhoneNumberIds(tenantId);
  const missing = await listMissing(gateway, known);
  for (const [account, ofAccount] of Map.groupBy(missing, findAccount)) {
    // oxlint-disable no-await-in-loop -- PGlite has one connection
    const numbers = ofAccount.map((place) => toNewNumber(account, place));
    const added = await gateway.numbers.addShared(tenantId, numbers, credentialId);
    await seedReadings(gateway, account, ofAccount, new Map([...known, ...added]));
    // oxlint-enable no-await-in-loop
  }
}

/** The places of the numbers that are not there, or of which nothing is stored although it should be. */
async function listMissing(
  { database }: Gateway,
  known: ReadonlyMap<string, string>,
): Promise<readonly number[]> {
  const tenantId = largeTenant.id;
  const projection = { details: false, apiKeys: false, health: 'summary', meta: null } as const;
  const stored = await listNumbers(database, { tenantId, projection, now: new Date() });
  const read = new Set(
    stored.filter(({ blocks }) => blocks.phone?.data?.['status']).map(({ id }) => id),
  );
  return places.filter((place) => {
    const id = known.get(toPlacePhoneId(place));
    return id === undefined || (findAccount(place).ageMinutes !== null && !read.has(id));
  });
}

function toNewNumber(account: Account, place: number): NewSharedNumber {
  return {
    number: toDigits(place),
    name: `${account.name} ${cities[place % cities.length]} ${place}`,
    state: toConnectionState(toMetaBlock('phone', toPhone(place).fields)) ?? 'OPEN',
    phoneNumberId: toPlacePhoneId(place),
    wabaId: toWabaId(account),
  };
}

async function seedReadings(
  { database }: Gateway,
  account: Account,
  ofAccount: readonly number[],
  ids: ReadonlyMap<string, string>,
): Promise<void> {
  if (account.ageMinutes === null) return;
  const tenantId = largeTenant.id;
  const observedAt = new Date(Date.now() - account.ageMinutes * 60_000);
  const waba = toWaba(account);
  const readings: readonly Reading[] = [
    ...ofAccount.flatMap((place) => toReadings(place, ids.get(toPlacePhoneId(place)) ?? '')),
    {
      block: 'waba',
      id: waba.id,
      data: toMetaBlock('waba', {
        subscribed_apps: { data: listSubscribedApps(waba) },
        ...waba.fields,
        id: waba.id,
      }),
      failure: null,
      state: null,
    },
  ];
  await recordReadings(database, { tenantId, holder: 'demo', observedAt, readings, leased: [] });
}

function toReadings(place: number, id: string): readonly Reading[] {
  const { fields, profile } = toPhone(place);
  const phone = toMetaBlock('phone', fields);
  const base = { id, failure: null, state: null };
  return [
    { ...base, block: 'phone', data: phone, verdicts: judgePhone(phone) },
    { ...base, block: 'profile', data: toMetaBlock('profile', profile) },
  ];
}
