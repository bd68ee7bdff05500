// Sentinels: reserved ids of healthy phones and WABAs that each have a fixed fault, for tests that only use HTTP.

import type { Fault } from '../../src/simulator/faults.ts';
import type { Sentinels, SimulatedPhone, SimulatedWaba } from '../../src/simulator/fleet.ts';

export interface Sentinel {
  readonly node: 'phone' | 'waba';
  readonly meaning: string;
  readonly fault: Fault | null;
  /** Fields that differ from the healthy node. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** The WABA of all sentinel phones. */
export const sentinelWabaId = '990000000080';

const phone = (meaning: string, fault: Fault | null): Sentinel => ({
  node: 'phone',
  meaning,
  fault,
});
const phoneWith = (meaning: string, fields: Sentinel['fields'] & object): Sentinel => ({
  node: 'phone',
  meaning,
  fault: null,
  fields,
});
const waba = (meaning: string, fault: Fault | null): Sentinel => ({ node: 'waba', meaning, fault });

const sipOnly = {
  can_send_message: 'BLOCKED',
  entities: [
    {
      entity_type: 'PHONE_NUMBER',
      id: '990000000051',
      can_send_message: 'AVAILABLE',
      can_receive_call_sip: 'BLOCKED',
      errors: [
        {
          error_code: 138024,
          error_description: 'SIP is not enabled for this phone number',
          possible_solution: 'Enable SIP on the phone number',
        },
      ],
    },
    { entity_type: 'WABA', id: sentinelWabaId, can_send_message: 'AVAILABLE' },
    { entity_type: 'BUSINESS', id: '506914307656634', can_send_message: 'AVAILABLE' },
    { entity_type: 'APP', id: '634974688087057', can_send_message: 'AVAILABLE' },
  ],
};

/** By id; ...00 to 69 are phones, ...80 to 99 are WABAs. Every valid token can see them. */
export const sentinels: Readonly<Record<string, Sentinel>> = {
  '990000000000': phone('healthy', null),
  '990000000001': phone('responds after 250 ms', { kind: 'latency', ms: 250 }),
  '990000000002': phone('responds after 5 s', { kind: 'latency', ms: 5000 }),
  '990000000003': phone('never responds', { kind: 'hang' }),
  '990000000004': phone('connection reset', { kind: 'reset' }),
  '990000000005': phone('body stalls after its first bytes', { kind: 'stall' }),
  '990000000006': phone('body of 2 MiB', { kind: 'oversized' }),
  '990000000007': phone('redirects', { kind: 'redirect' }),
  '990000000010': phone('HTML with 502', { kind: 'html', status: 502 }),
  '990000000011': phone('HTML with 503', { kind: 'html', status: 503 }),
  '990000000012': phone('JSON cut in half', { kind: 'truncated' }),
  '990000000013': phone('null as an item of a batch', { kind: 'null-item' }),
  '990000000020': phone('unknown error', { kind: 'error', code: 1 }),
  '990000000021': phone('temporary downtime that never ends', {
    kind: 'error',
    code: 2,
    transient: true,
  }),
  '990000000022': phone('alternates between temporary downtime and healthy', {
    kind: 'transient-then-ok',
  }),
  '990000000023': phone('rate limit of the WABA', { kind: 'throttled' }),
  '990000000024': phone('token expired', {
    kind: 'error',
    code: 190,
    subcode: 463,
    message: 'Error validating access token: Session has expired',
  }),
  '990000000025': phone('permission removed', { kind: 'error', code: 10 }),
  '990000000026': phone('restricted by policy', { kind: 'error', code: 368 }),
  '990000000027': phone('WABA locked', { kind: 'error', code: 131031 }),
  '990000000028': phone('maintenance mode', { kind: 'error', code: 131057, transient: true }),
  '990000000030': phone('health_status is refused', {
    kind: 'unknown-field',
    field: 'health_status',
  }),
  '990000000031': phone('is_on_biz_app is refused', {
    kind: 'unknown-field',
    field: 'is_on_biz_app',
  }),
  '990000000040': phone('profile one level deeper', { kind: 'nested-profile' }),
  '990000000041': phone('empty data', { kind: 'empty-data' }),
  '990000000042': phone('profile without vertical', { kind: 'missing-vertical' }),
  '990000000043': phone('values of the wrong type', { kind: 'wrong-types' }),
  '990000000050': phoneWith('values unknown to the gateway', {
    quality_rating: 'TURQUOISE',
    status: 'HIBERNATING',
    whatsapp_business_manager_messaging_limit: 'TIER_5M',
  }),
  '990000000051': phoneWith('blocked overall, but only for SIP calls', { health_status: sipOnly }),
  '990000000052': phoneWith('quality NA', { quality_rating: 'NA' }),
  '990000000053': phoneWith('banned', { status: 'BANNED', quality_rating: 'RED' }),
  [sentinelWabaId]: waba('healthy', null),
  '990000000081': waba('restricted by policy', { kind: 'error', code: 368 }),
  '990000000082': waba('rate limit', { kind: 'throttled' }),
  '990000000083': waba('never responds', { kind: 'hang' }),
  '990000000084': waba('temporary downtime that never ends', {
    kind: 'error',
    code: 2,
    transient: true,
  }),
};

const healthyFields = {
  display_phone_number: '+1 631-555-5555',
  verified_name: 'Lucky Shrub',
  quality_rating: 'GREEN',
  quality_score: { score: 'GREEN' },
  whatsapp_business_manager_messaging_limit: 'TIER_2K',
  is_pin_enabled: true,
  status: 'CONNECTED',
  name_status: 'APPROVED',
  code_verification_status: 'VERIFIED',
  platform_type: 'CLOUD_API',
  throughput: { level: 'STANDARD' },
  account_mode: 'LIVE',
  last_onboarded_time: '2026-07-01T08:30:00+0000',
  is_official_business_account: false,
  is_on_biz_app: false,
  is_preverified_number: false,
  search_visibility: 'VISIBLE',
  country_code: 'US',
  country_dial_code: '1',
};

const healthyProfile = {
  about: 'Hey there! I am using WhatsApp.',
  address: '1 Hacker Way, Menlo Park',
  description: 'Succulents and shrubs',
  email: 'hello@luckyshrub.example',
  profile_picture_url: 'https://pps.whatsapp.net/v/t61/lucky-shrub.jpg?oe=6A0B1C2D',
  websites: ['https://luckyshrub.example/'],
  vertical: 'RETAIL',
  messaging_product: 'whatsapp',
};

const healthyWabaFields = {
  name: 'Lucky Shrub',
  currency: 'USD',
  country: 'US',
  business_verification_status: 'verified',
  account_review_status: 'APPROVED',
  timezone_id: '1',
  message_template_namespace: 'ba30dd89_2ebd_41e4_b805_f2c05ae04cc9',
  ownership_type: 'SELF_OWNED',
  owner_business_info: { id: '506914307656634', name: 'Lucky Shrub Inc' },
  status: 'ACTIVE',
  whatsapp_business_manager_messaging_limit: 'TIER_2K',
};

/** The fixed fault of a sentinel id. */
export const sentinelNodes: Sentinels = {
  findPhone,
  findWaba,
  findFault: (id) => findSentinel(id)?.fault ?? null,
};

function findPhone(id: string): SimulatedPhone | undefined {
  const sentinel = findSentinel(id);
  if (sentinel?.node !== 'phone') return undefined;
  const health_status = toHealthStatus(id, 'PHONE_NUMBER');
  return {
    id,
    wabaId: sentinelWabaId,
    fields: { ...healthyFields, health_status, ...sentinel.fields },
    profile: healthyProfile,
  };
}

function findWaba(id: string): SimulatedWaba | undefined {
  if (findSentinel(id)?.node !== 'waba') return undefined;
  return { id, fields: { ...healthyWabaFields, health_status: toHealthStatus(id, 'WABA') } };
}

function findSentinel(id: string): Sentinel | undefined {
  return Object.hasOwn(sentinels, id) ? sentinels[id] : undefined;
}

function toHealthStatus(id: string, entityType: 'PHONE_NUMBER' | 'WABA'): unknown {
  const ids = entityType === 'WABA' ? { WABA: id } : { PHONE_NUMBER: id, WABA: sentinelWabaId };
  const entities = Object.entries({ ...ids, BUSINESS: '506914307656634', APP: '634974688087057' });
  return {
    can_send_message: 'AVAILABLE',
    entities: entities.map(([entity_type, entityId]) => ({
      entity_type,
      id: entityId,
      can_send_message: 'AVAILABLE',
    })),
  };
}
