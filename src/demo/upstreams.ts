// The simulated upstreams of the demo: turns the rows of demo/fleet.ts into Graph nodes and session engine instances.

import {
  type DemoMetaNumber,
  type DemoNumber,
  type DemoToken,
  type DemoWaba,
  countries,
  demoNumbers,
  demoTenants,
  demoWabas,
} from './fleet.ts';
import { createLargeFleet } from './large-fleet.ts';
import {
  createSimulator,
  type Fault,
  type SimulatedPhone,
  type SimulatedToken,
  type SimulatedWaba,
  type Simulator,
} from '../simulator/simulator.ts';

export function createDemoSimulator(graphVersion: string): Simulator {
  const wabas = Object.entries(demoWabas).map(([name, waba]) => ({ name, waba }));
  const numbers = Object.values(demoNumbers);
  const metaNumbers = numbers.filter(isMetaNumber);
  const large = createLargeFleet();
  const simulator = createSimulator({
    maxVersion: Math.max(26, Number.parseInt(graphVersion.slice(1), 10)),
    wabas: [...wabas.map(({ waba }) => toSimulatedWaba(waba)), ...large.wabas],
    phones: [...metaNumbers.map(toSimulatedPhone), ...large.phones],
    tokens: [
      // For numbers that a user adds to the demo, or discovers.
      {
        token: 'demo-token',
        wabaIds: 'all',
        scopes: ['business_management', 'whatsapp_business_management'],
        businessIds: wabas.map(({ waba }) => toBusinessId(waba)),
      },
      ...large.tokens,
      ...wabas.map(({ name, waba }) => ({
        token: toToken(name),
        wabaIds: [toWabaId(waba)],
        ...tokenTraits[waba.token ?? 'valid'],
      })),
    ],
    instances: numbers.flatMap((number) =>
      isMetaNumber(number) || number.instance === null || number.engine === null
        ? []
        : [
            {
              instanceName: number.instance,
              state: number.engine === 'unloaded' ? null : number.engine,
            },
          ],
    ),
  });
  for (const { waba } of wabas) simulator.setFault(toWabaId(waba), waba.fault ?? null);
  for (const number of metaNumbers) simulator.setFault(toPhoneId(number), findFault(number));
  for (const number of numbers) {
    if (isMetaNumber(number) || number.instance === null) continue;
    simulator.setFault(number.instance, number.fault ?? null);
  }
  return simulator;
}

const tokenTraits: Readonly<Record<DemoToken, Partial<SimulatedToken>>> = {
  valid: { state: 'valid' },
  expired: { state: 'expired' },
  'messaging only': { scopes: ['whatsapp_business_messaging'] },
  'no permission': { scopes: ['business_management'] },
  none: {},
};

export function isMetaNumber(number: DemoNumber): number is DemoMetaNumber {
  return 'waba' in number;
}

export function getWaba({ waba }: DemoMetaNumber): DemoWaba {
  return demoWabas[waba];
}

export function findFault(number: DemoMetaNumber): Fault | null {
  return number.fault ?? getWaba(number).fault ?? null;
}

export function toToken(wabaName: string): string {
  return `demo-token-${wabaName}`;
}

export function toPhoneId({ line }: DemoMetaNumber): string {
  return `1000000000${line}`;
}

export function toWabaId({ line }: DemoWaba): string {
  return `2000000000${line}`;
}

export function toBusinessId({ line }: DemoWaba): string {
  return `3000000000${line}`;
}

export function toSimulatedPhone(number: DemoMetaNumber): SimulatedPhone {
  const waba = getWaba(number);
  const site = `${number.waba}.example`;
  const { hours, city } = countries[waba.country];
  return {
    id: toPhoneId(number),
    wabaId: toWabaId(waba),
    fields: {
      display_phone_number: toDisplayNumber(number),
      verified_name: number.name,
      quality_rating: 'GREEN',
      whatsapp_business_manager_messaging_limit: waba.limit,
      is_pin_enabled: true,
      status: 'CONNECTED',
      name_status: 'APPROVED',
      code_verification_status: 'VERIFIED',
      platform_type: 'CLOUD_API',
      throughput: { level: 'STANDARD' },
      account_mode: 'LIVE',
      last_onboarded_time: '2026-02-24T15:00:00+0000',
      is_official_business_account: false,
      is_on_biz_app: false,
      health_status: toHealthStatus(number, waba),
      ...number.phone,
    },
    profile:
      number.profile === null
        ? null
        : {
            about: hours,
            address: `1 Example Street, ${city}`,
            description: waba.name,
            email: `hello@${site}`,
            profile_picture_url: `https://media.example/${number.waba}.jpg?oe=6A0B1C2D`,
            websites: [`https://${site}`],
            vertical: waba.vertical,
            ...number.profile,
          },
  };
}

export function toSimulatedWaba(waba: DemoWaba): SimulatedWaba {
  return {
    id: toWabaId(waba),
    fields: {
      name: waba.name,
      currency: countries[waba.country].currency,
      country: waba.country,
      business_verification_status: 'verified',
      account_review_status: 'APPROVED',
      whatsapp_business_manager_messaging_limit: waba.limit,
      ownership_type: 'SELF_OWNED',
      owner_business_info: { id: toBusinessId(waba), name: waba.name },
      timezone_id: '1',
      ...waba.fields,
    },
  };
}

// Meta aggregates the entities: BLOCKED if any capability of any of them is blocked, calls included.
function toHealthStatus(number: DemoMetaNumber, waba: DemoWaba): unknown {
  const ids = {
    PHONE_NUMBER: toPhoneId(number),
    WABA: toWabaId(waba),
    BUSINESS: toBusinessId(waba),
    APP: '400000000001',
  };
  const entities = Object.entries(ids).map(([entity_type, id]) =>
    Object.assign({ entity_type, id, can_send_message: 'AVAILABLE' }, number.health?.[entity_type]),
  );
  const values = new Set(entities.flatMap((entity) => Object.values(entity)));
  const overall = ['BLOCKED', 'LIMITED'].find((value) => values.has(value)) ?? 'AVAILABLE';
  return { can_send_message: overall, entities };
}

export function toDisplayNumber(number: DemoNumber): string {
  const { country } = isMetaNumber(number) ? getWaba(number) : demoTenants[number.tenant];
  return `${countries[country].phone}${number.line}`;
}
