// What is shown of the account of a number that cannot read it, when another number of the account reads it.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toPlainFailure } from '../../src/numbers/provider.ts';
import { recordReadings } from '../../src/numbers/store.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** What the two APIs show of one number, which has to agree. */
async function show(tenant: TestTenant, id: string) {
  const fields = `freshness { waba { observedAt error { code } } } portfolio { id }
    health { sendable sendability { verdict reasons { text } } }`;
  const { body } = await tenant.graphql<any>(
    `{ fleet(filter: {ids: ["${id}"]}) { facets { failing portfolio { id } } nodes { ${fields
      .replace('freshness { waba {', 'meta { waba { freshness {')
      .replace('} } portfolio', '} } } portfolio')} } } }`,
  );
  const { facets, nodes } = body.data!.fleet;
  const [number] = nodes;
  const include = 'include=sendability,freshness';
  const { body: rest } = await tenant.rest<any>(`/v1/numbers/${id}?${include}`);
  const { body: failing } = await tenant.rest<any>(`/v1/fleet?failing=true`);
  const isFailing = facets.failing === 1;
  expect(failing.data.some((it: { id: string }) => it.id === id)).toBe(isFailing);
  expect(rest.health.sendable).toBe(number.health.sendable);
  const error = rest.freshness.waba?.error?.code ?? null;
  // Without any block that was read, there is no `meta`.
  const shown = number.meta === null ? error : (number.meta.waba?.freshness.error?.code ?? null);
  expect(shown).toBe(error);
  return {
    error,
    isFailing,
    reasons: number.health.sendability.reasons as readonly unknown[],
    portfolio: number.portfolio?.id ?? null,
    counted: facets.portfolio.map((it: { id: string }) => it.id) as readonly string[],
  };
}

const live = (id: string) => `{ number(id: "${id}", refresh: true) { id } }`;

test('a good read of the account ends the failure of a number that cannot read it, until it fails again', async () => {
  const tenant = await gateway.addTenant();
  const denied = await tenant.addNumber();
  const other = await tenant.addNumber({ wabaId: denied.wabaId });
  gateway.simulator.setFault(denied.wabaId, { kind: 'error', code: 200 });
  await tenant.graphql(live(denied.id));
  expect(await show(tenant, denied.id)).toMatchObject({
    error: 'META_ACCESS_DENIED',
    isFailing: true,
    reasons: [],
  });
  expect(await show(tenant, other.id)).toMatchObject({ error: null, isFailing: false });
  gateway.simulator.setFault(denied.wabaId, null);
  await tenant.graphql(live(other.id));
  expect(await show(tenant, denied.id)).toMatchObject({
    error: null,
    isFailing: false,
    reasons: [],
  });
  gateway.simulator.setFault(denied.wabaId, { kind: 'error', code: 200 });
  await tenant.graphql(live(denied.id));
  expect(await show(tenant, denied.id)).toMatchObject({
    error: 'META_ACCESS_DENIED',
    isFailing: true,
  });
  expect(await show(tenant, other.id)).toMatchObject({ error: null, isFailing: false });
});

describe('a good read of the account that is stored late', () => {
  const failure = toPlainFailure('META_ACCESS_DENIED', false, 'No.');
  /** A number, and how to store readings of its account: its owner, or null for one that failed or was not attempted. */
  async function addRead(credentials?: null) {
    const tenant = await gateway.addTenant();
    const { id, wabaId } = await tenant.addNumber(credentials === null ? { credentials } : {});
    const store = async (at: number, owner: string | null, attempted = true) => {
      const data = owner === null ? null : { id: wabaId, ownerBusinessId: owner };
      await recordReadings(gateway.database, {
        tenantId: tenant.id,
        holder: 'h',
        leased: [],
        observedAt: new Date(Date.now() - 60_000 + at * 1_000),
        readings: [
          owner === null
            ? { block: 'waba', id, address: wabaId, data, failure, attempted, state: null }
            : { block: 'waba', id: wabaId, data, failure: null, state: null },
        ],
      });
    };
    return { tenant, id, store };
  }

  test('leaves a failure that is newer, in all that is shown', async () => {
    const { tenant, id, store } = await addRead();
    await store(2, null);
    expect(await show(tenant, id)).toMatchObject({ isFailing: true });
    await store(1, '88');
    expect(await show(tenant, id)).toMatchObject({
      error: 'META_ACCESS_DENIED',
      isFailing: true,
      portfolio: '88',
      counted: ['88'],
    });
    await store(3, '88');
    expect(await show(tenant, id)).toMatchObject({ error: null, isFailing: false });
  });

  test('leaves an obstacle that is newer, in all that is shown', async () => {
    const { tenant, id, store } = await addRead(null);
    await store(2, null, false);
    await store(1, '88');
    expect(await show(tenant, id)).toMatchObject({ error: 'META_ACCESS_DENIED', isFailing: true });
    await store(3, '88');
    expect(await show(tenant, id)).toMatchObject({ error: null, isFailing: false });
  });

  test('leaves the owner that a newer read has found', async () => {
    const { tenant, id, store } = await addRead();
    await store(2, '88');
    await store(1, '77');
    expect(await show(tenant, id)).toMatchObject({ portfolio: '88', counted: ['88'] });
  });
});
