// Usage budgets at Meta are those of an app: one that is spent stops the reads with its tokens, and no others of the tenant.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway, type TestTenant } from '../../harness.ts';

const made = new AsyncDisposableStack();
let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = made.use(await openTestGateway());
});
afterAll(() => made.disposeAsync());

const wabaId = '102290129340398';

/** A number in the account; all are in the same one. */
const addNumber = async (accessToken: string, appSecret: string | null = null) =>
  await tenant.addNumber({ wabaId, waba: {}, phone: {}, credentials: { accessToken, appSecret } });

const readOverGraphql = async (id: string): Promise<string | null> => {
  const { body } = await tenant.graphql<{
    number: { health: { freshness: { error: { code: string } | null } } };
  }>(`{ number(id: "${id}", refresh: true) { health { freshness { error { code } } } } }`);
  return body.data!.number.health.freshness.error?.code ?? null;
};

const readOverRest = async (id: string): Promise<string | null> => {
  const { body } = await tenant.rest<{ code?: string }>(`/v1/numbers/${id}?refresh=1`);
  return body.code ?? null;
};

/** Sets the answer to reads of the number and its account; null for a good one. */
function answer(phoneNumberId: string, code: number | null): void {
  for (const id of [phoneNumberId, wabaId]) {
    gateway.simulator.setFault(id, code === null ? null : { kind: 'error', code });
  }
  gateway.simulator.clearCalls();
}

describe.each([
  ['GraphQL', readOverGraphql],
  ['REST', readOverRest],
] as const)('over %s', (_, read) => {
  test.each([
    [4, 'of the app'],
    [80_008, 'of the app in this account'],
  ])('code %i stops only reads with the budget %s', async (code) => {
    tenant = await gateway.addTenant();
    const [spent, sibling, other] = [
      await addNumber('EAAone', 'secret of the first app'),
      await addNumber('EAAtwo', 'secret of the first app'),
      await addNumber('EAAthree', 'secret of the second app'),
    ];
    answer(spent.phoneNumberId, code);
    expect(await read(spent.id)).toBe('META_RATE_LIMITED');
    answer(spent.phoneNumberId, null);
    expect(await read(spent.id)).toBe('META_RATE_LIMITED');
    expect(await read(sibling.id)).toBe('META_RATE_LIMITED');
    expect(gateway.simulator.calls).toEqual([]);
    expect(await read(other.id)).toBeNull();
  });

  test('tokens without a secret have budgets of their own, and equal tokens share one', async () => {
    tenant = await gateway.addTenant();
    const [spent, sibling, other] = [
      await addNumber('EAAone'),
      await addNumber('EAAone'),
      await addNumber('EAAtwo'),
    ];
    answer(spent.phoneNumberId, 4);
    expect(await read(spent.id)).toBe('META_RATE_LIMITED');
    answer(spent.phoneNumberId, null);
    expect(await read(sibling.id)).toBe('META_RATE_LIMITED');
    expect(gateway.simulator.calls).toEqual([]);
    expect(await read(other.id)).toBeNull();
  });
});

test('a budget is stored under a hash, not under a token or a secret', async () => {
  const rows = await gateway.database.query<{ account: string }>(
    'select account from graph_budget',
  );
  expect(rows).not.toEqual([]);
  for (const { account } of rows) {
    expect(account).toMatch(/^(app|102290129340398) [\w-]{43}$/);
  }
});
