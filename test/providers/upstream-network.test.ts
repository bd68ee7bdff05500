// A broken network between the gateway and Meta fails one read within a bounded time, and none of another tenant.

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { createTestSimulator, type TestSimulator } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { type FaultProxy, type NetworkFault, openFaultProxy } from './fault-proxy.ts';
import { openTestDatabase, toHealthyPhone } from '../harness.ts';

const deadlineMs = 1_500;
const never = new AbortController().signal;
const ids = { sick: '106540352240001', well: '106540352240002' };
const wabaIds = { sick: '102290129340001', well: '102290129340002' };

type Name = keyof typeof ids;

describe('a network with faults', () => {
  const made = new AsyncDisposableStack();
  let simulator: TestSimulator;
  let proxy: FaultProxy;
  let gateway: Gateway;
  const tenants = new Map<Name, { readonly tenantId: string; readonly id: string }>();

  beforeAll(async () => {
    simulator = made.use(createTestSimulator());
    proxy = made.use(await openFaultProxy((await simulator.listen()).url));
    const config = parseConfig(
      readEnvironment({
        DATABASE_URL: 'postgres://localhost/unused',
        ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
        API_KEY_PEPPER: randomBytes(32).toString('hex'),
        SYNC: 'off',
        META_GRAPH_URL: proxy.url,
      }),
    );
    gateway = made.use(
      await createGateway(config, {
        database: await openTestDatabase('PGlite'),
        telemetry: createTelemetry({ level: 'silent' }),
        deadlineMs,
        graph: { attemptTimeoutMs: 300 },
      }),
    );
    for (const name of ['sick', 'well'] as const) {
      simulator.setWaba({ id: wabaIds[name], fields: { name } });
      simulator.setPhone(toHealthyPhone(ids[name], wabaIds[name]));
      // oxlint-disable-next-line no-await-in-loop -- one database
      tenants.set(name, await addTenant(name));
    }
    // The first request of a process is slower than the timeout allows on a busy machine.
    await refresh('well');
  });
  afterAll(() => made.disposeAsync());

  async function addTenant(name: Name) {
    const { id: tenantId } = await gateway.access.createTenant(name);
    const { id } = await gateway.numbers.create({
      tenantId,
      name,
      number: '5511999999999',
      provider: 'META',
      instanceName: null,
      state: 'OPEN',
      phoneNumberId: ids[name],
      wabaId: wabaIds[name],
      credentials: { accessToken: `EAA${name}${randomBytes(16).toString('hex')}`, appSecret: null },
    });
    return { tenantId, id };
  }

  async function refresh(name: Name) {
    const { tenantId, id } = tenants.get(name)!;
    const startedAt = performance.now();
    const number = await gateway.numbers.get(
      toOperatorAccess(tenantId),
      { id, refresh: ['phone'] },
      never,
    );
    return { number, tookMs: performance.now() - startedAt };
  }

  const faults: readonly (readonly [NetworkFault, string | null])[] = [
    [{ kind: 'latency', ms: 10_000 }, 'META_TIMEOUT'],
    [{ kind: 'reset' }, 'META_UNAVAILABLE'],
    [{ kind: 'blackhole' }, 'META_TIMEOUT'],
    [{ kind: 'half-close' }, 'META_UNAVAILABLE'],
    [{ kind: 'byte-limit', bytes: 40 }, 'META_UNAVAILABLE'],
    [{ kind: 'byte-limit', bytes: 900 }, 'META_UNAVAILABLE'],
    [{ kind: 'slicing', bytes: 7 }, null],
    [{ kind: 'latency', ms: 20 }, null],
  ];

  test.each(faults)(
    '%j ends within the deadline plus 250 ms, with the last good value and %s',
    async (fault, code) => {
      const before = await refresh('sick');
      expect(before.number.health).toMatchObject({
        qualityRating: 'GREEN',
        freshness: { error: null },
      });
      proxy.setFault(ids.sick, fault);
      const [sick, well] = await Promise.all([refresh('sick'), refresh('well')]);
      proxy.setFault(ids.sick, null);
      console.log(`${JSON.stringify(fault)}: ${Math.round(sick.tookMs)} ms`);
      expect(sick.tookMs).toBeLessThan(deadlineMs + 250);
      expect(sick.number.health).toMatchObject({
        qualityRating: 'GREEN',
        freshness: { error: code === null ? null : { code } },
      });
      expect(well.number.health.freshness).toMatchObject({ source: 'LIVE', error: null });
    },
  );
});
