// Tenants whose numbers exist in a simulated Graph API, created through the gateway, so that their credentials are encrypted
// as in production.

import { readEnvironment, parseConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/database/database.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import type { SimulatedPhone, TestSimulator } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { type BenchDatabase, encryptionKeys, pepper } from './databases.ts';
import { inTurn, toRange } from './in-turn.ts';

export interface GraphFleet extends AsyncDisposable {
  addTenant(options: NewTenant): Promise<GraphTenant>;
}

export interface NewTenant {
  readonly numbers: number;
  /** Numbers are assigned to them in rotation. */
  readonly wabas: number;
}

export interface GraphTenant {
  readonly key: string;
  /** Ids of the numbers, in the order of their creation. */
  readonly ids: readonly string[];
  readonly phoneNumberIds: readonly string[];
  readonly wabaIds: readonly string[];
}

export async function openGraphFleet(
  { url }: BenchDatabase,
  simulator: TestSimulator,
  graphUrl: string,
): Promise<GraphFleet> {
  const config = parseConfig(
    readEnvironment({
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      META_GRAPH_URL: graphUrl,
    }),
  );
  const database = await openDatabase({ kind: 'postgres', url });
  const telemetry = createTelemetry({ level: 'silent' });
  const gateway = await createGateway(config, { database, telemetry });
  let tenants = 0;
  return {
    addTenant: (options) => addTenant(gateway, simulator, options, (tenants += 1)),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

/** `place` makes the ids of tenants different. */
async function addTenant(
  { access, numbers }: Gateway,
  simulator: TestSimulator,
  options: NewTenant,
  place: number,
): Promise<GraphTenant> {
  const { id: tenantId } = await access.createTenant(`Graph ${place}`);
  const { key } = await access.createKey({
    tenantId,
    name: 'Bench',
    numberId: null,
    expiresAt: null,
  });
  const first = 70_000_000_000 + place * 10_000;
  const wabaIds = toRange(options.wabas).map((index) => String(first + 5_000 + index));
  for (const id of wabaIds) {
    const fields = { name: `Account ${id}`, currency: 'BRL' };
    simulator.setWaba({ id, fields, hourlyCalls: 1_000_000 });
  }
  const phoneNumberIds = toRange(options.numbers).map((index) => String(first + index));
  const ids = await inTurn(phoneNumberIds, async (phoneNumberId, index) => {
    // The index is always valid.
    const wabaId = wabaIds[index % wabaIds.length] ?? '';
    simulator.setPhone(toPhone(phoneNumberId, wabaId));
    const number = await numbers.create({
      tenantId,
      name: `Number ${index}`,
      number: `55${phoneNumberId}`,
      provider: 'META',
      instanceName: null,
      state: 'OPEN',
      phoneNumberId,
      wabaId,
      credentials: { accessToken: 'EAABench', appSecret: null },
    });
    return number.id;
  });
  return { key, ids, phoneNumberIds, wabaIds };
}

export function toPhone(id: string, wabaId: string, verifiedName = 'Bench'): SimulatedPhone {
  return {
    id,
    wabaId,
    fields: {
      display_phone_number: id,
      verified_name: verifiedName,
      status: 'CONNECTED',
      platform_type: 'CLOUD_API',
    },
    profile: { about: 'Bench', vertical: 'RETAIL' },
  };
}
